"""A critic with two layers, learned by replayed, normalised steps on the TD error.

    Q(z) = w1' phi1(W2' phi2(z)),   z = (phi(s), a),   phi2(z) = (1, z),   phi1(y) = (1, tanh y)
    e    = Q(z) - L - gamma Q(z+),  d = d Q(z) / d (w1, W2)                                   (semi-gradient)
    (w1, W2) <- (w1, W2) - rate * mean over a replay window of  d e / (d'd + 1)^2

The normalisation bounds every step however large the data vector d is, which is what the convergence of the weights
to a bounded set under persistent excitation rests on. The notes differentiate e through z+ as well; with a stochastic
z+ that is the gradient of another objective (the residual of the mean is not the mean of the residual), so z+ is held.
Source: "Remarks on deep RL" (critic, data vector, experience replay).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tuner.critics.face import CriticError, Standardiser, check_fit_inputs
from tuner.policy import Array
from tuner.transitions import Batch


@dataclass(frozen=True)
class TwoLayerCritic:
    """Fitted weights: w1 (1 + h), w2 (1 + f + m, h). Costs were divided by cost_scale before learning."""

    standardise: Standardiser
    action_mean: Array
    action_scale: Array
    cost_scale: float
    gamma: float
    w1: Array
    w2: Array

    def inputs(self, features: Array, action: Array) -> Array:
        """phi2(z) (n, 1 + f + m)."""
        return np.column_stack([self.standardise(features), (action - self.action_mean) / self.action_scale])

    def q(self, features: Array, action: Array) -> Array:
        return self.cost_scale * (_hidden(self.inputs(features, action), self.w2) @ self.w1)

    def value(self, features: Array) -> Array:
        """Q at the mean action of the batch: the baseline of a state, for want of its own policy action."""
        return self.q(features, np.broadcast_to(self.action_mean, (len(features), len(self.action_mean))))

    def q_gradient_a(self, batch: Batch) -> Array:
        hidden = _hidden(self.inputs(batch.features, batch.policy_action), self.w2)[:, 1:]
        m = len(self.action_mean)
        slope = (1 - hidden**2) * self.w1[1:]
        return self.cost_scale * slope @ self.w2[-m:].T / self.action_scale

    def td_error(self, batch: Batch) -> Array:
        following = self.q(batch.next_features, batch.next_policy_action)
        return batch.cost + self.gamma * following - self.q(batch.features, batch.action)


@dataclass(frozen=True)
class TwoLayer:
    """Learning of the critic; `seed` draws initial weights and replay windows."""

    hidden: int = 12
    updates: int = 6000
    window: int = 48
    """Transitions per update."""
    rate: float = 4.0
    """Below 8: d'd / (d'd + 1)^2 never exceeds 1/4."""
    seed: int = 0

    def fit(self, batch: Batch, gamma: float, theta_scale: Array) -> TwoLayerCritic:
        check_fit_inputs(batch, gamma)
        rng = np.random.default_rng(self.seed)
        standardise = Standardiser.of(batch.features)
        spread = batch.action.std(axis=0)
        action_scale = np.where(spread > 1e-12, spread, 1.0)
        # Values are about cost / (1 - gamma): dividing by it keeps the targets near 1, where tanh bends.
        cost_scale = max(float(np.abs(batch.cost).mean()) / (1 - gamma), 1e-12)
        critic = TwoLayerCritic(
            standardise, batch.action.mean(axis=0), action_scale, cost_scale, gamma, np.zeros(0), np.zeros((0, 0))
        )
        z = critic.inputs(batch.features, batch.action)
        z_next = critic.inputs(batch.next_features, batch.next_policy_action)
        cost = batch.cost / cost_scale
        w1 = np.zeros(1 + self.hidden)
        w2 = rng.normal(0.0, 1.0 / np.sqrt(z.shape[1]), (z.shape[1], self.hidden))
        for _ in range(self.updates):
            pick = rng.integers(0, len(batch), self.window)
            w1, w2 = normalised_step(w1, w2, z[pick], z_next[pick], cost[pick], gamma, self.rate)
        if not (np.all(np.isfinite(w1)) and np.all(np.isfinite(w2))):
            raise CriticError("the two-layer critic diverged; choose the critic lstdq")
        return TwoLayerCritic(standardise, critic.action_mean, action_scale, cost_scale, gamma, w1, w2)


def normalised_step(
    w1: Array, w2: Array, z: Array, z_next: Array, cost: Array, gamma: float, rate: float
) -> tuple[Array, Array]:
    """One replayed update of both layers; z (k, i) are phi2 of the window, cost (k,). Returns the new weights."""
    hidden = _hidden(z, w2)
    error = hidden @ w1 - cost - gamma * (_hidden(z_next, w2) @ w1)
    # d = (hidden, outer(z, back)): its squared norm needs no outer product.
    back = (1 - hidden[:, 1:] ** 2) * w1[1:]
    norm2 = np.sum(hidden**2, axis=1) + np.sum(z**2, axis=1) * np.sum(back**2, axis=1)
    weight = error / (norm2 + 1) ** 2 / len(error)
    return w1 - rate * hidden.T @ weight, w2 - rate * (z * weight[:, None]).T @ back


def _hidden(z: Array, w2: Array) -> Array:
    """phi1(W2' phi2) (n, 1 + h)."""
    return np.column_stack([np.ones(len(z)), np.tanh(z @ w2)])
