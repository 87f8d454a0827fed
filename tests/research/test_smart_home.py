"""The smart-home protocol: learns what is known to be missing, resumes to the bit, judges on what it has not seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nisse.cli import main
from research.condensed.solver import CondensedMpc, States, solve
from research.four_rooms.theta import HouseMpcError, house_theta, theta_values
from research.smart_home.condensed import CondensedLabeller
from research.smart_home.data import (
    STEPS_PER_DAY,
    ExperimentData,
    check_disjoint,
    draw_windows,
    exciting_log,
    window_starts,
)
from research.smart_home.experience import label
from research.smart_home.experiment import RecordError, assert_held_out, forget, run_experiment
from research.smart_home.parameters import learning_entries
from research.smart_home.protocol import SmartHomeSpec, judge, make_setting
from research.smart_home.summary import curves, paired_improvement
from research.smart_home.worlds import ArxWorld
from systems.world.weather import generate_conditions
from tuner.learn.tuning import TuningSpec, tune
from tuner.loop.periods import PeriodError

TINY = SmartHomeSpec(
    models=2,
    iterations=3,
    learning_days=8,
    days_per_iteration=2,
    periods=2,
    period_days=2,
    beta=0.3,
    rate=0.5,
    model_reading="exact",
)


@pytest.fixture(scope="module")
def data() -> ExperimentData:
    learning = generate_conditions(4, start=datetime(2017, 11, 1, tzinfo=UTC), days=25)
    evaluation = generate_conditions(5, start=datetime(2018, 1, 10, tzinfo=UTC), days=15)
    return ExperimentData(learning, evaluation, exciting_log(learning), "test")


def test_an_interrupted_run_resumes_to_the_bit(data, tmp_path):
    straight = run_experiment(TINY, data, tmp_path / "straight", threads=2).record
    run_experiment(replace(TINY, iterations=2), data, tmp_path / "broken", threads=1)
    (tmp_path / "broken" / "model-1.npz").unlink()  # one model had not come so far
    resumed = run_experiment(TINY, data, tmp_path / "broken", threads=1).record
    for name in ("thetas", "costs", "td_error"):
        assert np.array_equal(getattr(straight, name), getattr(resumed, name))
    assert not np.array_equal(straight.thetas[0], straight.thetas[-1])


def test_checkpoints_of_other_options_are_refused(data, tmp_path):
    run_experiment(replace(TINY, iterations=1), data, tmp_path, threads=1)
    with pytest.raises(RecordError, match="other options"):
        run_experiment(replace(TINY, iterations=1, rate=0.1), data, tmp_path, threads=1)
    forget(tmp_path)
    assert run_experiment(replace(TINY, iterations=1, rate=0.1), data, tmp_path, threads=1).record.costs.shape[0] == 2


@pytest.mark.parametrize("method", ["dpg", "q", "spg"])
def test_each_method_finds_the_mean_of_the_innovations(data, method):
    """The start does not know the mean; with it the ARX house would cost `informed`. Nothing tells the learner."""
    setting, agents, _ = make_setting(replace(TINY, models=1, beta=0.3, model_reading="exact"), data, 1)
    world = ArxWorld(
        setting.world, setting.mpc, data.learning, 0, 20, 20, 0.15, (0,), held_in=(STEPS_PER_DAY, 9 * STEPS_PER_DAY)
    )  # fmt: skip
    spec = TuningSpec(method=method, learn=("bias",), iterations=3)
    learning = setting.entries, setting.scale
    tuning = tune(
        world, CondensedLabeller(setting.mpc, 0.15, 2), house_theta(setting.world), learning, agents[0].theta, spec
    )
    uninformed, found, informed = (
        world.try_out(theta).total.mean()
        for theta in (
            agents[0].theta, tuning.theta, theta_values(setting.world, bias=setting.world.innovation_mean)
        )
    )  # fmt: skip
    assert informed < 0.97 * uninformed
    assert uninformed - found > 0.5 * (uninformed - informed)


def test_labels_of_old_experience_are_those_of_the_new_theta(data):
    setting, agents, _ = make_setting(replace(TINY, models=1), data, 1)
    world = ArxWorld(setting.world, setting.mpc, data.learning, 0, 4, 4, 0.15, (0,))
    experience = world.explore(agents[0].theta, 0)[:1]
    theta = theta_values(setting.world, bias=0.01, price_scale=0.8)
    entries, scale = learning_entries(house_theta(setting.world), ("bias", "price_scale"))
    mpc = CondensedMpc(setting.mpc, theta)
    found = label(experience, mpc, entries, scale, with_advantage=True).transitions
    states = experience[0].states
    again = solve(mpc, states)
    assert found.policy == pytest.approx(again.action[:-1], abs=1e-9)
    assert found.next_value == pytest.approx(again.value[1:], abs=1e-9)
    # Q at the policy is V, what explored costs more, and the advantage is the difference of two Q.
    before = States(states.outputs[:-1], states.inputs[:-1], states.outdoor[:-1], states.price[:-1])
    taken, mean = (solve(mpc, before, first=first).value for first in (found.action, found.mean_action))
    assert solve(mpc, before, first=found.policy).value == pytest.approx(found.value, abs=1e-8)
    assert (taken >= found.value - 1e-9).all()
    assert found.advantage == pytest.approx(taken - mean, abs=1e-9)


def test_periods_of_a_theta_are_paired(data):
    setting, agents, periods = make_setting(TINY, data, 2)
    first, _ = judge([agents[0].theta, agents[0].theta], setting, periods)
    assert np.array_equal(first[0], first[1])
    again, _ = judge(
        [theta_values(setting.world, bias=setting.world.innovation_mean), agents[0].theta], setting, periods
    )
    assert np.array_equal(again[1], first[1])
    assert not np.array_equal(again[0], first[0])


def test_learning_and_evaluation_are_disjoint_or_refused(data):
    setting, agents, periods = make_setting(TINY, data, 1)
    assert_held_out(setting, agents, periods)
    with pytest.raises(PeriodError, match="overlap"):
        ExperimentData(data.learning, data.learning.window(288, 2880), data.log, "overlapping")
    with pytest.raises(PeriodError, match="hold out"):
        check_disjoint([(0.0, 10.0)], [(20.0, 30.0), (9.0, 12.0)])


@settings(max_examples=20, deadline=None)
@given(days=st.integers(1, 6), count=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_drawn_periods_lie_in_heating_months_with_their_forecast(days, count, seed):
    season = generate_conditions(1, start=datetime(2018, 4, 10, 5, tzinfo=UTC), days=40)
    chosen = draw_windows(season, days, count, 144, np.random.default_rng(seed))
    for first in chosen:
        start = datetime.fromtimestamp(season.start_s + first * season.dt_s, UTC)
        last = datetime.fromtimestamp(season.start_s + (first + days * STEPS_PER_DAY - 1) * season.dt_s, UTC)
        assert (start.hour, start.minute) == (0, 0)
        assert start.month == last.month == 4
        assert first + days * STEPS_PER_DAY + 144 <= len(season)
    gaps = np.diff(np.sort(chosen))
    assert (gaps >= days * STEPS_PER_DAY).all() or days * count * 2 > 20


def test_no_period_is_an_error_that_says_so():
    summer = generate_conditions(1, start=datetime(2018, 6, 1, tzinfo=UTC), days=30)
    assert len(window_starts(summer, 3, 144)) == 0
    with pytest.raises(PeriodError, match="September to April"):
        draw_windows(summer, 3, 1, 144, np.random.default_rng(0))


def test_the_improvement_is_paired_normalised_and_its_interval_covers_both_factors():
    before = np.array([[10.0, 100.0], [10.0, 100.0], [10.0, 100.0]])
    after = before * np.array([0.9, 0.8])
    result = paired_improvement(before, after)
    assert result["mean"] == pytest.approx(15.0)
    assert result["of_summed_costs"] == pytest.approx(100 * (1 - 89 / 110))
    # Models agree, two periods differ by 10 %: Student's t of one degree of freedom, 12.706 standard errors of 5 %.
    assert (result["low"], result["high"]) == pytest.approx((15.0 - 63.53, 15.0 + 63.53), abs=0.01)
    nothing = paired_improvement(before, before)
    assert nothing["mean"] == nothing["low"] == nothing["high"] == 0.0


def test_curves_start_at_one_and_count_violations_as_comfort():
    costs = np.array([[[[3.0, 1.0, 1.0], [30.0, 10.0, 10.0]]], [[[3.0, 0.5, 0.0], [30.0, 5.0, 0.0]]]])
    rows = curves(costs)
    assert rows[0]["total"] == pytest.approx(1.0)
    assert rows[0]["comfort"] == pytest.approx(0.4)
    assert rows[1]["total"] == pytest.approx(0.7)
    assert rows[1]["comfort_eur"] == pytest.approx(2.75)


def test_groups_select_their_entries_and_unknown_ones_are_refused(data):
    setting, _, _ = make_setting(TINY, data, 1)
    table = house_theta(setting.world)
    entries, scale = learning_entries(table, ("bias", "backoff"))
    assert [table[i].name for i in entries[:5]] == ["bias_1", "bias_2", "bias_3", "bias_4", "backoff_low_1"]
    assert (scale > 0).all()
    with pytest.raises(HouseMpcError, match="among"):
        learning_entries(table, ("biases",))


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--learning-days", "3", "--model-reading", "sampled"), 2, "--learning-days 3"),
        (("--groups", "biass"), 78, "'biass' to learn"),
    ],
)
def test_what_cannot_run_is_told_before_the_work(options, code, words, capsys, tmp_path):
    assert main(["experiment", "smart-home", "--output", str(tmp_path / "out"), *options]) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
