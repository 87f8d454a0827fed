"""What happens inside a step: a kettle, an oven that switches, clouds that pass. The mean of a step stays what it is.

A step of the world is a mean, and means flatter whoever holds a set-point: what a meter bills is import here and export
there within the same quarter of an hour. Minutes follow from the seed, the column and the step alone.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from systems.world import Array

MINUTE_S = 60.0
Kind = Literal["appliances", "clouds"]
STEADY = 0.6
"""Of a load's mean, what runs through; the rest comes from appliances that are on or off."""
APPLIANCE_KW = (1.2, 3.0)
CLOUDY = 0.6
"""Of the steps, those in which clouds pass."""
SHADE = (0.2, 0.6)
"""Of the sun, what is left in the shade of a cloud."""
SUNNY = 1.35
"""More than the mean of its step the sun is not: panels and inverters have a limit."""


@dataclass(frozen=True)
class Inside:
    """A seed, and the length of what is told apart."""

    seed: int
    minute_s: float = MINUTE_S

    def count(self, step_s: float) -> int:
        """Minutes in a step; one where it is no longer."""
        return max(1, round(step_s / self.minute_s))

    def minutes(self, kind: Kind, column: str, step: int, mean: float, count: int) -> Array:
        """(count,) of a column over a step of the world, with its mean."""
        rng = np.random.default_rng((self.seed, step, zlib.crc32(column.encode())))
        if mean <= 0.0 or count == 1:
            return np.full(count, mean)
        return _appliances(mean, count, rng) if kind == "appliances" else _clouds(mean, count, rng)


def _appliances(mean: float, count: int, rng: np.random.Generator) -> Array:
    """Something of a kilowatt or three is on for as many minutes as the rest of the mean lasts."""
    power, start = rng.uniform(*APPLIANCE_KW), int(rng.integers(count))
    share = (1.0 - STEADY) * mean / power
    whole = int(share * count)
    on = np.zeros(count)
    if whole >= count:
        return np.full(count, mean)
    on[:whole] = 1.0
    on[whole] = share * count - whole
    return np.asarray(STEADY * mean + power * np.roll(on, start))


def _clouds(mean: float, count: int, rng: np.random.Generator) -> Array:
    """Sun and shade in turns of a few minutes; never more sun than SUNNY times the mean."""
    if rng.random() > CLOUDY:
        return np.full(count, mean)
    shade, dwell = rng.uniform(*SHADE), rng.uniform(2.0, 6.0)
    sunny = (rng.random(count + 1).cumsum() / dwell + rng.random()) % 1.0 < rng.uniform(0.5, 0.9)
    level = np.where(sunny[:count], 1.0, shade)
    level = 0.5 * (level + np.roll(level, 1))  # an edge of a cloud takes a while
    level /= level.mean()
    # What would be more than the limit is shared with the rest, so that the mean stays.
    steepest = float(np.max(level - 1.0))
    if steepest > SUNNY - 1.0:
        level = 1.0 + (level - 1.0) * (SUNNY - 1.0) / steepest
    return np.asarray(mean * level)
