"""LSTDQ critic and policy-gradient step for the house, from sums that are added day by day.

    Q(s, a) = V_theta(s) + phi(s)'v + |a - pi|^2 u + psi(s, a)'w,    psi = (d pi/d theta)'(a - pi(s))

The MPC knows its own value V_theta(s), forecasts and all; what is left for v to learn is how the real house differs, and
that is a function of few features. Without V_theta the TD error is four times as large, for the same 90 days.
    sum x (x - gamma x+)'(v, u, w) = sum x delta,    delta = L + gamma V_theta(s+) - V_theta(s),    x = (phi, |.|^2, psi)
The next action is pi(s+), where psi and |.|^2 vanish. dQ/da = (d pi/d theta) w at a = pi, hence the policy gradient
    grad_theta J = E[ (d pi/d theta)' dQ/da ] = E[psi_a psi_a'] w.
The step is Gauss-Newton: with K the Hessian of Q in a, a move of -K^-1 dQ/da is wanted in each state, and dtheta fits it:
    ( E[(d pi/d theta)' K (d pi/d theta)] + damping ) dtheta = -grad_theta J - damping_to_data_fit (theta - theta_0).
Sources: "All AI Models are Wrong, but Some are Optimal", V-B4 and eq. (30); Lagoudakis and Parr, "Least-Squares Policy
Iteration"; Silver et al., "Deterministic Policy Gradient Algorithms".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.condensed.solver import SOLVED, Rollout
from systems.house.theta import ROOMS

Array = NDArray[np.float64]
N_PHI = 1 + 2 * ROOMS
"""A constant, each room's distance from the set-point, and its square."""


@dataclass(frozen=True, eq=False)
class Sums:
    """What a stretch of closed loop adds to the two linear systems; sums over its usable transitions."""

    weight: float
    """Number of transitions, less what was forgotten."""
    lstd: Array
    """(n, n) sum x (x - gamma x+)'; n = N_PHI + 1 + p"""
    target: Array
    """(n,) sum x delta"""
    delta_squares: float
    outer: Array
    """(p, p) sum (d pi/d theta)'(d pi/d theta), theta in units of its scale"""
    curvature: Array
    """(p, p) sum (d pi/d theta)' K (d pi/d theta)"""

    @classmethod
    def empty(cls, p: int) -> Sums:
        n = N_PHI + 1 + p
        return cls(0.0, np.zeros((n, n)), np.zeros(n), 0.0, np.zeros((p, p)), np.zeros((p, p)))

    def after(self, new: Sums, memory: float) -> Sums:
        """The sums with the old ones multiplied by `memory` in [0, 1]."""
        return Sums(
            memory * self.weight + new.weight,
            memory * self.lstd + new.lstd,
            memory * self.target + new.target,
            memory * self.delta_squares + new.delta_squares,
            memory * self.outer + new.outer,
            memory * self.curvature + new.curvature,
        )


def state_features(temperature_c: Array, set_point_c: float) -> Array:
    """phi (T, N_PHI) of the temperatures (T, rooms) at the decisions; scaled to be of order one."""
    error = temperature_c - set_point_c
    return np.hstack([np.ones((len(error), 1)), error, error**2])


def sums_of(rollout: Rollout, temperature_c: Array, *, set_point_c: float, gamma: float, entries: Array, scale: Array) -> Sums:
    """Sums of one rollout with exploration and policy Jacobian.

    temperature_c (decisions, rooms) at the decisions; entries (p,) of theta that learn, in units of scale (p,). The last
    decision only closes the transition before it; transitions next to a failed solve are left out.
    """
    solved = rollout.status == SOLVED
    use = solved[:-1] & solved[1:]
    jacobian = (rollout.policy_jacobian[:-1, :, entries] * scale)[use]
    deviation = (rollout.action - rollout.policy)[:-1][use]
    phi = state_features(temperature_c, set_point_c)
    psi = np.einsum("tan,ta->tn", jacobian, deviation)
    x = np.hstack([phi[:-1][use], (deviation**2).sum(1, keepdims=True), psi])
    step = x.copy()
    step[:, :N_PHI] -= gamma * phi[1:][use]
    delta = (rollout.costs[:-1, 3] + gamma * rollout.value[1:] - rollout.value[:-1])[use]
    hessian = np.linalg.pinv(rollout.action_inverse[:-1][use], rcond=1e-9, hermitian=True)
    rows = jacobian.reshape(-1, len(scale))
    weighted = np.einsum("tab,tbn->tan", hessian, jacobian).reshape(-1, len(scale))
    return Sums(float(use.sum()), x.T @ step, x.T @ delta, float(delta @ delta), rows.T @ rows, rows.T @ weighted)


@dataclass(frozen=True)
class StepOptions:
    """All in units of each parameter's scale, which is its plausible distance from the data fit."""

    prior: float = 48.0
    """Ridge on w: as many transitions (of mean size) in which theta made no difference."""
    damping: float = 0.01
    """Added to the normalised curvature."""
    support: float = 0.0
    """Weight of the distance from the data-fitted theta (eq. 30), relative to the curvature."""


@dataclass(frozen=True, eq=False)
class Step:
    """A proposed change and what it was based on."""

    change: Array
    """(p,) in units of scale"""
    gradient: Array
    """(p,) grad_theta J, EUR per decision and scale"""
    td_error: float
    """Root mean square of delta explained by nothing, EUR per decision"""


def propose(sums: Sums, distance: Array, options: StepOptions) -> Step:
    """The full Gauss-Newton step from theta, which is `distance` (p,) away from the data fit, in units of scale."""
    p = len(distance)
    matrix = sums.lstd.copy()
    first = N_PHI + 1
    psi_squares = np.trace(matrix[first:, first:]) / p
    matrix[np.arange(first, first + p), np.arange(first, first + p)] += options.prior * psi_squares / max(sums.weight, 1.0)
    matrix[np.arange(first), np.arange(first)] *= 1.0 + 1e-9
    solution = np.linalg.solve(matrix, sums.target)
    w = solution[first:]
    gradient = sums.outer @ w / sums.weight
    curvature = sums.curvature / sums.weight
    size = max(float(np.trace(curvature)) / p, 1e-12)
    damped = curvature + (options.damping + options.support) * size * np.eye(p)
    change = -np.linalg.solve(damped, gradient + options.support * size * distance)
    left = max(sums.delta_squares - float(solution @ sums.target), 0.0)
    return Step(change, gradient, float(np.sqrt(left / sums.weight)))
