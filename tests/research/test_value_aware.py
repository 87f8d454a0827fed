"""Ways to a model in a described house: each against an answer that does not come from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import casadi as ca
import numpy as np
import pytest

from codegen.reference import ReferenceSolver, penalty
from codegen.solver import build_solver
from codegen.targets import host_arch
from nisse.cli import main
from research.experiments.value_aware_page import Compared, better_prediction, told
from research.memory import TooManyScenarios
from research.value_aware.fits import by_implicit_gradient, by_likelihood, by_value, damped_step, free, worth_of
from research.value_aware.prediction import Prediction
from research.value_aware.record import ProgramRecord, record
from research.value_aware.scenarios import ScenarioMpc, check_scenarios, first_move, golden, whole
from research.value_aware.study import Once, OneRecord, Outcome, learned
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.tariff import Tariff
from tuner.learn.tuning import TuningSpec, tune
from tuner.loop.explore import CompiledLabeller, learning_entries
from tuner.loop.label import Noise
from tuner.loop.policies import loaded
from tuner.loop.workers import LocalWorkers
from tuner.loop.worlds import generated_worlds

SMALL = read_house("battery")[0].replace('horizon = "24 h"', 'horizon = "4 h"')
"""The shipped battery with 16 stages."""
GAMMA = 0.99


@pytest.fixture(scope="module")
def design() -> HouseDesign:
    return HouseDesign(SMALL)


@pytest.fixture(scope="module")
def library(design: HouseDesign) -> Path:
    return build_solver(design.problem, host_arch()).library


@pytest.fixture(scope="module")
def seen(design: HouseDesign, library: Path) -> ProgramRecord:
    worlds = generated_worlds(design.house, seed=3, prices="nordic", tariff=Tariff())
    start = np.array(design.problem.theta_default())
    return record(design, library, worlds.learning, start, worlds.learning_weeks, 2.0, 3)


@pytest.fixture
def start(design: HouseDesign) -> np.ndarray:
    return np.array(design.problem.theta_default())


def test_a_record_holds_what_the_meter_saw_and_what_came(design: HouseDesign, seen: ProgramRecord) -> None:
    """Beside the battery only load and panels: the meter is their balance with what it really took."""
    assert len(seen) == 191 and seen.states.shape == (192, 1) and seen.per_day == 96
    names = [f.name for f in design.problem.forecasts]
    came = seen.forecasts + seen.errors
    load, pv = (came[:-1, 0, names.index(name)] for name in ("load", "pv"))
    assert seen.grid_kw == pytest.approx(load - pv + seen.action[:, 0] - seen.action[:, 1], abs=0.35)
    assert np.abs(seen.errors[:, :, names.index("load")]).max() > 0.05


def test_predictions_have_the_slopes_of_their_differences(design: HouseDesign, seen: ProgramRecord, start) -> None:
    prediction = Prediction.of(design)
    value, slope = prediction.after(start, seen)
    for j, entry in enumerate(prediction.entries):
        step = np.zeros_like(start)
        step[entry] = 1e-6
        ends = [prediction.after(start + sign * step, seen)[0] for sign in (1.0, -1.0)]
        np.testing.assert_allclose(slope[:, :, j], (ends[0] - ends[1]) / 2e-6, atol=1e-6)
    assert value.shape == (191, 2) and prediction.names[:2] == ["load_bias", "roof_scale"]


@pytest.fixture
def made(design: HouseDesign, seen: ProgramRecord, start) -> tuple[Prediction, ProgramRecord, np.ndarray]:
    """A record whose meter saw what the model says at a theta that is not the start, and a little noise."""
    prediction, truth = Prediction.of(design), start.copy()
    truth[prediction.entries] += prediction.scale * np.array([0.5, -0.4, -0.6, 0.3])
    rng = np.random.default_rng(0)
    value, _ = prediction.after(truth, seen)
    return prediction, replace(seen, grid_kw=value[:, 0] + 0.05 * rng.normal(size=len(value))), truth


def test_likelihood_is_least_squares_and_the_prior_draws_to_the_start(made, start) -> None:
    prediction, data, truth = made
    found = by_likelihood(prediction, data, start).theta
    # The meter alone tells these two: a straight line, by another solver.
    value, slope = prediction.after(start, data)
    rows, left = slope[:, 0, :2], data.grid_kw - value[:, 0]
    line, *_ = np.linalg.lstsq(rows, left, rcond=None)
    assert found[prediction.entries[:2]] == pytest.approx(start[prediction.entries[:2]] + line, abs=1e-6)
    assert found[prediction.entries[:2]] == pytest.approx(truth[prediction.entries[:2]], abs=0.03)
    few = replace(data, grid_kw=data.grid_kw + 3.0 * np.random.default_rng(1).normal(size=len(data)))
    plain, drawn = (by_likelihood(prediction, few, start, prior=prior) for prior in (False, True))
    distance = [np.linalg.norm((fit.theta - start)[prediction.entries] / prediction.scale) for fit in (plain, drawn)]
    assert distance[1] < distance[0]
    assert drawn.covariance is not None and np.linalg.eigvalsh(drawn.covariance).min() > 0.0


def test_what_an_error_is_worth_is_what_the_program_says(design, library, seen: ProgramRecord, start) -> None:
    """Against IPOPT: V(s+) - V(s+_theta), and the slope of Q in theta."""
    prediction = Prediction.of(design)
    worth = worth_of(design, library, prediction, seen, start)
    reference = ReferenceSolver(design.problem)
    predicted, _ = prediction.after(start, seen)
    checked = 0
    for k in range(5, 190, 45):
        ends = [reference.solve(start, x, seen.forecasts[k + 1]) for x in (seen.states[k + 1], predicted[k, 1:])]
        if not all(end.real for end in ends):
            continue
        checked += 1
        assert worth.surprise[k] == pytest.approx(ends[0].value - ends[1].value, abs=2e-5)
        for j, entry in enumerate(prediction.entries):
            step = np.zeros_like(start)
            step[entry] = 1e-4
            q = [
                reference.solve(start + sign * step, seen.states[k], seen.forecasts[k], seen.action[k]).value
                for sign in (1.0, -1.0)
            ]
            expected = (q[0] - q[1]) / 2e-4 * prediction.scale[j]
            assert worth.q_gradient[k, j] == pytest.approx(expected, abs=1e-3)
    assert checked >= 2


def test_value_and_implicit_steps_lower_their_own_losses(design, library, made, start) -> None:
    prediction, data, _ = made
    columns = [f.name for f in design.problem.forecasts]
    prices = tuple(data.forecasts[:-1, 0, columns.index(name)] for name in ("buy", "sell"))
    worth = worth_of(design, library, prediction, data, start)
    theta = by_value(prediction, data, start, worth, GAMMA, prices).theta
    price = np.where(data.grid_kw > 0.0, *prices) * data.hold_h
    losses = []
    for at in (start, theta):
        predicted, _ = prediction.after(at, data)
        after = worth_of(design, library, prediction, data, start).value[1:]
        controller = loaded(design, library)
        believed = [controller.solve(x, d).value for x, d in zip(predicted[:, 1:], data.forecasts[1:], strict=True)]
        losses.append(np.sum((price * (data.grid_kw - predicted[:, 0]) + GAMMA * (after - believed)) ** 2))
    assert losses[1] < 0.95 * losses[0]
    implicit = by_implicit_gradient(prediction, data, start, worth, GAMMA).theta
    assert np.any(implicit != start) and not np.array_equal(implicit, theta)
    rows, error = np.random.default_rng(0).normal(size=(50, 3)), np.random.default_rng(1).normal(size=50)
    expected, *_ = np.linalg.lstsq(
        np.vstack([rows, np.sqrt(0.01 * np.trace(rows.T @ rows) / 3) * np.eye(3)]),
        np.append(error, np.zeros(3)),
        rcond=None,
    )
    gap = np.vstack([rows, [np.nan, 0, 0]]), np.append(error, 1.0)
    np.testing.assert_allclose(damped_step(*gap), expected, atol=1e-10)


def test_the_learner_takes_the_same_record_and_asks_it_once(design, library, seen: ProgramRecord, start) -> None:
    """What it is sure of is between the start and the whole step, which is the learner's own."""
    names = ("home_terminal_slope", "price_scale")
    plain = CompiledLabeller(design, library, LocalWorkers())
    once, parameters = Once(plain), design.problem.theta
    sure, bold = (learned(once, seen, start, names, certainty) for certainty in (1.0, 0.0))
    assert len(once.said) == 1
    spec = TuningSpec(learn=names, iterations=1, rate=1.0, certainty=0.0)
    same = tune(OneRecord(seen.stretch), plain, parameters, learning_entries(parameters, names), start, spec)
    np.testing.assert_array_equal(bold, same.course.thetas[-1])
    assert np.any(bold != start)
    assert np.linalg.norm(sure - start) <= np.linalg.norm(bold - start) + 1e-12


