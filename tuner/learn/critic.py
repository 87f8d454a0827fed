"""LSTDQ critic and policy-gradient step, from sums over transitions.

    Q(s, a) = V_theta(s) + v + |a - m|^2 u + psi(s, a)'w,    psi = (d pi/d theta)'(a - m(s)),    m(s) = E[a|s]

m is the mean of the exploring action: pi(s), but for noise that the bounds clip to one side. About pi, clipped noise
has a mean, and whatever tells states near a bound from others would be credited to the action.

The MPC knows its own value V_theta(s), forecasts and all, far better than a few features of temperature do: with
such features beside it least squares trade their slow drift against w, and w doubles. So only a constant is added.

    sum c x (x - gamma x+)'(v, u, w) = sum c x delta,    x = (1, |.|^2, psi)
    delta = sum_k (gamma lambda)^k delta_k,    delta_k = L + gamma V_theta(s+) - V_theta(s)

The TD error of an MPC is mostly news that no action brought: the horizon moves on, and forecasts change. What
the program foretells of the same decision without exploration, under the forecast of the next moment, has the same news
in it and does not depend on the action; so it is taken off, a control variate:

    delta_k = [L - L_theta(s, pi)] + gamma [V_theta(s+) - V_theta(f_theta(s, pi))]

On a battery it leaves a third of the spread, which is worth nine times the experience.

lambda = 0 is LSTDQ; towards 1 what was really paid counts longer, and V_theta's own error about stored heat less. Later
actions are on average m, where psi vanishes and |.|^2 does not depend on the action before; |.|^2 has one entry per
move. The weight c = 1 / |V_theta(s)| is for the TD error's spread, which grows with what is at stake. dQ/da =
(d pi/d theta) w at a = pi, hence the policy gradient

    grad_theta J = E[ (d pi/d theta)' dQ/da ] = E[ (d pi/d theta)' ( (d pi/d theta) w + K (pi - pi_e) ) ]

with K the curvature of Q in a. What was explored about another policy pi_e, as on a log, tells dQ/da there; without the
second term the same log would push theta the same way for ever. Worlds that are explored anew have pi_e = pi.

The step is Gauss-Newton: a move of -K^-1 dQ/da is wanted in each state; dtheta fits it:

    ( E[(d pi/d theta)' K (d pi/d theta)] + damping ) dtheta = -grad_theta J - support (theta - theta_0)

**K is that of exploration, not of a point.** The slope that exploration with noise e tells is that of Q smoothed over
e, E[Q(s, a + e)] (Stein's identity). The Hessian of Q_theta at pi_theta is another function's: where a change of price
or a soft row holds the action it is the barrier's, a million times too large, and one such state says "stay" louder
than all others say "go"; between two kinks it is nothing, while d pi/d theta is as large as the barrier lets it be. So
K = diag(k) holds what the same noise costs by the program itself, k >= 0 by least squares over probed states:

    Q_theta(s, pi + e) - V_theta(s)  =  sum_i k_i e_i^2 / 2

One number an action for all states: a step is measured by how far it moves the policy in closed loop, as in a natural
gradient, and k says what such a move is worth. Of a quadratic Q without coupling between actions it is the Hessian.

Sources: "All AI Models are Wrong, but Some are Optimal", V-B4 and eq. (30); Lagoudakis and Parr, "Least-Squares Policy
Iteration"; Silver et al., "Deterministic Policy Gradient Algorithms"; Stein, "Estimation of the mean of a multivariate
normal distribution"; Kakade, "A natural policy gradient".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh
from scipy.optimize import nnls

from tuner.learn.advantage import generalised_advantage
from tuner.learn.transitions import Transitions

Array = NDArray[np.float64]
LEAST_VALUE = 0.25
"""Of the mean |V_theta|: a value below it does not raise the weight of a transition further. Where power is sold V
passes through 0, and a few such hours would outweigh all others."""
LEAST_CURVATURE = 1e-2
"""Of the largest of any action: what least squares put at 0 for want of states is not free to move without end."""

STANDS = 1e6
"""Curvature where no action moves with theta: nothing can be learned from standing still, and hardly a step is made."""


@dataclass(frozen=True, eq=False)
class Sums:
    """What a stretch of closed loop adds to the two linear systems; sums over its usable transitions."""

    count: float
    """Number of transitions."""
    weight: float
    """Sum of their weights c."""
    lstd: Array
    """(n, n) sum c x (x - gamma x+)'; n = 1 + na + p"""
    target: Array
    """(n,) sum c x delta"""
    delta_squares: float
    """sum c delta^2"""
    outer: Array
    """(p, p) sum (d pi/d theta)'(d pi/d theta), theta in units of its scale"""
    curvature: Array
    """(p, p) sum (d pi/d theta)' K (d pi/d theta)"""
    drift: Array
    """(p,) sum (d pi/d theta)' K (pi_theta - explorer's policy)"""


