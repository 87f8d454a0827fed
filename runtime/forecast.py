"""Forecasts as they arrive, on the controller's horizon: one row per stage, each the mean over that stage."""

from __future__ import annotations

import math

from runtime.signals import Profile, Value

DAY_S = 86400.0


def resample(value: Value, now_s: float, dt_s: float, rows: int) -> tuple[float, ...] | None:
    """The mean over [now + k dt, now + (k + 1) dt) for k < rows; None when a profile does not cover `now_s`.

    A number persists. Beyond its end a profile repeats its last day, and its last value where it is shorter than that:
    day-ahead prices end at midnight, and tomorrow is more like today than like 23 o'clock.
    """
    if isinstance(value, float):
        return (value,) * rows
    if not value.start_s <= now_s < value.end_s:
        return None
    return tuple(_mean(value, now_s + k * dt_s, now_s + (k + 1) * dt_s) for k in range(rows))


def _mean(profile: Profile, begin: float, end: float) -> float:
    """Mean of the piecewise constant profile over [begin, end)."""
    first = math.floor((begin - profile.start_s) / profile.step_s)
    if end <= profile.start_s + (first + 1) * profile.step_s:  # the usual case: a stage inside one cell
        return _at(profile, first)
    last = math.ceil((end - profile.start_s) / profile.step_s)
    total = 0.0
    for index in range(first, last + 1):
        cell = profile.start_s + index * profile.step_s
        overlap = min(end, cell + profile.step_s) - max(begin, cell)
        if overlap > 0:
            total += _at(profile, index) * overlap
    return total / (end - begin)


def _at(profile: Profile, index: int) -> float:
    count = len(profile.values)
    if index < count:
        return profile.values[max(0, index)]
    per_day = round(DAY_S / profile.step_s)
    if not 1 <= per_day <= count or not math.isclose(per_day * profile.step_s, DAY_S):
        return profile.values[-1]
    days_back = (index - count) // per_day + 1
    return profile.values[index - days_back * per_day]
