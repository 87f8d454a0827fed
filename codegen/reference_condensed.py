"""The independent solver for linear-quadratic problems with many states: single shooting and a projected Newton method.

With the states eliminated, a soft row h >= -s priced q/2 s^2 costs q/2 max(0, -h)^2, and what remains is

    min J(U) = U'H U / 2 + g'U + c + sum_i q_i / 2 max(0, -(G U + b)_i)^2     over a box:

convex, piecewise quadratic. Newton on the inputs that are free to move (Bertsekas, "Projected Newton methods for
optimization problems with simple constraints", 1982). Convexity gives J(U) - min J <= max_V J'(U)(U - V): this gap, not
an iteration count, says when it is solved. IPOPT needs hundreds of iterations where 24 stages have 48 states each.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import casadi as ca
import numpy as np
from numpy.typing import ArrayLike, NDArray

from codegen.ocp import is_quadratic_program
from codegen.reference import ReferenceSolution
from systems.problem import Problem

Array = NDArray[np.float64]
GAP = 1e-9
"""Relative to the value, or to 1 where that is smaller."""
ITERATIONS = 200
SUFFICIENT_DECREASE = 1e-4


def applies_to(problem: Problem) -> bool:
    """Linear-quadratic, boxes and quadratically priced soft rows only."""
    plain = problem.hard is None and problem.soft_terminal is None and problem.features is None
    return plain and not problem.auxiliaries and not any(problem.soft_penalty.linear) and is_quadratic_program(problem)


@dataclass(frozen=True)
class _Program:
    """J, and the states as x = X U + r, stage by stage."""

    h: Array
    g: Array
    c: float
    rows: Array
    offset: Array
    price: Array
    x: list[tuple[Array, Array]]

    def value(self, u: Array) -> float:
        below = np.minimum(self.rows @ u + self.offset, 0.0)
        return float(u @ self.h @ u / 2 + self.g @ u + self.c + self.price @ below**2 / 2)

    def slope_and_curvature(self, u: Array) -> tuple[Array, Array]:
        below = np.minimum(self.rows @ u + self.offset, 0.0)
        active = self.rows[below < 0.0]
        slope = self.h @ u + self.g + self.rows.T @ (self.price * below)
        return slope, self.h + active.T @ (self.price[below < 0.0, None] * active)


class CondensedReference:
    """V_theta and Q_theta of a problem that `applies_to` accepts."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        x, u = ca.SX.sym("x", problem.nx), ca.SX.sym("u", problem.nu)
        d, z, p = ca.SX.sym("d", problem.nd), ca.SX(0, 1), ca.SX.sym("p", problem.np)
        w = ca.vertcat(x, u)
        soft = ca.SX(0, 1) if problem.soft is None else problem.soft(x, u, d, z, p)

        def model(name: str, variables: Any, arguments: list[Any], cost: Any, *affine: Any) -> ca.Function:
            hessian, gradient = ca.hessian(cost, variables)
            parts = [q for e in affine for q in (e, ca.densify(ca.jacobian(e, variables)))]
            return ca.Function(name, arguments, [cost, gradient, ca.densify(hessian), *parts])

        cost, dynamics = problem.stage_cost(x, u, d, z, p), problem.dynamics(x, u, d, z, p)
        self._stage = model("stage", w, [x, u, d, p], cost, dynamics, soft)
        self._terminal = model("terminal", x, [x, d, p], problem.terminal_cost(x, d, z, p))

    def _program(self, theta: ArrayLike, x0: ArrayLike, forecast: Array) -> _Program:
        problem, n = self.problem, self.problem.horizon
        nx, nu = problem.nx, problem.nu
        p = theta if problem.prepare is None else problem.prepare(np.asarray(theta, dtype=float))
        h, g, c = np.zeros((n * nu, n * nu)), np.zeros(n * nu), 0.0
        X, r = np.zeros((nx, n * nu)), np.asarray(x0, dtype=float)
        states, rows, offsets, prices = [(X, r)], [], [], []
        for k in range(n + 1):
            last, discount = k == n, problem.discount**k
            arguments = (0, forecast[k], p) if last else (0, 0, forecast[k], p)
            parts = [np.array(part) for part in (self._terminal if last else self._stage)(*arguments)]
            E = np.eye(n * nu)[k * nu : (k + 1) * nu]
            W, w = (X, r) if last else (np.vstack([X, E]), np.concatenate([r, np.zeros(nu)]))
            gradient, hessian = parts[1].ravel(), parts[2]
            h += discount * W.T @ hessian @ W
            g += discount * W.T @ (gradient + hessian @ w)
            c += discount * (float(parts[0].item()) + gradient @ w + w @ hessian @ w / 2)
            if not last:
                rows.append(parts[6] @ W)
                offsets.append(parts[5].ravel() + parts[6] @ w)
                prices.append(discount * np.array(problem.soft_penalty.quadratic))
                X, r = parts[4] @ W, parts[3].ravel() + parts[4] @ w
                states.append((X, r))
        return _Program(h, g, c, np.vstack(rows), np.concatenate(offsets), np.concatenate(prices), states)

    def solve(
        self, theta: ArrayLike, x0: ArrayLike, forecast: ArrayLike, first_action: ArrayLike | None = None
    ) -> ReferenceSolution:
        """Solve from x0 (nx) under forecast (N+1, nd); with `first_action` (na) the program of Q."""
        started, problem = time.perf_counter(), self.problem
        program = self._program(theta, x0, np.asarray(forecast, dtype=float).reshape(problem.horizon + 1, -1))
        lower, upper = (
            np.tile([getattr(a, side) for a in problem.actions], problem.horizon) for side in ("lower", "upper")
        )
        if first_action is not None:
            lower[: problem.na] = upper[: problem.na] = np.asarray(first_action)
        u, iterations, solved = _projected_newton(program, lower, upper)
        plan_a = u.reshape(problem.horizon, problem.na)
        return ReferenceSolution(
            action=plan_a[0],
            plan_x=np.array([X @ u + r for X, r in program.x]),
            plan_a=plan_a,
            value=program.value(u),
            solved=solved,
            iterations=iterations,
            time_s=time.perf_counter() - started,
        )


def _projected_newton(program: _Program, lower: Array, upper: Array) -> tuple[Array, int, bool]:
    """U, iterations, and whether the gap closed."""
    u = (lower + upper) / 2
    value = program.value(u)
    for iteration in range(ITERATIONS):
        slope, curvature = program.slope_and_curvature(u)
        gap = float(np.maximum(slope * (u - lower), slope * (u - upper)).sum())
        if gap <= GAP * max(1.0, abs(value)):
            return u, iteration, True
        free = ~(((u <= lower) & (slope > 0)) | ((u >= upper) & (slope < 0)))
        step = np.zeros_like(u)
        step[free] = -np.linalg.solve(curvature[np.ix_(free, free)], slope[free])
        length = 1.0
        while True:
            trial = np.clip(u + length * step, lower, upper)
            found = program.value(trial)
            if found <= value + SUFFICIENT_DECREASE * slope @ (trial - u) or length < 1e-12:
                break
            length /= 2
        u, value = trial, found
    return u, ITERATIONS, False
