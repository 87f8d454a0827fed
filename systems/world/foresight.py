"""How much of a column is known ahead: all of it, what is published, what a weather service says, what is usual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from systems.world import Exogenous

Array = NDArray[np.float64]
PUBLICATION_HOUR = 13.0
"""Local hour from which the prices of tomorrow are known."""
HOUR_S, DAY_S = 3600.0, 86_400.0


class Foresight(Protocol):
    def ahead(
        self, world: Exogenous, name: str, step: int, count: int, rng: np.random.Generator, error: float
    ) -> Array:
        """(count,) values from a step on, as they are believed at its beginning."""
        ...


@dataclass(frozen=True)
class Certain:
    """What comes is known."""

    def ahead(
        self, world: Exogenous, name: str, step: int, count: int, rng: np.random.Generator, error: float
    ) -> Array:
        return world.coming(name, step, count)


@dataclass(frozen=True)
class Published:
    """Prices: known to the end of today, from 13:00 on of tomorrow; beyond, the same time of the last known day."""

    def ahead(
        self, world: Exogenous, name: str, step: int, count: int, rng: np.random.Generator, error: float
    ) -> Array:
        clock, per_day, n = world.clock, round(DAY_S / world.dt_s), len(world)
        now = min(step, n - 1)
        days = 2 if clock.hour[now] >= PUBLICATION_HOUR else 1
        known_end = min(int(np.searchsorted(clock.day, clock.day[now] + days)), n)
        index = np.arange(step, step + count)
        beyond = np.maximum(0, (index - known_end) // per_day + 1)
        # Within the first day of a series there may be no day before: its first row has to do.
        values: Array = world[name][np.clip(index - beyond * per_day, 0, n - 1)]
        return values


@dataclass(frozen=True, eq=False)
class Usual:
    """What is usual at this time, learned from the days before: the same whatever really comes."""

    values: Array
    """(n,)"""

    def ahead(
        self, world: Exogenous, name: str, step: int, count: int, rng: np.random.Generator, error: float
    ) -> Array:
        return self.values[np.minimum(np.arange(step, step + count), len(self.values) - 1)]


@dataclass(frozen=True)
class Predicted:
    """A weather service: what comes, and an error that starts at 0 and tends to a standard deviation.

    The error is a Gauss-Markov path over the lead time; it is added, or as a `share` multiplies what comes.
    """

    std: float
    time_h: float = 8.0
    share: bool = False
    lower: float = -np.inf
    upper: float = np.inf

    def ahead(
        self, world: Exogenous, name: str, step: int, count: int, rng: np.random.Generator, error: float
    ) -> Array:
        memory = float(np.exp(-world.dt_s / HOUR_S / self.time_h))
        shocks = (rng.standard_normal(count) * self.std * error * np.sqrt(1.0 - memory**2)).tolist()
        path, value = [], 0.0
        for k, shock in enumerate(shocks):
            value = memory * value + (shock if k > 0 else 0.0)
            path.append(value)
        coming = world.coming(name, step, count)
        believed = coming * np.maximum(1.0 + np.array(path), 0.0) if self.share else coming + np.array(path)
        return np.clip(believed, self.lower, self.upper)
