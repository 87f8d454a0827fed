"""The compiled controller: right values against an independent solver, right derivatives, and a clean interface."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from codegen.reference import ReferenceSolver
from codegen.solver import build_solver, compiled_controller
from codegen.verify import ProofCase, relative_gap, sample_cases
from research.scalar_battery import CASE_1, CASE_2, scalar_battery
from runtime.abi.controller import Controller
from runtime.abi.library import ControllerError, SolveStatus, ThetaError
from systems.problem import Problem
from tests.codegen.home_battery import home_battery
from tests.codegen.problems import bare_problem, rich_problem

Array = NDArray[np.float64]
PROBLEMS: dict[str, Callable[[], Problem]] = {
    "battery": lambda: home_battery(horizon=24),
    "scalar": scalar_battery,
    "rich": rich_problem,
    "large": lambda: rich_problem(states=5),
    "bare": bare_problem,
    "curved": lambda: bare_problem(curved=True),
}


@pytest.fixture(params=list(PROBLEMS))
def problem(request: pytest.FixtureRequest) -> Problem:
    return PROBLEMS[request.param]()


@pytest.fixture
def controller(problem: Problem) -> Iterator[Controller]:
    with compiled_controller(problem) as c:
        yield c


@pytest.fixture(scope="module")
def battery() -> Iterator[Controller]:
    with compiled_controller(home_battery()) as c:
        yield c


def prices(seed: int, rows: int = 97) -> Array:
    rng = np.random.default_rng(seed)
    buy = 0.1 + 0.3 * rng.random(rows)
    return np.column_stack([buy, 0.7 * buy, rng.normal(0.5, 1.5, rows)])


def realistic(problem: Problem, seed: int) -> ProofCase:
    """A case away from the corners, where derivatives exist."""
    rng = np.random.default_rng(seed)
    lower, upper = problem.theta_bounds()
    theta = problem.theta_default() + 0.08 * rng.uniform(size=problem.ntheta) * (upper - lower)
    theta = np.clip(theta, lower + 1e-3 * (upper - lower), upper - 1e-3 * (upper - lower))
    x0 = np.array([rng.uniform(0.7 * s.lower + 0.3 * s.upper, 0.3 * s.lower + 0.7 * s.upper) for s in problem.states])
    if problem.name == "battery":
        return ProofCase(theta, x0, prices(seed, problem.horizon + 1))
    if problem.name == "scalar_battery":
        return ProofCase(theta, x0, (CASE_1, CASE_2)[seed % 2].forecast(problem.horizon))
    return ProofCase(theta, x0, 0.5 * rng.uniform(-1, 1, (problem.horizon + 1, problem.nd)))


def test_value_and_first_move_agree_with_an_independent_solver(problem: Problem, controller: Controller) -> None:
    reference = ReferenceSolver(problem)
    solved = 0
    for case in sample_cases(problem, 24, seed=3):
        controller.set_theta(case.theta)
        s, r = controller.solve(case.x0, case.forecast), reference.solve(case.theta, case.x0, case.forecast)
        modes = {} if r.real or not s.ok else {"plan_a": s.plan_a}
        if modes:  # the relaxed program leaves out what counts: the plan must be the best in its own modes
            r = reference.solve(case.theta, case.x0, case.forecast, **modes)
        if problem.name in ("rich", "large") and not (s.ok or r.solved):
            continue  # its hard rows can contradict each other: both sides must say so
        assert s.ok and r.solved, (s.status, s.residual)
        solved += 1
        assert s.residual <= 1e-8
        assert relative_gap(s.value, r.value) <= 1e-6
        q = reference.solve(case.theta, case.x0, case.forecast, first_action=s.action, **modes)
        assert relative_gap(q.value, r.value) <= 1e-6
    assert solved >= 12


def test_fixed_first_action_gives_q(problem: Problem, controller: Controller) -> None:
    reference = ReferenceSolver(problem)
    for seed in range(6):
        case = realistic(problem, seed)
        controller.set_theta(case.theta)
        v = controller.solve(case.x0, case.forecast)
        bounds = [(a.lower, a.upper) for a in problem.actions]
        other = np.array([0.5 * lo + 0.5 * 0.5 * (lo + up) for lo, up in bounds])
        q = controller.solve_fixed(case.x0, case.forecast, other)
        r = reference.solve(case.theta, case.x0, case.forecast, first_action=other)
        assert q.ok == r.solved
        if q.ok:
            assert np.array_equal(q.action, other) and np.allclose(q.plan_a[0], other, atol=1e-8)
            assert relative_gap(q.value, r.value) <= 1e-6
            assert q.value >= v.value - 1e-7
        again = controller.solve_fixed(case.x0, case.forecast, v.action)
        assert again.ok and abs(again.value - v.value) <= 1e-7 * max(1.0, abs(v.value))


def central_differences(
    controller: Controller, theta: Array, evaluate: Callable[[], tuple[float, Array]], step: float
) -> tuple[Array, Array]:
    """d value / d theta (ntheta) and d action / d theta (na, ntheta)."""
    value, action = [], []
    for i in range(theta.size):
        ends = []
        for sign in (1.0, -1.0):
            moved = theta.copy()
            moved[i] += sign * step
            controller.set_theta(moved)
            ends.append(evaluate())
        value.append((ends[0][0] - ends[1][0]) / (2 * step))
        action.append((ends[0][1] - ends[1][1]) / (2 * step))
    return np.array(value), np.array(action).T


def test_derivatives_agree_with_finite_differences(problem: Problem, controller: Controller) -> None:
    checked = moving = 0
    for seed in range(16):
        case = realistic(problem, seed)

        def evaluate(case: ProofCase = case) -> tuple[float, Array]:
            s = controller.solve(case.x0, case.forecast)
            assert s.ok
            return s.value, s.action

        controller.set_theta(case.theta)
        evaluate()
        dvalue, daction = controller.differentiate()
        coarse = central_differences(controller, case.theta, evaluate, 1e-4)
        fine = central_differences(controller, case.theta, evaluate, 2e-5)
        if not np.allclose(coarse[1], fine[1], atol=1e-4 * max(1.0, np.abs(fine[1]).max())):
            continue  # the active set changes between the two: there is no derivative to compare with
        checked += 1
        moving += bool(np.abs(fine[1]).max() > 1e-3)
        assert np.allclose(dvalue, fine[0], atol=1e-4 * max(1.0, np.abs(fine[0]).max()))
        assert np.allclose(daction, fine[1], atol=1e-4 * max(1.0, np.abs(fine[1]).max()))
    assert checked >= 8 and moving >= 3, (checked, moving)


def test_q_gradient_agrees_with_finite_differences(problem: Problem, controller: Controller) -> None:
    case = realistic(problem, 5)
    controller.set_theta(case.theta)
    action = 0.9 * controller.solve(case.x0, case.forecast).action

    def evaluate() -> tuple[float, Array]:
        s = controller.solve_fixed(case.x0, case.forecast, action)
        assert s.ok
        return s.value, s.action

    evaluate()
    dvalue, daction = controller.differentiate()
    expected, _ = central_differences(controller, case.theta, evaluate, 1e-5)
    assert np.allclose(dvalue, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))
    assert not daction.any()


@pytest.mark.parametrize("states", [3, 5])  # both interior-point methods
def test_action_inverse_is_that_of_the_curvature_of_q(states: int) -> None:
    problem, free = rich_problem(states=states), 0
    ends = np.array([(a.lower, a.upper) for a in problem.actions]).T
    with compiled_controller(problem) as controller:
        for seed in range(6):
            case = realistic(problem, seed)
            controller.set_theta(case.theta)
            action = controller.solve(case.x0, case.forecast).action
            controller.differentiate()
            inverse = controller.action_inverse()
            inside = np.flatnonzero(np.minimum(action - ends[0], ends[1] - action) > 0.02)
            assert not np.delete(inverse, inside, axis=0).any()
            free += len(inside)
            for step in (4e-3, 1e-3):
                h = step * np.eye(problem.na)[inside]
                signs = [[(h_i + h_j, h_i - h_j, h_j - h_i, -h_i - h_j) for h_j in h] for h_i in h]
                values = [
                    [[controller.solve_fixed(case.x0, case.forecast, action + m).value for m in four] for four in row]
                    for row in signs
                ]
                hessian = np.array(values) @ np.array([1.0, -1.0, -1.0, 1.0]) / (4 * step**2)
                assert np.allclose(inverse[np.ix_(inside, inside)] @ hessian, np.eye(len(inside)), atol=0.02)
        with pytest.raises(ControllerError, match="after a solve that is OK and `differentiate`"):
            controller.action_inverse()  # a solve has come since
    assert free > 6


def test_result_depends_on_the_arguments_alone(battery: Controller) -> None:
    battery.reset()
    first = battery.solve([0.4], prices(1))
    battery.solve([1.0], 5 * prices(2))
    battery.solve_fixed([0.1], prices(3), [1.0, 0.0])
    battery.reset()
    second = battery.solve([0.4], prices(1))
    assert first.value == second.value
    assert np.array_equal(first.plan_x, second.plan_x) and np.array_equal(first.plan_a, second.plan_a)


def test_two_controllers_of_one_library_do_not_share_state(battery: Controller) -> None:
    with Controller(battery.library_path) as other:
        theta = home_battery().theta_default()
        theta[6] = 0.1
        other.set_theta(theta)
        assert other.solve([0.5], prices(4)).value != battery.solve([0.5], prices(4)).value


def test_theta_outside_its_bounds_leaves_the_old_one_in_force(battery: Controller) -> None:
    theta = home_battery().theta_default()
    battery.set_theta(theta)
    before = battery.solve([0.5], prices(5)).value
    for bad in (1.5, np.nan):
        wrong = theta.copy()
        wrong[0] = bad
        with pytest.raises(ThetaError, match="within its bounds"):
            battery.set_theta(wrong)
    assert battery.solve([0.5], prices(5)).value == before


@pytest.mark.parametrize("where", ["x0", "forecast", "action"])
def test_nan_is_refused_and_not_carried_over(battery: Controller, where: str) -> None:
    x0, forecast, action = np.array([0.5]), prices(6), np.array([1.0, 0.0])
    good = battery.solve(x0, forecast).value
    {"x0": x0, "forecast": forecast, "action": action}[where].flat[0] = np.nan
    s = battery.solve_fixed(x0, forecast, action) if where == "action" else battery.solve(x0, forecast)
    assert s.status is SolveStatus.NOT_FINITE and not np.isfinite(s.plan_a).any()
    with pytest.raises(ControllerError, match="only after one that is OK"):
        battery.differentiate()
    assert battery.solve([0.5], prices(6)).value == good


def test_a_hopeless_program_is_not_called_solved_and_nothing_is_printed(
    battery: Controller, capfd: pytest.CaptureFixture[str]
) -> None:
    forecast = prices(7)
    forecast[:, 2] = 500.0  # more load than the grid connection can carry: the hard row cannot hold
    s = battery.solve([0.5], forecast)
    assert s.status in (SolveStatus.SOLVER_FAILED, SolveStatus.MAX_ITERATIONS) and s.residual > 1e-3
    assert battery.solve([0.5], prices(7)).ok
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def test_plans_obey_the_model_and_the_bounds(battery: Controller) -> None:
    theta = home_battery().theta_default()
    battery.set_theta(theta)
    s = battery.solve([0.3], prices(8))
    energy = theta[0] * s.plan_a[:, 0] - s.plan_a[:, 1] / theta[1]
    assert s.plan_x[0, 0] == pytest.approx(0.3, abs=1e-12)
    assert np.allclose(np.diff(s.plan_x[:, 0]), 0.025 * energy, atol=1e-8)
    assert s.plan_a.min() >= -1e-8 and s.plan_a.max() <= 5 + 1e-8
    assert np.array_equal(s.action, s.plan_a[0])


def test_wrong_shape_is_refused(battery: Controller) -> None:
    with pytest.raises(ValueError, match=r"\(97, 3\)"):
        battery.solve([0.5], prices(0, rows=96))


def test_closed_controller_says_so() -> None:
    controller = compiled_controller(bare_problem())
    controller.close()
    controller.close()
    with pytest.raises(ControllerError, match="closed"):
        controller.solve([0.1])


def test_controllers_give_their_memory_back() -> None:
    library = build_solver(bare_problem(), "x86_64" if "x86" in __import__("platform").machine() else "aarch64").library

    def resident_kb() -> int:
        from pathlib import Path

        fields = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()
        return int(fields[0])

    for _ in range(50):
        Controller(library).close()
    gc.collect()
    before = resident_kb()
    for _ in range(500):
        Controller(library).close()
    assert resident_kb() - before < 4000
