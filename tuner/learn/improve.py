"""One learning step for the house by each method: from labelled transitions to a change of theta.

dpg   deterministic policy gradient with the compatible LSTDQ critic: `tuner.learn.critic`; or with that of two layers:
      `tuner.critics.stretches`.
q     Q-learning: theta such that the MPC's own Q satisfies the Bellman equation, as far as that decides anything.
      Q = V + A, and a wrong level of V changes no decision (a horizon of 12 h has the level wrong in every state); so
      the equation is asked of A, with the semi-gradient step in the metric of its features:

          sum c z z' dtheta = sum c z delta,    z = d/dtheta [Q_theta(s, a) - Q_theta(s, E a)]
          delta = sum_k (gamma lambda)^k delta_k - [Q_theta(s, a) - Q_theta(s, E a)],    delta_k of `tuner.learn.critic`

spg   likelihood ratio with a Gaussian around the MPC; on-policy:

          grad J = E[ (d pi/d theta)' Sigma^-1 (a - pi) A(s, a) ],    A from V_theta by generalised advantage estimation

      and the Gauss-Newton step of dpg from that gradient.

Sources: "All AI Models are Wrong, but Some are Optimal", IV and V-B; Gros and Zanon, "Data-Driven Economic NMPC Using
Reinforcement Learning"; Williams, "Simple statistical gradient-following algorithms".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.critics.stretches import propose_by_two_layer
from tuner.critics.two_layer import TwoLayer
from tuner.learn.advantage import generalised_advantage
from tuner.learn.critic import StepOptions, gauss_newton, largest_curvature, policy_curvature, propose, sums_of, weights
from tuner.learn.transitions import Transitions

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Credit:
    """How what was paid is credited to what was done, and how far to go on it."""

    gamma: float
    trace: float
    """lambda: 0 trusts V_theta after one decision, towards 1 what was really paid counts longer."""
    exploration: float
    step: StepOptions
    critic: str = "lstdq"
    """Of `tuner.critics`, where the method has one."""
    seed: int = 0
    """Of a critic that draws."""


@dataclass(frozen=True, eq=False)
class Improvement:
    """What a method asks for."""

    change: Array
    """(p,) in units of scale"""
    td_error: float
    """Root mean square, EUR per decision"""


@dataclass(frozen=True)
class Method:
    """How a method learns, and what it may learn from."""

    improve: Callable[[Transitions, Array, Credit], Improvement]
    """(transitions, distance from the data fit (p,), how costs are credited)"""
    needs_advantage: bool
    on_policy: bool
    """May see experience of the current theta alone."""
    has_critic: bool = False


def by_policy_gradient(t: Transitions, distance: Array, credit: Credit) -> Improvement:
    if credit.critic == "two-layer":
        step = propose_by_two_layer(t, distance, credit.step, credit.gamma, TwoLayer(seed=credit.seed))
    else:
        step = propose(sums_of(t, gamma=credit.gamma, trace=credit.trace), distance, credit.step)
    return Improvement(step.change, step.td_error)


def by_q_learning(t: Transitions, distance: Array, credit: Credit) -> Improvement:
    p, options = len(distance), credit.step
    paid = generalised_advantage(t.surprise(credit.gamma), t.segment, credit.gamma * credit.trace)
    delta = paid - t.advantage
    delta = delta - delta.mean()
    z, c = t.advantage_gradient, weights(t)
    matrix, target = (c[:, None] * z).T @ z / len(t), (c[:, None] * z).T @ delta / len(t)
    # The ridge is in the metric of the features, so that it does not depend on the units of theta.
    damping = options.damping * max(float(np.trace(matrix)) / p, 1e-12)
    support = options.support * largest_curvature(matrix)
    matrix += (damping + support) * np.eye(p)
    change = np.linalg.solve(matrix, target - support * distance)
    return Improvement(change, float(np.sqrt(c @ (delta - z @ change) ** 2 / c.sum())))


def by_likelihood_ratio(t: Transitions, distance: Array, credit: Credit) -> Improvement:
    delta = t.surprise(credit.gamma)
    delta = delta - delta.mean()
    advantage = generalised_advantage(delta, t.segment, credit.gamma * credit.trace)
    score = np.einsum("nap,na->np", t.policy_jacobian, t.asked - t.policy) / credit.exploration**2
    gradient = score.T @ (advantage - advantage.mean()) / len(t)
    change = gauss_newton(gradient, policy_curvature(t) / len(t), distance, credit.step)
    return Improvement(change, float(np.sqrt(np.mean(delta**2))))


METHODS: dict[str, Method] = {
    "dpg": Method(by_policy_gradient, needs_advantage=False, on_policy=False, has_critic=True),
    "q": Method(by_q_learning, needs_advantage=True, on_policy=False),
    "spg": Method(by_likelihood_ratio, needs_advantage=False, on_policy=True),
}
BLOCKS = 12
"""Stretches of experience of which one at a time is left out, to see whether it decided alone."""


def keep_what_is_sure(
    t: Transitions, improve: Callable[[Transitions], Improvement], change: Array, *, certainty: float
) -> Array:
    """The change (p,) with each of its directions shrunk by what is known of it.

    Directions are the principal ones of the policy's curvature, E[(d pi/d theta)' K (d pi/d theta)]; the standard error
    s of a component z is the jackknife's over BLOCKS stretches, left out in turn. The component is multiplied by

        max(0, 1 - (certainty s / z)^2),

    the positive-part shrinkage of James and Stein, "Estimation with quadratic loss" (1961), for a single component.
    """
    _, basis = np.linalg.eigh(policy_curvature(t))
    block = np.arange(len(t)) * BLOCKS // len(t)
    without = np.array([improve(t.select(block != b)).change @ basis for b in range(BLOCKS)])
    error = np.sqrt((BLOCKS - 1) / BLOCKS * ((without - without.mean(0)) ** 2).sum(0))
    component = change @ basis
    doubt = np.divide(certainty * error, component, out=np.full_like(error, np.inf), where=component != 0.0)
    return np.asarray(basis @ (np.maximum(0.0, 1.0 - doubt**2) * component))
