"""A researcher's own system to learn in: exploring episodes, tries on held-in ones, and what a theta says of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.controller import Controller
from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.logs.log import Array
from systems.problem import Problem
from tuner.learn.transitions import Labelled, join
from tuner.learn.world import EXPLORE, TRY, Tried
from tuner.loop.label import Deeds, Noise, labelled
from tuner.loop.own_system import OwnSystem, SystemFile, begun, observed, paid, system_of
from tuner.loop.workers import Workers

HELD_OUT = TRY + 1
"""First word of the seeds of held-out episodes."""


@dataclass(frozen=True, eq=False)
class OwnStretch:
    """n decisions, and the n + 1 states (nx,) and forecasts (N + 1, nd) around them."""

    states: tuple[Array, ...]
    forecasts: tuple[Array, ...]
    deeds: Deeds


@dataclass(frozen=True, eq=False)
class OwnPlants:
    """Episodes of the world in a file; each begins and goes on as its seed says."""

    file: SystemFile
    library: Path
    episodes: int
    held_in: int
    seed: int
    workers: Workers
    recorded: bool = False

    @property
    def name(self) -> str:
        return f"the world of {self.file.name}"

    def explore(self, theta: Array, iteration: int) -> list[OwnStretch]:
        tasks = [((EXPLORE, self.seed, iteration, k),) for k in range(self.episodes)]
        return list(self.workers.run(_explored, (self.file, self.library, theta), tasks))

    def compare(self, thetas: Sequence[Array], iteration: int) -> Array:
        seeds = [(EXPLORE, self.seed, iteration, k) for k in range(self.episodes)]
        tasks = [(theta, of) for theta in thetas for of in seeds]
        return np.array(list(self._run(_compared, tasks))).reshape(len(thetas), self.episodes)

    def try_out(self, theta: Array) -> Tried:
        costs = list(self._run(_tried, [(theta, (TRY, self.seed, k)) for k in range(self.held_in)]))
        return Tried(np.array(costs), np.zeros(self.held_in))

    def held_out(self, theta: Array, count: int) -> Array:
        """(count,) sums of an episode's costs, without exploration; the same episodes for every theta."""
        return np.array(list(self._run(_judged, [(theta, (HELD_OUT, self.seed, k)) for k in range(count)])))

    def _run(self, function: Callable[..., float], tasks: Sequence[tuple[Any, ...]]) -> Iterator[float]:
        return self.workers.run(function, (self.file, self.library), tasks)


@dataclass(frozen=True, eq=False)
class OwnLabeller:
    """By the compiled program, and its derivatives in C."""

    file: SystemFile
    library: Path
    problem: Problem
    workers: Workers
    exploration: float = 1.0

    @property
    def gamma(self) -> float:
        """The problem's discount; of a problem without one, that of its horizon."""
        return float(min(self.problem.discount, np.exp(-1.0 / self.problem.horizon)))

    def label(
        self,
        experience: Sequence[OwnStretch],
        theta: Array,
        entries: NDArray[np.int64],
        scale: Array,
        *,
        with_advantage: bool,
    ) -> Labelled:
        shared = (self.file, self.library, theta, entries, scale, with_advantage)
        parts = list(self.workers.run(_labelled, shared, [(s, number) for number, s in enumerate(experience)]))
        return Labelled(
            join([part.transitions for part in parts]),
            sum(part.solves for part in parts),
            sum(part.failures for part in parts),
            np.concatenate([part.used for part in parts]),
        )


def _controller(system: OwnSystem, library: Path, theta: Array) -> Controller:
    controller = _loaded(library if library.exists() else build_solver(system.problem, host_arch()).library)
    controller.set_theta(theta)
    controller.reset()
    return controller


@lru_cache(maxsize=2)
def _loaded(library: Path) -> Controller:
    return Controller(library)


def _decided(controller: Controller, state: Array, forecast: Array, last: Array) -> Array:
    """The first move; where a solve fails the last action stays."""
    solution = controller.solve(state, forecast)
    if solution.ok:
        return solution.action
    controller.reset()
    return last


def _explored(file: SystemFile, library: Path, theta: Array, seeds: tuple[int, ...]) -> OwnStretch:
    rng, system = np.random.default_rng(list(seeds)), system_of(file)
    controller, noise = _controller(system, library, theta), Noise.of(system.problem)
    world = begun(file, system, np.random.default_rng([*seeds, 0]))
    last = np.clip(np.zeros(system.problem.na), noise.lower, noise.upper)
    seen, asked, actions, costs = [observed(file, system, world)], [], [], []
    for _ in range(system.steps):
        last = _decided(controller, *seen[-1], last)
        want, action = noise.draw(last, rng)
        costs.append(paid(file, world, action.copy()))
        asked.append(want)
        actions.append(action)
        seen.append(observed(file, system, world))
    states, forecasts = zip(*seen, strict=True)
    return OwnStretch(states, forecasts, Deeds(np.array(asked), np.array(actions), np.array(costs)))


def _tried(file: SystemFile, library: Path, theta: Array, seeds: tuple[int, ...]) -> float:
    system = system_of(file)
    controller = _controller(system, library, theta)
    world = begun(file, system, np.random.default_rng(list(seeds)))
    actions = system.problem.actions
    last = np.clip(np.zeros(len(actions)), [a.lower for a in actions], [a.upper for a in actions])
    total = 0.0
    for _ in range(system.steps):
        last = _decided(controller, *observed(file, system, world), last)
        total += paid(file, world, last.copy())
    return total


def seconds_of_a_step(file: SystemFile, library: Path, theta: Array, seed: int) -> float:
    """Measured here and now, by an episode."""
    began = time.monotonic()
    _tried(file, library, theta, (TRY, seed, 0))
    return (time.monotonic() - began) / system_of(file).steps


def _compared(*of: Any) -> float:
    """As `_tried`, under a name that says what for."""
    return _tried(*of)


def _judged(*of: Any) -> float:
    """As `_tried`, under a name that says what for."""
    return _tried(*of)


def _labelled(
    file: SystemFile,
    library: Path,
    theta: Array,
    entries: NDArray[np.int64],
    scale: Array,
    with_advantage: bool,
    stretch: OwnStretch,
    number: int,
) -> Labelled:
    system = system_of(file)
    return labelled(
        system.problem, theta, _controller(system, library, theta), Noise.of(system.problem), stretch.states,
        stretch.forecasts, stretch.deeds, entries, scale, with_advantage=with_advantage, number=number,
    )  # fmt: skip
