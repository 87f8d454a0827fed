"""Derivatives of thousands of programs against differences, also where a constraint is only just becoming active.

Programs are drawn at random, and walked across a change of the active set: a state on one side of it and one on the
other are brought together, and states at 10^-1 .. 10^-9 of their distance from the change are compared as well.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import codegen.making
from codegen.compilers import find_compiler
from codegen.making import compile_controller
from codegen.solver import build_solver, compiled_controller
from codegen.toolchain import acados_tree, cache_directory, host_arch
from codegen.verify import ProofCase, sample_cases
from research.condensed.solver import CondensedMpc, States, solve
from research.four_rooms.theta import HouseMpc, theta_values
from research.scalar_battery import scalar_battery
from research.training.policy_check import TOLERANCE, off_values_of_note, settled_differences
from runtime.abi.controller import Controller
from systems.problem import Problem
from tests.codegen.home_battery import home_battery
from tests.codegen.problems import bare_problem, rich_problem
from tests.codegen.test_controller import realistic
from tests.research.test_condensed import MODEL, TUNED, WEIGHTS, draw_states, spec_of

Array = NDArray[np.float64]
MOST_SKIPPED = 0.01
"""Of the shim's differences: corners so sharp that rounding hides them."""
MOST_ON_A_KINK = 0.02
"""Of the house's, which has kinks and stands beside one."""
PROBLEMS: dict[str, tuple[Callable[[], Problem], int]] = {
    "battery": (lambda: home_battery(horizon=24), 300),
    "scalar": (scalar_battery, 100),
    "rich": (rich_problem, 300),
    "large": (lambda: rich_problem(states=5), 150),
    "bare": (bare_problem, 300),
}
"""And how many programs are drawn of each, from calm forecasts and from the corners of everything."""
DISTANCES = 10.0 ** -np.arange(1, 10)


def unit_direction(problem: Problem, rng: np.random.Generator) -> Array:
    lower, upper = problem.theta_bounds()
    direction = rng.standard_normal(problem.ntheta)
    return direction / np.linalg.norm(direction) * (upper - lower)


def compare(controller: Controller, case: ProofCase, direction: Array) -> tuple[float, int, int]:
    """Largest error of d(first move, value) along a direction of theta; how many were compared, how many skipped."""

    def at(distance: Array) -> Array:
        controller.set_theta(case.theta + distance[0] * direction)
        s = controller.solve(case.x0, case.forecast)
        return np.concatenate([s.action, [s.value]]) if s.ok else np.full(s.action.size + 1, np.nan)

    if np.isnan(at(np.zeros(1))).any():
        return 0.0, 0, 0  # contradicting hard rows: not solved, and said so
    slope, jacobian = controller.differentiate()
    derivative = np.concatenate([jacobian @ direction, [slope @ direction]])
    difference = settled_differences(at, np.zeros(1), 0, 1.0)
    smooth = np.isfinite(difference)
    error = np.abs(difference - derivative)[smooth] / (1 + np.abs(derivative[smooth]))
    return float(error.max(initial=0.0)), int(smooth.sum()), int((~smooth).sum())


def total(results: list[tuple[float, int, int]]) -> tuple[float, int, int]:
    worst, compared, skipped = zip(*results, strict=True)
    return max(worst), sum(compared), sum(skipped)


