"""In-real over in-sim RL without a derivative of the simulation: the heat pump with three levels, by rollouts alone.

"AI for Operational Decisions" (Gros, slides): nu* by stochastic policy gradient in the simulation, dnu*/dtheta by
likelihood ratios there, grad_theta J by the score function in the real plant. Every iterate is judged exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from research.heat_pump_levels import (
    NU_SCALE,
    TEMPERATURES,
    LevelSimulator,
    draw_levels,
    exact_cost,
    policy,
    scored,
    stage_cost,
    transition,
)
from research.likelihood import Rollouts, accumulate, descend, fit_baselines, gradient

Array = NDArray[np.float64]
LEVEL_PARAMETERS = ("noise_std", "gain", "power_weight")
LEVEL_POLICY = ("slope", "centre")
THETA_START = np.array([0.3, 0.8, 1.0])
THETA_LOW, THETA_HIGH = np.array([0.15, -3.0, 0.0]), np.array([1.2, 2.0, 4.0])
NU_START = np.array([0.8, 21.0])
REAL_NOISE_STD, WINDOW_CHANCE, WINDOW_KW = 0.5, 0.15, -6.0
"""The real room: more noise than the simulation starts with, no gain, and a window that somebody opens for an hour."""
COLD_WEIGHT, COLD_C = 4.0, 20.0
"""Cost of the real room: as that of the simulation, and a kelvin below COLD_C, squared, costs more."""
TRAINING, BATCH, STEP = 40, 200, 0.3
SENSITIVITY_ROLLOUTS = 6144
REAL_ROLLOUTS = 300
TRUST = 0.15
"""Largest step of any theta, as a share of its range. This and the above were chosen on seeds 100 to 104."""


def real_world() -> tuple[Array, Array]:
    """P (3, S, S) and L (3, S) of the real room."""
    p = (1.0 - WINDOW_CHANCE) * transition(REAL_NOISE_STD, 0.0) + WINDOW_CHANCE * transition(REAL_NOISE_STD, WINDOW_KW)
    return p, stage_cost(1.0) + COLD_WEIGHT * np.maximum(COLD_C - TEMPERATURES, 0.0) ** 2


@dataclass(frozen=True, eq=False)
class LevelIterate:
    """theta (3,), the trained nu (2,), its exact cost in the real room, and the excess of its J_hat over nu*'s."""

    theta: Array
    nu: Array
    real_cost: float
    training_gap: float


def real_cost(simulator: LevelSimulator, nu: Array) -> float:
    p, cost = real_world()
    return exact_cost(p, cost, policy(nu), simulator.horizon, simulator.discount)


def best_in_class(simulator: LevelSimulator) -> float:
    """The least real cost over nu, by direct search on the exact cost."""
    options = {"xatol": 1e-6, "fatol": 1e-9}
    return float(minimize(lambda nu: real_cost(simulator, nu), NU_START, method="Nelder-Mead", options=options).fun)


def tune_levels(
    simulator: LevelSimulator, iterations: int, generator: np.random.Generator, step: Callable[[str], None]
) -> list[LevelIterate]:
    """theta <- theta - step (dnu*/dtheta)' grad_nu J, within bounds and a shrinking trust region."""
    theta, nu, history = THETA_START, NU_START, []
    scale = THETA_HIGH - THETA_LOW
    for k in range(iterations + 1):
        step(f"three levels, iteration {k}")
        nu = train_by_rollouts(simulator, theta, nu, generator)
        exact = simulator.train(theta, nu)
        gap = simulator.cost(nu, theta)[0] - exact.cost
        history.append(LevelIterate(theta, nu, real_cost(simulator, nu), gap))
        if k == iterations:
            break
        trained = nu
        found = accumulate(
            lambda n, nu=trained, theta=theta: simulator.rollouts(nu, theta, n, generator),  # type: ignore[misc]
            [SENSITIVITY_ROLLOUTS],
            simulator.discount,
        )[0]
        direction = scale**2 * (found.sensitivity().T @ real_gradient(simulator, nu, generator))
        longest = float(np.max(np.abs(direction / scale)))
        trust = TRUST / (1.0 + k / 6.0)
        theta = np.clip(theta - direction * trust / max(longest, 1e-12), THETA_LOW, THETA_HIGH)
    return history


def train_by_rollouts(simulator: LevelSimulator, theta: Array, start: Array, generator: np.random.Generator) -> Array:
    """nu of stochastic policy gradient in the simulation of theta."""
    return descend(
        lambda nu, n: simulator.rollouts(nu, theta, n, generator),
        start, NU_SCALE, simulator.discount, iterations=TRAINING, batch=BATCH, step=STEP,
    )  # fmt: skip


def real_gradient(simulator: LevelSimulator, nu: Array, generator: np.random.Generator) -> Array:
    """grad_nu J (2,) from REAL_ROLLOUTS days in the real room, half of which are the baseline of the other half."""
    p, cost = real_world()
    none = np.zeros((*p.shape, 3))

    def days() -> Rollouts:
        drawn = draw_levels(p, policy(nu), REAL_ROLLOUTS // 2, simulator.horizon, generator)
        return scored(drawn, nu, cost, none)

    one, other = days(), days()
    halves = ((one, other), (other, one))
    parts = [gradient(used, fit_baselines(judge, simulator.discount), simulator.discount) for used, judge in halves]
    return np.asarray(np.mean(parts, axis=0))
