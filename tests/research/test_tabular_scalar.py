"""The scalar battery's dynamic program against independent computations, and the paper's statements about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from research.scalar_battery import CASE_1, CASE_2, CASES, MAX_MOVE
from research.tabular.checks import action_error, composite_expectation, integration_error, monte_carlo_return
from research.tabular.errors import BadProblem, NoFeasibleAction
from research.tabular.noise import QuadratureNoise, TruncatedGaussian
from research.tabular.refinement import refine
from research.tabular.scalar import ScalarProblem, expected_value_model, scalar_world

J_STAR = {1: 0.20428636, 2: -13.05096376}
"""Converged values with leaving forbidden, from grids of 400, 800 and 1600 intervals."""


def test_excess_is_the_integral_that_it_claims() -> None:
    noise = TruncatedGaussian(0.1, 0.25)
    w = np.linspace(-0.25, 0.25, 200_001)
    for z in (-0.3, -0.25, -0.1, 0.0, 0.07, 0.25, 0.4):
        integral = np.trapezoid(np.maximum(z + w, 0.0) * noise.density(w), w)
        assert noise.excess(np.array([z]))[0] == pytest.approx(integral, abs=1e-9)
        assert QuadratureNoise.of(noise, 400).excess(np.array([z]))[0] == pytest.approx(integral, abs=1e-6)


@pytest.mark.parametrize("penalty", [None, 30.0])
@pytest.mark.parametrize("number", [1, 2])
def test_agrees_with_value_iteration_by_quadrature_and_dense_actions(number: int, penalty: float | None) -> None:
    case, n = CASES[number], 40
    world = scalar_world(case, penalty=penalty, intervals=n, discount=0.9)
    noise, s = TruncatedGaussian(case.noise_std, case.noise_limit), np.linspace(0.0, 1.0, n + 1)
    low, high = (0.0 - MAX_MOVE, 1.0 + MAX_MOVE) if penalty is not None else (case.noise_limit, 1.0 - case.noise_limit)
    m = np.unique(np.concatenate([np.linspace(low, high, 801), s[(s > low) & (s < high)]]))  # a = 0 is a kink
    x, weight = np.polynomial.legendre.leggauss(400)
    w, p = noise.limit * x, weight * noise.density(noise.limit * x)
    p /= p.sum()
    reached = m[:, None] + w
    outside = np.maximum(-reached, 0.0) + np.maximum(reached - 1.0, 0.0)
    a = m[None, :] - s[:, None]
    stage = (
        case.deviation_weight * np.abs(s - 0.5)[:, None]
        + np.where(a > 0.0, case.buy_price, case.sell_price) * a
        + (penalty or 0.0) * (outside @ p)
    )
    stage = np.where(np.abs(a) <= MAX_MOVE + 1e-12, stage, np.inf)
    landed = np.clip(reached, 0.0, 1.0)
    expectation = np.stack([np.interp(landed, s, hat) @ p for hat in np.eye(n + 1)], axis=1)
    value = np.zeros(n + 1)
    for _ in range(200):
        value = (stage + 0.9 * (expectation @ value)).min(axis=1)
    np.testing.assert_allclose(world.solve().cost_to_go, value, atol=3e-4)


@pytest.mark.parametrize("number", [1, 2])
def test_refinement_reaches_the_converged_return_within_its_own_error(number: int) -> None:
    returns = [np.array(scalar_world(CASES[number], intervals=n).solve().mean_return) for n in (80, 160, 320)]
    refined = refine(*returns)
    assert refined.order == pytest.approx(2.0, abs=0.1)
    assert abs(float(refined.value) - J_STAR[number]) <= max(refined.error, 2e-8) < 2e-4


@pytest.mark.parametrize("number", [1, 2])
def test_return_lies_in_a_monte_carlo_interval(number: int) -> None:
    world = scalar_world(CASES[number], penalty=100.0, intervals=200)
    policy = world.solve().policy
    mean, standard_error = monte_carlo_return(world, policy, rollouts=3000, steps=900, seed=0)
    assert abs(mean - world.evaluate(policy)) < 4 * standard_error + 0.99**900 * 14


def test_error_estimates_see_what_they_are_for() -> None:
    world = scalar_world(CASE_2, intervals=80)
    solution, noise = world.solve(), TruncatedGaussian(CASE_2.noise_std, CASE_2.noise_limit)
    assert integration_error(world, noise, solution.cost_to_go) < 1e-9
    assert action_error(world, solution) < 1e-7
    coarse = scalar_world(CASE_2, intervals=80, noise=QuadratureNoise.of(noise, 3))
    assert integration_error(coarse, noise, solution.cost_to_go) > 1e-2
    worse = replace(solution, cost_to_go=world.policy_cost_to_go(world.project(np.zeros(81))))
    assert action_error(world, worse) > 1e-2
    exact = composite_expectation(noise, world.nodes, solution.cost_to_go, 0.31, 8)
    assert (world.transition.weights(np.array([0.31]), world.nodes) @ solution.cost_to_go)[0] == pytest.approx(exact)


def test_value_iteration_from_anywhere_ends_at_the_policy_iteration_solution() -> None:
    world = scalar_world(CASE_2, intervals=32, discount=0.8)
    value = np.random.default_rng(0).normal(size=33)
    for _ in range(150):
        value, _ = world.improve(value)
    np.testing.assert_allclose(value, world.solve().cost_to_go, atol=1e-9)


def test_case_1_policies_differ_through_the_bound_at_zero() -> None:
    world, model = scalar_world(CASE_1, intervals=160), expected_value_model(CASE_1, intervals=160)
    optimal, believed = world.solve(), model.solve()
    kept = world.nodes + optimal.policy
    assert kept.min() == pytest.approx(CASE_1.noise_limit, abs=1e-9)
    np.testing.assert_allclose(believed.policy[:41], -world.nodes[:41], atol=1e-9)  # sells down to 0 and stays
    assert np.max(np.abs(optimal.policy - believed.policy)) > 0.2
    assert world.evaluate(believed.policy) == -np.inf
    penalised = scalar_world(CASE_1, penalty=100.0, intervals=160)
    assert penalised.evaluate(believed.policy) < -100.0 < 0.2 < penalised.solve().mean_return
    slope = np.diff(optimal.cost_to_go) * 160
    assert slope.min() > -2.001 and slope.max() < -0.9  # nearly linear: between the buying and the selling price


def test_case_2_has_a_kink_at_one_half_and_a_band_without_action() -> None:
    world, model = scalar_world(CASE_2, intervals=160), expected_value_model(CASE_2, intervals=160)
    optimal, believed = world.solve(), model.solve()
    slope = np.diff(optimal.cost_to_go) * 160
    assert slope[79] == pytest.approx(-1.0, abs=0.05) and slope[80] == pytest.approx(1.0, abs=0.05)
    assert np.max(np.abs(np.delete(np.diff(slope), 79))) < 0.1  # no other kink of that size
    band = np.abs(world.nodes - 0.5) < 0.06
    np.testing.assert_allclose(optimal.policy[band], 0.0, atol=1e-9)
    np.testing.assert_allclose(believed.policy[band], 0.5 - world.nodes[band], atol=1e-9)
    assert world.evaluate(believed.policy) < optimal.mean_return - 2.0


def test_a_policy_given_on_few_states_is_interpolated() -> None:
    world = scalar_world(CASE_2, intervals=160)
    states = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    tent = np.array([0.25, 0.2, 0.0, -0.2, -0.25])
    assert world.evaluate(tent) == world.evaluate(np.interp(world.nodes, states, tent), world.nodes)


def test_noise_that_leaves_no_feasible_action_is_refused() -> None:
    with pytest.raises(NoFeasibleAction, match=r"at s = [01] no action .* \|w\| <= 0.3") as caught:
        scalar_world(replace(CASE_2, noise_limit=0.3))
    assert caught.value.exit_code == 65
    scalar_world(replace(CASE_2, noise_limit=0.3), penalty=10.0)


@pytest.mark.parametrize("discount", [0.0, 1.0, 1.5])
def test_discount_outside_the_open_unit_interval_is_refused(discount: float) -> None:
    with pytest.raises(BadProblem, match=str(discount)):
        ScalarProblem(CASE_1, scalar_world(CASE_1).transition, discount=discount)
