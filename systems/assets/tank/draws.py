"""How hot water is drawn in a household: what to expect until a log has taught better, and what the plant lives by.

Showers and small draws come at rates that follow habits, a compound Poisson process by the hour of the day; the size of
each is within half and one and a half times the mean.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from systems.profile import WeekProfile
from systems.world import Array

if TYPE_CHECKING:
    from systems.assets.tank import Tank

LITRES_PER_PERSON = 60.0
"""Of a tank, as they are sized."""
SHOWER_KWH, SMALL_DRAW_KWH = 1.6, 0.15
SHOWERS_A_DAY, SMALL_DRAWS_A_DAY = 0.9, 6.0
"""Of a person."""
HABITS = ((7.2, 0.8, 0.55), (20.5, 1.5, 0.45))
"""(hour, standard deviation in hours, share) of the showers."""
AWAKE = (6.5, 23.0)
MEAN_SQUARE = 1 + 1 / 12
"""Of a size over its mean."""


def rates(tank: Tank, hour: Array) -> tuple[tuple[Array, float], ...]:
    """(draws per hour, kWh of one) of showers and of small draws, by the hour of the day."""
    persons = max(1.0, tank.litres / LITRES_PER_PERSON)
    showers = persons * SHOWERS_A_DAY * np.sum([share * _density(hour, at, std) for at, std, share in HABITS], axis=0)
    awake = (hour >= AWAKE[0]) & (hour < AWAKE[1])
    small: Array = np.asarray(persons * SMALL_DRAWS_A_DAY / (AWAKE[1] - AWAKE[0]) * awake, dtype=np.float64)
    return ((showers, SHOWER_KWH), (small, SMALL_DRAW_KWH))


def usual_kw(tank: Tank, hour: Array) -> Array:
    """Mean heat drawn."""
    return np.minimum(sum(rate * size for rate, size in rates(tank, hour)), tank.draw_peak_kw)


def spread_kw(tank: Tank, hour: Array, hold_h: float) -> Array:
    """Standard deviation of the mean over a decision: rate times the mean square of a draw, over its length."""
    variance = sum(rate * size**2 * MEAN_SQUARE for rate, size in rates(tank, hour))
    return np.minimum(np.sqrt(variance / hold_h), tank.draw_peak_kw)


def usual_week(tank: Tank, hold_h: float) -> WeekProfile:
    """Every day alike."""
    middle: Array = np.arange(24, dtype=np.float64) + 0.5
    mean, spread = usual_kw(tank, middle), spread_kw(tank, middle, hold_h)
    return WeekProfile(tuple(np.tile(mean, 7).tolist()), tuple(np.tile(spread, 7).tolist()))


def _density(hour: Array, centre: float, std: float) -> Array:
    """Of the hour of the day, 1/h."""
    distance = np.abs((hour - centre + 12.0) % 24.0 - 12.0)
    return np.asarray(np.exp(-0.5 * (distance / std) ** 2) / (std * math.sqrt(2 * math.pi)))