def sums_of(t: Transitions, *, gamma: float, trace: float = 0.0) -> Sums:
    """Sums over transitions that hold exploration and the policy Jacobian; `trace` is lambda."""
    deviation = t.action - t.mean_action
    psi = np.einsum("tan,ta->tn", t.policy_jacobian, deviation)
    x = np.hstack([np.ones((len(psi), 1)), deviation**2, psi])
    step = x.copy()
    step[:, 0] -= gamma
    delta = generalised_advantage(t.surprise(gamma), t.segment, gamma * trace)
    # The constant's 1 - gamma is summed over the trace as the TD errors are.
    step[:, 0] /= 1.0 - gamma * trace
    c = weights(t)
    cx = c[:, None] * x
    rows, curved = _rows(t), _curved_rows(t)
    return Sums(
        float(len(t)),
        float(c.sum()),
        cx.T @ step,
        cx.T @ delta,
        float(c @ delta**2),
        rows.T @ rows,
        rows.T @ curved,
        curved.T @ t.drift.reshape(-1),
    )


def weights(t: Transitions) -> Array:
    """(n,) c of the transitions, 1/EUR"""
    size = np.abs(t.value)
    return np.asarray(1.0 / np.maximum(size, max(LEAST_VALUE * float(size.mean()), 1e-12)))


def policy_curvature(t: Transitions) -> Array:
    """(p, p) sum (d pi/d theta)' K (d pi/d theta)"""
    return np.asarray(_rows(t).T @ _curved_rows(t))


def action_curvature(t: Transitions) -> Array:
    """(na,) k of the actions: what a move as wide as exploration costs by Q_theta, twice, over its square."""
    asked = np.isfinite(t.rise) & np.any(t.probe != 0.0, axis=1)
    if not asked.any():
        return np.full(t.probe.shape[1], STANDS)
    found, _ = nnls(t.probe[asked] ** 2 / 2.0, np.maximum(t.rise[asked], 0.0))
    return np.asarray(np.maximum(found, max(LEAST_CURVATURE * float(found.max()), 1e-12)))


def _rows(t: Transitions) -> Array:
    """(n na, p) d pi/d theta"""
    return t.policy_jacobian.reshape(-1, t.policy_jacobian.shape[-1])


def _curved_rows(t: Transitions) -> Array:
    """(n na, p) K (d pi/d theta)"""
    return np.asarray((action_curvature(t)[:, None] * t.policy_jacobian).reshape(_rows(t).shape))


@dataclass(frozen=True)
class StepOptions:
    """In units of the scale of each entry of theta; relative to the mean over the entries where not said otherwise."""

    prior: float = 48.0
    """Ridge on w: as many mean transitions in which theta made no difference."""
    damping: float = 0.01
    """Added to the curvature."""
    support: float = 0.0
    """Weight of the distance from the data-fitted theta (eq. 30), relative to the largest curvature of any direction.

    Decisions hang on few directions of theta (of the 432 ARX coefficients, on one a room); the others have curvatures a
    thousand times smaller, and without this noise walks along them until the model is none.
    """


@dataclass(frozen=True, eq=False)
class PolicyStep:
    """A proposed change and what it was based on."""

    change: Array
    """(p,) in units of scale"""
    gradient: Array
    """(p,) grad_theta J, EUR per decision and scale"""
    td_error: float
    """Root mean square of what the critic leaves of delta, weighted, EUR per decision"""


def propose(sums: Sums, distance: Array, options: StepOptions) -> PolicyStep:
    """The full Gauss-Newton step from theta, which is `distance` (p,) away from the data fit, in units of scale."""
    p = len(distance)
    first = len(sums.target) - p
    matrix = sums.lstd.copy()
    diagonal = np.arange(first, first + p)
    matrix[diagonal, diagonal] += options.prior / sums.count * np.trace(matrix[first:, first:]) / p
    solution = np.linalg.solve(matrix, sums.target)
    gradient = (sums.outer @ solution[first:] + sums.drift) / sums.count
    change = gauss_newton(gradient, sums.curvature / sums.count, distance, options)
    # x - gamma x+ differs from x in the constant alone, so the critic's residual is that of a regression on x.
    solution[0] *= float(sums.lstd[0, 0] / sums.weight)
    left = max(sums.delta_squares - float(solution @ sums.target), 0.0)
    return PolicyStep(change, gradient, float(np.sqrt(left / sums.weight)))


def gauss_newton(gradient: Array, curvature: Array, distance: Array, options: StepOptions) -> Array:
    """(p,) the change that lowers the cost, from its gradient (p,) and curvature (p, p), both per decision."""
    p = len(distance)
    damping = options.damping * max(float(np.trace(curvature)) / p, 1e-12)
    support = options.support * largest_curvature(curvature)
    return np.asarray(-np.linalg.solve(curvature + (damping + support) * np.eye(p), gradient + support * distance))


def largest_curvature(matrix: Array) -> float:
    """Largest eigenvalue of a symmetric positive semidefinite matrix (p, p)."""
    last = len(matrix) - 1
    return float(eigvalsh(matrix, subset_by_index=(last, last))[0])
