"""Training in simulation, its sensitivity, and the policy gradient that moves the simulator."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from research.experiments.in_sim import (
    DISCOUNT,
    NU_START,
    PENALTY,
    THETA_HIGH,
    THETA_LOW,
    THETA_START,
    real_plant,
    sensitivity_mismatch,
    tune,
)
from research.in_sim import Simulator, policy_gradient, policy_mean, real_rollouts
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
    assert sensitivity_mismatch(simulator, theta, trained) < 1e-4


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
    arguments = argparse.Namespace(iterations=5, rollouts=300, seed=0)
    first = simulator.train(THETA_START, NU_START)
    history = tune(simulator, world, first, arguments, lambda _: None)
    assert len(history) == 6
    assert history[-1].real_return > history[0].real_return + 0.05
    assert all((h.theta >= THETA_LOW).all() and (h.theta <= THETA_HIGH).all() for h in history)
    again = tune(simulator, world, first, arguments, lambda _: None)
    assert [h.real_return for h in again] == [h.real_return for h in history]


def test_policy_is_bounded_and_rests_near_its_centre() -> None:
    a = policy_mean(np.linspace(-1.0, 2.0, 301), np.array([3.0, 0.1, 0.5]))
    assert np.max(np.abs(a)) <= 0.25 and abs(a[150]) < 1e-12 and (np.diff(a) <= 1e-12).all()
