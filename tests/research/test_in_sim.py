"""Training in simulation, its sensitivity, and the policy gradient that moves the simulator."""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import pytest

from nisse.cli import main
from research.experiments.in_sim import (
    DISCOUNT,
    EXPLORATION_STD,
    NU_START,
    PENALTY,
    THETA_HIGH,
    THETA_LOW,
    THETA_START,
    TRUST,
    real_plant,
    sensitivity_mismatch,
    tune,
)
from research.experiments.in_sim_levels import best_in_class, real_cost, real_gradient, real_world, tune_levels
from research.experiments.in_sim_page import GradientErrors
from research.heat_pump_levels import (
    LEVELS,
    NU_SCALE,
    TEMPERATURES,
    LevelSimulator,
    draw_levels,
    exact_cost,
    policy,
    stage_cost,
    transition,
)
from research.in_sim import (
    Simulator,
    policy_derivatives,
    policy_gradient,
    policy_mean,
    real_rollouts,
)
from research.likelihood import accumulate, descend
from research.memory import TooManyScenarios, require_memory
from research.scalar_battery import CASE_2
from research.tabular.scalar import scalar_world


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(scenarios=60, horizon=15, discount=DISCOUNT)


def test_gradient_and_second_derivatives_against_finite_differences(simulator: Simulator) -> None:
    nu, theta, h = np.array([1.1, 0.06, 0.49]), np.array([0.08, 1.2, 0.01]), 1e-6
    gradient = simulator.cost(nu, theta)[1]
    hessian, mixed = simulator.second_derivatives(nu, theta)
    for i, e in enumerate(h * np.eye(3)):
        slope = (simulator.cost(nu + e, theta)[0] - simulator.cost(nu - e, theta)[0]) / (2 * h)
        assert slope == pytest.approx(gradient[i], rel=1e-5, abs=1e-7)
        row = (simulator.cost(nu + e, theta)[1] - simulator.cost(nu - e, theta)[1]) / (2 * h)
        np.testing.assert_allclose(hessian[:, i], row, rtol=1e-4, atol=1e-4)
        column = (simulator.cost(nu, theta + e)[1] - simulator.cost(nu, theta - e)[1]) / (2 * h)
        np.testing.assert_allclose(mixed[:, i], column, rtol=1e-4, atol=1e-4)


def test_sensitivity_of_the_trained_policy_against_retraining(simulator: Simulator) -> None:
    theta = np.array([0.06, 1.0, 0.01])
    trained = simulator.train(theta, NU_START)
    assert trained.gradient_norm < 1e-6
    assert sensitivity_mismatch(simulator, theta, trained, THETA_HIGH - THETA_LOW) < 1e-4


def test_score_function_agrees_with_differences_on_common_random_numbers() -> None:
    nu, std, options = np.array([1.2, 0.06, 0.48]), 0.05, {"rollouts": 20_000, "steps": 8}

    def mean_cost(parameters: np.ndarray) -> np.ndarray:
        generator = np.random.default_rng(1)
        data = real_rollouts(parameters, real_plant, exploration_std=std, generator=generator, **options)
        return data.cost @ DISCOUNT ** np.arange(8)

    estimates = []
    for seed in range(8):
        generator = np.random.default_rng(100 + seed)
        data = real_rollouts(nu, real_plant, exploration_std=std, generator=generator, **options)
        estimates.append(policy_gradient(data, nu, DISCOUNT, std))
    mean, error = np.mean(estimates, axis=0), np.std(estimates, axis=0, ddof=1) / np.sqrt(8)
    for i, e in enumerate(np.diag([0.02, 2e-3, 2e-3])):
        difference = (mean_cost(nu + e) - mean_cost(nu - e)) / (2 * e.max())
        tolerance = 4 * error[i] + 4 * difference.std() / np.sqrt(len(difference)) + 0.02 * abs(mean[i])
        assert abs(mean[i] - difference.mean()) < tolerance


def test_tuning_the_simulator_improves_the_real_return(simulator: Simulator) -> None:
    world = scalar_world(CASE_2, penalty=PENALTY, intervals=80, discount=DISCOUNT)
    arguments = argparse.Namespace(iterations=5, rollouts=300, trust=TRUST, exploration=EXPLORATION_STD)
    first = simulator.train(THETA_START, NU_START)
    history = tune(simulator, world, first, arguments, 0, lambda _: None)
    assert len(history) == 6
    assert history[-1].real_return > history[0].real_return + 0.05
    assert all((h.theta >= THETA_LOW).all() and (h.theta <= THETA_HIGH).all() for h in history)
    again = tune(simulator, world, first, arguments, 0, lambda _: None)
    assert [h.real_return for h in again] == [h.real_return for h in history]


