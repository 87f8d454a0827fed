"""A policy trained in simulation, and how it moves when the simulator moves.

"AI for Operational Decisions" (Gros, slides), in-real RL over in-sim RL:

    nu*(theta) = argmin_nu J_hat(nu, theta),     J_hat_nu_nu dnu*/dtheta + J_hat_nu_theta = 0
    grad_theta J = (dnu*/dtheta)' E_real[ sum_k gamma^k grad_nu log pi_nu(a_k | s_k) A(s_k, a_k) ]

The simulation is a scalar store, s+ = s + a + drift + noise_std w, with cost |s - 1/2| + action_weight |a| (both
smoothed), on fixed random numbers, so that J_hat is a smooth function and is differentiated exactly (CasADi).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import casadi as ca
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]
MAX_MOVE = 0.25
SMOOTHING = 0.01
"""Width of the rounded corner of |x|."""
SHARPNESS = 60.0
"""Of the corner of the dead band."""
POLICY_PARAMETERS = ("gain", "band", "centre")
MODEL_PARAMETERS = ("noise_std", "action_weight", "drift")


class TrainingFailed(RuntimeError):
    """The in-sim optimisation did not reach a minimum with a positive definite Hessian, so it has no derivative."""

    exit_code = 1


def policy_mean(s, nu, tanh=np.tanh, log1p_exp=lambda x: np.logaddexp(0.0, x)):  # type: ignore[no-untyped-def]
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


@dataclass(frozen=True)
class Simulator:
    """The simulation on `scenarios` fixed initial states and disturbance sequences of `horizon` steps."""

    scenarios: int = 100
    horizon: int = 30
    discount: float = 0.95
    seed: int = 0

    @cached_property
    def _derivatives(self) -> tuple[ca.Function, ca.Function]:
        """(nu, theta) -> J_hat with its gradient in nu; and J_hat_nu_nu with J_hat_nu_theta."""
        generator = np.random.default_rng(self.seed)
        s0 = generator.uniform(size=(1, self.scenarios))
        w = generator.normal(size=(self.horizon, self.scenarios))
        w -= w.mean(axis=1, keepdims=True)
        s, nu, theta, disturbance = ca.MX.sym("s"), ca.MX.sym("nu", 3), ca.MX.sym("theta", 3), ca.MX.sym("w")
        a = policy_mean(s, nu, ca.tanh, lambda x: ca.fmax(x, 0) + ca.log1p(ca.exp(-ca.fabs(x))))
        cost = ca.sqrt((s - 0.5) ** 2 + SMOOTHING**2) + theta[1] * ca.sqrt(a**2 + SMOOTHING**2)
        step = ca.Function("step", [s, nu, theta, disturbance], [s + a + theta[2] + theta[0] * disturbance, cost])
        every = step.expand().map(self.scenarios)
        state, total = ca.DM(s0), ca.MX(0)
        for k in range(self.horizon):
            state, stage = every(state, nu, theta, w[k : k + 1])
            total += self.discount**k * ca.sum2(stage) / self.scenarios
        gradient = ca.gradient(total, nu)
        first = ca.Function("first", [nu, theta], [total, gradient])
        second = ca.Function("second", [nu, theta], [ca.jacobian(gradient, nu), ca.jacobian(gradient, theta)])
        return first, second

    def cost(self, nu: Array, theta: Array) -> tuple[float, Array]:
        """J_hat and its gradient in nu (3,)."""
        value, gradient = self._derivatives[0](nu, theta)
        return float(value), np.asarray(gradient).ravel()

    def second_derivatives(self, nu: Array, theta: Array) -> tuple[Array, Array]:
        """J_hat_nu_nu (3, 3) and J_hat_nu_theta (3, 3)."""
        hessian, mixed = self._derivatives[1](nu, theta)
        return np.asarray(hessian), np.asarray(mixed)

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
        return Trained(found.x, -np.linalg.solve(hessian, mixed), cost, norm)


@dataclass(frozen=True)
class Rollouts:
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
) -> Rollouts:
    """`plant(s, a, generator) -> (s_next, cost)` on arrays; s_0 uniform on [0, 1]."""
    s = generator.uniform(size=rollouts)
    seen = np.empty((3, rollouts, steps))
    for k in range(steps):
        a = policy_mean(s, nu) + exploration_std * generator.normal(size=rollouts)
        s_next, cost = plant(s, a, generator)
        seen[:, :, k] = s, a, cost
        s = s_next
    return Rollouts(*seen)


def policy_gradient(data: Rollouts, nu: Array, discount: float, exploration_std: float) -> Array:
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
    score = (data.a - policy_mean(data.s, nu))[..., None] * policy_gradient_of_mean(data.s, nu) / exploration_std**2
    return np.asarray(np.mean(np.sum(factors[:, None] * advantage[..., None] * score, axis=1), axis=0))


def policy_gradient_of_mean(s: Array, nu: Array, step: float = 1e-6) -> Array:
    """d pi_nu(s) / d nu by central differences, shape (*s.shape, 3)."""
    columns = [(policy_mean(s, nu + step * e) - policy_mean(s, nu - step * e)) / (2.0 * step) for e in np.eye(3)]
    return np.stack(columns, axis=-1)
