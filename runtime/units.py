"""Units of signals and the conversions between them that a site file may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.errors import ConfigError


@dataclass(frozen=True)
class Conversion:
    """y = factor * x + offset."""

    factor: float = 1.0
    offset: float = 0.0

    def __call__(self, value: float) -> float:
        return self.factor * value + self.offset


IDENTITY = Conversion()

# unit -> (kind of quantity, factor and offset to the kind's base unit)
_UNITS: dict[str, tuple[str, float, float]] = {
    "1": ("ratio", 1.0, 0.0),
    "%": ("ratio", 0.01, 0.0),
    "W": ("power", 1.0, 0.0),
    "kW": ("power", 1e3, 0.0),
    "MW": ("power", 1e6, 0.0),
    "Wh": ("energy", 1.0, 0.0),
    "kWh": ("energy", 1e3, 0.0),
    "MWh": ("energy", 1e6, 0.0),
    "J": ("energy", 1 / 3600, 0.0),
    "K": ("temperature", 1.0, 0.0),
    "C": ("temperature", 1.0, 273.15),
    "degC": ("temperature", 1.0, 273.15),
    "°C": ("temperature", 1.0, 273.15),
    "F": ("temperature", 5 / 9, 459.67 * 5 / 9),
    "degF": ("temperature", 5 / 9, 459.67 * 5 / 9),
    "°F": ("temperature", 5 / 9, 459.67 * 5 / 9),
    "s": ("time", 1.0, 0.0),
    "min": ("time", 60.0, 0.0),
    "h": ("time", 3600.0, 0.0),
    "W/m2": ("irradiance", 1.0, 0.0),
    "kW/m2": ("irradiance", 1e3, 0.0),
}
_PER_ENERGY = ("Wh", "kWh", "MWh")
# Hundredths of a currency, as prices are often quoted.
_HUNDREDTHS = {"ct": "EUR", "cent": "EUR", "øre": "NOK"}


def conversion(source: str, target: str) -> Conversion:
    """How to turn a value in unit `source` into unit `target`. Raises ConfigError when they do not measure the same."""
    if source == target:
        return IDENTITY
    kind_from, factor_from, offset_from = _base(source)
    kind_to, factor_to, offset_to = _base(target)
    if kind_from != kind_to:
        raise ConfigError(
            f"unit {source!r} cannot be converted to {target!r}; give the unit in which the value arrives"
        )
    return Conversion(factor_from / factor_to, (offset_from - offset_to) / factor_to)


def kind_of(unit: str) -> str:
    """What a unit measures: `temperature`, `power`, `ratio`, `price in EUR`, ...; `unit X` for one not known here."""
    return _base(unit)[0]


def is_known(unit: str) -> bool:
    return not kind_of(unit).startswith("unit ")


def is_price(unit: str) -> bool:
    return kind_of(unit).startswith("price in ")


def _base(unit: str) -> tuple[str, float, float]:
    if unit in _UNITS:
        return _UNITS[unit]
    currency, _, energy = unit.partition("/")
    if energy in _PER_ENERGY and currency:
        factor = 1.0 / _UNITS[energy][1]
        if currency in _HUNDREDTHS:
            return f"price in {_HUNDREDTHS[currency]}", 0.01 * factor, 0.0
        return f"price in {currency}", factor, 0.0
    return f"unit {unit}", 1.0, 0.0
