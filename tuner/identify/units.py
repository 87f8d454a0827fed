"""How a log column may be named and measured: `hp_w`, `hp_kwh` and `living_f` tell of hp_kw and living_c as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from systems.logs.log import Array, LogColumn, Quantity


@dataclass(frozen=True)
class LogUnit:
    """What makes a column's values those of its quantity; counters hold energies, whose differences are powers."""

    name: str
    suffix: str
    convert: Callable[[Array], Array]
    counter: bool = False


def _times(factor: float) -> Callable[[Array], Array]:
    return lambda values: values * factor


def _fahrenheit(values: Array) -> Array:
    return np.asarray((values - 32.0) / 1.8)


POWER = (
    LogUnit("kW", "kw", _times(1.0)), LogUnit("W", "w", _times(1e-3)), LogUnit("kWh", "kwh", _times(1.0), counter=True),
    LogUnit("Wh", "wh", _times(1e-3), counter=True),
)  # fmt: skip
DEGREES = (LogUnit("degC", "c", _times(1.0)), LogUnit("C", "c", _times(1.0)), LogUnit("F", "f", _fahrenheit))
UNITS: dict[Quantity, tuple[LogUnit, ...]] = {
    Quantity.POWER: POWER,
    Quantity.NET_POWER: POWER[:2],
    Quantity.INDOOR: DEGREES,
    Quantity.OUTDOOR: DEGREES,
    Quantity.WATER: DEGREES,
    Quantity.SHARE: (LogUnit("1", "", _times(1.0)), LogUnit("%", "percent", _times(1e-2))),
    Quantity.SUN: (LogUnit("W/m2", "w_m2", _times(1.0)), LogUnit("kW/m2", "kw_m2", _times(1e3))),
}


def named(column: LogColumn) -> Iterator[tuple[str, LogUnit]]:
    """Every name under which a column may stand in a file, with what it means; its own comes first."""
    own, *others = UNITS[column.quantity]
    yield column.name, own
    for unit in others:
        if own.suffix and unit.suffix != own.suffix:
            yield column.name.removesuffix(own.suffix) + unit.suffix, unit
        elif not own.suffix:
            yield f"{column.name}_{unit.suffix}", unit


def unit_of(column: LogColumn, name: str) -> LogUnit | None:
    """By what the user calls it; None for a unit that this quantity has not."""
    return next((unit for unit in UNITS[column.quantity] if unit.name.lower() == name.strip("°").lower()), None)
