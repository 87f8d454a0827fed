"""The comparison is paired, blind to the number of workers, honest about chance, and never judges on what taught."""

from __future__ import annotations

import html
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from page_rules import check_page

from nisse.cli import main
from pages.page import render, text
from systems.battery.exogenous import Exogenous, from_spot, generated
from systems.battery.plant import BatteryPlant
from systems.battery.problem import home_battery
from systems.theta import write_theta
from tuner.evaluate.battery import LABELS, Evaluation, compare, evaluate_battery, fit_from_plant
from tuner.evaluate.closed_loop import run_week, stored_value_eur
from tuner.evaluate.periods import PeriodError, check_disjoint, check_theta_provenance, split_at
from tuner.evaluate.policies import NoBattery, SelfConsumption
from tuner.report.figures import LearningPoint
from tuner.report.page import battery_page

CET = timezone(timedelta(hours=1))
WEEK = 672
# A short horizon: the comparison is what is tested here, not the controller.
PROBLEM = home_battery(horizon=24)
SPLIT = split_at(generated(9, seed=0))


@pytest.fixture(scope="module")
def fitted() -> dict[str, float]:
    return fit_from_plant(SPLIT).theta


@pytest.fixture(scope="module")
def evaluation(fitted: dict[str, float]) -> Evaluation:
    spoilt = {**fitted, "terminal_slope": 0.0, "price_spread": 0.2}
    return evaluate_battery(SPLIT, data_fitted=fitted, tuned=spoilt, problem=PROBLEM, weeks=3, seeds=1, workers=2)


# -- periods -----------------------------------------------------------------------------------------------------------


def test_training_and_held_out_weeks_share_no_step_for_any_boundary() -> None:
    series = generated(12, seed=0)
    for day in range(7, 76, 5):
        split = split_at(series, series.start + timedelta(days=day, hours=9))
        training, held_out = split.training_weeks(), split.held_out_weeks()
        check_disjoint(training, held_out, WEEK)
        taught = {step for week in training for step in range(week, week + WEEK)}
        assert not taught & {step for week in held_out for step in range(week, week + WEEK)}
        assert len(split.training_exogenous()) <= min(held_out)
        assert split.boundary_time.hour == 0


def test_a_shared_step_is_refused() -> None:
    with pytest.raises(PeriodError, match="overlaps the training week at step 672"):
        check_disjoint([0, 672], [1343], WEEK)
    with pytest.raises(PeriodError, match="overlap one another"):
        check_disjoint([0], [1344, 1500], WEEK)
    check_disjoint([0, 672], [1344, 2016], WEEK)


def test_a_split_without_weeks_on_both_sides_is_refused_with_the_dates_that_work() -> None:
    series = generated(4, seed=0)
    with pytest.raises(PeriodError, match="between 2024-01-08 and 2024-01-22"):
        split_at(series, series.start + timedelta(days=3))
    with pytest.raises(PeriodError, match="leaves 4 weeks to train and 0 to hold out"):
        split_at(series, series.start + timedelta(days=3650))
    with pytest.raises(PeriodError, match="the data has 2; ask for 1 to 2"):
        split_at(series).held_out_weeks(3)


def test_a_theta_tuned_on_later_data_of_the_same_source_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theta.json"
    late = (SPLIT.boundary_time + timedelta(days=7)).isoformat()
    write_theta(path, PROBLEM, {}, {"prices": SPLIT.exogenous.source, "trained_until": late})
    with pytest.raises(PeriodError, match="--train-until"):
        check_theta_provenance(path, SPLIT)
    write_theta(path, PROBLEM, {}, {"prices": SPLIT.exogenous.source, "trained_until": SPLIT.boundary_time.isoformat()})
    check_theta_provenance(path, SPLIT)


# -- verdict -----------------------------------------------------------------------------------------------------------


