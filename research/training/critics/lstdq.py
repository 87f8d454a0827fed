"""LSTDQ: a critic linear in features that are compatible with the policy, by least-squares temporal differences.

    Q(s, a) = psi(s, a)' w + kappa(s, a)' u + phi(s)' v,     x = (psi, kappa, phi),   x+ = (0, 0, phi(s+))
    psi   = (d pi/d theta)' (a - pi(s))              compatible: carries grad_a Q at a = pi
    kappa = |a - pi(s)|^2 (phi(s), psi(s, a))        what exploration itself costs; no slope at a = pi
    sum x (x - gamma x+)' (w, u, v) = sum x L        next action pi(s+), so Q is that of pi, not of the exploring policy

With psi the deterministic policy gradient of the fitted Q is that of the true one. Without kappa's even part the price
of exploring (trading to and fro where it does not pay) would be booked on the states in which it happens; without its
odd part a Q that rises faster on one side (towards a constraint) would tilt the slope at a = pi. A parameter without
influence on the move has psi = 0; the ridge keeps its weight at zero.
Sources: Silver et al., "Deterministic Policy Gradient Algorithms" (compatible features); Lagoudakis and Parr,
"Least-Squares Policy Iteration" (LSTDQ); "All AI Models are Wrong, but Some are Optimal" (their use with MPC).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from research.training.critics.face import Standardiser, check_fit_inputs
from research.training.episodes import Batch
from research.training.policy import Array
from tuner.errors import CriticError


def compatible_features(batch: Batch, theta_scale: Array) -> Array:
    """psi (n, p), per parameter in units of its bound width."""
    return np.asarray(np.einsum("nmp,nm->np", batch.policy_jacobian * theta_scale, batch.action - batch.policy_action))


@dataclass(frozen=True)
class LinearCritic:
    """A fitted LSTDQ critic; w (p) on psi, u (1 + f + p) on kappa, v (1 + f) on standardised phi."""

    standardise: Standardiser
    w: Array
    u: Array
    v: Array
    deviation_scale: float
    """Root mean square of |a - pi| in the batch; kappa is in units of its square."""
    gamma: float
    theta_scale: Array

    def value(self, features: Array, policy_action: Array) -> Array:
        return self.standardise(features) @ self.v

    def q_gradient_a(self, batch: Batch) -> Array:
        return np.asarray(np.einsum("nmp,p->nm", batch.policy_jacobian * self.theta_scale, self.w))

    def td_error(self, batch: Batch) -> Array:
        phi = self.standardise(batch.features)
        psi = compatible_features(batch, self.theta_scale)
        q = psi @ self.w + phi @ self.v + exploration_features(batch, phi, psi, self.deviation_scale) @ self.u
        return batch.cost + self.gamma * self.value(batch.next_features, batch.next_policy_action) - q


def exploration_features(batch: Batch, phi: Array, psi: Array, scale: float) -> Array:
    """kappa (n, 1 + f + p)."""
    squares = np.sum((batch.action - batch.policy_action) ** 2, axis=1)
    return np.asarray(squares[:, None] / scale**2 * np.hstack([phi, psi]))


@dataclass(frozen=True)
class Lstdq:
    """Ridges, relative to the mean diagonal of the block of the matrix they are added to."""

    ridge_value: float = 1e-6
    ridge_advantage: float = 1e-4

    def fit(self, batch: Batch, gamma: float, theta_scale: Array) -> LinearCritic:
        check_fit_inputs(batch, gamma)
        standardise = Standardiser.of(batch.features)
        phi, phi_next = standardise(batch.features), standardise(batch.next_features)
        psi = compatible_features(batch, theta_scale)
        deviation = float(np.sqrt(np.mean(np.sum((batch.action - batch.policy_action) ** 2, axis=1)))) or 1.0
        x = np.hstack([psi, exploration_features(batch, phi, psi, deviation), phi])
        x_next = np.hstack([np.zeros((len(batch), x.shape[1] - phi.shape[1])), phi_next])
        p, f = psi.shape[1], phi.shape[1]
        matrix = x.T @ (x - gamma * x_next) / len(batch)
        ridge = np.concatenate([self._ridge(block) for block in np.split(x, [p, p + f, 2 * p + f], axis=1)[:3]])
        ridge = np.concatenate([ridge, np.full(f, self.ridge_value)])
        weights = _solve(matrix + np.diag(ridge), x.T @ batch.cost / len(batch))
        w, u, v = np.split(weights, [p, 2 * p + f])
        return LinearCritic(standardise, w, u, v, deviation, gamma, theta_scale)

    def _ridge(self, block: Array) -> Array:
        """Of a block of advantage features (n, k): (k,). A block that is all zero still gets an invertible diagonal."""
        return np.full(block.shape[1], self.ridge_advantage * float(np.mean(block**2)) or 1.0)


def _solve(matrix: Array, right: Array) -> Array:
    try:
        solution = np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError as error:
        raise CriticError("LSTDQ has no unique solution: choose another seed, or the critic two-layer") from error
    if not np.all(np.isfinite(solution)):
        raise CriticError("LSTDQ found no finite weights: look for numbers out of scale in prices and theta")
    return np.asarray(solution, dtype=np.float64)
