"""A table of a house file: strict about keys and types, with a remedy where a number bears its unit or another one."""

from __future__ import annotations

import math
import re
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

LARGEST = {"_kwh_per_k": 1e3, "_kw_per_k": 20.0, "_w_per_k": 1e3, "_kwh": 1e5, "_kw": 1e3, "litres": 1e5}
"""By how a key ends: more than a house has is a number in another unit."""
UNITS = {"_kwh_per_k": "kWh/K", "_kw_per_k": "kW/K", "_w_per_k": "W/K", "_kwh": "kWh", "_kw": "kW", "litres": "litres"}
_NUMBER_FIRST = re.compile(r"\s*([-+]?\d+(?:[.,]\d+)?)\s*\D*")


class TableSection(BaseModel):
    """No unknown keys, no silent conversion of types, immutable; units stand in the names of the keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_it_is_meant(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        if any(isinstance(part, BeforeValidator) for part in field.metadata):
            return value  # which has a language of its own
        if field.annotation is bool and not isinstance(value, bool):
            raise ValueError(f"is true or false, found {_shown(value)}")
        if field.annotation is float:
            return number(value, info.field_name or "")
        return value


def number(value: Any, key: str) -> Any:
    """The number, if it is one that the key may mean; what is out of its range is the field's business."""
    if isinstance(value, str):
        found = _NUMBER_FIRST.fullmatch(value)
        remedy = f"write {found[1].replace(',', '.')}, its unit is in the key" if found else "write a number"
        raise ValueError(f"{remedy}; found {_shown(value)}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"write a number; found {_shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"must be finite, found {value}; write a number")
    if key.startswith("soc_") and 1 < value <= 100:
        raise ValueError(f"is a share of the capacity: write {value / 100:g}")
    end = next((end for end in LARGEST if key.endswith(end)), None)
    if end is not None and value > LARGEST[end]:
        meant = f"; did you mean {value / 1e3:g}?" if value <= 1e3 * LARGEST[end] else ""
        raise ValueError(f"{_shown(value)} {UNITS[end]} is more than a house has{meant or '; correct it'}")
    return value


def _shown(value: object, longest: int = 40) -> str:
    text = repr(value)
    return text if len(text) <= longest else text[:longest] + "..."
