"""The data that every way to a model gets: one exploring stretch of a described house, with what a meter saw of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from systems.design import HouseDesign
from systems.grid import HOUR_S
from systems.house_file import House
from systems.logs.log import Array
from systems.plant import HousePlant
from systems.world import Exogenous
from tuner.loop.explore import DAY_S, Explorer, Stretch
from tuner.loop.label import Deeds
from tuner.loop.view import Moment, ThetaEstimator, View
from tuner.loop.week import run_stretch


@dataclass(frozen=True, eq=False)
class ProgramRecord:
    """n decisions by the program at a theta, with exploration, and the n + 1 moments around them."""

    stretch: Stretch
    states: Array
    """(n + 1, nx)"""
    errors: Array
    """(n + 1, N + 1, nd) what came less what was forecast"""
    grid_kw: Array
    """(n,) mean power at the meter, import positive"""
    hold_h: float
    """Of a decision"""

    def __len__(self) -> int:
        return len(self.grid_kw)

    @property
    def forecasts(self) -> Array:
        """(n + 1, N + 1, nd)"""
        return np.array([moment.forecast for moment in self.stretch.moments])

    @property
    def action(self) -> Array:
        """(n, na)"""
        return self.stretch.deeds.action

    @property
    def per_day(self) -> int:
        """Decisions"""
        return round(24.0 / self.hold_h)


class Metered(HousePlant):
    """A plant that remembers what its meter saw at each step, kW."""

    def __init__(self, house: House, world: Exogenous) -> None:
        super().__init__(house, world)
        self.seen: list[float] = []

    def end_step(self) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        out = super().end_step()
        self.seen.append(float(out[4]["grid_kw"]))
        return out


class Watcher(Explorer):
    """Explores, and keeps beside each forecast what came."""

    def __init__(
        self, design: HouseDesign, library: Path, theta: Array, rng: np.random.Generator, plant: HousePlant
    ) -> None:
        super().__init__(design, library, theta, rng)
        self._view, self.came = View(design, plant), list[Array]()

    def begin(self) -> None:
        super().begin()
        self._view.begin()

    def decide(self, moment: Moment) -> Array:
        self.came.append(self._view.moment(error=0.0).forecast)
        return super().decide(moment)


def record(
    design: HouseDesign, library: Path, world: Exogenous, theta: Array, starts: Sequence[int], days: float, seed: int
) -> ProgramRecord:
    """One stretch of `days` from one of `starts`, which the seed chooses."""
    rng, grid = np.random.default_rng(seed), design.house.grid
    plant = Metered(design.house, world)
    watcher = Watcher(design, library, theta, rng, plant)
    moments, actions, costs = list[Moment](), list[Array](), list[float]()

    def keep(moment: Moment, action: Array, cost: float) -> None:
        moments.append(moment)
        actions.append(action)
        costs.append(cost)

    stages = round(days * DAY_S / grid.hold_s)
    first, noise = int(rng.choice(np.asarray(starts))), int(rng.integers(2**31))
    run_stretch(design, plant, watcher, first=first, stages=stages, seed=noise, on_stage=keep)
    estimator, asked = ThetaEstimator(design, theta), np.array(watcher.asked[-stages:])
    seen = np.array(plant.seen[-stages * grid.steps :]).reshape(stages, grid.steps).mean(axis=1)
    came = np.array(watcher.came[-stages:])
    return ProgramRecord(
        Stretch(tuple(moments), Deeds(asked[:-1], np.array(actions)[:-1], np.array(costs)[:-1])),
        np.array([estimator.state(moment) for moment in moments]),
        came - np.array([moment.forecast for moment in moments]),
        seen[:-1],
        grid.hold_s / HOUR_S,
    )
