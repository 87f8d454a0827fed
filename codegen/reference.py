"""The independent solver: the same Problem, written as one nonlinear program and solved by CasADi with IPOPT.

It shares nothing with the generated controller but the Problem: own transcription, own slacks, another algorithm.

Of a problem with modes (actions that exclude each other, costs that are concave in places) it solves one of two convex
programs. Without a plan the relaxed one, whose value no plan undercuts where only exclusions were left out. With a plan
the true one, confined to the plan's own modes: what is off there stays off, and where the cost is bent an auxiliary or
a hard row that is at its bound stays there, so that the cost has no bend left. A plan that is optimal for its modes is
optimal there.
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
    real: bool = True
    """Not of a relaxed program that leaves out what counts."""


AT_ITS_BOUND = 1e-6
"""Of an action, auxiliary or hard row of a plan: below it none of these is above its lower bound."""


class ReferenceSolver:
    """V_theta and Q_theta of a problem by IPOPT."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        n, nx, nu, ns = problem.horizon, problem.nx, problem.nu, len(problem.soft_penalty.linear)
        nst = len(problem.soft_terminal_penalty.linear)
        x, u = ca.SX.sym("x", nx, n + 1), ca.SX.sym("u", nu, n)
        s, st = ca.SX.sym("s", ns, n), ca.SX.sym("st", nst)
        x0, forecast = ca.SX.sym("x0", nx), ca.SX.sym("forecast", n + 1, problem.nd)
        p, costed = ca.SX.sym("p", problem.np), ca.SX.sym("costed", n, problem.nd)
        z = problem.features(forecast, x0) if problem.features is not None else ca.SX(0, 1)

        cost, equalities, inequalities = ca.SX(0), [x[:, 0] - x0], []
        hard_rows: list[slice] = []
        size = nx * (n + 1)
        for k in range(n):
            stage = (x[:, k], u[:, k], forecast[k, :].T, z, p)
            stage_cost = problem.stage_cost(x[:, k], u[:, k], costed[k, :].T, z, p)
            cost += problem.discount**k * (stage_cost + penalty(problem.soft_penalty, s[:, k]))
            equalities.append(x[:, k + 1] - problem.dynamics(*stage))
            if problem.hard is not None:
                hard_rows.append(slice(size, size := size + int(problem.hard.numel_out(0))))
                inequalities.append(problem.hard(*stage))
            if problem.soft is not None:
                size += ns
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
        self._hard_rows = hard_rows
        self._modes = _ModeFunctions(problem)
        program = {
            "x": ca.vertcat(ca.vec(x), ca.vec(u), ca.vec(s), st),
            "p": ca.vertcat(x0, ca.vec(forecast), p, ca.vec(costed)),
            "f": cost,
            "g": ca.vertcat(rows, limits),
        }
        self._solver = ca.nlpsol("reference", "ipopt", program, IPOPT_OPTIONS)

    def solve(
        self,
        theta: ArrayLike,
        x0: ArrayLike,
        forecast: ArrayLike,
        first_action: ArrayLike | None = None,
        plan_a: ArrayLike | None = None,
    ) -> ReferenceSolution:
        """Solve from x0 (nx) under forecast (N+1, nd); with `first_action` (na) the program of Q.

        With `plan_a` (N, na) the true program in that plan's modes, else the relaxed one. `real` says whether the
        solution keeps what the relaxed program leaves out.
        """
        problem = self.problem
        n, nx, nu, na = problem.horizon, problem.nx, problem.nu, problem.na
        lower, upper = self._lower.copy(), self._upper.copy()
        row_upper = self._row_upper.copy()
        first_u = nx * (n + 1)
        rows = np.asarray(forecast, dtype=float).reshape(n + 1, -1)
        p = theta if problem.prepare is None else np.asarray(problem.prepare(np.asarray(theta, dtype=float)))
        modes = self._modes.of(x0, rows, p)
        costed = modes.relaxed if plan_a is None else rows[:n]
        if plan_a is not None:
            off, closed = modes.kept_by(np.asarray(plan_a, dtype=float))
            u_upper = upper[first_u : first_u + nu * n].reshape(n, nu)
            u_upper[off] = lower[first_u : first_u + nu * n].reshape(n, nu)[off]
            for k, at_bound in enumerate(closed):
                row_upper[self._hard_rows[k]][at_bound] = 0.0
        if first_action is not None:
            lower[first_u : first_u + na] = upper[first_u : first_u + na] = np.asarray(first_action)
        guess = np.zeros_like(lower)
        guess[:first_u] = np.tile(np.asarray(x0, dtype=float), n + 1)
        parameters = np.concatenate([np.ravel(x0), np.ravel(rows, order="F"), np.ravel(p), np.ravel(costed, order="F")])
        started = time.perf_counter()
        result = self._solver(x0=guess, p=parameters, lbx=lower, ubx=upper, lbg=self._row_lower, ubg=row_upper)
        elapsed = time.perf_counter() - started
        w, statistics = np.asarray(result["x"]).ravel(), self._solver.stats()
        plan = w[first_u : first_u + nu * n].reshape(n, nu)[:, :na]
        return ReferenceSolution(
            action=plan[0],
            plan_x=w[:first_u].reshape(n + 1, nx),
            plan_a=plan,
            value=float(result["f"]),
            solved=bool(statistics["success"]),
            iterations=int(statistics["iter_count"]),
            time_s=elapsed,
            real=plan_a is not None or (not modes.bent.any() and not modes.excluded(plan).any()),
        )


