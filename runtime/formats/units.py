"""Units of signals and the conversions between them that a site file may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

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
    "percent": ("ratio", 0.01, 0.0),
    "mW": ("power", 1e-3, 0.0),
    "W": ("power", 1.0, 0.0),
    "kW": ("power", 1e3, 0.0),
    "MW": ("power", 1e6, 0.0),
    "GW": ("power", 1e9, 0.0),
    "BTU/h": ("power", 1055.05585262 / 3600, 0.0),
    "Wh": ("energy", 1.0, 0.0),
    "kWh": ("energy", 1e3, 0.0),
    "MWh": ("energy", 1e6, 0.0),
    "GWh": ("energy", 1e9, 0.0),
    "J": ("energy", 1 / 3600, 0.0),
    "kJ": ("energy", 1e3 / 3600, 0.0),
    "MJ": ("energy", 1e6 / 3600, 0.0),
    "GJ": ("energy", 1e9 / 3600, 0.0),
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
# Written otherwise by some programs. Large and small letters tell mW from MW, and nothing else.
_ALIASES = {"w": "W", "Kw": "kW", "KW": "kW", "kw": "kW", "KWh": "kWh", "kwh": "kWh", "KWH": "kWh", "wh": "Wh"}
_ALIASES |= {"W/m²": "W/m2", "kW/m²": "kW/m2", "℃": "°C", "°c": "°C", "℉": "°F", "°f": "°F", "Btu/h": "BTU/h"}
_PER_ENERGY = {"wh": "Wh", "kwh": "kWh", "mwh": "MWh"}
# Other names of money: the currencies that are called so, the most likely first, and how many of it.
_MONEY: dict[str, tuple[tuple[str, ...], float]] = {
    "€": (("EUR",), 1.0),
    "euro": (("EUR",), 1.0),
    "£": (("GBP",), 1.0),
    "$": (("USD", "AUD", "CAD", "NZD"), 1.0),
    "kr": (("SEK", "NOK", "DKK", "ISK"), 1.0),
    "ct": (("EUR",), 0.01),
    "c€": (("EUR",), 0.01),
    "c": (("EUR", "USD", "AUD", "CAD", "NZD"), 0.01),
    "cent": (("EUR", "USD", "AUD", "CAD", "NZD"), 0.01),
    "cents": (("EUR", "USD", "AUD", "CAD", "NZD"), 0.01),
    "øre": (("NOK", "DKK"), 0.01),
    "öre": (("SEK",), 0.01),
    "ore": (("SEK", "NOK", "DKK"), 0.01),
    "p": (("GBP",), 0.01),
    "pence": (("GBP",), 0.01),
    "rp": (("CHF",), 0.01),
    "rp.": (("CHF",), 0.01),
    "¢": (("USD", "EUR", "AUD", "CAD", "NZD"), 0.01),
    "snt": (("EUR",), 0.01),
    "kč": (("CZK",), 1.0),
    "hal": (("CZK",), 0.01),
    "zł": (("PLN",), 1.0),
    "gr": (("PLN",), 0.01),
    "ft": (("HUF",), 1.0),
    "lei": (("RON",), 1.0),
}
_PENCE = "GBp"


def conversion(source: str, target: str) -> Conversion:
    """How to turn a value in unit `source` into unit `target`. Raises ConfigError when they do not measure the same."""
    if source == target:
        return IDENTITY
    kind_from, factor_from, offset_from = _base(source, target)
    kind_to, factor_to, offset_to = _base(target, source)
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


@lru_cache(maxsize=256)  # asked of every value of every forecast
def _base(unit: str, beside: str = "") -> tuple[str, float, float]:
    """beside: the unit on the other side, which says whose `kr` or `cent` is meant."""
    if (known := _UNITS.get(_ALIASES.get(unit, unit))) is not None:
        return known
    money, _, energy = (part.strip() for part in unit.partition("/"))
    if money and energy.lower() in _PER_ENERGY:
        currencies, share = _money(money)
        others, _ = _money(beside.partition("/")[0])
        currency = next((one for one in currencies if one in others), currencies[0])
        return f"price in {currency}", share / _UNITS[_PER_ENERGY[energy.lower()]][1], 0.0
    return f"unit {unit}", 1.0, 0.0


def _money(name: str) -> tuple[tuple[str, ...], float]:
    """The currencies that may be meant, and how much of one: `EUR`, `eur` and `€` are the same."""
    if name == _PENCE:
        return _MONEY["pence"]
    if name.lower() in _MONEY:
        return _MONEY[name.lower()]
    code = name.upper() if len(name) == 3 and name.isascii() and name.isalpha() else name
    return (code,), 1.0