def test_from_how_many_rollouts_on_by_seed() -> None:
    """Errors that fall like c_s n^(-1/2): a seed is within 20 % from 25 c_s^2 rollouts on."""
    counts, c = (1000, 4000, 16_000), np.array([8.0, 12.0, 14.0])
    found = GradientErrors("a plant", counts, c[:, None] / np.sqrt(counts), (), np.empty((3, 0)), 0.0)
    np.testing.assert_allclose(found.enough_by_seed, 25.0 * c**2)
    assert found.enough == pytest.approx(25.0 * np.mean(c**2)) and found.enough_in_every_seed == 16_000
    assert replace(found, by_ratio=np.full((3, 3), 0.3)).enough_in_every_seed is None


def test_policy_is_bounded_and_rests_near_its_centre() -> None:
    a = policy_mean(np.linspace(-1.0, 2.0, 301), np.array([3.0, 0.1, 0.5]))
    assert np.max(np.abs(a)) <= 0.25 and abs(a[150]) < 1e-12 and (np.diff(a) <= 1e-12).all()


def test_derivatives_of_the_policy_against_differences() -> None:
    s, nu, h = np.linspace(-0.3, 1.3, 81), np.array([1.2, 0.05, 0.48]), 1e-6
    mean, gradient, second = policy_derivatives(s, nu)
    np.testing.assert_allclose(mean, policy_mean(s, nu), atol=1e-15)
    for i, e in enumerate(h * np.eye(3)):
        up, down = policy_derivatives(s, nu + e), policy_derivatives(s, nu - e)
        np.testing.assert_allclose(gradient[:, i], (up[0] - down[0]) / (2 * h), atol=1e-6)
        np.testing.assert_allclose(second[:, i], (up[1] - down[1]) / (2 * h), atol=1e-4)


def test_scenarios_in_blocks_are_one_sample() -> None:
    """J_hat by a plain loop over all 130 scenarios; with exploration, and a block that is not full."""
    simulator = Simulator(scenarios=130, horizon=5, discount=0.9, seed=3, exploration_std=0.05)
    nu, theta, rng = np.array([1.1, 0.06, 0.49]), np.array([0.08, 1.2, 0.01]), np.random.default_rng(3)
    s, w = rng.uniform(size=(1, 130))[0], rng.normal(size=(5, 130))
    w -= w.mean(axis=1, keepdims=True)
    explored, total = 0.05 * rng.normal(size=(5, 130)), 0.0
    for k in range(5):
        a = policy_mean(s, nu) + explored[k]
        total += 0.9**k * np.mean(np.hypot(s - 0.5, 0.01) + theta[1] * np.hypot(a, 0.01))
        s = s + a + theta[2] + theta[0] * w[k]
    assert simulator.cost(nu, theta)[0] == pytest.approx(total, rel=1e-12)


THREE = LevelSimulator(horizon=12)
THETA, NU = np.array([0.4, 0.3, 1.0]), np.array([0.8, 20.8])


def test_the_exact_cost_of_three_levels_against_enumeration_and_differences() -> None:
    """Two hours by hand over all levels and temperatures; derivatives in nu and theta by differences."""
    p, cost, pi = transition(0.4, 0.3), stage_cost(1.0), policy(NU)
    start = np.where((TEMPERATURES >= 19) & (TEMPERATURES <= 23), 1.0, 0.0)
    by_hand = 0.0
    for i, chance in enumerate(start / start.sum()):
        for level in range(3):
            by_hand += chance * pi[level, i] * (cost[level, i] + 0.95 * p[level, i] @ np.sum(pi * cost, axis=0))
    assert exact_cost(p, cost, pi, 2, 0.95) == pytest.approx(by_hand, rel=1e-12)
    assert THREE.cost(NU, THETA)[0] == pytest.approx(exact_cost(p, cost, pi, 12, 0.95), rel=1e-12)
    hessian, mixed = THREE.second_derivatives(NU, THETA)
    for i, e in enumerate(1e-5 * np.eye(2)):
        row = (THREE.cost(NU + e, THETA)[1] - THREE.cost(NU - e, THETA)[1]) / 2e-5
        np.testing.assert_allclose(hessian[i], row, rtol=1e-5, atol=1e-6)
    for i, e in enumerate(1e-5 * np.eye(3)):
        column = (THREE.cost(NU, THETA + e)[1] - THREE.cost(NU, THETA - e)[1]) / 2e-5
        np.testing.assert_allclose(mixed[:, i], column, rtol=1e-5, atol=1e-6)


