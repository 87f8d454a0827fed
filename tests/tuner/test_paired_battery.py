"""A battery whose fit reckons with load that never comes: tries in pairs find it, where single weeks show nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.design import HouseDesign
from systems.world.generate import generated_world
from tests.tuner.test_bound import HOURLY
from tuner.evaluate.statistics import mean_interval
from tuner.learn.proposals import Labeller
from tuner.learn.tuning import PAIRED, TuningSpec, tune
from tuner.loop.explore import PlantWorld, learned_by_default, learning_entries
from tuner.loop.periods import weeks_of
from tuner.loop.workers import LocalWorkers

WRONG_KW = 0.5


def test_the_mean_error_of_a_forecast_is_found_and_saves_in_weeks_that_nothing_learned_from() -> None:
    design = HouseDesign(HOURLY)
    parameters, library = design.problem.theta, build_solver(design.problem, host_arch()).library
    assert "load_bias" in learned_by_default(parameters)
    world = generated_world(design.house, datetime(2022, 1, 3, tzinfo=UTC), 100, seed=1)
    weeks = weeks_of(design.house, world)
    plants = PlantWorld(
        design, library, world, tuple(weeks[::2]), tuple(weeks[1::6]), 4, 3.0, 0, LocalWorkers(), held_in_days=3.0
    )
    learn, start = learning_entries(parameters, ("load_bias",)), design.problem.theta_default()
    start[learn[0]] = WRONG_KW
    spec = TuningSpec(method=PAIRED, learn=("load_bias",), iterations=2)
    tuning = tune(plants, cast(Labeller, None), parameters, learn, start, spec)
    found = float(tuning.theta[learn[0]][0])
    assert abs(found) < 0.5 * WRONG_KW
    judges = PlantWorld(design, library, world, (), tuple(weeks[3::2]), 1, 3.0, 1, LocalWorkers(), held_in_days=3.0)
    before, after = (tried.total for tried in judges.try_all([start, tuning.theta]))
    saving = mean_interval(before - after)
    assert saving.low > 0.0
    # Most of what a week costs is the week's own, and in both.
    assert (before - after).std() < 0.05 * before.std()
