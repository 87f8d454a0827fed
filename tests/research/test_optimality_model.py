"""The deterministic optimal model: where it exists, where it jumps, and that planning with it gives pi* back."""

from __future__ import annotations

import numpy as np
import pytest

from research.optimality_model import OptimalModel, delta_range
from research.scalar_battery import CASE_1, CASE_2
from research.tabular.errors import NoModel
from research.tabular.refinement import refine
from research.tabular.scalar import BellmanSolution, ScalarProblem, scalar_world
from research.tabular.transitions import Deterministic

CRITICAL = 0.1269293
"""Converged; the paper prints 0.11."""


@pytest.fixture(scope="module")
def solved() -> tuple[ScalarProblem, BellmanSolution]:
    world = scalar_world(CASE_2, intervals=160)
    return world, world.solve()


def test_the_model_satisfies_the_sufficient_condition(solved: tuple[ScalarProblem, BellmanSolution]) -> None:
    world, solution = solved
    model = OptimalModel(world, solution, 0.05)
    m = np.linspace(0.25, 0.75, 77)
    expected = world.transition.weights(m, world.nodes) @ solution.cost_to_go
    reached = np.interp(model(m), world.nodes, solution.cost_to_go)
    np.testing.assert_allclose(expected - reached, 0.05, atol=1e-9)


def test_critical_delta_to_convergence() -> None:
    levels = [scalar_world(CASE_2, intervals=n) for n in (80, 160, 320)]
    highest = refine(*[np.array(delta_range(world, world.solve())[1]) for world in levels])
    assert float(highest.value) == pytest.approx(CRITICAL, abs=2e-7)


def test_case_2_for_the_deltas_of_the_paper(solved: tuple[ScalarProblem, BellmanSolution]) -> None:
    world, solution = solved
    critical = delta_range(world, solution)[1]
    assert 0.10 < 0.11 < critical < 0.15
    nowhere = OptimalModel(world, solution, 0.15)
    assert nowhere.coverage() < 0.9 and np.isnan(nowhere(np.array([0.5])))[0]
    for jumping in (0.10, 0.11):
        model = OptimalModel(world, solution, jumping)
        (jump,) = model.jumps()
        assert model.coverage() == 1.0
        assert jump.at == pytest.approx(0.5, abs=1e-6) and jump.before < 0.5 < jump.after
    continuous = OptimalModel(world, solution, critical)
    assert continuous.coverage() == 1.0 and continuous.jumps() == []
    m, f = continuous.sample()
    assert np.max(np.abs(f - np.poly1d(np.polyfit(m, f, 1))(m))) > 0.01  # nonlinear


def test_the_jump_closes_only_at_the_critical_delta(solved: tuple[ScalarProblem, BellmanSolution]) -> None:
    world, solution = solved
    critical = delta_range(world, solution)[1]
    sizes = []
    for below in (2e-2, 2e-3, 2e-4):
        (jump,) = OptimalModel(world, solution, critical - below).jumps()
        sizes.append(jump.after - jump.before)
    np.testing.assert_allclose(sizes, [4e-2, 4e-3, 4e-4], rtol=0.15)  # |dV*/ds| = 1 on both sides of the kink


def test_the_nearest_root_stays_in_the_support_and_the_smallest_does_not(
    solved: tuple[ScalarProblem, BellmanSolution],
) -> None:
    world, solution = solved
    assert OptimalModel(world, solution, 0.0).outside_support() == 0.0
    assert OptimalModel(world, solution, 0.0, "lower").outside_support() > 0.1
    assert OptimalModel(world, solution, 0.0, "lower").jumps() == []


@pytest.mark.parametrize("delta", [0.0, 0.10, 0.1269])
def test_planning_with_the_model_from_nothing_gives_the_optimal_policy_back(
    solved: tuple[ScalarProblem, BellmanSolution], delta: float
) -> None:
    world, solution = solved
    planned = OptimalModel(world, solution, delta).plan()
    np.testing.assert_allclose(planned.policy, solution.policy, atol=1e-6)
    offset = world.discount * delta / (1.0 - world.discount)
    np.testing.assert_allclose(planned.cost_to_go + offset, solution.cost_to_go, atol=1e-8)


def test_planning_with_a_model_off_by_a_little_does_not(solved: tuple[ScalarProblem, BellmanSolution]) -> None:
    world, solution = solved
    model = OptimalModel(world, solution, 0.0)
    shifted = Deterministic(lambda m: np.clip(model(m) + 0.02, 0.0, 1.0), *model.domain)
    planned = ScalarProblem(world.case, shifted, world.intervals, world.discount).solve(solution.cost_to_go)
    assert np.max(np.abs(planned.policy - solution.policy)) > 0.01


def test_case_1_has_a_continuous_model_over_its_whole_range() -> None:
    world = scalar_world(CASE_1, intervals=160)
    solution = world.solve()
    low, high = delta_range(world, solution)
    assert low < 0.0 < high < 0.05
    for delta in np.linspace(low, high, 5):
        model = OptimalModel(world, solution, float(delta))
        assert model.coverage() == 1.0 and model.jumps() == []


def test_a_delta_without_any_model_is_refused(solved: tuple[ScalarProblem, BellmanSolution]) -> None:
    with pytest.raises(NoModel, match="Delta = 5") as caught:
        OptimalModel(*solved, 5.0).plan()
    assert caught.value.exit_code == 65
