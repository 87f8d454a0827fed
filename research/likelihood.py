"""Derivatives of J_hat by likelihood ratios: from rollouts alone, through noise and through discrete sets of actions.

"AI for Operational Decisions" (Gros, slides): with phi the density of a simulated trajectory,

    d J_hat = E[ sum_k gamma^k (dL_k + L_k d log phi) ],    and once more for J_hat_nu_nu and J_hat_nu_theta.

Two simplifications are made, both of which leave the expectation as it is. An event (an action drawn, a state drawn) is
not charged with costs before it. From the costs after it a baseline is taken away, which knows only what came before:
with s_t = d log pi_nu(a_t | x_t), C_t the sum of earlier s, A_t = cost to go - baseline,

    J_nu_nu = E sum_t [ (s_t s_t' + d s_t + s_t C_t' + C_t s_t') A_t ].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rollouts:
    """n simulated trajectories of T steps, p parameters nu of the policy, q parameters theta of the simulation.

    cost (n, T) and cost_theta (n, T, q) = dL/dtheta, undiscounted; score (n, T, p) and curvature (n, T, p, p) of
    log pi_nu; score_theta (n, T, q) of the transition after each action. before (n, T, f) is known before the action,
    after (n, T, g) with it, before the transition; both hold a constant.
    """

    cost: Array
    cost_theta: Array
    score: Array
    curvature: Array
    score_theta: Array
    before: Array
    after: Array


@dataclass(frozen=True, eq=False)
class Baselines:
    """Of costs to go, by step: on `before` (T, f), and (T, f, q) for their derivative in theta; on `after` (T, g)."""

    value: Array
    value_theta: Array
    action_value: Array


@dataclass(frozen=True, eq=False)
class Derivatives:
    """J_nu (p,), J_nu_nu (p, p) and J_nu_theta (p, q), by means over `rollouts` trajectories."""

    gradient: Array
    hessian: Array
    mixed: Array
    rollouts: int

    def sensitivity(self) -> Array:
        """dnu*/dtheta (p, q) where J_nu = 0."""
        return np.asarray(-np.linalg.solve(self.hessian, self.mixed))


def costs_to_go(cost: Array, discount: float) -> Array:
    """sum_{k >= t} discount^k cost_k along axis 1, discounted to the start of the trajectory."""
    shape = (1, -1) + (1,) * (cost.ndim - 2)
    discounted = cost * (discount ** np.arange(cost.shape[1])).reshape(shape)
    return np.asarray(np.cumsum(discounted[:, ::-1], axis=1)[:, ::-1])


def fit_baselines(pilot: Rollouts, discount: float) -> Baselines:
    """By least squares over a pilot sample, so that what is measured later does not depend on it."""
    to_go, to_go_theta = costs_to_go(pilot.cost, discount), costs_to_go(pilot.cost_theta, discount)
    both = np.concatenate([to_go[..., None], to_go_theta], axis=2)
    steps = range(pilot.cost.shape[1])
    value = np.array([np.linalg.lstsq(pilot.before[:, t], both[:, t])[0] for t in steps])
    later = np.concatenate([to_go[:, 1:], np.zeros_like(to_go[:, :1])], axis=1)
    action_value = np.array([np.linalg.lstsq(pilot.after[:, t], later[:, t])[0] for t in steps])
    return Baselines(value[..., 0], value[..., 1:], action_value)


def gradient(rollouts: Rollouts, baselines: Baselines, discount: float) -> Array:
    """J_nu (p,) alone."""
    advantage, _, _ = _advantages(rollouts, baselines, discount)
    return np.asarray(np.einsum("nt,nti->i", advantage, rollouts.score) / len(rollouts.cost))


def derivatives(rollouts: Rollouts, baselines: Baselines, discount: float) -> Derivatives:
    """The mean over the rollouts."""
    n, score = len(rollouts.cost), rollouts.score
    advantage, advantage_theta, later = _advantages(rollouts, baselines, discount)
    until = np.cumsum(score, axis=1)
    before, before_theta = until - score, np.cumsum(rollouts.score_theta, axis=1) - rollouts.score_theta
    cross = np.einsum("nt,nti,ntj->ij", advantage, score, before)
    hessian = np.einsum("nt,nti,ntj->ij", advantage, score, score) + cross + cross.T
    hessian += np.einsum("nt,ntij->ij", advantage, rollouts.curvature)
    mixed = np.einsum("nt,nti,ntj->ij", advantage, score, before_theta)
    mixed += np.einsum("nt,nti,ntj->ij", later, until, rollouts.score_theta)
    mixed += np.einsum("ntj,nti->ij", advantage_theta, score)
    return Derivatives(np.einsum("nt,nti->i", advantage, score) / n, hessian / n, mixed / n, n)


def _advantages(rollouts: Rollouts, baselines: Baselines, discount: float) -> tuple[Array, Array, Array]:
    """(n, T) of actions; (n, T, q) of dL/dtheta after actions; (n, T) of transitions."""
    to_go = costs_to_go(rollouts.cost, discount)
    advantage = to_go - np.einsum("ntf,tf->nt", rollouts.before, baselines.value)
    to_go_theta = costs_to_go(rollouts.cost_theta, discount)
    advantage_theta = to_go_theta - np.einsum("ntf,tfq->ntq", rollouts.before, baselines.value_theta)
    later = np.concatenate([to_go[:, 1:], np.zeros_like(to_go[:, :1])], axis=1)
    return advantage, advantage_theta, later - np.einsum("ntg,tg->nt", rollouts.after, baselines.action_value)


def accumulate(
    draw: Callable[[int], Rollouts], counts: list[int], discount: float, *, chunk: int = 4096, pilot: int = 4096
) -> list[Derivatives]:
    """Derivatives after each of `counts` rollouts (ascending); draw(n) simulates n more. The pilot's count as well."""
    baselines = fit_baselines(draw(pilot), discount)
    total, done, found = [np.zeros(())] * 3, 0, []
    for count in counts:
        while done < count:
            part = derivatives(draw(min(chunk, count - done)), baselines, discount)
            sums = (part.gradient, part.hessian, part.mixed)
            total = [t + part.rollouts * s for t, s in zip(total, sums, strict=True)]
            done += part.rollouts
        slope, hessian, mixed = (np.asarray(t / done) for t in total)
        found.append(Derivatives(slope, hessian, mixed, done + pilot))
    return found


def descend(
    draw: Callable[[Array, int], Rollouts],
    start: Array,
    scale: Array,
    discount: float,
    *,
    iterations: int,
    batch: int,
    step: float,
) -> Array:
    """Stochastic policy gradient on rollouts: nu after `iterations`, the mean over their second half.

    draw(nu, n) simulates n rollouts under pi_nu. Steps are Adam's (Kingma and Ba, 2015) in units of `scale`, falling as
    1 / sqrt(k); each batch's baseline is that of the batch before, so that no rollout judges itself.
    """
    nu, mean, square, kept = start.copy(), np.zeros_like(start), np.zeros_like(start), []
    baselines = fit_baselines(draw(nu, batch), discount)
    for k in range(1, iterations + 1):
        rollouts = draw(nu, batch)
        slope = scale * gradient(rollouts, baselines, discount)
        baselines = fit_baselines(rollouts, discount)
        mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        direction = (mean / (1 - 0.9**k)) / (np.sqrt(square / (1 - 0.99**k)) + 1e-12)
        nu = nu - scale * step / np.sqrt(k) * direction
        if k > iterations // 2:
            kept.append(nu)
    return np.asarray(np.mean(kept, axis=0))
