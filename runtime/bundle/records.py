"""What all records of a bundle are made of: strict, immutable models, names, numbers that are numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Row = tuple[Finite, ...]


class StrictRecord(BaseModel):
    """Strict about its fields and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)
