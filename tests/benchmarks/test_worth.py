"""The table of regimes: one run small, as `--quick` does, and what the page says of costs that are made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joblib import Parallel

from benchmarks.worth.__main__ import Plan, Regime, completed
from benchmarks.worth.choice import beats
from benchmarks.worth.page import costs_of, verdict, write_page
from benchmarks.worth.regimes import (
    CAUSAL,
    CHARGES,
    FLOOR,
    KNOWN,
    LEARNED,
    LP,
    MPC,
    NOBODY,
    POLICIES,
    RULE,
    Source,
    Stretch,
    Task,
    cost,
    design_of,
)

MONTHS = np.array([100.0, 110.0, 90.0, 105.0])


def made_up(**changed: float) -> dict[str, Any]:
    """Costs of one home by policy: the rule's, times so much; months differ by more than policies do."""
    noise = np.array([0.0, 0.1, -0.1, 0.0])
    names = {"learned": LEARNED, "causal": CAUSAL, "known": KNOWN}
    factors = dict.fromkeys(POLICIES, 1.0) | {names[name]: factor for name, factor in changed.items()}
    costs = {policy: [(MONTHS * f + noise * (policy == LEARNED)).tolist()] for policy, f in factors.items()}
    costs = {policy: costs[policy] for policy in POLICIES}
    months = [[2021, month] for month in range(2, 6)]
    return {"costs": costs, "theta": [{}], "kept": [LEARNED], "homes": ["a"], "months": months, "tries": 4}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"learned": 0.95, "causal": 0.90, "known": 0.8}, ("costs 10.0 % less", "learning saves 5.0 %")),
        ({"learned": 1.02, "causal": 0.999, "known": 0.99}, ("nothing to gain", "learning costs 2.0 % more")),
        ({"learned": 1.0, "causal": 0.90, "known": 0.8}, ("costs 10.0 % less", "not told apart")),
    ],
)  # fmt: skip
def test_the_verdict_is_what_the_numbers_say(changed: dict[str, float], says: tuple[str, str]) -> None:
    found = verdict(made_up(**changed))
    assert all(words in found for words in says), found


def test_a_page_has_every_regime_and_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "worth.md"
    write_page(path, {"flat, none": made_up(learned=0.95, causal=0.9), "spot, peak": made_up(learned=1.0, causal=0.9)})
    text = path.read_text()
    assert "| flat 0.30 / 0.06 EUR, no charge for peaks | 101.25 |" in text and "| 50 % |" in text
    assert text.count("### ") == 2 and path.with_suffix(".png").stat().st_size > 10_000


def test_under_a_flat_tariff_a_plan_costs_no_more_than_the_rule() -> None:
    """Where nothing is to be gained nothing is lost: half a per cent of the bill in winter, spring, summer."""
    source = Source((), None, 1)
    for month in (1, 4, 6):
        rule, mpc, lp = (
            cost(source, Task("flat", "none", 0, Stretch((2021, month, 1), 4), p)) for p in (RULE, MPC, LP)
        )
        assert max(mpc, lp) < rule + 0.005 * abs(rule), (month, rule, mpc, lp)


def test_what_was_learned_is_taken_only_where_it_is_sure() -> None:
    bill = np.array([10.0, 20.0, 15.0, 12.0])
    assert beats(bill - np.array([0.5, 0.6, 0.4, 0.5]), bill)
    assert not beats(bill - np.array([2.0, 0.0, -0.1, 0.1]), bill)  # one lucky week
    assert not beats(bill - 0.01, bill)  # next to nothing


def test_a_regime_runs_and_who_knows_the_future_pays_least() -> None:
    plan = Plan((Stretch((2020, 11, 9), 3),), (Stretch((2021, 2, 1), 3), Stretch((2021, 4, 1), 3)), tries=8)
    document = dict[str, Any]()
    regime = Regime(Source((), None, 1), plan, "flat", "none", 0, Parallel(n_jobs=1))
    first = next(completed(document, regime, learning=True))
    assert LEARNED not in costs_of(first) and "nothing was learned" in verdict(first)
    (found,) = completed(document, regime, learning=True)  # goes on where it stopped
    assert not list(completed(document, regime, learning=True))
    costs = {policy: float(values.mean()) for policy, values in costs_of(found).items()}
    assert list(costs) == [policy for policy in POLICIES if policy != FLOOR]
    assert costs[KNOWN] <= 1.002 * min(costs.values())  # but for the grid
    assert costs[KNOWN] < costs[RULE] < costs[NOBODY]
    (theta,) = found["theta"]
    for p in design_of(CHARGES["none"]).problem.theta:
        assert p.lower <= theta[p.name] <= p.upper