def random_cases(problem: Problem, count: int) -> list[ProofCase]:
    """Theta off the values where a feature of the program begins; everything else as it comes."""
    cases = [realistic(problem, seed) for seed in range(count // 2)] + sample_cases(problem, count // 2, seed=11)
    return [ProofCase(off_values_of_note(c.theta, problem.theta_bounds()), c.x0, c.forecast) for c in cases]


def walk(controller: Controller, problem: Problem, seed: int) -> list[ProofCase]:
    """Cases on both sides of the state where one of the first moves leaves or meets a bound; none where none does."""
    case = realistic(problem, seed)
    case = ProofCase(off_values_of_note(case.theta, problem.theta_bounds()), case.x0, case.forecast)
    controller.set_theta(case.theta)
    low, high = (np.array([getattr(a, side) for a in problem.actions]) for side in ("lower", "upper"))

    def sets(x0: Array) -> bytes:
        action = controller.solve(x0, case.forecast).plan_a[:4]
        near = 1e-4 * (high - low)
        return ((action - low < near).astype(int) - (high - action < near).astype(int)).tobytes()

    near, far = case.x0, np.array([s.upper if seed % 2 else s.lower for s in problem.states])
    ends = near, far
    if sets(near) == sets(far):
        return []
    for _ in range(40):
        middle = (near + far) / 2
        near, far = (middle, far) if sets(middle) == sets(ends[0]) else (near, middle)
    offsets = [sign * d for d in DISTANCES for sign in (1, -1)]
    return [ProofCase(case.theta, near + d * (ends[1] - ends[0]), case.forecast) for d in offsets]


@pytest.fixture(params=list(PROBLEMS))
def problem(request: pytest.FixtureRequest) -> Problem:
    return PROBLEMS[request.param][0]()


def check(controller: Controller, problem: Problem, cases: list[ProofCase], least: int) -> None:
    rng = np.random.default_rng(3)
    worst, compared, skipped = total([compare(controller, case, unit_direction(problem, rng)) for case in cases])
    assert worst <= TOLERANCE, worst
    assert compared >= least
    assert skipped <= MOST_SKIPPED * (compared + skipped), (skipped, compared)


def test_derivatives_of_random_programs_equal_differences(problem: Problem) -> None:
    count = next(n for make, n in PROBLEMS.values() if make().name == problem.name)
    with compiled_controller(problem) as controller:
        check(controller, problem, random_cases(problem, count), count)


@pytest.mark.parametrize("name", ["battery", "scalar", "rich", "bare"])
def test_derivatives_of_weakly_active_programs_equal_differences(name: str) -> None:
    """The large problem's moves meet no bound on such a walk."""
    problem = PROBLEMS[name][0]()
    with compiled_controller(problem) as controller:
        check(controller, problem, weakly_active(controller, problem, 8), 288)


def weakly_active(controller: Controller, problem: Problem, walks: int) -> list[ProofCase]:
    found = (walk(controller, problem, seed) for seed in range(400))
    return [case for cases in itertools.islice((c for c in found if c), walks) for case in cases]


def test_they_do_on_a_processor_without_fused_multiplication(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = home_battery(horizon=24)
    shutil.copytree(build_solver(problem, host_arch()).sources, tmp_path / "src")
    monkeypatch.setattr(codegen.making, "extra_flags", lambda source, arch: ["-ffp-contract=off"])
    tree = acados_tree(host_arch(), cache_directory())
    compile_controller(tmp_path, tree, find_compiler(host_arch(), cache_directory()))
    with Controller(tmp_path / "lib" / codegen.making.LIBRARY) as controller:
        check(controller, problem, [*random_cases(problem, 40), *weakly_active(controller, problem, 3)], 140)


def house_at(states: States, share: float) -> States:
    """Between the first and the second of two states."""
    outputs, inputs, outdoor, price = (
        ((1 - share) * a[:1] + share * a[1:2]) for a in (states.outputs, states.inputs, states.outdoor, states.price)
    )
    return States(outputs, inputs, outdoor, price)


def house_sets(mpc: HouseMpc, theta: Array, states: States, share: float) -> bytes:
    """Which first moves are on a bound."""
    action = solve(CondensedMpc(mpc, theta), house_at(states, share)).action
    return ((action <= 0.0).astype(int) - (action >= mpc.max_power_kw).astype(int)).tobytes()


@pytest.mark.parametrize("weights", WEIGHTS)
def test_derivatives_of_the_tuners_house_solver_equal_differences_beside_a_kink(weights: str) -> None:
    """Its solution is polished to its active set: piecewise smooth, so that differences settle all but on the kink."""
    mpc, theta, rng = spec_of(weights), theta_values(MODEL, **TUNED), np.random.default_rng(4)
    worst, compared, skipped = 0.0, 0, 0
    for seed in range(8):
        states = draw_states(2, seed=seed, mean_c=19.5)
        low, high = 0.0, 1.0
        first = house_sets(mpc, theta, states, low)
        changes = first != house_sets(mpc, theta, states, high)
        for _ in range(34 if changes else 0):
            middle = (low + high) / 2
            low, high = (middle, high) if house_sets(mpc, theta, states, middle) == first else (low, middle)
        for share in [low + sign * d for d in DISTANCES[:6] for sign in (1, -1)]:
            direction = rng.standard_normal(len(theta)) * np.where(np.arange(len(theta)) < 432, 1e-3, 1e-2)
            place = house_at(states, share)

            def at(distance: Array, place: States = place, direction: Array = direction) -> Array:
                found = solve(CondensedMpc(mpc, theta + distance[0] * direction), place)
                return np.append(found.action.ravel(), found.value)

            now = solve(CondensedMpc(mpc, theta), place, gradients=True)
            derivative = np.append((now.policy_jacobian @ direction).ravel(), now.value_gradient @ direction)
            difference = settled_differences(at, np.zeros(1), 0, 1.0)
            smooth = np.isfinite(difference)
            error = np.abs(difference - derivative)[smooth] / (1 + np.abs(derivative[smooth]))
            worst = max(worst, float(error.max(initial=0.0)))
            compared, skipped = compared + int(smooth.sum()), skipped + int((~smooth).sum())
    assert worst <= TOLERANCE, worst
    assert compared >= 200
    assert skipped <= MOST_ON_A_KINK * (compared + skipped), (skipped, compared)
