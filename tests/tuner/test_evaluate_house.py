"""The house's verdict: paired weeks, priced heat, plans applied as solved, disjoint periods, an honest verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from page_rules import check_page

from codegen.condensed.solver import CondensedMpc, States, solve
from nisse.cli import main
from systems.house.arx import reference_model
from systems.house.cost import HouseCost
from systems.house.plant import PhysicalHouse
from systems.house.rules import HeatingCurve
from systems.house.theta import HouseMpc, theta_values
from systems.house.weather import Conditions, generate_conditions
from tuner.evaluate.house import (
    FITTED,
    THERMOSTAT,
    TUNED,
    HouseEvaluation,
    MpcPolicy,
    RulePolicy,
    WeekResult,
    evaluate_house,
    policies,
    run_week,
    spread_weeks,
)
from tuner.report.house import write_house_report
from tuner.report.house_figures import typical_and_worst

SPEC = HouseMpc(cost=HouseCost(beta=0.01))
MODEL = reference_model()
SEASON = generate_conditions(9, start=datetime(2018, 12, 1, tzinfo=UTC), days=40)


@pytest.fixture(scope="module")
def evaluation() -> HouseEvaluation:
    fitted = theta_values(MODEL, bias=MODEL.innovation_mean)
    makers = policies(SPEC, fitted, fitted)
    del makers["perfect_forecast"]
    return evaluate_house(SEASON, SPEC, makers, spread_weeks(SEASON, 2, SPEC.horizon))


def test_equal_thetas_give_equal_weeks_and_no_improvement(evaluation: HouseEvaluation) -> None:
    """Weather, people, noise and forecast errors are paired: the same controller twice costs the same to the bit."""
    for a, b in zip(evaluation.results[FITTED], evaluation.results[TUNED], strict=True):
        assert np.array_equal(a.temperature_c, b.temperature_c)
        assert a.total_eur == b.total_eur
    assert evaluation.saving_percent(TUNED, FITTED).mean == 0.0
    assert "No improvement" in evaluation.verdict
    assert "keep the old theta" in evaluation.verdict


def test_the_mpc_keeps_the_band_and_costs_less_than_the_thermostat(evaluation: HouseEvaluation) -> None:
    for week in evaluation.results[FITTED]:
        assert week.failures == 0
        assert week.worst_k < 1.0
    # Two weeks are too few for an interval; each of them must say it.
    pairs = zip(evaluation.results[FITTED], evaluation.results[THERMOSTAT], strict=True)
    assert all(mpc.total_eur < 0.95 * rule.total_eur for mpc, rule in pairs)


def test_costs_are_those_of_the_trajectory(evaluation: HouseEvaluation) -> None:
    for start, week in zip(evaluation.starts, evaluation.results[FITTED], strict=True):
        price = SEASON.price_eur_kwh[start : start + 2016]
        assert week.bill_eur == pytest.approx((week.power_kw.sum(1) * price).sum() / 12.0)
        v = np.maximum(np.maximum(18.0 - week.temperature_c, week.temperature_c - 23.0), 0.0)
        comfort = (0.01 * (week.temperature_c - 21.0) ** 2 + SPEC.cost.violation_quadratic / 2 * v**2).sum() / 12.0
        assert week.comfort_eur == pytest.approx(comfort)


def test_heat_left_in_the_house_is_not_a_saving() -> None:
    """A house that is let go cold pays for it: what the last day did not buy, the house lacks."""

    class Lazy(RulePolicy):
        def act(self, plant: PhysicalHouse, temperature_c: np.ndarray) -> np.ndarray:
            late = plant.k > plant.first + 7 * 288 + 144
            return np.zeros(4) if late else super().act(plant, temperature_c)

    plant = PhysicalHouse(SEASON, cost=SPEC.cost, steps=8 * 288)
    start = spread_weeks(SEASON, 2, SPEC.horizon)[0]
    steady = run_week(plant, RulePolicy(HeatingCurve()), start=start, seed=0)
    lazy = run_week(plant, Lazy(HeatingCurve()), start=start, seed=0)
    assert lazy.bill_eur < steady.bill_eur
    assert lazy.stored_eur < steady.stored_eur
    assert steady.bill_eur - lazy.bill_eur == pytest.approx(steady.stored_eur - lazy.stored_eur, rel=0.35)


def test_a_plan_is_applied_for_half_an_hour_and_then_made_anew() -> None:
    plant = PhysicalHouse(SEASON, steps=40)
    y, _ = plant.reset(seed=3)
    policy = MpcPolicy(CondensedMpc(SPEC, theta_values(MODEL)))
    for k in range(13):
        if k % 6 == 0:
            table = plant.forecast(SPEC.horizon)[None, : SPEC.horizon]
            past_y, past_u = plant.history()
            expected = solve(policy.mpc, States(past_y[None], past_u[None], table[..., 0], table[..., 1])).action[0][:4]
        power = policy.act(plant, y)
        assert power == pytest.approx(expected, abs=1e-12)
        y, *_ = plant.step(power)


def test_weeks_are_within_the_season_and_do_not_overlap() -> None:
    starts = spread_weeks(SEASON, 4, SPEC.horizon)
    assert min(np.diff(starts)) >= 8 * 288
    assert starts[0] >= 288
    assert starts[-1] + 7 * 288 + SPEC.horizon <= len(SEASON)
    with pytest.raises(ValueError, match="20 weeks asked of a season that holds 4"):
        spread_weeks(SEASON, 20, SPEC.horizon)


def fake(evaluation: HouseEvaluation, factors: tuple[float, float]) -> HouseEvaluation:
    """The evaluation with the tuned weeks' costs scaled."""
    weeks: list[WeekResult] = []
    for week, factor in zip(evaluation.results[FITTED], factors, strict=True):
        total = week.total_eur * factor
        weeks.append(replace(week, bill_eur=total - week.comfort_eur + week.stored_eur))
    return replace(evaluation, results={**evaluation.results, TUNED: weeks})


