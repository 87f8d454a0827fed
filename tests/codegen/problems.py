"""Small problems that exercise every branch of the code generator."""

from __future__ import annotations

import casadi as ca
import numpy as np

from systems.problem import STAGE_INPUTS, TERMINAL_INPUTS, Parameter, Problem, Signal, SoftPenalty

STAGE, TERMINAL = list(STAGE_INPUTS), list(TERMINAL_INPUTS)


def rich_problem(horizon: int = 12, *, states: int = 3) -> Problem:
    """Everything at once: several states, an auxiliary, hard and soft rows, features, a nonlinear prepare, a discount.

    Five states are more than the small interior-point method takes: HPIPM solves them.
    """
    rng = np.random.default_rng(7)
    nx, nu, nd = states, 3, 2
    x, u, d, z = ca.SX.sym("x", nx), ca.SX.sym("u", nu), ca.SX.sym("d", nd), ca.SX.sym("z")
    theta, p = ca.SX.sym("theta", 4), ca.SX.sym("p", 5)
    prepared = ca.vertcat(theta[0], theta[0] * theta[1], ca.exp(theta[2]), theta[3] ** 2, theta[1] + theta[3])
    A = 0.6 * np.eye(nx) + 0.1 * rng.standard_normal((nx, nx))
    B, E = rng.standard_normal((nx, nu)), 0.3 * rng.standard_normal((nx, nd))
    B[:, 2] = 0.0  # the auxiliary moves nothing
    x_next = p[0] * (A @ x) + B @ u + E @ d + 0.1 * p[1]
    cost = 0.5 * p[2] * ca.sumsqr(x) + 0.05 * ca.sumsqr(u) + d[0] * u[0] + 0.02 * z * u[1] + 0.5 * u[2]
    hard = ca.vertcat(u[2] - (u[0] + u[1]), 1.2 + p[4] - u[0] - 0.3 * x[1])
    soft = ca.vertcat(x[0] + 0.4 + p[3], 0.7 - x[2])
    stage, terminal = [x, u, d, z, p], [x, d, z, p]
    forecast = ca.SX.sym("forecast", horizon + 1, nd)
    return Problem(
        name="rich" if states == 3 else "large",
        dt_s=60.0,
        horizon=horizon,
        discount=0.97,
        states=tuple(Signal(f"x{i}", "1", -1.0, 1.0) for i in range(nx)),
        actions=(Signal("u0", "1", -0.8, 0.8), Signal("u1", "1", -0.5, 0.9)),
        auxiliaries=(Signal("cap", "1", -5.0, 5.0),),
        forecasts=tuple(Signal(f"d{i}", "1", -1.0, 1.0) for i in range(nd)),
        theta=(
            Parameter("gain", "1", 1.0, 0.5, 1.2),
            Parameter("drift", "1", 0.1, -1.0, 1.0),
            Parameter("weight", "1", 0.0, -1.0, 1.0),
            Parameter("margin", "1", 0.2, 0.0, 0.6),
        ),
        dynamics=ca.Function("dynamics", stage, [x_next], STAGE, ["x_next"]),
        stage_cost=ca.Function("stage_cost", stage, [cost], STAGE, ["cost"]),
        terminal_cost=ca.Function("terminal_cost", terminal, [p[2] * ca.sumsqr(x)], TERMINAL, ["cost"]),
        soft=ca.Function("soft", stage, [soft], STAGE, ["h"]),
        soft_penalty=SoftPenalty((2.0, 1.5), (10.0, 4.0)),
        soft_terminal=ca.Function("soft_terminal", terminal, [0.3 - x[1] + p[3]], TERMINAL, ["h"]),
        soft_terminal_penalty=SoftPenalty((1.0,), (5.0,)),
        hard=ca.Function("hard", stage, [hard], STAGE, ["g"]),
        features=ca.Function("features", [forecast, x], [ca.sum1(forecast[:, 1])], ["forecast", "x"], ["z"]),
        prepare=ca.Function("prepare", [theta], [prepared], ["theta"], ["p"]),
    )


def bare_problem(horizon: int = 5, *, curved: bool = False) -> Problem:
    """Nothing that can be left out: no forecast, features, rows or auxiliaries. `curved`: convex, but no QP."""
    x, u, d, z = ca.SX.sym("x"), ca.SX.sym("u"), ca.SX.sym("d", 0), ca.SX.sym("z", 0)
    p = ca.SX.sym("theta", 2)
    cost = 0.5 * (x - p[0]) ** 2 + 0.1 * u**2 + (ca.exp(u + 0.5 * x) if curved else 0)
    stage, terminal = [x, u, d, z, p], [x, d, z, p]
    return Problem(
        name="curved" if curved else "bare",
        dt_s=1.0,
        horizon=horizon,
        discount=0.9,
        states=(Signal("x", "1", -2.0, 2.0),),
        actions=(Signal("u", "1", -0.5, 0.5),),
        forecasts=(),
        theta=(Parameter("target", "1", 0.3, -1.0, 1.0), Parameter("gain", "1", 0.9, 0.5, 1.0)),
        dynamics=ca.Function("dynamics", stage, [p[1] * x + u], STAGE, ["x_next"]),
        stage_cost=ca.Function("stage_cost", stage, [cost], STAGE, ["cost"]),
        terminal_cost=ca.Function("terminal_cost", terminal, [(x - p[0]) ** 2], TERMINAL, ["cost"]),
    )


def stores_problem(horizon: int = 24, *, count: int = 5, price: float = 0.01) -> Problem:
    """Stores that cost by what is in them and by the square of what goes in: their states have no Hessian.

    As many states are more than the small interior-point method takes, and its stages are joined to blocks.
    """
    x, u, d, z = ca.SX.sym("x", count), ca.SX.sym("u", count), ca.SX.sym("d", 0), ca.SX.sym("z", 0)
    p = ca.SX.sym("theta", 1)
    cost = p * price * ca.sum1(x) + ca.sumsqr(u) / 2
    stage, terminal = [x, u, d, z, p], [x, d, z, p]
    return Problem(
        name="stores",
        dt_s=1.0,
        horizon=horizon,
        discount=1.0,
        states=tuple(Signal(f"x{i}", "1", -10.0, 10.0) for i in range(count)),
        actions=tuple(Signal(f"u{i}", "1", -1.0, 1.0) for i in range(count)),
        forecasts=(),
        theta=(Parameter("scale", "1", 1.0, 0.5, 2.0),),
        dynamics=ca.Function("dynamics", stage, [x + u], STAGE, ["x_next"]),
        stage_cost=ca.Function("stage_cost", stage, [cost], STAGE, ["cost"]),
        terminal_cost=ca.Function("terminal_cost", terminal, [ca.SX(0)], TERMINAL, ["cost"]),
    )