def extensive(design: HouseDesign, theta, x, scenarios) -> tuple[float, np.ndarray]:
    """The scenario program as one nonlinear program by IPOPT: (mean cost, first move), the first actions shared."""
    problem, n = design.problem, design.problem.horizon
    p = np.asarray(problem.prepare(theta)) if problem.prepare is not None else theta
    shared, cost, rows, lower, upper = ca.SX.sym("a", problem.na), 0, [], [], []
    variables, bounds = [shared], [(a.lower, a.upper) for a in problem.actions]
    signals = (*problem.actions, *problem.auxiliaries)
    for forecast in scenarios:
        z = problem.features(forecast, x) if problem.features is not None else ca.DM(0, 1)
        state = ca.DM(x)
        for k in range(n):
            u = ca.SX.sym("u", problem.nu)
            s = ca.SX.sym("s", len(problem.soft_penalty.linear))
            variables += [u, s]
            bounds += [(a.lower, a.upper) for a in signals] + [(0.0, np.inf)] * s.numel()
            if k == 0:
                rows.append(u[: problem.na] - shared)
                lower += [0.0] * problem.na
                upper += [0.0] * problem.na
            stage = (state, u, forecast[k], z, p)
            cost += problem.discount**k * (problem.stage_cost(*stage) + penalty(problem.soft_penalty, s))
            for function, slack in ((problem.hard, 0), (problem.soft, s)):
                if function is not None:
                    rows.append(function(*stage) + slack)
                    lower += [0.0] * rows[-1].numel()
                    upper += [np.inf] * rows[-1].numel()
            state = problem.dynamics(*stage)
        s = ca.SX.sym("s", len(problem.soft_terminal_penalty.linear))
        variables.append(s)
        bounds += [(0.0, np.inf)] * s.numel()
        last = (state, forecast[n], z, p)
        cost += problem.discount**n * (problem.terminal_cost(*last) + penalty(problem.soft_terminal_penalty, s))
        if problem.soft_terminal is not None:
            rows.append(problem.soft_terminal(*last) + s)
            lower += [0.0] * rows[-1].numel()
            upper += [np.inf] * rows[-1].numel()
    options = {"print_time": False, "ipopt.print_level": 0, "ipopt.sb": "yes", "ipopt.tol": 1e-9}
    program = {"x": ca.vertcat(*variables), "f": cost / len(scenarios), "g": ca.vertcat(*rows)}
    solver = ca.nlpsol("extensive", "ipopt", program, options)
    found = solver(lbx=[b[0] for b in bounds], ubx=[b[1] for b in bounds], lbg=lower, ubg=upper)
    assert solver.stats()["success"]
    return float(found["f"]), np.asarray(found["x"]).ravel()[: problem.na]


