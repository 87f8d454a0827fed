"""Every method and critic learns on any house, here a battery and a flat, by one learner, on tiny budgets."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
import pytest

from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.world.generate import generated_world
from tuner.learn.tuning import TuningSpec, tune
from tuner.learn.world import Tried
from tuner.loop.explore import CompiledLabeller, PlantWorld, Stretch, learning_entries
from tuner.loop.periods import weeks_of
from tuner.loop.workers import LocalWorkers

LEARN = {"battery": "home_price_spread", "flat": "price_scale"}
WAYS = [("dpg", "lstdq"), ("dpg", "two-layer"), ("q", "lstdq"), ("spg", "lstdq")]
DAYS = 2.5


class Once:
    """The plants of a house, explored once for all methods, and tried never: what is asked is whether they learn."""

    name, recorded = "plants, seen once", False

    def __init__(self, plants: PlantWorld) -> None:
        self.plants = plants
        self.seen = plants.explore(plants.design.problem.theta_default(), 0)

    def explore(self, theta: np.ndarray, iteration: int) -> list[Stretch]:
        return self.seen

    def try_out(self, theta: np.ndarray) -> Tried:
        return Tried(np.zeros(2), np.zeros(2))


@lru_cache
def seen(house: str) -> tuple[Once, CompiledLabeller]:
    design = HouseDesign(read_house(house)[0])
    library = build_solver(design.problem, host_arch()).library
    world = generated_world(design.house, datetime(2024, 1, 8, tzinfo=UTC), 16, seed=2)
    weeks = tuple(weeks_of(design.house, world))
    plants = PlantWorld(design, library, world, weeks[:1], (), 1, DAYS, 0, LocalWorkers())
    return Once(plants), CompiledLabeller(design, library, LocalWorkers())


@pytest.mark.parametrize(("house", "method", "critic"), [(h, *way) for h in LEARN for way in WAYS])
def test_a_method_learns_on_a_house(house: str, method: str, critic: str) -> None:
    world, labeller = seen(house)
    parameters = labeller.design.problem.theta
    spec = TuningSpec(method=method, critic=critic, learn=(LEARN[house],), iterations=1, certainty=0.0)
    start = np.array([0.5 * (p.lower + p.upper) if p.name == LEARN[house] else p.default for p in parameters])
    tuning = tune(world, labeller, parameters, learning_entries(parameters, spec.learn), start, spec)
    record = tuning.course.history[0]
    assert record.failures == 0 and record.transitions > 100 and np.isfinite(record.td_error)
    moved = np.flatnonzero(tuning.course.thetas[1] != start)
    assert [parameters[i].name for i in moved] == [LEARN[house]]
