"""What is usual at a time of the week: learned from what was, the recent before the distant, the kind of day first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

DAYS = 28
HALF_LIFE_D = 7.0
OTHER_KIND = 0.2
"""Weight of a day of another kind (a Sunday for a Monday). Of three real homes none told kinds so well that less would
foretell better: docs/results/load-forecast.md."""
QUARTER_S, DAY_S = 900.0, 86400.0
LEVEL_S = 3 * 3600.0
"""How fast the deviation of the last hours is forgotten."""
RECENT = 8
"""Quarter hours whose deviation from what is usual counts."""


def usual(
    actual: Mapping[int, float], now_s: float, times_s: Sequence[float], zone: tzinfo, *, level: bool = False
) -> list[float | None]:
    """Weighted means of the same time by the clock on the days before; None where none of them is known.

    actual: number of the quarter hour -> value. A day weighs 0.5^(age / week), a day of another kind (working day,
    Saturday, Sunday) OTHER_KIND of that. level: the deviation of the last two hours goes on, and fades.
    """
    known = {quarter: value for quarter, value in actual.items() if (quarter + 1) * QUARTER_S <= now_s}
    oldest = min(known, default=0)
    found = [_mean(known, oldest, time_s, now_s, zone) for time_s in times_s]
    off = _deviation(known, now_s, zone) if level else 0.0
    if off == 0.0:
        return found
    return [
        None if value is None else value + off * math.exp(-max(0.0, time_s - now_s) / LEVEL_S)
        for time_s, value in zip(times_s, found, strict=True)
    ]


def _mean(known: Mapping[int, float], oldest: int, time_s: float, now_s: float, zone: tzinfo) -> float | None:
    """Of days that were over by `now_s` only."""
    if not known:
        return None
    wall = datetime.fromtimestamp(time_s, zone).replace(tzinfo=None)
    total = weight = 0.0
    first = max(1, math.ceil((time_s - now_s) / DAY_S))
    for back in range(first, first + DAYS):
        then = wall - timedelta(days=back)
        quarter = math.floor(then.replace(tzinfo=zone).timestamp() / QUARTER_S)
        if quarter < oldest:
            break
        value = known.get(quarter)
        if value is None:
            continue
        w = 0.5 ** (back / HALF_LIFE_D) * (1.0 if _kind(then) == _kind(wall) else OTHER_KIND)
        total += w * value
        weight += w
    return total / weight if weight else None


def _kind(local: datetime) -> int:
    """0: working day, 1: Saturday, 2: Sunday."""
    return max(0, local.weekday() - 4)


def _deviation(known: Mapping[int, float], now_s: float, zone: tzinfo) -> float:
    last = math.floor(now_s / QUARTER_S)
    recent = [quarter for quarter in range(last - RECENT, last) if quarter in known]
    before = [(known[q], _mean(known, min(known), (q + 0.5) * QUARTER_S, q * QUARTER_S, zone)) for q in recent]
    differences = [value - mean for value, mean in before if mean is not None]
    return sum(differences) / len(differences) if differences else 0.0
