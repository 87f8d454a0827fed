"""A policy trained in simulation, and how it moves when the simulator moves.

"AI for Operational Decisions" (Gros, slides), in-real RL over in-sim RL:

    nu*(theta) = argmin_nu J_hat(nu, theta),     J_hat_nu_nu dnu*/dtheta + J_hat_nu_theta = 0
    grad_theta J = (dnu*/dtheta)' E_real[ sum_k gamma^k grad_nu log pi_nu(a_k | s_k) A(s_k, a_k) ]

The simulation is a scalar store, s+ = s + a + drift + noise_std w, with cost |s - 1/2| + action_weight |a| (both
smoothed). J_hat has two forms: on fixed random numbers it is a smooth function and is differentiated exactly (CasADi);
on fresh ones its derivatives are estimated by likelihood ratios (`research.likelihood`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import casadi as ca
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from research.likelihood import Rollouts

Array = NDArray[np.float64]
MAX_MOVE = 0.25
SMOOTHING = 0.01
"""Width of the rounded corner of |x|."""
SHARPNESS = 60.0
"""Of the corner of the dead band."""
POLICY_PARAMETERS = ("gain", "band", "centre")
MODEL_PARAMETERS = ("noise_std", "action_weight", "drift")


BLOCK = 100
"""Scenarios that are differentiated together; more come in blocks, so that memory holds their random numbers alone."""
BYTES_PER_STEP = 5 * 8
"""Of a scenario: two random numbers, and what it takes to draw them."""


class TrainingFailed(RuntimeError):
    """The in-sim optimisation did not reach a minimum with a positive definite Hessian, so it has no derivative."""

    exit_code = 1


def policy_mean(s: Any, nu: Any, tanh: Any = np.tanh, log1p_exp: Any = lambda x: np.logaddexp(0.0, x)) -> Any:
    """a = 1/4 tanh(4 gain (h(centre - s - band) - h(s - centre - band))) with a smooth h(x) = max(x, 0)."""
    gain, band, centre = nu[0], nu[1], nu[2]
    up = log1p_exp(SHARPNESS * (centre - s - band)) / SHARPNESS
    down = log1p_exp(SHARPNESS * (s - centre - band)) / SHARPNESS
    return MAX_MOVE * tanh(gain * (up - down) / MAX_MOVE)


@dataclass(frozen=True)
class Trained:
    """nu* (3,), its sensitivity dnu*/dtheta (3, 3), J_hat there, and the norm of the gradient that is left."""

    nu: Array
    sensitivity: Array
    cost: float
    gradient_norm: float


@lru_cache(maxsize=4)
def _derivatives(horizon: int, discount: float) -> tuple[ca.Function, ca.Function]:
    """(nu, theta, block) -> J_hat with its gradient in nu; and J_hat_nu_nu with J_hat_nu_theta."""
    s, nu, theta, disturbance, added = (ca.MX.sym(n, k) for n, k in zip("sntwe", (1, 3, 3, 1, 1), strict=True))
    a = added + policy_mean(s, nu, ca.tanh, lambda x: ca.fmax(x, 0) + ca.log1p(ca.exp(-ca.fabs(x))))
    cost = ca.sqrt((s - 0.5) ** 2 + SMOOTHING**2) + theta[1] * ca.sqrt(a**2 + SMOOTHING**2)
    after = s + a + theta[2] + theta[0] * disturbance
    every = ca.Function("step", [s, nu, theta, disturbance, added], [after, cost]).expand().map(BLOCK)
    s0, w, explored = (ca.MX.sym(n, k, BLOCK) for n, k in zip("swe", (1, horizon, horizon), strict=True))
    weight = ca.MX.sym("weight", BLOCK)
    state, total = s0, ca.MX(0)
    for k in range(horizon):
        state, stage = every(state, nu, theta, w[k, :], explored[k, :])
        total += discount**k * ca.mtimes(stage, weight)
    gradient = ca.gradient(total, nu)
    inputs = [nu, theta, s0, w, explored, weight]
    first = ca.Function("first", inputs, [total, gradient])
    return first, ca.Function("second", inputs, [ca.jacobian(gradient, nu), ca.jacobian(gradient, theta)])


@dataclass(frozen=True)
class Simulator:
    """The simulation on `scenarios` fixed initial states and disturbance sequences of `horizon` steps.

    exploration_std: of what is added to each action, fixed as well; the policy is Gaussian then.
    """

    scenarios: int = 100
    horizon: int = 30
    discount: float = 0.95
    seed: int = 0
    exploration_std: float = 0.0

    @cached_property
    def _numbers(self) -> list[tuple[Array, Array, Array, Array]]:
        """Blocks of (s_0 (1, BLOCK), w and explored (horizon, BLOCK), weight (BLOCK, 1) that sums to one over all)."""
        generator = np.random.default_rng(self.seed)
        s0 = generator.uniform(size=(1, self.scenarios))
        w = generator.normal(size=(self.horizon, self.scenarios))
        w -= w.mean(axis=1, keepdims=True)
        explored = self.exploration_std * generator.normal(size=(self.horizon, self.scenarios))
        weight = np.full((1, self.scenarios), 1.0 / self.scenarios)
        blocks = []
        for first in range(0, self.scenarios, BLOCK):
            parts = [v[:, first : first + BLOCK] for v in (s0, w, explored, weight)]
            filled = [np.pad(v, ((0, 0), (0, BLOCK - v.shape[1]))) for v in parts]
            blocks.append((filled[0], filled[1], filled[2], filled[3].T))
        return blocks

    def cost(self, nu: Array, theta: Array) -> tuple[float, Array]:
        """J_hat and its gradient in nu (3,)."""
        first, _ = _derivatives(self.horizon, self.discount)
        parts = [first(nu, theta, *block) for block in self._numbers]
        return sum(float(value) for value, _ in parts), np.sum([np.asarray(g).ravel() for _, g in parts], axis=0)

    def second_derivatives(self, nu: Array, theta: Array) -> tuple[Array, Array]:
        """J_hat_nu_nu (3, 3) and J_hat_nu_theta (3, 3)."""
        _, second = _derivatives(self.horizon, self.discount)
        parts = [second(nu, theta, *block) for block in self._numbers]
        hessian, mixed = (np.sum([np.asarray(part[i]) for part in parts], axis=0) for i in (0, 1))
        return hessian, mixed

    def train(self, theta: Array, start: Array) -> Trained:
        """nu*(theta) from `start`, and its derivative by the implicit function theorem. Raises TrainingFailed."""
        found = minimize(
            lambda nu: self.cost(nu, theta),
            start,
            jac=True,
            hess=lambda nu: self.second_derivatives(nu, theta)[0],
            method="trust-exact",
            options={"gtol": 1e-9, "maxiter": 300},
        )
        cost, gradient = self.cost(found.x, theta)
        hessian, mixed = self.second_derivatives(found.x, theta)
        curvature = float(np.min(np.linalg.eigvalsh(hessian)))
        norm = float(np.linalg.norm(gradient))
        if norm > 1e-6 or curvature <= 0.0:
            raise TrainingFailed(
                f"in-sim training ended at gradient norm {norm:.1e}, smallest curvature {curvature:.1e} "
                f"for theta = {np.round(theta, 4).tolist()}: start elsewhere or use more scenarios"
            )
        return Trained(found.x, np.asarray(-np.linalg.solve(hessian, mixed), dtype=np.float64), cost, norm)

    def rollouts(self, nu: Array, theta: Array, count: int, generator: np.random.Generator) -> Rollouts:
        """`count` trajectories on fresh random numbers, with what the likelihood form needs of them."""
        s = generator.uniform(size=count)
        seen = np.empty((3, count, self.horizon))
        for k in range(self.horizon):
            added, w = generator.normal(size=(2, count))
            seen[:, :, k] = s, added, w
            s = s + policy_mean(s, nu) + self.exploration_std * added + theta[2] + theta[0] * w
        states, added, w = seen
        mean, slope, bend = policy_derivatives(states, nu)
        a, std = mean + self.exploration_std * added, self.exploration_std
        used = np.sqrt(a**2 + SMOOTHING**2)
        zero = np.zeros_like(used)
        by_mean = added / std
        curvature = by_mean[..., None, None] * bend - slope[..., :, None] * slope[..., None, :] / std**2
        before = _features(states)
        acted = np.stack([a, a**2, np.abs(states + a - 0.5)], axis=-1)
        return Rollouts(
            np.sqrt((states - 0.5) ** 2 + SMOOTHING**2) + theta[1] * used,
            np.stack([zero, used, zero], axis=-1),
            by_mean[..., None] * slope,
            curvature,
            np.stack([(w**2 - 1.0) / theta[0], zero, w / theta[0]], axis=-1),
            before,
            np.concatenate([before, acted], axis=-1),
        )


def _features(states: Array) -> Array:
    distance = np.abs(states - 0.5)
    return np.stack([np.ones_like(states), distance, distance**2, states, distance**3], axis=-1)


@dataclass(frozen=True)
class RealRollouts:
    """Closed loop of the real plant under pi_nu plus exploration: s, a, cost, each (rollouts, steps)."""

    s: Array
    a: Array
    cost: Array


def real_rollouts(
    nu: Array,
    plant: Callable[[Array, Array, np.random.Generator], tuple[Array, Array]],
    *,
    rollouts: int,
    steps: int,
    exploration_std: float,
    generator: np.random.Generator,
) -> RealRollouts:
    """`plant(s, a, generator) -> (s_next, cost)` on arrays; s_0 uniform on [0, 1]."""
    s = generator.uniform(size=rollouts)
    seen = np.empty((3, rollouts, steps))
    for k in range(steps):
        a = policy_mean(s, nu) + exploration_std * generator.normal(size=rollouts)
        s_next, cost = plant(s, a, generator)
        seen[:, :, k] = s, a, cost
        s = s_next
    return RealRollouts(*seen)


def policy_gradient(data: RealRollouts, nu: Array, discount: float, exploration_std: float) -> Array:
    """grad_nu J by the score function; the baseline of the cost-to-go is regressed on |s - 1/2|, s and time."""
    steps = data.cost.shape[1]
    factors = discount ** np.arange(steps)
    to_go = np.cumsum((data.cost * factors)[:, ::-1], axis=1)[:, ::-1] / factors
    time = np.broadcast_to(factors[::-1], data.s.shape)
    distance = np.abs(data.s - 0.5)
    features = np.stack([np.ones_like(time), time, distance, distance**2, time * distance, data.s], axis=-1)
    flat = features.reshape(-1, features.shape[-1])
    weights, *_ = np.linalg.lstsq(flat, to_go.ravel(), rcond=None)
    advantage = to_go - features @ weights
    mean, slope, _ = policy_derivatives(data.s, nu)
    score = (data.a - mean)[..., None] * slope / exploration_std**2
    return np.asarray(np.mean(np.sum(factors[:, None] * advantage[..., None] * score, axis=1), axis=0))


def policy_derivatives(s: Array, nu: Array) -> tuple[Array, Array, Array]:
    """pi_nu(s), its gradient (*s.shape, 3) and its second derivatives (*s.shape, 3, 3) in nu."""
    gain, band, centre = nu
    up, down = SHARPNESS * (centre - s - band), SHARPNESS * (s - centre - band)
    wide = (np.logaddexp(0.0, up) - np.logaddexp(0.0, down)) / SHARPNESS
    on_up, on_down = expit(up), expit(down)
    bend_up, bend_down = SHARPNESS * on_up * (1.0 - on_up), SHARPNESS * on_down * (1.0 - on_down)
    bent = np.tanh(gain * wide / MAX_MOVE)
    flat = 1.0 - bent**2
    by_wide = gain * flat
    by_wide_twice = -2.0 * bent * flat * gain**2 / MAX_MOVE
    of_wide = np.stack([-on_up + on_down, on_up + on_down], axis=-1)
    gradient = np.concatenate([(wide * flat)[..., None], by_wide[..., None] * of_wide], axis=-1)
    second = np.empty((*np.shape(s), 3, 3))
    second[..., 0, 0] = -2.0 * bent * flat * wide**2 / MAX_MOVE
    second[..., 0, 1:] = (flat - 2.0 * bent * flat * gain * wide / MAX_MOVE)[..., None] * of_wide
    second[..., 1:, 0] = second[..., 0, 1:]
    second[..., 1:, 1:] = by_wide_twice[..., None, None] * of_wide[..., :, None] * of_wide[..., None, :]
    difference, total = by_wide * (bend_up - bend_down), by_wide * (bend_up + bend_down)
    second[..., 1, 1] += difference
    second[..., 2, 2] += difference
    second[..., 1, 2] -= total
    second[..., 2, 1] -= total
    return MAX_MOVE * bent, gradient, second
