"""What a tuning has to gain is said beforehand, a data fit that loses to its nameplate is not where it starts."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from systems.design import HouseDesign
from systems.model_file import THETA
from systems.world.generate import generated_world
from tests.tuner.test_bound import HOURLY
from tuner.commands.tune_outlook import FIT, NAMEPLATE, had, nameplate_theta, outlook, reserved_theta
from tuner.evaluate.comparison import CAUSAL, RULE, TUNED, Evaluation
from tuner.loop.explore import learned_by_default
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


def test_where_a_battery_has_knots_the_value_function_says_what_to_keep() -> None:
    """Under a charge for the month's peak something is kept for it; all else of theta is where it was."""
    charged = HOURLY.replace("[meter]", "[meter]\ncapacity = { price_per_kw = 10 }")
    design = HouseDesign(charged.replace("capacity_kwh = 10", "capacity_kwh = 10\nknots = 4"))
    world = generated_world(design.house, datetime(2022, 4, 3, tzinfo=UTC), 12, seed=1, prices="continental")
    start = {p.name: p.default for p in design.problem.theta}
    found = reserved_theta(design, world, (24,), start)
    kept = [found[f"home_reserve_{hour:02d}"] for hour in (0, 6, 12, 18)]
    assert all(0.0 <= share <= 1.0 for share in kept) and max(kept) > 0.05
    moved = {name for name in start if found[name] != start[name]}
    assert moved <= {name for name in start if "reserve" in name} and list(found) == list(start)
    assert "reserve" in learned_by_default(design.problem.theta)


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
