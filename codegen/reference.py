"""The independent solver: the same Problem, written as one nonlinear program and solved by CasADi with IPOPT.

It shares nothing with the generated controller but the Problem: own transcription, own slacks, another algorithm.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import casadi as ca
import numpy as np
from numpy.typing import ArrayLike, NDArray

from systems.problem import Problem, SoftPenalty

IPOPT_OPTIONS: dict[str, Any] = {
    "print_time": False,
    "ipopt.print_level": 0,
    "ipopt.sb": "yes",
    "ipopt.tol": 1e-10,
    "ipopt.acceptable_tol": 1e-9,
    "ipopt.constr_viol_tol": 1e-10,
    "ipopt.bound_relax_factor": 0.0,
    "ipopt.max_iter": 500,
}


@dataclass(frozen=True)
class ReferenceSolution:
    """action (na), plan_x (N+1, nx), plan_a (N, na); `solved` as IPOPT sees it."""

    action: NDArray[np.float64]
    plan_x: NDArray[np.float64]
    plan_a: NDArray[np.float64]
    value: float
    solved: bool
    iterations: int
    time_s: float


class ReferenceSolver:
    """V_theta and Q_theta of a problem by IPOPT."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        n, nx, nu, ns = problem.horizon, problem.nx, problem.nu, len(problem.soft_penalty.linear)
        nst = len(problem.soft_terminal_penalty.linear)
        x, u = ca.SX.sym("x", nx, n + 1), ca.SX.sym("u", nu, n)
        s, st = ca.SX.sym("s", ns, n), ca.SX.sym("st", nst)
        x0, forecast = ca.SX.sym("x0", nx), ca.SX.sym("forecast", n + 1, problem.nd)
        p = ca.SX.sym("p", problem.np)
        z = problem.features(forecast) if problem.features is not None else ca.SX(0, 1)

        cost, equalities, inequalities = ca.SX(0), [x[:, 0] - x0], []
        for k in range(n):
            stage = (x[:, k], u[:, k], forecast[k, :].T, z, p)
            cost += problem.discount**k * (problem.stage_cost(*stage) + penalty(problem.soft_penalty, s[:, k]))
            equalities.append(x[:, k + 1] - problem.dynamics(*stage))
            if problem.hard is not None:
                inequalities.append(problem.hard(*stage))
            if problem.soft is not None:
                inequalities.append(problem.soft(*stage) + s[:, k])
        last = (x[:, n], forecast[n, :].T, z, p)
        cost += problem.discount**n * (problem.terminal_cost(*last) + penalty(problem.soft_terminal_penalty, st))
        if problem.soft_terminal is not None:
            inequalities.append(problem.soft_terminal(*last) + st)

        rows, limits = ca.vertcat(*equalities), ca.vertcat(*inequalities)
        signals = (*problem.actions, *problem.auxiliaries)
        free = np.full(nx * (n + 1), np.inf)
        slack_lower, slack_upper = np.zeros(ns * n + nst), np.full(ns * n + nst, np.inf)
        self._lower = np.concatenate([-free, np.tile([a.lower for a in signals], n), slack_lower])
        self._upper = np.concatenate([free, np.tile([a.upper for a in signals], n), slack_upper])
        self._row_lower = np.zeros(rows.numel() + limits.numel())
        self._row_upper = np.concatenate([np.zeros(rows.numel()), np.full(limits.numel(), np.inf)])
        program = {
            "x": ca.vertcat(ca.vec(x), ca.vec(u), ca.vec(s), st),
            "p": ca.vertcat(x0, ca.vec(forecast), p),
            "f": cost,
            "g": ca.vertcat(rows, limits),
        }
        self._solver = ca.nlpsol("reference", "ipopt", program, IPOPT_OPTIONS)

    def solve(
        self, theta: ArrayLike, x0: ArrayLike, forecast: ArrayLike, first_action: ArrayLike | None = None
    ) -> ReferenceSolution:
        """Solve from x0 (nx) under forecast (N+1, nd); with `first_action` (na) the program of Q."""
        problem = self.problem
        n, nx, nu, na = problem.horizon, problem.nx, problem.nu, problem.na
        lower, upper = self._lower.copy(), self._upper.copy()
        first_u = nx * (n + 1)
        if first_action is not None:
            lower[first_u : first_u + na] = upper[first_u : first_u + na] = np.asarray(first_action)
        guess = np.zeros_like(lower)
        guess[:first_u] = np.tile(np.asarray(x0, dtype=float), n + 1)
        rows = np.asarray(forecast, dtype=float).reshape(n + 1, -1)
        p = theta if problem.prepare is None else np.asarray(problem.prepare(np.asarray(theta, dtype=float)))
        parameters = np.concatenate([np.ravel(x0), np.ravel(rows, order="F"), np.ravel(p)])
        started = time.perf_counter()
        result = self._solver(x0=guess, p=parameters, lbx=lower, ubx=upper, lbg=self._row_lower, ubg=self._row_upper)
        elapsed = time.perf_counter() - started
        w, statistics = np.asarray(result["x"]).ravel(), self._solver.stats()
        plan_a = w[first_u : first_u + nu * n].reshape(n, nu)[:, :na]
        return ReferenceSolution(
            action=plan_a[0],
            plan_x=w[:first_u].reshape(n + 1, nx),
            plan_a=plan_a,
            value=float(result["f"]),
            solved=bool(statistics["success"]),
            iterations=int(statistics["iter_count"]),
            time_s=elapsed,
        )


def penalty(price: SoftPenalty, slack: ca.SX) -> ca.SX:
    """linear' s + s' diag(quadratic) s / 2."""
    return ca.dot(ca.DM(price.linear), slack) + ca.dot(ca.DM(price.quadratic), slack**2) / 2
