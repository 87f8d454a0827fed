"""What a tuning has to gain is said beforehand, a data fit that loses to its nameplate is not where it starts."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from systems.design import HouseDesign
from systems.model_file import THETA
from systems.world.generate import generated_world
from tests.tuner.test_bound import HOURLY
from tuner.commands.tune_outlook import FIT, NAMEPLATE, had, nameplate_theta, outlook
from tuner.evaluate.comparison import CAUSAL, RULE, TUNED, Evaluation
from tuner.loop.week import Result
from tuner.loop.workers import LocalWorkers

WRONG = {"home_price_spread": 0.2, "home_charge_efficiency": 0.7}


def test_a_fit_that_loses_to_its_nameplate_is_told_and_not_the_start() -> None:
    design = HouseDesign(HOURLY, {THETA: json.dumps(WRONG)})
    world = generated_world(design.house, datetime(2022, 4, 3, tzinfo=UTC), 12, seed=1, prices="continental")
    start = {p.name: p.default for p in design.problem.theta}
    found = outlook(design, world, (24,), start, seed=0, workers=LocalWorkers(1))
    assert start["home_charge_efficiency"] == 0.7 and nameplate_theta(design)["home_charge_efficiency"] == 0.95
    assert found.fit_loses and found.causal is not None
    assert found.causal < found.costs[NAMEPLATE] < found.costs[FIT]
    first, second = found.told()
    assert "more than the nameplate on 1 held-in weeks" in first
    gap = min(found.costs.values()) - found.causal
    assert second.startswith(f"there are {gap:.2f} EUR a week") and "to gain on the nameplate" in second


def test_what_cannot_be_known_is_said() -> None:
    design = HouseDesign(HOURLY.replace("peak_kw = 6", "peak_kw = 6\ncurtailable = true"))
    world = generated_world(design.house, datetime(2022, 4, 3, tzinfo=UTC), 12, seed=1)
    start = {p.name: p.default for p in design.problem.theta}
    found = outlook(design, world, (24,), start, seed=0, workers=LocalWorkers(1))
    (line,) = found.told()
    assert line.startswith("what there is to gain is not known: panels that can be curtailed") and not found.fit_loses


def judged(**costs: float) -> Evaluation:
    def one(cost: float) -> Result:
        return Result(cost, 0.0, {}, 0.0, {}, 0.0, 0.0, 0.0, 0.0)

    results = {name.replace("_", " "): (one(cost),) for name, cost in costs.items()}
    return Evaluation("home", "EUR", (), results, (0,), (), "", ("2022-01",))


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        ({RULE: 10.0, "fit": 9.0, TUNED: 8.5, "best_causal_policy": 8.0}, "tuning had 50 % of it"),
        ({RULE: 9.0, "fit": 10.0, TUNED: 9.5, "best_causal_policy": 8.0}, "tuning had -50 % of it"),
        ({RULE: 9.0, "fit": 8.0, TUNED: 8.0, "best_causal_policy": 7.99}, "there is nothing to gain"),
        ({RULE: 9.0, "fit": 8.0, TUNED: 7.0}, ""),
    ],
)
def test_how_much_of_it_was_had(costs: dict[str, float], said: str) -> None:
    assert CAUSAL == "best causal policy"
    found = had(judged(**costs), TUNED)
    assert said in found and bool(said) == bool(found)
