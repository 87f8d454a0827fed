"""Each gradient estimator against a derivative obtained in another way."""

import numpy as np
from linear_quadratic import GAMMA, A, LinearQuadraticSystem, Q, R, cost_of_gain, gain

from research.training.critics.lstdq import Lstdq
from research.training.episodes import RolloutSpec, exploration_std, rollout, stack
from research.training.methods.dpg import DeterministicPolicyGradient
from research.training.methods.q_learning import QLearning
from research.training.methods.spg import StochasticPolicyGradient
from research.training.policy import MpcPolicy, SystemObservation
from tuner.learn.advantage import generalised_advantage

SYSTEM = LinearQuadraticSystem()
THETA = np.array([0.6, 0.7, 1.0])


def direction_of_improvement() -> np.ndarray:
    """dJ/dtheta up to a positive factor, by differences of the exact closed-loop cost."""
    h = 1e-6
    return np.array(
        [(cost_of_gain(gain(THETA + h * e)) - cost_of_gain(gain(THETA - h * e))) / (2 * h) for e in np.eye(3)]
    )


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def gathered(episodes: int, steps: int, *, with_q: bool = False):
    spec = RolloutSpec(episodes, steps, 0.1, with_q)
    parts = [rollout(SYSTEM, THETA, spec, (7, k)).episode for k in range(episodes)]
    return stack(parts, with_q=with_q), exploration_std(spec, SYSTEM.actions)


def test_deterministic_policy_gradient_has_the_direction_of_the_finite_difference():
    batch, _ = gathered(10, 500)
    critic = Lstdq().fit(batch, GAMMA, np.ones(3))
    found = DeterministicPolicyGradient().improve(batch, critic, GAMMA)
    assert cosine(found.gradient, direction_of_improvement()) > 0.995


def test_stochastic_policy_gradient_has_the_direction_of_the_finite_difference():
    batch, std = gathered(40, 500)
    critic = Lstdq().fit(batch, GAMMA, np.ones(3))
    found = StochasticPolicyGradient(std).improve(batch, critic, GAMMA)
    assert cosine(found.gradient, direction_of_improvement()) > 0.97


def test_q_learning_gradient_is_that_of_the_squared_error_with_held_target():
    batch, _ = gathered(1, 300, with_q=True)
    found = QLearning().improve(batch, None, GAMMA)
    states = -batch.policy_action[:, 0] / gain(THETA)

    def objective(theta: np.ndarray) -> float:
        model = theta[0] * states + theta[1] * batch.action[:, 0]
        q = Q * states**2 + R * batch.action[:, 0] ** 2 + GAMMA * theta[2] * model**2
        delta = batch.cost + GAMMA * batch.next_value - q
        return 0.5 * float(np.var(delta))

    h = 1e-6
    expected = [(objective(THETA + h * e) - objective(THETA - h * e)) / (2 * h) for e in np.eye(3)]
    np.testing.assert_allclose(found.gradient, expected, rtol=1e-5, atol=1e-8)


def test_q_learning_rests_at_the_solution_of_the_bellman_equation():
    from linear_quadratic import B, riccati

    theta = np.array([A, B, riccati()])
    spec = RolloutSpec(8, 500, 0.1, True)
    batch = stack([rollout(SYSTEM, theta, spec, (9, k)).episode for k in range(8)], with_q=True)
    here = QLearning().improve(batch, None, GAMMA)
    away, _ = gathered(8, 500, with_q=True)
    there = QLearning().improve(away, None, GAMMA)
    assert np.linalg.norm(here.gradient) < 0.05 * np.linalg.norm(there.gradient)


def test_generalised_advantage_equals_its_sum_and_stops_at_gaps():
    delta, segment = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 0, 1])
    np.testing.assert_allclose(generalised_advantage(delta, segment, 0.5), [1 + 1 + 0.75, 2 + 1.5, 3, 4])


def test_the_policy_reports_what_the_closed_form_says():
    policy = MpcPolicy(SYSTEM.controller(), SYSTEM.actions, THETA)
    decision = policy.decide(SystemObservation(np.array([1.5]), np.zeros((2, 0))))
    assert decision.action[0] == -gain(THETA) * 1.5
    assert policy.solves == 1
