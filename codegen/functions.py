"""What the shim needs beside the acados solver: derivative functions of the Lagrangian, and the sizes as a header.

Gradients with respect to the prepared parameters p, per stage, with multipliers pi (dynamics) and mu (rows >= 0):
    L_k = gamma^k l + pi' f - mu' rows
    envelope theorem           nisse_gradient      dL_k/dp
    implicit function theorem  nisse_sensitivity   d/dp [ s' dL_k/dw + s_pi' f + s_rows' rows ], a column per action
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import casadi as ca
import numpy as np

from codegen.ocp import (
    BARRIER,
    CENTRED,
    QP_ITERATIONS,
    QP_TOLERANCE,
    SQP_ITERATIONS,
    TOLERANCE,
    StageExpressions,
    Symbols,
    has_constant_matrices,
    has_modes,
    is_quadratic_program,
    search_iterations,
    slope_of,
)
from systems.problem import Problem

FUNCTIONS_NAME = "nisse_functions"


def shim_functions(problem: Problem, e: StageExpressions) -> list[ca.Function]:
    """The CasADi functions that the shim calls, all with dense arguments."""
    return [
        *_preparations(problem),
        *_stage_functions(problem, e),
        *_terminal_functions(problem, e),
        *_vectors(e),
        *(_mode_functions(problem, e) if has_modes(problem) else ()),
    ]


def _preparations(problem: Problem) -> list[ca.Function]:
    rows = ca.SX.sym("forecast", problem.nd, problem.horizon + 1)  # column-major: what C calls row-major
    x0 = ca.SX.sym("x0", problem.nx)
    z = ca.densify(problem.features(rows.T, x0)) if problem.features is not None else ca.SX(0, 1)
    # Matrix symbols: a `prepare` written in matrix operations stays that small in C.
    theta, v = ca.MX.sym("theta", problem.ntheta), ca.MX.sym("v", problem.np)
    p = ca.densify(problem.prepare(theta)) if problem.prepare is not None else theta
    return [
        ca.Function("nisse_features", [rows, x0], [z]),
        ca.Function("nisse_prepare", [theta], [p]),
        ca.Function("nisse_prepare_vjp", [theta, v], [ca.densify(ca.jtimes(p, theta, v, True))]),
    ]


def _stage_functions(problem: Problem, e: StageExpressions) -> list[ca.Function]:
    sym, na, rows = type(e.x).sym, problem.na, e.rows.numel()
    pi, mu = sym("pi", problem.nx), sym("mu", rows)
    sx, su = sym("sx", problem.nx, na), sym("su", problem.nu, na)
    s_pi, s_rows = sym("s_pi", problem.nx, na), sym("s_rows", rows, na)
    lagrangian = e.cost + ca.dot(pi, e.dynamics) - ca.dot(mu, e.rows)
    slope_x, slope_u = ca.gradient(lagrangian, e.x), ca.gradient(lagrangian, e.u)
    directions = [
        _gradient(
            e,
            ca.dot(sx[:, a], slope_x)
            + ca.dot(su[:, a], slope_u)
            + ca.dot(s_pi[:, a], e.dynamics)
            + ca.dot(s_rows[:, a], e.rows),
        )
        for a in range(na)
    ]
    point = [e.x, e.u, e.parameters, pi, mu]
    return [
        ca.Function("nisse_gradient", point, [_gradient(e, lagrangian)]),
        ca.Function("nisse_sensitivity", [*point, sx, su, s_pi, s_rows], [ca.horzcat(*directions)]),
    ]


def _terminal_functions(problem: Problem, e: StageExpressions) -> list[ca.Function]:
    sym, na, rows = type(e.x).sym, problem.na, e.terminal_rows.numel()
    mu, sx, s_rows = sym("mu", rows), sym("sx", problem.nx, na), sym("s_rows", rows, na)
    lagrangian = e.terminal_cost - ca.dot(mu, e.terminal_rows)
    slope = ca.gradient(lagrangian, e.x)
    directions = [_gradient(e, ca.dot(sx[:, a], slope) + ca.dot(s_rows[:, a], e.terminal_rows)) for a in range(na)]
    point = [e.x, e.parameters, mu]
    return [
        ca.Function("nisse_gradient_e", point, [_gradient(e, lagrangian)]),
        ca.Function("nisse_sensitivity_e", [*point, sx, s_rows], [ca.horzcat(*directions)]),
    ]


def _vectors(e: StageExpressions) -> list[ca.Function]:
    """What a stage's functions are at the origin: next state, cost, its gradient in (u, x), rows. A QP's vectors."""
    nothing = [type(e.x)(v.numel(), 1) for v in (e.x, e.u)]  # zeros by structure: what they meet is left out

    def at_origin(*values: Symbols) -> list[Symbols]:
        function = ca.Function("at", [e.x, e.u, e.parameters], list(values))
        return [ca.densify(v) for v in function.call([*nothing, e.parameters], True, False)]

    slope, slope_e = slope_of(e.cost, e.u, e.x), ca.gradient(e.terminal_cost, e.x)
    return [
        ca.Function("nisse_vectors", [e.parameters], at_origin(e.dynamics, e.cost, slope, e.rows)),
        ca.Function("nisse_vectors_e", [e.parameters], at_origin(e.terminal_cost, slope_e, e.terminal_rows)),
    ]


def _mode_functions(problem: Problem, e: StageExpressions) -> list[ca.Function]:
    """What modes.c asks: the relaxed forecast row; and at a point the settled variables, the costs of these and of the
    others, the tangent's row, the next state and the rows (of the settled ones)."""
    ends = np.cumsum([0, problem.nd, problem.nz, problem.np, 1]).tolist()
    d, z, p, _ = ca.vertsplit(e.parameters, ends)

    def row(function: ca.Function | None) -> Symbols:
        return d if function is None else function.call([e.x, e.u, d, z, p], True, False)[0]

    u = e.u if problem.settled is None else problem.settled.call([e.x, e.u, d, z, p], True, False)[0]
    at = ca.Function("at", [e.x, e.u, e.parameters], [e.cost, e.dynamics, e.rows])
    cost, x_next, rows = at.call([e.x, u, e.parameters], True, False)
    nothing = [type(e.x)(v.numel(), 1) for v in (e.x, e.u)]
    relaxed = ca.Function("row", [e.x, e.u, e.parameters], [row(problem.relaxed)]).call([*nothing, e.parameters])[0]
    settled = [u, cost, e.cost, row(problem.tangent), x_next, rows]
    return [
        ca.Function("nisse_relaxed", [e.parameters], [ca.densify(relaxed)]),
        ca.Function("nisse_settle", [e.x, e.u, e.parameters], [ca.densify(v) for v in settled]),
    ]


