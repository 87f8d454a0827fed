"""A heat pump with three levels in one zone: simulated by drawing states, and computed exactly on the same states.

"AI for Operational Decisions" (Gros, slides) names discrete sets as what only likelihood ratios differentiate through.
Temperatures are the nodes of a grid, so that J_hat, its derivatives and nu* have exact values to judge rollouts by:

    P(T+ | T, l) ~ exp(-(T+ - m)^2 / (2 noise_std^2)),   m = T + (heat l + gain - loss (T - T_out)) / capacity,  1 h
    pi_nu(l | T) ~ exp(-sharpness (l - want)^2),         want = 1/2 + slope (centre - T),     l in {0, 1/2, 1}
    L = (T - 21 degC)^2 + power_weight l,                nu = (slope, centre), theta = (noise_std, gain, power_weight)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import casadi as ca
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from research.in_sim import Trained, TrainingFailed
from research.likelihood import Rollouts

Array = NDArray[np.float64]
TEMPERATURES = np.arange(16.0, 26.01, 0.25)
LEVELS = np.array([0.0, 0.5, 1.0])
SET_POINT_C, OUTDOOR_C = 21.0, -5.0
CAPACITY_KWH_PER_K, LOSS_KW_PER_K, HEAT_KW = 4.0, 0.15, 7.0
SHARPNESS = 8.0
"""Of the choice between levels: it explores, so that a kelvin of doubt is some tenths of probability."""
NU_SCALE = np.array([0.3, 0.3])
"""What a step of the parameters may be: per K, and K."""


def mean_next(gain: float) -> Array:
    """(3, S) degC by level and temperature."""
    heat = HEAT_KW * LEVELS[:, None] + gain - LOSS_KW_PER_K * (TEMPERATURES - OUTDOOR_C)
    return TEMPERATURES + heat / CAPACITY_KWH_PER_K


def transition(noise_std: float, gain: float) -> Array:
    """P (3, S, S) by level, from, to."""
    weights = np.exp(-((TEMPERATURES - mean_next(gain)[..., None]) ** 2) / (2.0 * noise_std**2))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def stage_cost(power_weight: float) -> Array:
    """L (3, S)."""
    return np.asarray((TEMPERATURES - SET_POINT_C) ** 2 + power_weight * LEVELS[:, None])


def policy(nu: Array) -> Array:
    """pi (3, S): the probability of each level."""
    want = 0.5 + nu[0] * (nu[1] - TEMPERATURES)
    logits = -SHARPNESS * (LEVELS[:, None] - want) ** 2
    weights = np.exp(logits - logits.max(axis=0))
    return np.asarray(weights / weights.sum(axis=0))


def start_distribution() -> Array:
    """Uniform from 19 to 23 degC, (S,)."""
    inside = (TEMPERATURES >= 19.0) & (TEMPERATURES <= 23.0)
    return np.asarray(inside / inside.sum())


def exact_cost(p: Array, cost: Array, pi: Array, horizon: int, discount: float) -> float:
    """J of a policy (3, S) in any world P (3, S, S) with costs (3, S), over `horizon` steps."""
    chain, stage = np.einsum("ls,lsj->sj", pi, p), np.sum(pi * cost, axis=0)
    value = np.zeros(len(stage))
    for _ in range(horizon):
        value = stage + discount * chain @ value
    return float(start_distribution() @ value)


@dataclass(frozen=True)
class LevelSimulator:
    """J_hat(nu, theta) over `horizon` hours: exact, with its derivatives, and by rollouts."""

    horizon: int = 24
    discount: float = 0.95

    @cached_property
    def _derivatives(self) -> tuple[ca.Function, ca.Function]:
        nu, theta = ca.MX.sym("nu", 2), ca.MX.sym("theta", 3)
        temperatures, ones = ca.DM(TEMPERATURES), ca.DM.ones(1, len(TEMPERATURES))
        want = 0.5 + nu[0] * (nu[1] - temperatures)
        weights = [ca.exp(-SHARPNESS * (level - want) ** 2) for level in LEVELS]
        chain, stage = 0, (temperatures - SET_POINT_C) ** 2
        for level, weight in zip(LEVELS, weights, strict=True):
            share = weight / sum(weights)
            heat = HEAT_KW * level + theta[1] - LOSS_KW_PER_K * (temperatures - OUTDOOR_C)
            distance = ca.mtimes(temperatures + heat / CAPACITY_KWH_PER_K, ones) - ca.mtimes(ones.T, temperatures.T)
            density = ca.exp(-(distance**2) / (2.0 * theta[0] ** 2))
            chain += density / ca.mtimes(ca.sum2(density), ones) * ca.mtimes(share, ones)
            stage += share * theta[2] * level
        value = ca.MX.zeros(len(TEMPERATURES))
        for _ in range(self.horizon):
            value = stage + self.discount * ca.mtimes(chain, value)
        total = ca.dot(ca.DM(start_distribution()), value)
        slope = ca.gradient(total, nu)
        first = ca.Function("first", [nu, theta], [total, slope])
        second = ca.Function("second", [nu, theta], [ca.jacobian(slope, nu), ca.jacobian(slope, theta)])
        return first, second

    def cost(self, nu: Array, theta: Array) -> tuple[float, Array]:
        """J_hat and its gradient in nu (2,)."""
        value, slope = self._derivatives[0](nu, theta)
        return float(value), np.asarray(slope).ravel()

    def second_derivatives(self, nu: Array, theta: Array) -> tuple[Array, Array]:
        """J_hat_nu_nu (2, 2) and J_hat_nu_theta (2, 3)."""
        hessian, mixed = self._derivatives[1](nu, theta)
        return np.asarray(hessian), np.asarray(mixed)

    def train(self, theta: Array, start: Array) -> Trained:
        """nu*(theta) and its derivative, exactly. Raises TrainingFailed."""
        found = minimize(
            lambda nu: self.cost(nu, theta), start, jac=True, hess=lambda nu: self.second_derivatives(nu, theta)[0],
            method="trust-exact", options={"gtol": 1e-9, "maxiter": 300},
        )  # fmt: skip
        cost, slope = self.cost(found.x, theta)
        hessian, mixed = self.second_derivatives(found.x, theta)
        if np.linalg.norm(slope) > 1e-6 or np.min(np.linalg.eigvalsh(hessian)) <= 0.0:
            raise TrainingFailed(
                f"in-sim training of the three levels ended at gradient norm {np.linalg.norm(slope):.1e} for theta = "
                f"{np.round(theta, 4).tolist()}: start elsewhere"
            )
        sensitivity = np.asarray(-np.linalg.solve(hessian, mixed))
        return Trained(found.x, sensitivity, cost, float(np.linalg.norm(slope)))

    def rollouts(self, nu: Array, theta: Array, count: int, generator: np.random.Generator) -> Rollouts:
        """`count` trajectories under pi_nu in the simulation of theta."""
        p = transition(theta[0], theta[1])
        drawn = draw_levels(p, policy(nu), count, self.horizon, generator)
        return scored(drawn, nu, stage_cost(theta[2]), _transition_scores(theta, p))


@dataclass(frozen=True, eq=False)
class Drawn:
    """Indices of temperatures (n, T + 1) and of levels (n, T)."""

    state: NDArray[np.int64]
    level: NDArray[np.int64]


def draw_levels(p: Array, pi: Array, count: int, horizon: int, generator: np.random.Generator) -> Drawn:
    """Trajectories of a policy (3, S) in a world P (3, S, S)."""
    size = len(TEMPERATURES)
    # Cumulated rows one after another, each raised by its number: one search finds row and column.
    rows = (np.cumsum(p, axis=2) / p.sum(axis=2, keepdims=True)).reshape(-1, size) + np.arange(3 * size)[:, None]
    flat = rows.ravel()
    states = np.empty((count, horizon + 1), dtype=np.int64)
    levels = np.empty((count, horizon), dtype=np.int64)
    states[:, 0] = generator.choice(size, size=count, p=start_distribution())
    below = np.cumsum(pi, axis=0)
    for t in range(horizon):
        now, chance = states[:, t], generator.random(count)
        levels[:, t] = (chance > below[0, now]).astype(np.int64) + (chance > below[1, now])
        row = levels[:, t] * size + now
        states[:, t + 1] = np.minimum(np.searchsorted(flat, row + generator.random(count)) - row * size, size - 1)
    return Drawn(states, levels)


def scored(drawn: Drawn, nu: Array, cost: Array, transition_scores: Array) -> Rollouts:
    """What the likelihood form needs of trajectories; cost (3, S), transition_scores (3, S, S, 3)."""
    state, level = drawn.state[:, :-1], drawn.level
    pi = policy(nu)
    away = nu[1] - TEMPERATURES
    mean = LEVELS @ pi
    spread = (LEVELS**2) @ pi - mean**2
    # By `want`: d log pi = 2 sharpness (l - mean l), d^2 log pi = -(2 sharpness)^2 var l.
    by_want = 2.0 * SHARPNESS * (LEVELS[level] - mean[state])
    want_nu = np.stack([away[state], np.full(state.shape, nu[0])], axis=-1)
    bend = -((2.0 * SHARPNESS) ** 2) * spread[state]
    curvature = bend[..., None, None] * want_nu[..., :, None] * want_nu[..., None, :]
    curvature[..., 0, 1] += by_want
    curvature[..., 1, 0] += by_want
    cost_theta = np.zeros((*state.shape, 3))
    cost_theta[..., 2] = LEVELS[level]
    hot = (TEMPERATURES[state] - SET_POINT_C) / 2.0
    before = np.stack([np.ones_like(hot), hot, hot**2, hot**3], axis=-1)
    told = LEVELS[level] - 0.5
    after = np.concatenate([before, np.stack([told, told**2, told * hot, told * hot**2], axis=-1)], axis=-1)
    return Rollouts(
        cost[level, state],
        cost_theta,
        by_want[..., None] * want_nu,
        curvature,
        transition_scores[level, state, drawn.state[:, 1:]],
        before,
        after,
    )


def _transition_scores(theta: Array, p: Array) -> Array:
    """d log P / d theta (3, S, S, 3)."""
    away = TEMPERATURES - mean_next(theta[1])[..., None]
    by_std, by_gain = away**2 / theta[0] ** 3, away / theta[0] ** 2 / CAPACITY_KWH_PER_K
    centred = [d - np.sum(p * d, axis=2, keepdims=True) for d in (by_std, by_gain)]
    return np.stack([*centred, np.zeros_like(p)], axis=-1)