def test_the_first_move_for_scenarios_is_that_of_the_whole_program(design, library, seen: ProgramRecord, start) -> None:
    policy = ScenarioMpc(design, library, start, seen, 4, np.random.default_rng(0))
    policy.begin()
    controller, noise = loaded(design, library), Noise.of(design.problem)
    controller.set_theta(start)
    sell = [f.name for f in design.problem.forecasts].index("sell")
    buy = [f.name for f in design.problem.forecasts].index("buy")
    gaps, spreads = [], []
    for k in (20, 70, 110):
        scenarios = policy.scenarios(seen.forecasts[k], k)
        # Buying dearer than selling, so that the one program is convex.
        scenarios[:, :, sell] = np.minimum(scenarios[:, :, sell], scenarios[:, :, buy] - 0.01)
        move = first_move(controller, noise, seen.states[k], scenarios)
        assert move is not None
        values = [controller.solve_fixed(seen.states[k], d, move).value for d in scenarios]
        best, _ = extensive(design, start, seen.states[k], scenarios)
        alone = [controller.solve(seen.states[k], d) for d in scenarios]
        gaps.append(np.mean(values) - best)
        own = free(noise, np.array([a.action for a in alone]))
        spreads.append(np.ptp(own))
        # Knowing which forecast comes is worth something; no move does better than the program, which may charge and
        # discharge at once where that is worth next to nothing.
        assert np.mean([a.value for a in alone]) - 1e-4 <= best
    assert max(spreads) > 0.5
    assert min(gaps) > -1e-4 and max(gaps) < 2e-3