def _gradient(e: StageExpressions, of: Symbols) -> Symbols:
    """d of / dp, dense. Matrix symbols cannot be differentiated by a part of a symbol: by all parameters, then cut."""
    return ca.densify(ca.gradient(of, e.parameters))[e.rows_of_p]


def write_functions(problem: Problem, e: StageExpressions, directory: Path) -> None:
    """Write nisse_functions.c and its header."""
    generator = ca.CodeGenerator(
        f"{FUNCTIONS_NAME}.c", {"with_header": True, "casadi_int": "int", "casadi_real": "double"}
    )
    for function in shim_functions(problem, e):
        generator.add(function)
    generator.generate(str(directory) + os.sep)


def write_config(problem: Problem, e: StageExpressions, directory: Path) -> None:
    """Write nisse_config.h: sizes, bounds, defaults and slack prices of one problem."""
    sizes = {
        "NX": problem.nx,
        "NU": problem.nu,
        "NA": problem.na,
        "ND": problem.nd,
        "NZ": problem.nz,
        "NP": problem.np,
        "NTHETA": problem.ntheta,
        "N": problem.horizon,
        "NHARD": e.rows.numel() - len(problem.soft_penalty.linear),
        "NSOFT": len(problem.soft_penalty.linear),
        "NSOFT_E": len(problem.soft_terminal_penalty.linear),
        "MODES": int(has_modes(problem)),
        "QUADRATIC": int(is_quadratic_program(problem)),
        "CONSTANT_MATRICES": int(has_constant_matrices(problem)),
        "DT_S": _number(problem.dt_s),
        "DISCOUNT": _number(problem.discount),
        "TOLERANCE": _number(TOLERANCE),
        "QP_TOLERANCE": _number(QP_TOLERANCE),
        "BARRIER": _number(BARRIER),
        "CENTRED": _number(CENTRED),
        "QP_ITERATIONS": QP_ITERATIONS,
        "SQP_ITERATIONS": SQP_ITERATIONS,
        "SEARCH_ITERATIONS": search_iterations(problem),
    }
    signals = (*problem.actions, *problem.auxiliaries)
    arrays = {
        "theta_default": (p.default for p in problem.theta),
        "theta_lower": (p.lower for p in problem.theta),
        "theta_upper": (p.upper for p in problem.theta),
        "u_lower": (s.lower for s in signals),
        "u_upper": (s.upper for s in signals),
        "slack_linear": problem.soft_penalty.linear,
        "slack_quadratic": problem.soft_penalty.quadratic,
        "slack_linear_e": problem.soft_terminal_penalty.linear,
        "slack_quadratic_e": problem.soft_terminal_penalty.quadratic,
    }
    lines = ["/* Sizes and numbers of one problem. */", "#ifndef NISSE_CONFIG_H", "#define NISSE_CONFIG_H", ""]
    lines += [f"#define NISSE_{name} {value}" for name, value in sizes.items()]
    partner = {i: j for pair in problem.exclusive_pairs for i, j in (pair, pair[::-1])}
    partners = ", ".join(str(partner.get(i, -1)) for i in range(problem.nu))
    lines.append(f"__attribute__((unused)) static const int nisse_partner[] = {{{partners}}};")
    lines += ["", *(_array(name, values) for name, values in arrays.items()), "", "#endif", ""]
    (directory / "nisse_config.h").write_text("\n".join(lines))


def _number(value: float) -> str:
    return repr(float(value))


def _array(name: str, values: Iterable[float]) -> str:
    numbers = ", ".join(_number(v) for v in values) or "0.0"
    return f"__attribute__((unused)) static const double nisse_{name}[] = {{{numbers}}};"