def test_the_verdict_names_a_gain_a_loss_and_chance() -> None:
    rng = np.random.default_rng(1)
    bills = 20.0 + 5.0 * rng.standard_normal(20)
    noise = 0.1 * rng.standard_normal(20)
    gain, loss, chance = (
        compare(bills - 0.5 + noise, bills),
        compare(bills + 0.5 + noise, bills),
        compare(bills + noise, bills),
    )
    assert gain.better and "use it" in gain.verdict
    assert not loss.better and "costs more" in loss.verdict and "keep the old theta" in loss.verdict
    assert not chance.better and "within chance" in chance.verdict and "keep the old theta" in chance.verdict
    # Paired: bills differ by 5 EUR between weeks, the difference is known to a few cents.
    assert gain.eur_per_week.high - gain.eur_per_week.low < 0.15
    assert gain.percent.mean == pytest.approx(100 * gain.eur_per_week.mean / bills.mean())


# -- closed loop -------------------------------------------------------------------------------------------------------


class Dump:
    """Sells everything at once and does nothing more."""

    has_battery = True
    failures = 0
    solve_time_s = 0.0

    def action(self, plant: BatteryPlant) -> np.ndarray:
        return np.array([0.0, 5.0]) if plant.step_index < 12 else np.zeros(2)


class Fill(Dump):
    """Buys until full and does nothing more."""

    def action(self, plant: BatteryPlant) -> np.ndarray:
        return np.array([5.0, 0.0]) if plant.step_index < 12 else np.zeros(2)


def test_neither_emptying_nor_filling_the_battery_by_the_end_is_a_gain() -> None:
    flat: Exogenous = from_spot(np.full(2 * WEEK, 0.1), datetime(2024, 1, 6, tzinfo=CET))
    plant = BatteryPlant(exogenous=flat)
    idle, _ = run_week(plant, NoBattery(), 0, 0)
    for policy in (Dump(), Fill()):
        result, trace = run_week(plant, policy, 0, 0)
        assert abs(trace.soc[40] - 0.5) > 0.3
        assert result.cost_eur > idle.cost_eur
    emptied, _ = run_week(plant, Dump(), 0, 0)
    assert emptied.bill_eur < idle.bill_eur
    assert stored_value_eur(1.0, 0.2) < 0.2 < -stored_value_eur(-1.0, 0.2)


def test_the_rule_stores_surplus_and_covers_demand() -> None:
    summer = generated(2, seed=0, start=datetime(2024, 6, 3, tzinfo=CET))
    plant = BatteryPlant(exogenous=summer)
    without, bare = run_week(plant, NoBattery(), 0, 3)
    rule, trace = run_week(plant, SelfConsumption(), 0, 3)
    np.testing.assert_array_equal(bare.net_load_kw, trace.net_load_kw)
    assert rule.export_kwh < 0.5 * without.export_kwh and rule.import_kwh < 0.9 * without.import_kwh
    assert rule.cost_eur < without.cost_eur
    assert bare.power_kw.tolist() == [0.0] * WEEK


def test_policies_are_ranked_as_they_must_be_and_a_spoilt_theta_is_not_sold_as_an_improvement(
    evaluation: Evaluation,
) -> None:
    mean = {name: result.cost_eur_per_week.mean for name, result in evaluation.policies.items()}
    assert mean["perfect_forecast"] < mean["data_fitted"] < mean["no_battery"]
    assert mean["data_fitted"] < mean["tuned"]
    assert evaluation.improvement is not None and not evaluation.improvement.better
    assert "keep the old theta" in evaluation.verdict
    for trace in evaluation.traces.values():
        np.testing.assert_array_equal(trace.net_load_kw, evaluation.traces["no_battery"].net_load_kw)


def test_the_gain_is_held_against_the_fit_without_its_bias(evaluation: Evaluation) -> None:
    assert evaluation.thetas["data_fitted_without_bias"] == {**evaluation.thetas["data_fitted"], "net_load_bias": 0.0}
    costs = evaluation.week_costs
    saved = float((costs["data_fitted"] - costs["data_fitted_without_bias"]).mean())
    assert evaluation.without_bias.eur_per_week.mean == pytest.approx(saved)
    whole, rest = evaluation.improvement, evaluation.beyond_bias
    assert whole is not None and rest is not None
    assert whole.eur_per_week.mean == pytest.approx(saved + rest.eur_per_week.mean)
    assert evaluation.made_of[1:] in html.unescape(render(battery_page(evaluation)))
    assert "household (load and PV) generated" in evaluation.origin


