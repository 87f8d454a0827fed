"""What a person would try first: weights by hand and a search find what is better, within bounds and budget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from page_rules import check_page

from nisse.cli import main
from systems.problem import Parameter
from tuner.evaluate.statistics import clustered_interval, mean_interval
from tuner.loop.by_hand_and_search import by_hand, by_search

BEST = np.array([0.9, 0.2, 0.9, 0.2, 0.0])
START = np.full(5, 0.5)
LEARNING = np.arange(4), np.full(4, 0.1)


def parameters() -> list[Parameter]:
    return [Parameter(f"p{i}", "1", 0.5, 0.0, 1.0, f"kind {i % 2}", "cost") for i in range(5)]


class Bowl:
    """A quadratic cost, and all that it was asked."""

    def __init__(self) -> None:
        self.asked: list[np.ndarray] = []

    def __call__(self, thetas: Sequence[np.ndarray]) -> np.ndarray:
        self.asked += list(thetas)
        return np.array([((theta - BEST) ** 2).sum() for theta in thetas])


def test_a_hand_turns_one_kind_of_weight_at_a_time() -> None:
    bowl = Bowl()
    found = by_hand(parameters(), LEARNING, START, bowl, budget=24)
    # Two kinds, lower and higher: two tenths of the way towards the best, and the fifth stays.
    assert found.theta == pytest.approx([0.7, 0.3, 0.7, 0.3, 0.5])
    assert found.tried == 4 and len(bowl.asked) == 5
    assert by_hand(parameters(), LEARNING, START, Bowl(), budget=1).tried == 1


def test_a_search_comes_near_the_best_within_its_budget_and_needs_no_global_seed() -> None:
    bowl = Bowl()
    found = by_search(parameters(), LEARNING, START, bowl, budget=150, seed=3)
    assert found.theta[:4] == pytest.approx(BEST[:4], abs=0.05) and found.theta[4] == 0.5
    assert found.tried == 150 == len(bowl.asked) - 1
    assert np.all((np.array(bowl.asked) >= 0.0) & (np.array(bowl.asked) <= 1.0))
    np.random.seed(5)  # noqa: NPY002 - somebody else's
    np.testing.assert_array_equal(
        by_search(parameters(), LEARNING, START, Bowl(), budget=150, seed=3).theta, found.theta
    )
    one = by_search(parameters(), (np.array([0]), np.array([0.1])), START, Bowl(), budget=40, seed=0)
    assert one.theta == pytest.approx([0.9, 0.5, 0.5, 0.5, 0.5], abs=0.05)


def test_nothing_better_keeps_the_data_fit() -> None:
    for choose in (by_hand, lambda *args, **kw: by_search(*args, seed=0, **kw)):
        found = choose(parameters(), LEARNING, BEST.copy(), Bowl(), budget=20)
        np.testing.assert_array_equal(found.theta, BEST)


def test_weeks_of_a_month_that_resemble_each_other_do_not_count_as_many() -> None:
    rng = np.random.default_rng(0)
    months = [f"m{week // 4}" for week in range(16)]
    covered = np.zeros(2)
    for _ in range(1500):
        values = np.repeat(rng.standard_normal(4), 4) + 0.5 * rng.standard_normal(16)
        for k, found in enumerate((clustered_interval(values, months), mean_interval(values))):
            covered[k] += found.low <= 0.0 <= found.high
    assert covered[0] / 1500 > 0.94 and covered[1] / 1500 < 0.8
    alone = clustered_interval(values, [str(k) for k in range(16)])
    assert (alone.mean, alone.low, alone.high) == pytest.approx(
        (mean_interval(values).mean, mean_interval(values).low, mean_interval(values).high)
    )


def test_the_command_judges_what_hand_and_search_choose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page, theta = tmp_path / "v.json", tmp_path / "v.html", tmp_path / "theta.json"
    theta.write_text(json.dumps({"system": "tank", "theta": {"water_terminal_slope": 1.0}}))
    code = main(
        ["evaluate", "tank", "--theta", str(theta), "--weeks", "2", "--search", "3", "--training-weeks", "1",
         "--workers", "1", "--json", str(out), "--html", str(page)]
    )  # fmt: skip
    assert code == 0
    told = capsys.readouterr().out
    assert "hand-set weights: best of" in told
    found = json.loads(out.read_text())
    names = ["rule", "data fit", "hand-set weights", "black-box search", "tuned", "perfect forecast, the MPC's model"]
    assert list(found["policies"]) == names
    saving = found["policies"]["tuned"]["saving_against"]["black-box search"]
    weeks = [np.array(found["policies"][n]["total_per_week"]) for n in ("black-box search", "tuned")]
    assert saving["mean"] == pytest.approx((weeks[0] - weeks[1]).mean()) and saving["low"] <= saving["high"]
    for name, choice in found["chosen_on_training_weeks"].items():
        assert choice["tried"] <= 3 and choice["cost"] <= choice["data_fit_cost"], name
    text = page.read_text()
    check_page(text)
    assert "What tuned saves" in text
