"""What an iteration asks of theta: from experience with exploration by a critic's method, or from tries in pairs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from systems.problem import Parameter
from tuner.errors import TrainingError
from tuner.learn.differences import Slopes, directions, slopes_of, steps_of, tries, worth_more
from tuner.learn.improve import Credit, Improvement, Method, keep_what_is_sure
from tuner.learn.transitions import Labelled, Transitions
from tuner.learn.world import PairedWorld, World

Array = NDArray[np.float64]
WIDTH, WIDEST = 1.0, 4.0
"""Of the first tries in pairs and of all, in scales of the parameters."""
WIDER, NARROWER = 2.0, 0.5
"""The width after a step that was taken, and after one that held-in weeks took back, over the width before."""
LEAST_STRETCHES = 2
"""For an interval."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """A change of the learning entries (p,), in units of their scales, and what it took."""

    change: Array
    td_error: float | None
    """Root mean square, EUR per decision; None where there is no value function."""
    transitions: int
    """Usable ones; of tries in pairs, stretches that were simulated."""
    solves: int = 0
    failures: int = 0
    solving_s: float = 0.0
    """Spent in solves and their derivatives."""


@dataclass(frozen=True)
class Fate:
    """Of an earlier iteration's change."""

    asked: bool
    taken: bool


def least_transitions(parameters: int) -> int:
    """Fewer are too few to learn so many parameters from."""
    return 2 * parameters + 40


class Proposer(Protocol):
    """One of a tuning; keeps what it saw in earlier iterations, and sees it again where a run is resumed."""

    def propose(self, world: World, thetas: Array, fates: Sequence[Fate]) -> Proposal:
        """thetas: (k + 1, ntheta) from the start on; fates: of the k changes between them."""
        ...


class Labeller(Protocol):
    """What a theta says of experience: value, policy, and their derivatives, of whatever program."""

    @property
    def gamma(self) -> float:
        """Discount of a decision."""
        ...

    @property
    def exploration(self) -> float:
        """Standard deviation of the exploring noise, in the unit of the labels' actions."""
        ...

    def label(
        self, experience: Sequence[Any], theta: Array, entries: NDArray[np.int64], scale: Array, *, with_advantage: bool
    ) -> Labelled: ...


@dataclass(frozen=True, eq=False)
class FromExperience:
    """Explore, label by the present theta, and ask what the method asks for less what is not borne out."""

    labeller: Labeller
    method: Method
    entries: NDArray[np.int64]
    scale: Array
    credit: Credit
    certainty: float
    memory: int
    """Iterations whose experience teaches."""
    seen: dict[int, Sequence[Any]] = field(default_factory=dict)

    def propose(self, world: World, thetas: Array, fates: Sequence[Fate]) -> Proposal:
        """Raises TrainingError where experience is too little for the parameters."""
        now, theta = len(fates), thetas[-1]
        for i in range(max(0, now - self.memory + 1), now + 1):
            if i not in self.seen:
                self.seen[i] = world.explore(thetas[i], i)
        for i in [i for i in self.seen if i <= now - self.memory]:
            del self.seen[i]
        experience = [stretch for i in sorted(self.seen) for stretch in self.seen[i]]
        clock = time.perf_counter()
        found = self.labeller.label(
            experience, theta, self.entries, self.scale, with_advantage=self.method.needs_advantage
        )
        solving_s = time.perf_counter() - clock
        if len(found.transitions) < least_transitions(len(self.entries)):
            raise TrainingError(
                f"{len(found.transitions)} usable transitions are too few for {len(self.entries)} parameters; "
                "learn fewer groups, or bring more days"
            )
        asked = self._borne_out(found.transitions, (theta - thetas[0])[self.entries] / self.scale)
        return Proposal(asked.change, asked.td_error, len(found.transitions), found.solves, found.failures, solving_s)

    def _borne_out(self, t: Transitions, distance: Array) -> Improvement:
        def improve(part: Transitions) -> Improvement:
            return self.method.improve(part, distance, self.credit)

        asked = improve(t)
        return replace(asked, change=keep_what_is_sure(t, improve, asked.change, certainty=self.certainty))


def widths_of(fates: Sequence[Fate]) -> list[float]:
    """Of the tries of each iteration, in scales, the coming one included: a trust region, by the fates before.

    Where wide tries told nothing the next are narrower; at the first width and below, stretches add up instead.
    """
    widths = [WIDTH]
    for fate in fates:
        last = widths[-1]
        widens, narrows = fate.taken, (fate.asked and not fate.taken) or (not fate.asked and last > WIDTH)
        widths.append(min(last * (WIDER if widens else NARROWER if narrows else 1.0), WIDEST))
    return widths


@dataclass(frozen=True, eq=False)
class FromPairs:
    """Theta moved to either side. While it stays, stretches add up; the width follows what became of the steps."""

    parameters: Sequence[Parameter]
    entries: NDArray[np.int64]
    scale: Array
    bounds: tuple[Array, Array]
    seed: int
    seen: dict[int, Slopes] = field(default_factory=dict)

    def propose(self, world: World, thetas: Array, fates: Sequence[Fate]) -> Proposal:
        """Raises TrainingError where nothing can be tried twice, or too little."""
        if not isinstance(world, PairedWorld):
            raise TrainingError(
                f"method paired lives the same weeks through again, which {world.name} cannot; choose dpg or q"
            )
        now, theta = len(fates), thetas[-1]
        *before, width = widths_of(fates)
        since = max((i for i, fate in enumerate(fates, start=1) if fate.asked or before[i - 1] > WIDTH), default=0)
        rows = directions(self.parameters, self.entries, sum(fate.taken for fate in fates), self.seed)
        moves = np.zeros((len(rows), len(theta)))
        moves[:, self.entries] = width * self.scale * rows
        found, still, lived = None, np.ones(len(rows), dtype=bool), 0
        for i in range(since, now + 1):
            if not still.any():
                break
            if i not in self.seen:
                asked = tries(theta, moves[still], self.bounds)
                self.seen[i] = slopes_of(asked, world.compare(list(asked), i), moves[still], width).of(still)
            told = self.seen[i]
            lived += (1 + 2 * int(still.sum())) * len(told.here)
            found = told if found is None else found.joined(told)
            if len(found.here) < LEAST_STRETCHES:
                raise TrainingError(f"one stretch tells nothing of its spread; explore {LEAST_STRETCHES} or more")
            still = still & worth_more(found)
        assert found is not None, "a first look tries all directions"
        return Proposal(steps_of(found) @ rows, None, lived)
