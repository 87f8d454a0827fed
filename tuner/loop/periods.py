"""Weeks of a world to judge a house by, and those to learn from: whole, apart, and of the season that matters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from systems.house_file import House
from systems.world import Exogenous

HEATING_BELOW_C = 10.0
"""Mean outdoor temperature of a week in which a house is heated."""
HELD_IN_WEEKS = 4
"""Of the weeks to learn from: on which a theta is tried, unless said otherwise."""
DAY_S = 86_400.0


class PeriodError(ValueError):
    """Weeks that cannot be had from the data, or that serve both learning and judging."""

    exit_code = 65


def weeks_of(house: House, world: Exogenous) -> list[int]:
    """First steps of whole weeks from Monday midnights on, a day and a horizon away from the ends of the world.

    Of a house with zones only those in which it is heated, where there are any.
    """
    day, week = round(DAY_S / world.dt_s), round(7 * DAY_S / world.dt_s)
    ahead = round(house.grid.horizon_s / world.dt_s) + house.grid.steps
    start = world.time(0)
    monday = (start + timedelta(days=(7 - start.weekday()) % 7)).replace(hour=0, minute=0, second=0, microsecond=0)
    starts, k = list[int](), 0
    while True:
        step = world.step_at(monday + timedelta(days=7 * k))
        if step + week + ahead > len(world):
            break
        if step >= day:
            starts.append(step)
        k += 1
    cold = [s for s in starts if world["outdoor"][s : s + week].mean() < HEATING_BELOW_C]
    return cold if cold and house.of("zone") else starts


def spread(starts: Sequence[int], count: int, what: str) -> tuple[int, ...]:
    """`count` of them, evenly. Raises PeriodError."""
    if not 1 <= count <= len(starts):
        raise PeriodError(f"{count} {what} weeks asked for, the data have {len(starts)}; ask for 1 to {len(starts)}")
    places = np.unique(np.linspace(0, len(starts) - 1, count).round().astype(int))
    return tuple(starts[int(i)] for i in places)
