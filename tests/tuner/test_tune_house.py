"""Tuning the house: every method finds what the model lacks, logs teach as far as they explore, runs resume."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.condensed.solver import CondensedMpc, States, solve
from nisse.cli import main
from runtime.store.transitions import Store, Transition
from systems.house.arx import reference_model
from systems.house.cost import HouseCost
from systems.house.plant import PhysicalHouse
from systems.house.theta import HouseMpc, house_theta, theta_values
from systems.house.weather import generate_conditions
from tuner.evaluate.house import MpcPolicy
from tuner.evaluate.periods import PeriodError
from tuner.house.condensed import tune_house
from tuner.house.data import STEPS_PER_DAY
from tuner.house.experience import Experience, label
from tuner.house.field_log import is_field_log, read_field_log
from tuner.house.parameters import learning_entries
from tuner.house.recorded import ExplorationError, clipped_regression, recorded_world
from tuner.house.worlds import ArxWorld, Exploration, PhysicalWorld, split_season
from tuner.identify.house_log import from_table
from tuner.learn.critic import StepOptions, propose, sums_of
from tuner.learn.transitions import Transitions, mean_within_bounds
from tuner.learn.tuning import TuningSpec
from tuner.trainer import TrainingError
from tuner.trainer_state import CheckpointError

MODEL = reference_model()
TABLE = house_theta(MODEL)
COMFORT = HouseMpc(cost=HouseCost(beta=0.3))
SEASON = generate_conditions(7, start=datetime(2017, 11, 1, tzinfo=UTC), days=75)
EXPLORATION = Exploration(episodes=4, days=7)


def arx_world(seed: int = 0) -> ArxWorld:
    return ArxWorld(split_season(SEASON, 7, 3, COMFORT.horizon), MODEL, COMFORT, EXPLORATION, seed, 2)


def field_table(days: int, exploration_kw: float) -> tuple[np.ndarray, np.ndarray]:
    """(log (T, 9), prices (T,)) of the physical house under the data-fitted MPC, as its sensors show it."""
    mpc, rng = HouseMpc(), np.random.default_rng(5)
    policy = MpcPolicy(CondensedMpc(mpc, theta_values(MODEL, bias=MODEL.innovation_mean)))
    plant = PhysicalHouse(SEASON, cost=mpc.cost, steps=days * STEPS_PER_DAY)
    y, _ = plant.reset(seed=3, options={"first": 0})
    rows, noise = [], np.zeros(4)
    for k in range(days * STEPS_PER_DAY):
        if k % mpc.apply == 0:
            noise = exploration_kw * rng.standard_normal(4)
        seen, outdoor = y, plant.conditions.outdoor_c[plant.k]
        y, _, _, _, info = plant.step(policy.act(plant, y) + noise)
        rows.append([outdoor, *seen, *info["power_kw"]])
    return np.array(rows), SEASON.price_eur_kwh[: len(rows)]


@pytest.fixture(scope="module")
def explored() -> tuple[np.ndarray, np.ndarray]:
    return field_table(50, 0.15)


@pytest.mark.parametrize("method", ["dpg", "q", "spg"])
def test_each_method_finds_the_mean_of_the_innovations(method):
    """The start does not know the mean; with it the ARX house would cost `informed`. Nothing tells the learner."""
    world, start = arx_world(), theta_values(MODEL)
    spec = TuningSpec(method=method, learn=("bias",), iterations=4)
    tuning = tune_house(world, COMFORT, TABLE, start, spec, threads=2)
    uninformed = world.try_out(start).total.mean()
    informed = world.try_out(theta_values(MODEL, bias=MODEL.innovation_mean)).total.mean()
    found = world.try_out(tuning.theta).total.mean()
    assert informed < 0.95 * uninformed
    assert uninformed - found > 0.5 * (uninformed - informed)
    assert [p.group for p, *_ in tuning.changes()] == ["bias"] * len(tuning.changes())


def test_in_the_physical_house_power_becomes_dearer_the_more_of_it():
    """The model thinks a heat pump as good at full load as at half; the plant does not."""
    world = PhysicalWorld(split_season(SEASON, 7, 3, 144), HouseMpc(), replace(EXPLORATION, episodes=8), 0, 2)
    start = theta_values(MODEL, bias=MODEL.innovation_mean)
    spec = TuningSpec(learn=("power_curvature", "price_scale"), iterations=2)
    tuning = tune_house(world, HouseMpc(), TABLE, start, spec, threads=2)
    moved = {p.name: after - before for p, before, after in tuning.changes()}
    assert moved["power_curvature"] > 0.005
    assert tuning.course.tried[tuning.course.best].total.mean() < 0.97 * tuning.course.tried[0].total.mean()


def test_an_interrupted_run_resumes_to_the_bit(tmp_path):
    world, start, spec = arx_world(), theta_values(MODEL), TuningSpec(learn=("bias",), iterations=4)
    straight = tune_house(world, COMFORT, TABLE, start, spec, threads=2)
    path = tmp_path / "half.npz"
    tune_house(world, COMFORT, TABLE, start, replace(spec, iterations=2), threads=2, checkpoint=path)
    resumed = tune_house(world, COMFORT, TABLE, start, spec, threads=1, checkpoint=path, resume=True)
    assert np.array_equal(straight.course.thetas, resumed.course.thetas)
    assert straight.course.history == resumed.course.history
    with pytest.raises(CheckpointError, match="another run"):
        tune_house(world, COMFORT, TABLE, start, replace(spec, rate=0.3), checkpoint=path, resume=True)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CheckpointError, match="delete it"):
        tune_house(world, COMFORT, TABLE, start, spec, checkpoint=path, resume=True)


def test_labels_of_old_experience_are_those_of_the_new_theta():
    experience = arx_world().explore(theta_values(MODEL), 0)[:1]
    theta = theta_values(MODEL, bias=0.01, price_scale=0.8)
    entries, scale = learning_entries(TABLE, ("bias", "price_scale"))
    mpc = CondensedMpc(COMFORT, theta)
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


@settings(max_examples=25, deadline=None)
@given(policy=st.floats(0.0, 1.5), std=st.floats(0.02, 0.6))
def test_the_mean_of_clipped_noise_is_that_of_a_sample(policy, std):
    sample = np.clip(policy + std * np.random.default_rng(0).standard_normal(200_000), 0.0, 1.5)
    assert mean_within_bounds(np.array([policy]), std, 0.0, 1.5)[0] == pytest.approx(sample.mean(), abs=0.006 * std)


def test_held_in_weeks_and_exploring_days_share_no_step():
    season = split_season(SEASON, 5, 3, 144)
    for first in season.held_in:
        apart = (season.starts + 5 * STEPS_PER_DAY <= first - STEPS_PER_DAY) | (
            season.starts >= first + 7 * STEPS_PER_DAY
        )
        assert apart.all()
    with pytest.raises(PeriodError, match="ask for fewer"):
        split_season(SEASON, 7, 9, 144)


def test_a_log_that_explores_teaches_what_the_physical_house_would(explored):
    table, price = explored
    log = from_table(table, SEASON.start_s, np.arange(len(table)), (), "field.csv")
    start = theta_values(MODEL, bias=MODEL.innovation_mean)
    world = recorded_world(log, price, HouseMpc(), start)
    assert world.exploration_kw == pytest.approx(0.12, abs=0.04)
    spec = TuningSpec(learn=("cost",), iterations=6, step=StepOptions(support=0.1))
    tuning = tune_house(world, HouseMpc(), TABLE, start, spec)
    moved = {p.name: after - before for p, before, after in tuning.changes()}
    assert moved["power_curvature"] > 0.002
    house = PhysicalWorld(split_season(SEASON, 7, 3, 144), HouseMpc(), EXPLORATION, 0, 2)
    assert house.try_out(tuning.theta).total.mean() < 0.99 * house.try_out(start).total.mean()
    with pytest.raises(TrainingError, match="dpg or q"):
        tune_house(world, HouseMpc(), TABLE, start, replace(spec, method="spg"))


def test_decisions_of_a_log_are_on_the_half_hours_wherever_it_begins(explored):
    """A window across two decisions would take for exploration what the second saw of the first."""
    table, price = (part[: 8 * STEPS_PER_DAY] for part in explored)
    start, mpc = theta_values(MODEL, bias=MODEL.innovation_mean), HouseMpc()

    def world(cut: int) -> Experience:
        log = from_table(table[cut:], SEASON.start_s + 300.0 * cut, np.arange(len(table) - cut), (), "")
        (stretch,) = recorded_world(log, price[cut:], mpc, start).experience
        return stretch

    whole, late = world(0), world(8)
    lost = len(whole) - len(late)
    assert 0 < lost <= 2
    assert np.array_equal(whole.action[lost:], late.action)
    assert np.array_equal(whole.states.outputs[lost:], late.states.outputs)


def test_a_log_is_asked_again_at_the_policy_that_learning_has_reached():
    """However often the same log teaches, theta ends at its optimum: dQ/da is that at pi_theta, not at what decided."""
    rng, n, spread = np.random.default_rng(2), 4000, 0.2
    jacobian, best = rng.standard_normal((n, 1, 2)), np.array([0.7, -0.4])
    decided, curvature = rng.uniform(0.0, 1.0, (n, 1)), 3.0
    action = decided + spread * rng.standard_normal((n, 1))
    wanted = decided + jacobian @ best
    value = 1.0 + curvature / 2 * ((decided - wanted) ** 2).sum(1)
    cost = 1.0 + curvature / 2 * ((action - wanted) ** 2).sum(1)
    theta = np.zeros(2)
    for _ in range(6):
        drift = jacobian @ theta
        empty = np.empty(0)
        t = Transitions(
            value=value, next_value=np.zeros(n), cost=cost,
            policy=decided + drift, asked=action, action=action, mean_action=decided, drift=drift,
            policy_jacobian=jacobian, action_inverse=np.full((n, 1, 1), 1 / curvature), segment=np.arange(n),
            advantage=empty, advantage_gradient=empty,
        )  # fmt: skip
        theta = theta + propose(sums_of(t, gamma=0.0), theta, StepOptions(prior=1e-6, damping=1e-9)).change
    assert theta == pytest.approx(best, abs=1e-4)


def test_the_mean_of_recorded_powers_knows_the_bounds():
    """Half of the decisions are at a bound; noise that can only go one way there is not taken for exploration."""
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(5000), rng.standard_normal(5000)])
    meant = x @ np.array([0.5, 0.6])
    action = np.clip(meant + 0.15 * rng.standard_normal(5000), 0.0, 1.5)
    found = clipped_regression(x, action, 1.5)
    assert found == pytest.approx(mean_within_bounds(meant, 0.15, 0.0, 1.5), abs=0.02)


def test_a_log_without_exploration_teaches_nothing_and_says_so(explored):
    table, price = explored
    still = table.copy()
    still[:, 5:] = 0.4  # heat pumps that somebody left at one power
    log = from_table(still, SEASON.start_s, np.arange(len(still)), (), "still.csv")
    with pytest.raises(ExplorationError, match=r"still\.csv.*0\.15 kW"):
        recorded_world(log, price, HouseMpc(), theta_values(MODEL))


def test_holes_in_a_log_end_a_stretch_and_nothing_reaches_across(explored):
    table, price = (part[: 12 * STEPS_PER_DAY].copy() for part in explored)
    full = recorded_world(from_table(table, 0.0, np.arange(len(table)), (), ""), price, HouseMpc(), theta_values(MODEL))
    table[1000:1004, 2] = np.nan  # a room
    table[2000:2006, 0] = np.nan  # half an hour of outdoor temperature is bridged as a forecast
    price[3000:] = np.nan
    holed = recorded_world(
        from_table(table, 0.0, np.arange(len(table)), (), ""), price, HouseMpc(), theta_values(MODEL)
    )
    assert len(full.experience) == 1
    assert len(holed.experience) == 2
    lost_at_the_end = (len(table) - 3000) // 6
    assert full.decisions - lost_at_the_end - 8 <= holed.decisions <= full.decisions - lost_at_the_end
    for stretch in holed.experience:
        assert np.isfinite(stretch.cost).all()
        assert np.isfinite(stretch.states.price).all()


def test_the_daemons_own_log_reads_back(tmp_path, explored):
    table, price = (part[:40] for part in explored)
    path = tmp_path / "nisse.db"
    store = Store(path, max_transitions=1000)
    start = 1_700_000_100.0
    for k, row in enumerate(table):
        if k in (7, 8):  # the daemon was down
            continue
        state = {f"room_{i + 1}": row[1 + i] for i in range(4)} | {"past_2_1": 0.1}
        action = {} if k == 20 else {f"power_{i + 1}": row[5 + i] for i in range(4)}
        forecast = tuple((row[0], *[row[0] + 1] * 5, price[k]) for _ in range(3))
        level = "safe" if k == 20 else "mpc"
        # Cycles never begin on the second.
        time_s = start + 300.0 * k + 2.5
        store.append(
            Transition(time_s, level, "", "digest", state, action, action, forecast if k != 21 else None, {}),
            None, (0.0, 0.0, 0.0),
        )  # fmt: skip
    store.close()
    assert is_field_log(path)
    log, known = read_field_log(path)
    expected = table.copy()
    expected[[7, 8]] = np.nan
    expected[20, 5:] = np.nan
    expected[21, 0] = np.nan
    assert log.start_s == start
    assert np.array_equal(log.table, expected, equal_nan=True)
    assert np.isnan(known[[7, 8, 21]]).all()
    assert np.array_equal(np.delete(known, [7, 8, 21]), np.delete(price, [7, 8, 21]))


def test_the_command_writes_a_theta_that_evaluate_takes(tmp_path, capsys):
    theta, report = tmp_path / "theta.json", tmp_path / "result.json"
    options = ["--episodes", "3", "--iterations", "1", "--held-in-weeks", "2", "--held-out-weeks", "2"]
    assert main(["tune", "--system", "house", *options, "--output", str(theta), "--json", str(report)]) == 0
    said = capsys.readouterr().out
    assert "total" in said
    assert "written" in said
    document = json.loads(report.read_text())
    written = json.loads(theta.read_text())
    # Two held-out weeks show nothing: what is said, kept and written is the theta it started from.
    start = theta_values(reference_model(), bias=reference_model().innovation_mean)
    assert document["kept_old"] and written["provenance"]["theta"] == "old" and "old theta is kept" in said
    assert list(written["theta"].values()) == list(document["written"].values()) == start.tolist()
    assert document["theta"] != document["written"] or "no change" in said
    assert {"price", "comfort", "total", "td_error", "failures", "at_bounds"} <= document["history"][0].keys()
    assert main(["evaluate", "--system", "house", "--theta", str(theta), "--weeks", "2"]) == 0


def test_options_that_contradict_each_other_are_refused_before_the_work(tmp_path, capsys):
    log = tmp_path / "log.csv"
    with log.open("w", newline="") as file:
        csv.writer(file).writerow(["time"])
    out = ["--output", str(tmp_path / "theta.json")]
    assert main(["tune", "--system", "house", "--log", str(log), *out]) == 2
    assert "--prices" in capsys.readouterr().err
    assert main(["tune", "--system", "house", "--log", str(tmp_path / "missing.db"), *out]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["tune", "--system", "house", "--world", "log", *out]) == 2
    assert "--log" in capsys.readouterr().err
    assert main(["tune", "--system", "house", "--learn", "biases", *out]) == 78
    assert "bias" in capsys.readouterr().err
