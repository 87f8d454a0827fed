"""What tables of a site file have in common: no unknown keys, numbers as they are written, time zones by name."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]


def zone(name: str) -> tzinfo:
    """The time zone; UTC needs no database. Raises KeyError, ValueError or OSError for an unknown one."""
    return UTC if name == "UTC" else ZoneInfo(name)


def known_zone(name: str) -> str:
    """The name itself. Raises ValueError with a remedy."""
    try:
        zone(name)
    except (OSError, ValueError, KeyError):
        raise ValueError("no time zone of that name on this machine; write it like Europe/Oslo") from None
    return name


class Section(BaseModel):
    """A table of the site file: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True)
