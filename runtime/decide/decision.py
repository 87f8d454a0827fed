"""How long a decision is in force: a program that holds its moves for half an hour decides on that grid of Unix time.

Cycles come more often: they estimate, filter and actuate every time, and act on the decision in force while it is good.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from runtime.clock import CLOCK_JUMP_S
from runtime.decide.solver_process import Solved


@dataclass(frozen=True)
class Rhythm:
    """A decision `every_s` on the grid of Unix time, a cycle `cycle_s`; not longer than that, every cycle decides."""

    every_s: float
    cycle_s: float

    @property
    def every_cycle(self) -> bool:
        return self.every_s <= self.cycle_s

    @property
    def on_cycles(self) -> bool:
        """Whether every point of its grid is one of the cycles'."""
        cycles = max(1, round(self.every_s / self.cycle_s))
        return math.isclose(self.every_s, cycles * self.cycle_s, rel_tol=1e-9)

    @property
    def slack_s(self) -> float:
        """A cycle that comes this much too early, by a clock that was slewed, is the one of the grid all the same."""
        return min(CLOCK_JUMP_S, self.cycle_s / 4)


@dataclass(frozen=True)
class InForce:
    """A decision that is acted on, when it was made by both clocks, and what was known of the horizon then (N + 1, nd).

    `solve_s` is what the solver took.
    """

    solved: Solved
    forecast: tuple[tuple[float, ...], ...]
    time_s: float
    monotonic_s: float
    solve_s: float


def outdated(made: InForce | None, time_s: float, monotonic_s: float, rhythm: Rhythm) -> bool:
    """Whether this cycle must decide anew: nothing is in force, the grid has moved on, or the clock was set since."""
    if made is None or rhythm.every_cycle:
        return True
    since_s = time_s - made.time_s
    if abs(since_s - (monotonic_s - made.monotonic_s)) > CLOCK_JUMP_S:
        return True
    # Slewed back over a point of the grid, a clock is not set: what was decided there holds.
    return _index(time_s, rhythm) > _index(made.time_s, rhythm)


def next_decision_s(time_s: float, rhythm: Rhythm) -> float | None:
    """Unix time at which the grid asks for the next decision; None where every cycle decides."""
    return None if rhythm.every_cycle else (_index(time_s, rhythm) + 1) * rhythm.every_s


def _index(time_s: float, rhythm: Rhythm) -> int:
    return math.floor((time_s + rhythm.slack_s) / rhythm.every_s)