def test_scenarios_are_of_the_same_time_of_day(design, library, seen: ProgramRecord, start) -> None:
    policy = ScenarioMpc(design, library, start, seen, 2, np.random.default_rng(0))
    forecast = seen.forecasts[10]
    inside = np.clip(forecast + seen.errors[[10, 106]], policy._low, policy._high)
    found = policy.scenarios(forecast, 10 + 96)
    assert any(np.array_equal(found, inside[order]) for order in ([0, 1], [1, 0]))


def test_a_move_and_back(design) -> None:
    noise = Noise.of(design.problem)
    moves = np.array([[1.5], [-2.0], [0.0]])
    actions = np.array([whole(noise, move) for move in moves])
    assert actions.tolist() == [[1.5, 0.0], [0.0, 2.0], [0.0, 0.0]]
    np.testing.assert_array_equal(free(noise, actions), moves)
    assert golden(lambda t: (t - 0.3) ** 2, -1.0, 2.0, 30) == pytest.approx(0.3, abs=1e-4)


def test_more_scenarios_than_memory_or_the_record_holds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(TooManyScenarios, match=r"5000 scenarios .* take 0.0466 GB and 0.01 GB .* at most 1073"):
        check_scenarios(5000, (97, 4), 10, 10_000_000)
    with pytest.raises(TooManyScenarios, match="11 scenarios asked for, and the record has 10 paths"):
        check_scenarios(11, (97, 4), 10, 10_000_000)
    for asked, words in (("10000000000", "10000000000 scenarios of 97 x 4 numbers take"), ("500", "has 480 paths")):
        arguments = ["experiment", "value-aware", "--days", "5", "--scenarios", asked, "--output", str(tmp_path)]
        assert main(arguments) == 65
        told = capsys.readouterr().err.strip()
        assert words in told and "\n" not in told


def test_command(tmp_path: Path) -> None:
    house = tmp_path / "small.toml"
    house.write_text(SMALL)
    arguments = ["experiment", "value-aware", "--house", str(house), "--days", "1", "--judged-days", "1"]
    arguments += ["--scenarios", "2", "--seeds", "2", "--jobs", "1", "--output", str(tmp_path / "out")]
    assert main([*arguments, "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())["houses"]["battery"]
    assert {"nameplate", "likelihood", "Bayesian", "value-aware loss", "scenario MPC, 2"} < set(found["totals"])
    assert found["failures"] == 0 and len(found["totals"]["nameplate"]) == 2
    assert (tmp_path / "out" / "battery.png").stat().st_size > 5000


def test_savings_are_shares_of_the_mean_cost_and_the_range_is_over_the_seeds() -> None:
    thetas = {"nameplate": {"a": 1.0}, "likelihood": {"a": 2.0}}
    outcomes = tuple(
        Outcome({"nameplate": base, "likelihood": found}, thetas, {"nameplate": 2.0, "likelihood": 1.0}, 10, 0, 0)
        for base, found in ((10.0, 8.0), (30.0, 33.0), (20.0, 20.0))
    )
    compared = Compared("EUR", outcomes)
    assert compared.savings("likelihood").tolist() == pytest.approx([10.0, -15.0, 0.0])
    assert told(compared.savings("likelihood")) == "+0.00 (-15.00 to +10.00)"
    assert compared.moved("likelihood") == 3 and compared.moved("nameplate") == 0
    assert better_prediction(compared) == pytest.approx(0.5)


def test_days_that_hold_too_few_decisions_are_told_before_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", "value-aware", "--house", "cabin", "--days", "3", "--scenarios", "5"]) == 2
    told_of = capsys.readouterr().err.strip()
    assert "3 days hold 71 decisions, too few for" in told_of and told_of.endswith("bring 4 days")
    assert "\n" not in told_of
