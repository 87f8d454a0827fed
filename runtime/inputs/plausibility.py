"""What a value may be: how far a sensor may overshoot its range, what a price may come to, which unit may be meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from runtime.bundle.manifest import SignalSpec
from runtime.formats.units import conversion, is_price, kind_of

# By what a reading may lie outside the range of its signal and still mean the end of it: a share of the range, or, of
# what has no natural full scale, an amount in the unit given.
SHARE = 0.03
AMOUNTS = {"temperature": (0.5, "K"), "irradiance": (20.0, "W/m2")}
# The day-ahead market of Europe is bounded at -0.5 and 4 EUR/kWh, and moves its bounds after a crisis; with taxes and
# fees a household may see -0.65 to 5. Others in about the same, by a rough rate.
PRICE_EUR_KWH = (-1.0, 6.0)
PER_EUR = {
    "EUR": 1.0, "USD": 1.2, "GBP": 1.0, "CHF": 1.0, "AUD": 20.0, "CAD": 1.6, "PLN": 4.5, "RON": 5.0, "BGN": 2.0,
    "DKK": 7.5, "SEK": 12.0, "NOK": 12.0, "ISK": 150.0, "CZK": 25.0, "HUF": 400.0, "JPY": 170.0, "TRY": 50.0,
}  # fmt: skip

OTHER_UNITS = {"temperature": ("°F", "K"), "ratio": ("%",), "power": ("W",), "energy": ("Wh",)}
ALIKE = 0.3


@dataclass(frozen=True)
class Judged:
    """A value that may be used, perhaps moved to the end of its range; `refused` where it may not."""

    value: float
    problem: str = ""
    refused: bool = False


def tolerance(spec: SignalSpec) -> float:
    """How far a reading may overshoot the range of its signal, in the signal's unit."""
    amount = AMOUNTS.get(kind_of(spec.unit))
    if amount is None:
        return SHARE * (spec.upper - spec.lower)
    value, unit = amount
    # A difference: of the offsets between units of temperature nothing counts.
    return value * abs(conversion(unit, spec.unit).factor)


def judge(value: float, spec: SignalSpec) -> Judged:
    """Inside its range as it is, a little outside moved to the end of it, else refused.

    A price is what the market says. The range of a price in the bundle is the one it was built for; the solver does not
    depend on it.
    """
    lower, upper = price_range(spec) if is_price(spec.unit) else (spec.lower, spec.upper)
    if lower <= value <= upper:
        return Judged(value)
    nearest = min(max(value, lower), upper)
    if not is_price(spec.unit) and abs(value - nearest) <= tolerance(spec) * (1.0 + 1e-9):
        return Judged(nearest, f"{value:g} {spec.unit} is taken as {nearest:g}, the end of its range")
    text = f"{value:g} {spec.unit} is outside [{lower:g}, {upper:g}]"
    other = likely_unit(value, spec)
    return Judged(value, f"{text}{f'; is it in {other}?' if other else ''}", refused=True)


def believed(spec: SignalSpec) -> tuple[float, float]:
    """Between what `judge` refuses nothing."""
    if is_price(spec.unit):
        return price_range(spec)
    over = tolerance(spec) * (1.0 + 1e-9)
    return spec.lower - over, spec.upper + over


def judge_all(values: Sequence[float], spec: SignalSpec) -> list[Judged] | None:
    """Each of a forecast's values; None where all of them are taken as they are."""
    lower, upper = price_range(spec) if is_price(spec.unit) else (spec.lower, spec.upper)
    # Compared one by one: a value that is no number is in no range.
    return None if all(lower <= value <= upper for value in values) else [judge(value, spec) for value in values]


def price_range(spec: SignalSpec) -> tuple[float, float]:
    """What a price is believed to be: what the market may say, or the bundle's own range where that is wider."""
    return _price_range(spec.unit, spec.lower, spec.upper)


@lru_cache(maxsize=256)
def _price_range(unit: str, least: float, most: float) -> tuple[float, float]:
    lower, upper = (
        conversion(f"{currency(unit)}/kWh", unit)(PER_EUR.get(currency(unit), 1.0) * bound) for bound in PRICE_EUR_KWH
    )
    if currency(unit) not in PER_EUR:
        width = most - least
        lower, upper = least - width, most + width
    return min(lower, least), max(upper, most)


def currency(unit: str) -> str:
    """Of a price, in whole units: `EUR` for `ct/kWh`."""
    return kind_of(unit).removeprefix("price in ")


def likely_unit(value: float, spec: SignalSpec, near: float | None = None) -> str:
    """In what this value would be one of the signal, close to `near` where that is known; empty if in nothing."""
    fits = [
        name
        for name, meant in _meanings(value, spec)
        if spec.lower <= meant <= spec.upper and (near is None or abs(meant - near) <= ALIKE * abs(near) + 2.0)
    ]
    return " or ".join(fits[:2])


def _meanings(value: float, spec: SignalSpec) -> Iterator[tuple[str, float]]:
    """(unit, the value in the signal's unit if it had come in that one)."""
    kind = kind_of(spec.unit)
    if is_price(spec.unit):
        for unit, share in ((f"{currency(spec.unit)}/MWh", 1.0), (f"{currency(spec.unit)}/kWh", 0.01)):
            if unit != spec.unit or share != 1.0:
                yield (unit if share == 1.0 else f"hundredths of {unit}"), share * conversion(unit, spec.unit)(value)
    for unit in OTHER_UNITS.get(kind, ()):
        if unit != spec.unit:
            yield unit, conversion(unit, spec.unit)(value)
    if kind == "temperature" and not 200.0 < value < 350.0:  # those are K
        yield f"tenths of {spec.unit}", value / 10.0
        yield f"tens of {spec.unit}", value * 10.0