def test_likelihood_ratios_have_the_exact_derivatives_as_their_mean() -> None:
    """Through three levels, away from nu*: eight estimates, their mean within four standard errors of it."""
    exact = (THREE.cost(NU, THETA)[1], *THREE.second_derivatives(NU, THETA))
    found = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        found.append(accumulate(lambda n, g=rng: THREE.rollouts(NU, THETA, n, g), [4096], 0.95, pilot=512)[0])
    for i, name in enumerate(("gradient", "hessian", "mixed")):
        values = np.array([getattr(f, name) for f in found])
        error = values.std(axis=0, ddof=1) / np.sqrt(8)
        assert (error > 0).all() and (error < 0.25 * np.abs(exact[i]).max()).all()
        assert (np.abs(values.mean(axis=0) - exact[i]) < 4.5 * error).all()


def test_both_forms_estimate_the_same_derivative_of_the_store() -> None:
    simulator = Simulator(scenarios=2000, horizon=8, discount=0.95, exploration_std=0.06)
    nu, theta = np.array([1.0, 0.04, 0.49]), np.array([0.06, 1.0, 0.01])
    fixed = simulator.second_derivatives(nu, theta)
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        found.append(accumulate(lambda n, g=rng: simulator.rollouts(nu, theta, n, g), [6000], 0.95, pilot=1000)[0])
    for i, name in enumerate(("hessian", "mixed")):
        values = np.array([getattr(f, name) for f in found])
        error = values.std(axis=0, ddof=1) / np.sqrt(6)
        assert (np.abs(values.mean(axis=0) - fixed[i]) < 5 * error + 0.05 * np.abs(fixed[i]).max()).all()


def test_stochastic_policy_gradient_ends_at_the_exact_minimum() -> None:
    rng = np.random.default_rng(0)
    exact = THREE.train(THETA, NU)
    start = np.array([0.5, 20.2])
    found = descend(
        lambda nu, n: THREE.rollouts(nu, THETA, n, rng), start, NU_SCALE, 0.95, iterations=120, batch=200, step=0.3
    )
    gap, before = THREE.cost(found, THETA)[0] - exact.cost, THREE.cost(start, THETA)[0] - exact.cost
    assert before > 1.0 and gap < 0.02 * before


def test_draws_of_levels_are_those_of_the_chain() -> None:
    p, _ = real_world()
    np.testing.assert_allclose(p.sum(axis=2), 1.0, rtol=1e-12)
    drawn = draw_levels(p, policy(NU), 40_000, 1, np.random.default_rng(1))
    middle = int(np.argmin(np.abs(TEMPERATURES - 21.0)))
    here = drawn.state[:, 0] == middle
    shares = np.bincount(drawn.level[here, 0], minlength=len(LEVELS)) / here.sum()
    assert np.abs(shares - policy(NU)[:, middle]).max() < 5 * 0.5 / np.sqrt(here.sum())
    after = drawn.state[here, 1]
    expected = np.einsum("l,lj->j", policy(NU)[:, middle], p[:, middle])
    assert np.abs(np.bincount(after, minlength=len(expected)) / here.sum() - expected).max() < 5 * 0.5 / np.sqrt(
        here.sum()
    )


def test_the_real_gradient_and_the_loop_of_three_levels() -> None:
    h = 1e-5
    exact = [(real_cost(THREE, NU + e) - real_cost(THREE, NU - e)) / (2 * h) for e in h * np.eye(2)]
    found = np.array([real_gradient(THREE, NU, np.random.default_rng(seed)) for seed in range(60)])
    assert (np.abs(found.mean(axis=0) - exact) < 4.5 * found.std(axis=0, ddof=1) / np.sqrt(60)).all()
    history = tune_levels(THREE, 5, np.random.default_rng(0), lambda _: None)
    best = best_in_class(THREE)
    assert best <= min(i.real_cost for i in history)
    assert history[0].real_cost - history[-1].real_cost > 0.6 * (history[0].real_cost - best)


def test_more_scenarios_than_memory_holds_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    require_memory(1000, "scenarios", 1200, 1_200_000)
    with pytest.raises(TooManyScenarios, match=r"1001 scenarios take .* ask for at most 1000"):
        require_memory(1001, "scenarios", 1200, 1_200_000)
    assert main(["experiment", "in-sim", "--scenarios", "900000000000"]) == 65
    told = capsys.readouterr().err.strip()
    assert "900000000000 scenarios of 30 steps" in told and "ask for at most" in told and "\n" not in told
