"""What there is to learn in: a simulated house, or a record of a real one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
EXPLORE, TRY = 10, 12
"""First words of the seeds."""


@dataclass(frozen=True, eq=False)
class Tried:
    """What a theta costs on each held-in week, EUR: price and comfort, the band's violation included; both (weeks,)."""

    price: Array
    comfort: Array

    @property
    def total(self) -> Array:
        return self.price + self.comfort


class World(Protocol):
    """What is learned in. Everything random derives from (seed, iteration, episode)."""

    @property
    def name(self) -> str: ...

    @property
    def recorded(self) -> bool:
        """The same experience whatever theta; nothing can be tried."""
        ...

    def explore(self, theta: Array, iteration: int) -> Sequence[Any]:
        """Closed loops under theta with exploration."""
        ...

    def try_out(self, theta: Array) -> Tried | None:
        """Costs on the held-in weeks without exploration; None where there is nothing to try it on."""
        ...


@runtime_checkable
class PairedWorld(World, Protocol):
    """A world that can be lived through again, whatever theta: a simulation."""

    def compare(self, thetas: Sequence[Array], iteration: int) -> Array:
        """(thetas, stretches) total costs without exploration; all thetas meet the same disturbances."""
        ...