def test_what_tune_says_is_what_it_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fitted: dict[str, float]
) -> None:
    start, theta, report = tmp_path / "fitted.json", tmp_path / "theta.json", tmp_path / "result.json"
    write_theta(start, home_battery(), fitted)
    command = ["tune", "--theta", str(start), "--iterations", "1", "--held-in-weeks", "1", "--output", str(theta)]
    assert main([*command, "--held-out-weeks", "2", "--json", str(report)]) == 0
    said, document, written = capsys.readouterr().out, json.loads(report.read_text()), json.loads(theta.read_text())
    # Two weeks are too few to show a gain: the theta that came in is the one that goes out.
    assert document["kept_old"] and ("old theta" in said or "data-fitted theta is kept" in said)
    assert written["theta"] == document["written"] == document["data_fitted"]
    assert document["data_fitted"] == pytest.approx({**document["data_fitted"], **fitted})
    assert (written["provenance"]["theta"], written["provenance"]["started_from"]) == ("old", str(start))
    assert f"written: {theta} (old theta)" in said.replace("\n", " ")


def test_the_result_does_not_depend_on_the_number_of_workers(evaluation: Evaluation, fitted: dict[str, float]) -> None:
    spoilt = evaluation.thetas["tuned"]
    progress: list[tuple[int, int]] = []
    alone = evaluate_battery(
        SPLIT, data_fitted=fitted, tuned=spoilt, problem=PROBLEM, weeks=3, seeds=1, workers=1,
        progress=lambda done, total: progress.append((done, total)),
    )  # fmt: skip
    assert progress == [(k, 3) for k in range(1, 4)]
    for name, costs in evaluation.week_costs.items():
        np.testing.assert_array_equal(costs, alone.week_costs[name])


def test_the_json_has_the_promised_names(evaluation: Evaluation) -> None:
    document = json.loads(json.dumps(evaluation.to_json()))
    assert set(document["policies"]) == set(LABELS)
    for policy in document["policies"].values():
        assert {"mean", "low", "high"} <= set(policy["cost_eur_per_week"])
    assert {"mean_percent", "low_percent", "high_percent"} <= set(document["improvement_of_tuned_over_data_fitted"])
    assert (document["weeks"], document["seeds"]) == (3, 1)


# -- report and command ------------------------------------------------------------------------------------------------


def test_the_report_is_one_page_that_loads_nothing(evaluation: Evaluation) -> None:
    history = [LearningPoint(k, 20.0 - 0.1 * k, 19.0 - 0.1 * k, 21.0 - 0.1 * k) for k in range(5)]
    page = render(battery_page(evaluation, history=history, notes=[text("Run with <care> & attention.")]))
    assert evaluation.verdict[1:] in page.replace("&gt;", ">")
    assert page.count("<svg") == 2 * 5 and "Learning curve" in page  # for a wide and a narrow screen
    assert "&lt;care&gt; &amp; attention" in page
    check_page(page)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--weeks", "99"], 65, "ask for 1 to 52"),
        (["--train-until", "2030-01-01"], 65, "--train-until"),
        (["--theta", "absent.json"], 65, "absent.json"),
        (["--prices", "absent.csv"], 65, "absent.csv"),
    ],
)
def test_impossible_requests_are_refused_in_one_line_before_any_work(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--system", "battery", *arguments]) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_command_prints_the_table_and_writes_json_and_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fitted: dict[str, float]
) -> None:
    theta, result, page = tmp_path / "theta.json", tmp_path / "result.json", tmp_path / "page.html"
    write_theta(theta, PROBLEM, fitted)
    options = ["--horizon", "24", "--weeks", "2", "--seeds", "1", "--workers", "1", "--theta", str(theta)]
    options += ["--data-fitted", str(theta), "--json", str(result), "--html", str(page)]
    assert main(["evaluate", "--system", "battery", *options]) == 0
    printed = capsys.readouterr().out
    assert "self-consumption rule" in printed and "keep the old theta" in printed
    document = json.loads(result.read_text())
    assert document["improvement_of_tuned_over_data_fitted"]["mean_percent"] == 0.0
    assert document["verdict"] in page.read_text().replace("No improvement", "no improvement")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "result.json", "theta.json"]
