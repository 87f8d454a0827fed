"""A theta that costs more in weeks that taught nothing is not written, and what was gained is said."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from systems.design import HouseDesign
from systems.world.generate import generated_world
from tests.tuner.test_bound import HOURLY
from tuner.commands.tune_outcome import Weeks, guarded_by
from tuner.learn.tuning import Course, Tuning, TuningSpec
from tuner.loop.periods import weeks_of
from tuner.loop.workers import LocalWorkers


def test_weeks_of_the_training_part_keep_out_a_theta_that_costs_more_there() -> None:
    design = HouseDesign(HOURLY)
    parameters = design.problem.theta
    world = generated_world(design.house, datetime(2022, 1, 3, tzinfo=UTC), 32, seed=3)
    weeks = Weeks(world, weeks_of(design.house, world)[:3], seed=0)
    good = {p.name: p.default for p in parameters}
    bad = good | {"load_bias": 0.9}
    for start, end, kept, said in ((good, bad, True, "costs"), (bad, good, False, "saves")):
        thetas = np.array([list(start.values()), list(end.values())])
        tuning = Tuning(parameters, Course(thetas, (None, None), ()), TuningSpec())
        outcome = guarded_by(design, weeks, start, tuning, LocalWorkers())
        assert outcome.kept is kept
        assert f"the tuned theta {said} " in outcome.said and "on 3 weeks of the training part" in outcome.said
        assert ("nothing was gained" in outcome.said) is kept
