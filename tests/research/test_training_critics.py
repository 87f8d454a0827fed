"""Critics against the linear-quadratic problem, where V, Q and the policy gradient are known."""

from dataclasses import replace

import numpy as np
import pytest
from linear_quadratic import GAMMA, A, B, LinearQuadraticSystem, R, cost_of_gain, gain

from research.training.critics import CRITICS
from research.training.critics.lstdq import Lstdq
from research.training.critics.two_layer import TwoLayerMethod
from research.training.episodes import RolloutSpec, rollout, stack
from research.training.methods.dpg import DeterministicPolicyGradient
from tuner.critics.two_layer import TwoLayer, Weights, normalised_step
from tuner.errors import CriticError

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
    value = Lstdq().fit(batch, GAMMA, np.ones(3)).value(np.array([[0.0], [1.0]]), np.zeros((2, 1)))
    assert value[1] - value[0] == pytest.approx(cost_of_gain(gain(THETA)), rel=0.05)


def test_the_discount_reaches_the_critic():
    batch = batch_of(5_000)
    one, other = (
        Lstdq().fit(batch, gamma, np.ones(3)).value(np.array([[1.0]]), np.zeros((1, 1)))[0] for gamma in (0.5, 0.95)
    )
    assert other > 1.5 * one


def test_the_two_layer_critic_finds_the_action_gradient_of_the_closed_loop():
    batch = batch_of(8_000)
    critic = TwoLayerMethod(TwoLayer()).fit(batch, GAMMA, np.ones(3))
    exact = exact_action_gradient(batch)
    found = critic.q_gradient_a(batch)[:, 0]
    assert np.corrcoef(found, exact)[0, 1] > 0.95
    gradient = DeterministicPolicyGradient().improve(batch, critic, GAMMA).gradient
    np.testing.assert_allclose(gradient, exact_policy_gradient(batch), rtol=0.25)
    assert critic.learned.excitation > 0.0


@pytest.mark.parametrize("activation", ["square", "tanh"])
@pytest.mark.parametrize("both", [False, True])
def test_the_normalised_step_follows_the_data_vector(activation, both):
    """The change of the weights is -rate * mean d e / (d'd + 1)^2, with d by finite differences."""
    rng = np.random.default_rng(0)
    z, z_next, cost = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), rng.normal(size=5)
    w1, w2 = rng.normal(size=4), rng.normal(size=(4, 3))
    layer = {"square": lambda y: y**2 / 2, "tanh": np.tanh}[activation]

    def q(weights: np.ndarray, point: np.ndarray) -> float:
        return float(np.concatenate([[1.0], layer(point @ weights[4:].reshape(4, 3))]) @ weights[:4])

    def side(weights: np.ndarray, k: int) -> float:
        return q(weights, z[k]) - (GAMMA * q(weights, z_next[k]) if both else 0.0)

    weights = np.concatenate([w1, w2.ravel()])
    h, change = 1e-6, np.zeros(16)
    for k in range(5):
        d = np.array([(side(weights + h * e, k) - side(weights - h * e, k)) / (2 * h) for e in np.eye(16)])
        error = q(weights, z[k]) - cost[k] - GAMMA * q(weights, z_next[k])
        change -= 0.5 * d * error / (d @ d + 1) ** 2 / 5
    new = normalised_step(Weights(w1, w2, activation), z, z_next, cost, GAMMA, 0.5, "both" if both else "semi")
    np.testing.assert_allclose(np.concatenate([new.w1, new.w2.ravel()]), weights + change, atol=1e-9)


def test_a_critic_without_exploration_is_refused():
    batch = batch_of(50)
    with pytest.raises(CriticError, match="explore"):
        TwoLayerMethod(TwoLayer()).fit(replace(batch, action=batch.policy_action), GAMMA, np.ones(3))


def test_weights_that_leave_their_set_are_told():
    with pytest.raises(CriticError, match=r"went beyond 1000 after .* updates at rate 1e"):
        TwoLayerMethod(TwoLayer(rate=1e7)).fit(batch_of(500), GAMMA, np.ones(3))


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
