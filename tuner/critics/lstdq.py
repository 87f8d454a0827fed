"""LSTDQ: a critic linear in features that are compatible with the policy, by least-squares temporal differences.

    Q_w(s, a) = psi(s, a)' w + phi(s)' v,     psi(s, a) = (d pi/d theta)' (a - pi(s))                      (compatible)
    v:  sum phi (phi - gamma phi+)' v = sum phi L                                                         (LSTD)
    w:  min sum (psi' w + phi' v - L - gamma phi+' v)^2 + ridge |w|^2

With such features the deterministic policy gradient of the fitted Q is that of the true one. A parameter without
influence on the move has psi = 0; the ridge keeps its weight at zero.
Sources: Silver et al., "Deterministic Policy Gradient Algorithms" (compatible features); Lagoudakis and Parr,
"Least-Squares Policy Iteration" (LSTDQ); "All AI Models are Wrong, but Some are Optimal" (their use with MPC).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tuner.critics.face import CriticError, Standardiser, check_fit_inputs
from tuner.policy import Array
from tuner.transitions import Batch


def compatible_features(batch: Batch, theta_scale: Array) -> Array:
    """psi (n, p), per parameter in units of its bound width."""
    return np.einsum("nmp,nm->np", batch.policy_jacobian * theta_scale, batch.action - batch.policy_action)


@dataclass(frozen=True)
class LinearCritic:
    """A fitted LSTDQ critic; v (1 + f) on standardised state features, w (p) on compatible features."""

    standardise: Standardiser
    v: Array
    w: Array
    gamma: float
    theta_scale: Array

    def value(self, features: Array) -> Array:
        return self.standardise(features) @ self.v

    def q_gradient_a(self, batch: Batch) -> Array:
        return np.einsum("nmp,p->nm", batch.policy_jacobian * self.theta_scale, self.w)

    def td_error(self, batch: Batch) -> Array:
        q = compatible_features(batch, self.theta_scale) @ self.w + self.value(batch.features)
        return batch.cost + self.gamma * self.value(batch.next_features) - q


@dataclass(frozen=True)
class Lstdq:
    """Ridges are relative: to the mean diagonal of each normal matrix."""

    ridge_value: float = 1e-6
    ridge_advantage: float = 1e-3

    def fit(self, batch: Batch, gamma: float, theta_scale: Array) -> LinearCritic:
        check_fit_inputs(batch, gamma)
        standardise = Standardiser.of(batch.features)
        phi, phi_next = standardise(batch.features), standardise(batch.next_features)
        n = len(batch)
        a_matrix = phi.T @ (phi - gamma * phi_next) / n
        a_matrix += self.ridge_value * np.eye(len(a_matrix))
        v = _solve(a_matrix, phi.T @ batch.cost / n, "the values of the states")
        advantage = batch.cost + gamma * phi_next @ v - phi @ v
        psi = compatible_features(batch, theta_scale)
        gram = psi.T @ psi / n
        size = float(np.trace(gram)) / len(gram)
        if size == 0.0:
            w = np.zeros(len(gram))
        else:
            w = _solve(gram + self.ridge_advantage * size * np.eye(len(gram)), psi.T @ advantage / n, "the advantages")
        return LinearCritic(standardise, v, w, gamma, theta_scale)


def _solve(matrix: Array, right: Array, what: str) -> Array:
    try:
        solution = np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError as error:
        raise CriticError(f"LSTDQ cannot determine {what}: gather more transitions or raise the ridge") from error
    if not np.all(np.isfinite(solution)):
        raise CriticError(f"LSTDQ found no finite weights for {what}: a cost or feature in the batch is not finite")
    return solution
