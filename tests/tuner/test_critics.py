"""Critics against the linear-quadratic problem, where V, Q and the policy gradient are known."""

import numpy as np
import pytest
from linear_quadratic import GAMMA, A, B, LinearQuadraticSystem, R, cost_of_gain, gain

from tuner.critics import CRITICS
from tuner.critics.face import CriticError
from tuner.critics.lstdq import Lstdq
from tuner.critics.two_layer import normalised_step
from tuner.methods.dpg import DeterministicPolicyGradient
from tuner.transitions import RolloutSpec, rollout, stack

THETA = np.array([0.6, 0.7, 1.0])


def batch_of(steps: int, seed: int = 0, system: LinearQuadraticSystem | None = None):
    system = system or LinearQuadraticSystem()
    return stack([rollout(system, THETA, RolloutSpec(1, steps, 0.1, False), (seed,)).episode], with_q=False)


def exact_action_gradient(batch) -> np.ndarray:
    """dQ/da = 2 R a + 2 gamma P_K B (A s + B a) at a = -K s."""
    k = gain(THETA)
    s = -batch.policy_action[:, 0] / k
    return (2 * R * -k + 2 * GAMMA * cost_of_gain(k) * B * (A - B * k)) * s


def exact_policy_gradient(batch) -> np.ndarray:
    return batch.policy_jacobian[:, 0, :].T @ exact_action_gradient(batch) / len(batch)


def test_lstdq_finds_the_action_gradient_of_the_closed_loop():
    batch = batch_of(40_000)
    critic = Lstdq().fit(batch, GAMMA, np.ones(3))
    exact = exact_action_gradient(batch)
    found = critic.q_gradient_a(batch)[:, 0]
    assert np.linalg.norm(found - exact) < 0.06 * np.linalg.norm(exact)
    gradient = DeterministicPolicyGradient().improve(batch, critic, GAMMA).gradient
    np.testing.assert_allclose(gradient, exact_policy_gradient(batch), rtol=0.06)


def test_lstdq_value_has_the_curvature_of_the_exact_one():
    """Exploration adds noise to the state, which moves the constant of V, not its curvature."""
    batch = batch_of(40_000)
    value = Lstdq().fit(batch, GAMMA, np.ones(3)).value(np.array([[0.0], [1.0]]))
    assert value[1] - value[0] == pytest.approx(cost_of_gain(gain(THETA)), rel=0.05)


def test_the_discount_reaches_the_critic():
    batch = batch_of(5_000)
    one, other = (Lstdq().fit(batch, gamma, np.ones(3)).value(np.array([[1.0]]))[0] for gamma in (0.5, 0.95))
    assert other > 1.5 * one


def test_the_two_layer_critic_points_the_same_way():
    batch = batch_of(8_000)
    critic = CRITICS["two-layer"](0).fit(batch, GAMMA, np.ones(3))
    gradient = DeterministicPolicyGradient().improve(batch, critic, GAMMA).gradient
    exact = exact_policy_gradient(batch)
    assert gradient @ exact > 0.9 * np.linalg.norm(gradient) * np.linalg.norm(exact)


def test_the_normalised_step_follows_the_semi_gradient():
    """The change of the weights is -rate * mean d e / (d'd + 1)^2, with d by finite differences of Q."""
    rng = np.random.default_rng(0)
    z, z_next, cost = rng.normal(size=(1, 4)), rng.normal(size=(1, 4)), np.array([0.7])
    w1, w2 = rng.normal(size=4), rng.normal(size=(4, 3))

    def q(weights: np.ndarray, point: np.ndarray) -> float:
        return float(np.concatenate([[1.0], np.tanh(point[0] @ weights[4:].reshape(4, 3))]) @ weights[:4])

    weights = np.concatenate([w1, w2.ravel()])
    h = 1e-6
    d = np.array([(q(weights + h * e, z) - q(weights - h * e, z)) / (2 * h) for e in np.eye(16)])
    error = q(weights, z) - cost[0] - GAMMA * q(weights, z_next)
    expected = weights - 0.5 * d * error / (d @ d + 1) ** 2
    new1, new2 = normalised_step(w1, w2, z, z_next, cost, GAMMA, 0.5)
    np.testing.assert_allclose(np.concatenate([new1, new2.ravel()]), expected, atol=1e-9)


@pytest.mark.parametrize("name", CRITICS)
@pytest.mark.parametrize("gamma", [0.0, 1.0, 1.5])
def test_a_discount_outside_the_open_interval_is_refused(name, gamma):
    with pytest.raises(CriticError, match="strictly between 0 and 1"):
        CRITICS[name](0).fit(batch_of(10), gamma, np.ones(3))


def test_transitions_next_to_failed_solves_are_masked_and_counted():
    system = LinearQuadraticSystem(fail_above=0.5)
    spec = RolloutSpec(1, 400, 0.1, True)
    gathered = rollout(system, THETA, spec, (3,))
    batch = stack([gathered.episode], with_q=True)
    failed = np.isnan(gathered.episode.value)
    assert gathered.failures > 0
    assert batch.masked == int(np.sum(failed[:-1] | failed[1:])) == 400 - len(batch)
    assert np.all(np.isfinite(Lstdq().fit(batch, GAMMA, np.ones(3)).w))
