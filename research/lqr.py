"""The linear-quadratic regulator with unknown dynamics, three ways on the same number of transitions.

"Safety and data-driven control" (Dean, lecture). s+ = A s + B a + w, cost s'Q s + a'R a, average over time, a = K s.
The lecture prints the gain as -(R + B'PB)^-1 B'QPA; the Q in it is one too many (invisible for Q = I):

    K* = -(R + B'PB)^-1 B'PA,    P = DARE(A, B, Q, R)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_are, solve_discrete_lyapunov

Array = NDArray[np.float64]
LSTD_ITERATIONS = 12
STEP, DIFFERENCE = 0.05, 0.8
"""Of the policy gradient: first step, and difference of the gains at rollouts of 100 steps."""
LARGEST_MOVE = 0.1


@dataclass(frozen=True)
class LinearQuadratic:
    """A (n, n), B (n, m), Q (n, n) > 0, R (m, m) > 0; w ~ N(0, noise_std^2 I)."""

    a: Array
    b: Array
    q: Array
    r: Array
    noise_std: float

    @property
    def n(self) -> int:
        return int(self.b.shape[0])

    @property
    def m(self) -> int:
        return int(self.b.shape[1])

    def optimal_gain(self) -> Array:
        return riccati_gain(self.a, self.b, self.q, self.r)

    def average_cost(self, gain: Array) -> float:
        """J(K) = noise_std^2 trace P_K with P_K = Q + K'RK + (A + BK)'P_K(A + BK); inf if A + BK is not stable."""
        closed = self.a + self.b @ gain
        if np.max(np.abs(np.linalg.eigvals(closed))) >= 1.0:
            return float("inf")
        cost = solve_discrete_lyapunov(closed.T, self.q + gain.T @ self.r @ gain)
        return float(self.noise_std**2 * np.trace(cost))

    def stage_cost(self, s: Array, a: Array) -> Array:
        """s (..., n), a (..., m) -> (...)."""
        return np.asarray(np.einsum("...i,ij,...j", s, self.q, s) + np.einsum("...i,ij,...j", a, self.r, a))


def riccati_gain(a: Array, b: Array, q: Array, r: Array) -> Array:
    p = solve_discrete_are(a, b, q, r)
    return np.asarray(-np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a))


@dataclass(frozen=True)
class LinearTransitions:
    """s (N, n), a (N, m), cost (N,), s_next (N, n)."""

    s: Array
    a: Array
    cost: Array
    s_next: Array

    def first(self, count: int) -> LinearTransitions:
        return LinearTransitions(self.s[:count], self.a[:count], self.cost[:count], self.s_next[:count])


def explore(system: LinearQuadratic, gain: Array, count: int, *, action_std: float, seed: int) -> LinearTransitions:
    """One trajectory from s = 0 under a = K s + exploration."""
    generator = np.random.default_rng(seed)
    w = system.noise_std * generator.normal(size=(count, system.n))
    e = action_std * generator.normal(size=(count, system.m))
    s, a = np.zeros((count + 1, system.n)), np.zeros((count, system.m))
    for k in range(count):
        a[k] = gain @ s[k] + e[k]
        s[k + 1] = system.a @ s[k] + system.b @ a[k] + w[k]
    return LinearTransitions(s[:-1], a, system.stage_cost(s[:-1], a), s[1:])


def certainty_equivalence(data: LinearTransitions, q: Array, r: Array) -> Array:
    """Least squares for (A, B), then the Riccati gain as if the estimate were true."""
    found, *_ = np.linalg.lstsq(np.hstack([data.s, data.a]), data.s_next, rcond=None)
    estimate, n = np.asarray(found, dtype=np.float64), data.s.shape[1]
    return riccati_gain(estimate[:n].T, estimate[n:].T, q, r)


def lstd_policy_iteration(data: LinearTransitions, gain: Array, iterations: int = LSTD_ITERATIONS) -> Array:
    """Approximate policy iteration: LSTD for Q_K on quadratic features, then K s = argmin_a Q_K(s, a), on one data set.

    q'phi(s, a) + f = c(s, a) + E[q'phi(s+, K s+)], f the average cost. A critic not convex in a ends the iteration.
    """
    n = data.s.shape[1]
    phi = quadratic_features(np.hstack([data.s, data.a]))
    instruments = np.hstack([phi, np.ones((len(phi), 1))])
    for _ in range(iterations):
        phi_next = quadratic_features(np.hstack([data.s_next, data.s_next @ gain.T]))
        regressors = np.hstack([phi - phi_next, np.ones((len(phi), 1))])
        weights, *_ = np.linalg.lstsq(instruments.T @ regressors, instruments.T @ data.cost, rcond=None)
        matrix = symmetric(weights[:-1], data.s.shape[1] + data.a.shape[1])
        curvature = matrix[n:, n:]
        if np.min(np.linalg.eigvalsh(curvature)) <= 0.0:
            break
        gain = np.asarray(-np.linalg.solve(curvature, matrix[n:, :n]), dtype=np.float64)
    return gain


def quadratic_features(z: Array) -> Array:
    """z (N, k) -> products z_i z_j for i <= j, (N, k (k + 1) / 2)."""
    i, j = np.triu_indices(z.shape[1])
    return z[:, i] * z[:, j]


def symmetric(weights: Array, size: int) -> Array:
    """The symmetric M with z'M z = weights'quadratic_features(z)."""
    upper = np.zeros((size, size))
    upper[np.triu_indices(size)] = weights
    return (upper + upper.T) / 2.0


def finite_difference_gradient_descent(
    system: LinearQuadratic, gain: Array, count: int, *, seed: int, step: float = STEP, difference: float = DIFFERENCE
) -> Array:
    """K <- K - step * central differences of the average cost, each measured on a rollout of its own.

    The budget of `count` transitions is split so that steps and rollout length grow alike, and the difference shrinks
    as the noise allows. A move is limited to LARGEST_MOVE in norm, so that a bad gradient does not destabilise the
    plant.
    """
    generator = np.random.default_rng(seed)
    entries = gain.size
    n_steps = max(1, round(0.5 * np.sqrt(count / (2 * entries))))
    length = count // (2 * entries * n_steps)
    apart = difference * (length / 100.0) ** (-1.0 / 6.0)
    directions = np.eye(entries).reshape(entries, *gain.shape) * apart
    best = gain.copy()
    for k in range(n_steps):
        tried = best + np.concatenate([directions, -directions])
        measured = _rollout_costs(system, tried, length, generator) / system.noise_std**2
        gradient = ((measured[:entries] - measured[entries:]) / (2.0 * apart)).reshape(gain.shape)
        move = step / (1.0 + k / 10.0) * gradient
        best = best - move * min(1.0, LARGEST_MOVE / max(float(np.linalg.norm(move)), 1e-12))
    return best


def _rollout_costs(system: LinearQuadratic, gains: Array, length: int, generator: np.random.Generator) -> Array:
    """Mean cost over `length` steps from s = 0 under each of the gains (k, m, n); shape (k,)."""
    s, total = np.zeros((len(gains), system.n)), np.zeros(len(gains))
    w = system.noise_std * generator.normal(size=(length, len(gains), system.n))
    for k in range(length):
        a = np.einsum("kmn,kn->km", gains, s)
        total += system.stage_cost(s, a)
        s = s @ system.a.T + a @ system.b.T + w[k]
    return total / length
