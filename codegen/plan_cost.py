"""What a plan really costs: its moves carried out in the Problem, auxiliaries settled, slacks as small as can be."""

from __future__ import annotations

import casadi as ca
import numpy as np
from numpy.typing import ArrayLike, NDArray

from codegen.errors import ProblemError
from systems.problem import Problem, SoftPenalty

Array = NDArray[np.float64]


class PlanCost:
    """The true cost of plans of one problem. Raises ProblemError where auxiliaries exist and nothing settles them."""

    def __init__(self, problem: Problem) -> None:
        if problem.auxiliaries and problem.settled is None:
            raise ProblemError(f"{problem.name}: its auxiliaries are not functions of the actions: declare `settled`")
        self.problem = problem
        x, a = ca.SX.sym("x", problem.nx), ca.SX.sym("a", problem.na)
        d, z, p = ca.SX.sym("d", problem.nd), ca.SX.sym("z", problem.nz), ca.SX.sym("p", problem.np)
        u = ca.vertcat(a, ca.SX(len(problem.auxiliaries), 1))
        if problem.settled is not None:
            u = problem.settled(x, u, d, z, p)
        stage, last = (x, u, d, z, p), (x, d, z, p)
        cost = problem.stage_cost(*stage)
        if problem.soft is not None:
            cost += _penalty(problem.soft_penalty, problem.soft(*stage))
        terminal = problem.terminal_cost(*last)
        if problem.soft_terminal is not None:
            terminal += _penalty(problem.soft_terminal_penalty, problem.soft_terminal(*last))
        self._stage = ca.Function("stage", [x, a, d, z, p], [problem.dynamics(*stage), cost])
        self._terminal = ca.Function("terminal", [x, d, z, p], [terminal])

    def __call__(self, theta: ArrayLike, x0: ArrayLike, forecast: ArrayLike, plan_a: Array) -> float:
        """plan_a (N, na), forecast (N+1, nd) -> the objective of the problem, discounted."""
        problem, x = self.problem, ca.DM(np.asarray(x0, dtype=float))
        rows = np.asarray(forecast, dtype=float).reshape(problem.horizon + 1, -1)
        z = ca.DM(0, 1) if problem.features is None else problem.features(rows, x)
        p = ca.DM(np.asarray(theta, dtype=float))
        p = p if problem.prepare is None else problem.prepare(p)
        total = 0.0
        for k, action in enumerate(plan_a):
            x, cost = self._stage(x, action, rows[k], z, p)
            total += problem.discount**k * float(cost)
        return total + problem.discount**problem.horizon * float(self._terminal(x, rows[-1], z, p))


def most_excluded(problem: Problem, plan_a: Array) -> float:
    """The most that the smaller of two actions reaches that exclude each other; 0 without pairs. plan_a (N, na)."""
    return max((float(plan_a[:, [i, j]].min(axis=1).max()) for i, j in problem.exclusive_pairs), default=0.0)


def _penalty(price: SoftPenalty, rows: ca.SX) -> ca.SX:
    slack = ca.fmax(-rows, 0.0)
    return ca.dot(ca.DM(price.linear), slack) + ca.dot(ca.DM(price.quadratic), slack**2) / 2
