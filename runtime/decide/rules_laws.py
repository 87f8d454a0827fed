"""The laws of the fallback rules as functions of numbers: what the daemon runs and what baselines are judged with."""

from __future__ import annotations


def thermostat(warmth: float, band: float, on: float, off: float, before: float | None) -> float:
    """`on` below the set-point by half the band, `off` above it by as much, as before in between.

    warmth: temperature less set-point; before: what it said last, None where that is not known.
    """
    if warmth < -band / 2:
        return on
    if warmth > band / 2 or before is None:
        return off
    return before


def heating_curve(outdoor: float, warmth: float, *, balance: float, slope: float, trim: float) -> float:
    """Weather compensation: power by the outdoor temperature below `balance`, trimmed by the zone's own error."""
    return slope * max(0.0, balance - outdoor) - trim * warmth


def hot_water(
    temperature: float,
    lower: float,
    upper: float | None,
    *,
    reserve: float,
    band: float,
    on: float,
    off: float,
    before: float | None,
) -> float:
    """`on` below the lower bound and a reserve, `off` a band further up but not beyond the upper bound."""
    end = lower + reserve + band if upper is None else min(lower + reserve + band, upper)
    begin = min(lower + reserve, (lower + end) / 2)
    return thermostat(temperature - (begin + end) / 2, end - begin, on, off, before)


def self_consumption(net_load: float) -> tuple[float, float]:
    """(charge, discharge): store the surplus, cover the load."""
    return max(0.0, -net_load), max(0.0, net_load)
