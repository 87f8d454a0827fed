"""What is usual at a time of the week: learned from what was, the recent before the distant, the kind of day first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

DAYS = 28
HALF_LIFE_D = 7.0
OTHER_KIND = 0.15
"""Weight of a day of another kind (a Sunday for a Monday): enough until the first week has passed."""
QUARTER_S = 900.0
LEVEL_H = 3.0
"""How fast the deviation of the last hours is forgotten."""


def usual(
    actual: Mapping[int, float], now_s: float, start_s: float, step_s: float, count: int, zone: tzinfo,
    *, level: bool = True,
) -> list[float | None]:  # fmt: skip
    """(count,) weighted means of the same local time on the days before; None where none of them is known.

    actual: number of the quarter hour -> value. level: the last two hours' deviation from what is usual goes on, and
    fades. A day weighs 0.5^(age / week), a day of another kind (working day, Saturday, Sunday) OTHER_KIND of that.
    """
    known = {quarter: value for quarter, value in actual.items() if (quarter + 1) * QUARTER_S <= now_s}
    found = [_mean(known, start_s + (k + 0.5) * step_s, now_s, zone) for k in range(count)]
    if not level:
        return found
    off = _deviation(known, now_s, zone)
    return [
        None if v is None else v + off * math.exp(-max(0.0, start_s + (k + 0.5) * step_s - now_s) / (LEVEL_H * 3600.0))
        for k, v in enumerate(found)
    ]


def _mean(known: Mapping[int, float], time_s: float, now_s: float, zone: tzinfo) -> float | None:
    local = datetime.fromtimestamp(time_s, zone)
    wall = local.replace(tzinfo=None)
    total = weight = 0.0
    first = max(1, math.ceil((time_s - now_s) / 86400.0))
    for back in range(first, first + DAYS):
        then = wall - timedelta(days=back)
        value = known.get(math.floor(then.replace(tzinfo=zone).timestamp() / QUARTER_S))
        if value is None:
            continue
        w = 0.5 ** (back / HALF_LIFE_D) * (1.0 if _kind(then) == _kind(wall) else OTHER_KIND)
        total += w * value
        weight += w
    return total / weight if weight else None


def _kind(local: datetime) -> int:
    return max(0, local.weekday() - 4)


def _deviation(known: Mapping[int, float], now_s: float, zone: tzinfo) -> float:
    last = math.floor(now_s / QUARTER_S)
    differences = []
    for quarter in range(last - 8, last):
        if quarter in known:
            usual_then = _mean(known, (quarter + 0.5) * QUARTER_S, quarter * QUARTER_S, zone)
            if usual_then is not None:
                differences.append(known[quarter] - usual_then)
    return sum(differences) / len(differences) if differences else 0.0


def persistence(actual: Mapping[int, float], hour: int, issued: int) -> float | None:
    """Hourly: what was at the same hour on the last day that was over when the forecast was made."""
    days = max(1, math.ceil((hour - issued + 1) / 24))
    return actual.get(hour - 24 * days)


def filled(rows: Sequence[float | None], with_value: float) -> list[float | None]:
    return [with_value if v is None else v for v in rows]
