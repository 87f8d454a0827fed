"""A linear system with two states that nisse and mpcrl can both express, for `learning_throughput.py`.

World   s+ = A s + B a + (e, 0),  e ~ U(-0.1, 0)
        L(s, a) = 1/2 [ |s|^2 + a^2/2 + 100 sum max(0, lower - s, s - upper) ]
Model   V_theta(s) = min sum_{k<N} gamma^k [ |x_k|^2/2 + u_k^2/4 + f'(x_k, u_k) + 50 sum slack_k ]
                         + gamma^N [ x_N'S x_N + 50 sum slack_N ]
        x+ = A_m x + B_m u + b,   lower + x_lower - slack <= x <= upper + x_upper + slack,   -1 <= u <= 1
        theta = (x_lower, x_upper, b, f, A_m, B_m), matrices by columns
World and model: Gros and Zanon, "Data-Driven Economic NMPC Using Reinforcement Learning" (numerical example).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache

import casadi as ca
import numpy as np
from scipy.linalg import solve_discrete_are

from codegen.solver import compiled_controller
from research.training.policy import Array, DirectAction, SystemObservation
from runtime.abi.controller import Controller
from systems.problem import STAGE_INPUTS, TERMINAL_INPUTS, Parameter, Problem, Signal, SoftPenalty

NAMES = (
    "x_lower_1", "x_lower_2", "x_upper_1", "x_upper_2", "b_1", "b_2", "f_1", "f_2", "f_3",
    "a_11", "a_21", "a_12", "a_22", "b_11", "b_21",
)  # fmt: skip


@dataclass(frozen=True)
class LinearSystem:
    """Every number of the two programs; `as_json` hands them to the other side."""

    world_a: tuple[tuple[float, ...], ...] = ((0.9, 0.35), (0.0, 1.1))
    world_b: tuple[float, ...] = (0.0813, 0.2)
    noise: tuple[float, float] = (-0.1, 0.0)
    """Bounds of the uniform disturbance of the first state."""
    start: tuple[float, float] = (0.2, 0.15)
    """Off the bounds: on one, the derivative of V is not unique and mpcrl's linear solver stops."""
    lower: tuple[float, float] = (0.0, -1.0)
    upper: tuple[float, float] = (1.0, 1.0)
    violation: float = 100.0
    horizon: int = 10
    discount: float = 0.9
    theta: tuple[float, ...] = (0, 0, 0, 0, 0, 0, 0, 0, 0, 1.0, 0.0, 0.25, 1.0, 0.0312, 0.25)
    """The data-fitted model is wrong."""

    @cached_property
    def terminal(self) -> Array:
        """S (2, 2): the Riccati solution of the wrong model for L."""
        a, b = np.reshape(self.theta[9:13], (2, 2), order="F"), np.array([self.theta[13:15]]).T
        return np.asarray(solve_discrete_are(a, b, np.eye(2) / 2, np.eye(1) / 4))

    def stage_cost(self, s: Array, a: float) -> float:
        outside = np.maximum(0.0, np.maximum(np.array(self.lower) - s, s - np.array(self.upper)))
        return float(0.5 * (s @ s + 0.5 * a * a + self.violation * outside.sum()))

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"terminal": self.terminal.tolist()}