@dataclass(frozen=True)
class _Modes:
    """The modes of one program: relaxed rows (N, nd), and at which stages they differ from the forecast (N,)."""

    functions: _ModeFunctions
    x0: NDArray[np.float64]
    forecast: NDArray[np.float64]
    z: Any
    p: Any
    relaxed: NDArray[np.float64]
    bent: NDArray[np.bool_]

    def excluded(self, plan_a: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(N, pairs): both of a pair are on."""
        pairs = self.functions.problem.exclusive_pairs
        return np.array([[row[[i, j]].min() > AT_ITS_BOUND for i, j in pairs] for row in plan_a])

    def kept_by(self, plan_a: NDArray[np.float64]) -> tuple[NDArray[np.bool_], list[NDArray[np.bool_]]]:
        """What is off (N, nu), and which hard rows are closed at each stage (hard,), while a plan's modes are kept."""
        problem = self.functions.problem
        off, closed = np.zeros((len(plan_a), problem.nu), dtype=bool), []
        x = ca.DM(self.x0)
        for k, action in enumerate(plan_a):
            for i, j in problem.exclusive_pairs:
                off[k, i], off[k, j] = (action[q] <= max(AT_ITS_BOUND, action[[i, j]].min()) for q in (i, j))
            x, settled, hard = self.functions.stage(x, action, self.forecast[k], self.z, self.p)
            at_bound = np.asarray(hard).ravel() <= AT_ITS_BOUND
            closed.append(at_bound if self.bent[k] else np.zeros_like(at_bound))
            if self.bent[k]:
                off[k, problem.na :] = np.asarray(settled).ravel()[problem.na :] <= AT_ITS_BOUND
        return off, closed if problem.hard is not None else []


class _ModeFunctions:
    """The functions of a problem that tell modes."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        x, a = ca.SX.sym("x", problem.nx), ca.SX.sym("a", problem.na)
        d, z, p = ca.SX.sym("d", problem.nd), ca.SX.sym("z", problem.nz), ca.SX.sym("p", problem.np)
        u = ca.vertcat(a, ca.SX(len(problem.auxiliaries), 1))
        u = u if problem.settled is None else problem.settled(x, u, d, z, p)
        hard = ca.SX(0, 1) if problem.hard is None else problem.hard(x, u, d, z, p)
        self.stage = ca.Function("stage", [x, a, d, z, p], [problem.dynamics(x, u, d, z, p), u, hard])

    def of(self, x0: ArrayLike, forecast: NDArray[np.float64], p: Any) -> _Modes:
        problem, x = self.problem, np.asarray(x0, dtype=float).ravel()
        z = ca.DM(0, 1) if problem.features is None else problem.features(forecast, x)
        relaxed = forecast[: problem.horizon].copy()
        if problem.relaxed is not None:
            u = np.zeros(problem.nu)
            relaxed = np.array([np.asarray(problem.relaxed(x, u, row, z, p)).ravel() for row in relaxed])
        bent = (relaxed != forecast[: problem.horizon]).any(axis=1)
        return _Modes(self, x, forecast, z, p, relaxed, bent)


def penalty(price: SoftPenalty, slack: ca.SX) -> ca.SX:
    """linear' s + s' diag(quadratic) s / 2."""
    return ca.dot(ca.DM(price.linear), slack) + ca.dot(ca.DM(price.quadratic), slack**2) / 2