def test_the_verdict_says_what_the_interval_says(evaluation: HouseEvaluation) -> None:
    assert (
        "costs less" in fake(evaluation, (0.9, 0.9)).verdict or "No improvement" in fake(evaluation, (0.9, 0.9)).verdict
    )
    assert "keep the old theta" in fake(evaluation, (1.5, 1.5)).verdict
    assert "No improvement" in fake(evaluation, (0.8, 1.2)).verdict


def test_page_and_json_hold_the_table_and_both_days(evaluation: HouseEvaluation, tmp_path: Path) -> None:
    write_house_report(tmp_path / "page.html", evaluation, "a test season")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "thermostat" in page and "heating curve" in page and page.count("<figure") == 4
    check_page(page)
    document = json.loads(json.dumps(evaluation.document()))
    assert set(document["policies"]) == set(evaluation.results)
    assert document["improvement_of_tuned_over_data_fitted"]["mean_percent"] == 0.0
    assert len(document["policies"][FITTED]["outside_band_kh_per_week"]) == 4
    typical, worst = typical_and_worst(evaluation)
    assert typical.policy == worst.policy == TUNED
    far = [np.abs(w.temperature_c.reshape(7, 288, 4) - 21.0).max((1, 2)) for w in evaluation.results[TUNED]]
    out = [week.outside_kh.sum() for week in evaluation.results[TUNED]]
    if sum(out) == 0.0:
        assert (worst.week, worst.day) == np.unravel_index(np.argmax(far), (2, 7))


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--system", "house", "--weeks", "90"]) == 2
    theta = tmp_path / "theta.json"
    theta.write_text('{"system": "house", "theta": {"bais_1": 0.01}}', encoding="utf-8")
    assert main(["evaluate", "--system", "house", "--theta", str(theta)]) == 65
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "ask for fewer" in errors[0]
    assert "did you mean 'bias_1'" in errors[1]


def test_the_held_out_season_begins_after_the_one_the_reference_model_knows() -> None:
    from tuner.commands.evaluate_house import HELD_OUT_SEASON

    learned: Conditions = generate_conditions(0)
    assert HELD_OUT_SEASON.timestamp() >= learned.start_s + len(learned) * learned.dt_s