def linear_problem(system: LinearSystem) -> Problem:
    """The model of the module's head as a program for code generation."""
    x, u, p = ca.SX.sym("x", 2), ca.SX.sym("u", 1), ca.SX.sym("theta", len(NAMES))
    d, z = ca.SX.sym("d", 0), ca.SX.sym("z", 0)
    x_lower, x_upper, b, f = p[0:2], p[2:4], p[4:6], p[6:9]
    stage = 0.5 * (ca.sumsqr(x) + 0.5 * ca.sumsqr(u)) + ca.dot(f, ca.vertcat(x, u))
    soft = ca.vertcat(x - ca.DM(system.lower) - x_lower, ca.DM(system.upper) + x_upper - x)
    stage_args, terminal_args = [x, u, d, z, p], [x, d, z, p]
    price = SoftPenalty(linear=(system.violation / 2,) * 4, quadratic=(0.0,) * 4)
    return Problem(
        name="linear_system",
        dt_s=1.0,
        horizon=system.horizon,
        discount=system.discount,
        states=(Signal("x_1", "1", -10.0, 10.0), Signal("x_2", "1", -10.0, 10.0)),
        actions=(Signal("u", "1", -1.0, 1.0),),
        forecasts=(),
        theta=tuple(
            Parameter(name, "1", float(value), value - 1.0, value + 1.0)
            for name, value in zip(NAMES, system.theta, strict=True)
        ),
        dynamics=ca.Function(
            "dynamics", stage_args, [ca.reshape(p[9:13], 2, 2) @ x + p[13:15] * u + b], list(STAGE_INPUTS), ["x_next"]
        ),
        stage_cost=ca.Function("stage_cost", stage_args, [stage], list(STAGE_INPUTS), ["cost"]),
        terminal_cost=ca.Function(
            "terminal_cost", terminal_args, [x.T @ ca.DM(system.terminal) @ x], list(TERMINAL_INPUTS), ["cost"]
        ),
        soft=ca.Function("soft", stage_args, [soft], list(STAGE_INPUTS), ["h"]),
        soft_penalty=price,
        soft_terminal=ca.Function("soft_terminal", terminal_args, [soft], list(TERMINAL_INPUTS), ["h"]),
        soft_terminal_penalty=price,
    )


@lru_cache(maxsize=1)
def _problem(system: LinearSystem) -> Problem:
    return linear_problem(system)


@lru_cache(maxsize=1)
def _controller(system: LinearSystem) -> Controller:
    return compiled_controller(_problem(system))


class LinearWorld:
    """The true system from its fixed start."""

    def __init__(self, system: LinearSystem, rng: np.random.Generator) -> None:
        self.system, self.rng = system, rng
        self.a, self.b = np.array(system.world_a), np.array(system.world_b)
        self.s = np.array(system.start)
        self._no_forecast = np.zeros((system.horizon + 1, 0))

    def observe(self) -> SystemObservation:
        return SystemObservation(self.s, self._no_forecast)

    def step(self, action: Array) -> float:
        a = float(action[0])
        cost = self.system.stage_cost(self.s, a)
        self.s = self.a @ self.s + self.b * a
        self.s[0] += self.rng.uniform(*self.system.noise)
        return cost


@dataclass(frozen=True)
class TunableLinearSystem:
    """The linear system as the trainer sees it; judged on one held-in period."""

    system: LinearSystem = field(default_factory=LinearSystem)
    held_in_steps: int = 50
    name: str = "linear-system"
    actions: DirectAction = field(default_factory=lambda: DirectAction(np.array([-1.0]), np.array([1.0])))

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return _problem(self.system).theta

    @property
    def discount(self) -> float:
        return self.system.discount

    model_discount = discount

    def controller(self) -> Controller:
        return _controller(self.system)

    rollout_controller = controller

    def training_world(self, rng: np.random.Generator) -> LinearWorld:
        return LinearWorld(self.system, rng)

    def features(self, observation: SystemObservation, value: float) -> Array:
        """Monomials up to degree two; the critic adds the constant."""
        x1, x2 = observation.state
        return np.array([x1, x2, x1 * x1, x1 * x2, x2 * x2])

    def evaluate(self, theta: Array, jobs: int) -> Array:
        """Discounted cost of one period without exploration, (1,)."""
        controller, world = self.controller(), LinearWorld(self.system, np.random.default_rng(7))
        controller.set_theta(theta)
        controller.reset()
        total = 0.0
        for k in range(self.held_in_steps):
            seen = world.observe()
            total += self.discount**k * world.step(controller.solve(seen.state, seen.forecast).action)
        return np.array([total])
