"""Evaluation with what happens inside a step: batteries follow the meter, the rule's as well."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from systems.design import HouseDesign
from systems.house_file import SHIPPED
from systems.plant import HousePlant
from systems.world.generate import generated_world
from systems.world.inside import Inside
from tuner.evaluate.comparison import PLAIN, RULE, Contender, NothingFollowsError, bounds, evaluate_house
from tuner.loop.policies import RulePolicy
from tuner.loop.week import run_stretch

HOURLY = (SHIPPED / "battery.toml").read_text().replace('"15 min"', '"1 h"')


def test_minutes_change_what_is_billed_and_not_what_is_drawn() -> None:
    design = HouseDesign(HOURLY)
    world = generated_world(design.house, datetime(2022, 3, 1, tzinfo=UTC), 6, seed=1, prices="continental")
    fit = tuple(p.default for p in design.problem.theta)
    policies = (Contender(RULE, None), Contender(PLAIN, fit), *bounds(design.house))
    whole = evaluate_house(design, world, [48], policies[:2], days=2.0)
    inside = evaluate_house(design, world, [48], policies, days=2.0, minutes=True)
    assert list(inside.results) == [RULE, PLAIN], "dynamic programming decides for whole steps"
    for name in (RULE, PLAIN):
        held, followed = whole.results[name][0], inside.results[name][0]
        np.testing.assert_allclose(followed.trace["load_kw"], held.trace["load_kw"], rtol=1e-9)
    # The same rule once a step, in the same minutes: it buys and sells within the hour, and what follows does not.
    plant = HousePlant(design.house, world, inside=Inside(int(np.random.SeedSequence([0, 0]).generate_state(1)[0])))
    once = run_stretch(design, plant, RulePolicy(design, np.array(fit)), first=48, stages=48, seed=0)
    followed = inside.results[RULE][0]
    assert followed.import_kwh + followed.export_kwh < once.import_kwh + once.export_kwh
    assert followed.total < once.total - 0.01
    again = evaluate_house(design, world, [48], policies[:1], days=2.0, minutes=True)
    assert again.totals(RULE)[0] == inside.totals(RULE)[0]


def test_a_house_that_follows_nothing_is_told() -> None:
    design = HouseDesign((SHIPPED / "flat.toml").read_text())
    world = generated_world(design.house, datetime(2022, 3, 1, tzinfo=UTC), 3, seed=1, prices="continental")
    with pytest.raises(NothingFollowsError, match="nothing of flat follows a meter"):
        evaluate_house(design, world, [288], (Contender(RULE, None),), days=1.0, minutes=True)
