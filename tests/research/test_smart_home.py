"""The smart-home protocol: learns what is known to be missing, resumes to the bit, judges on what it has not seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.condensed.solver import CondensedMpc, run
from nisse.cli import main
from research.smart_home.experiment import assert_held_out, run_experiment
from research.smart_home.record import RecordError
from research.smart_home.summary import curves, paired_improvement
from systems.house.theta import HouseMpcError, house_theta, theta_values
from systems.house.weather import generate_conditions
from tuner.house.data import (
    STEPS_PER_DAY,
    ExperimentData,
    PeriodError,
    check_disjoint,
    draw_windows,
    exciting_log,
    window_starts,
)
from tuner.house.experience import of_rollout
from tuner.house.parameters import learning_entries
from tuner.house.protocol import SmartHomeSpec, closed_loop, judge, make_setting
from tuner.learn.critic import StepOptions, gauss_newton, propose, sums_of

TINY = SmartHomeSpec(
    models=2, iterations=3, learning_days=4, days_per_iteration=2, periods=2, period_days=2, beta=0.3, rate=0.5
)


@pytest.fixture(scope="module")
def data() -> ExperimentData:
    learning = generate_conditions(4, start=datetime(2017, 11, 1, tzinfo=UTC), days=25)
    evaluation = generate_conditions(5, start=datetime(2018, 1, 10, tzinfo=UTC), days=15)
    return ExperimentData(learning, evaluation, exciting_log(learning), "test")


def same(a, b) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True)
        for name in ("thetas", "costs", "td_error", "failures")
    )


def test_an_interrupted_run_resumes_to_the_bit(data, tmp_path):
    straight = run_experiment(TINY, data, tmp_path / "straight.npz", threads=2).record

    def interrupt(progress):
        if progress.iteration == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(TINY, data, tmp_path / "broken.npz", threads=1, tell=interrupt)
    resumed = run_experiment(TINY, data, tmp_path / "broken.npz", threads=1).record
    assert same(straight, resumed)
    assert not np.array_equal(straight.thetas[0], straight.thetas[-1])
    further = run_experiment(replace(TINY, iterations=4), data, tmp_path / "straight.npz", threads=2).record
    assert np.array_equal(further.thetas[:4], straight.thetas)
    assert further.iterations == 4


def test_a_record_of_other_options_or_damaged_is_refused(data, tmp_path):
    path = tmp_path / "record.npz"
    run_experiment(replace(TINY, iterations=1), data, path, threads=1)
    with pytest.raises(RecordError, match="other options"):
        run_experiment(replace(TINY, iterations=1, rate=0.1), data, path, threads=1)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RecordError, match="delete it"):
        run_experiment(replace(TINY, iterations=1), data, path, threads=1)


def test_the_critic_finds_the_mean_of_the_innovations(data):
    """The best bias of an otherwise exact model is the mean of the innovations, of which the critic is not told."""
    spec = replace(TINY, models=1, learning_days=20, beta=0.5)
    setting, agents, _ = make_setting(spec, data, 1)
    rng = np.random.default_rng(7)
    episode = closed_loop(CondensedMpc(setting.mpc, agents[0].theta), setting.world, data.learning, 0, 20, rng)
    exploration = 0.1 * rng.standard_normal((20 * 48, 4))
    rollout = run([replace(episode, exploration=exploration)], policy_jacobian=True, with_arx=False)[0]
    transitions = of_rollout(rollout, setting.entries, setting.scale, std_kw=0.1, max_power_kw=1.5)
    sums = sums_of(transitions, gamma=setting.mpc.interval_discount)
    step = propose(sums, np.zeros(4), StepOptions(prior=1.0, damping=1e-6))
    mean = setting.world.innovation_mean
    assert (np.abs(mean) > 0.003).all()
    assert setting.scale * step.change == pytest.approx(mean, rel=0.3)


def test_directions_on_which_no_decision_hangs_are_held_however_many_they_are():
    """Eq. (30) as a penalty: what it takes from the strong directions does not depend on the number of weak ones."""
    rng = np.random.default_rng(3)
    root = rng.standard_normal((4, 4))
    curvature, gradient, distance = root @ root.T, rng.standard_normal(4), rng.standard_normal(4)
    options = StepOptions(damping=0.0, support=0.1)
    alone = gauss_newton(gradient, curvature, distance, options)
    weak = 400
    padded = np.zeros((4 + weak, 4 + weak))
    padded[:4, :4] = curvature
    noise = 1e-3 * rng.standard_normal(weak)
    among = gauss_newton(np.concatenate([gradient, noise]), padded, np.concatenate([distance, np.ones(weak)]), options)
    assert among[:4] == pytest.approx(alone, rel=1e-9)
    pull = 0.1 * np.linalg.eigvalsh(curvature)[-1]
    assert among[4:] == pytest.approx(-1.0 - noise / pull)


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
