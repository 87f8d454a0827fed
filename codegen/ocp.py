"""Problem -> acados OCP: the stage functions become CasADi expressions, soft rows become native slacks.

Each stage k has the run-time parameters [d_k, z, p, gamma^k], so that theta, forecast and discount never need a
new compilation. Time steps are all 1: acados scales stage costs with them, and the discount is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import casadi as ca
import numpy as np

from codegen.acados import OCP_NAME, rows_from_the_first_stage_on, set_horizon
from codegen.errors import ProblemError
from systems.problem import Problem

UNBOUNDED = 1e9
"""acados' own infinity; the shim masks these sides, so the number never enters the arithmetic."""
TOLERANCE = 1e-8
QP_TOLERANCE = 1e-9
BARRIER = 1e-12
"""Every multiplier times its distance ends here, and nowhere below: so the solution is a smooth function of theta, next
to weakly active constraints too. With curvature 1e-4 the first move is off by at most the square root of this over it,
1e-4 of a kW, and that only where a constraint is just becoming active."""
CENTRED = 1e-3
"""Share of the barrier by which a product may miss it."""
QP_ITERATIONS = 120
"""Per attempt. Wild programs of the house take up to 80; what is not solved by then has stalled."""
RESERVED_ITERATIONS = 200
"""Rows of HPIPM's statistics, which it lays out once for all attempts."""
SQP_ITERATIONS = 50
SEARCH_WORK = 1.5e9
"""Of the search for modes: iterations times stages times the cube of a stage's variables, which is what an iteration
costs where stages are large. Measured on a 2.5 GHz Xeon: 1.3 ms an iteration of a cabin with two zones and a battery
(48 stages of 31 variables), which gives its search 1.4 s."""
FEWEST_SEARCHED, MOST_SEARCHED = 200, 2000
"""Iterations, whatever the size. Two batteries in quarter-hours of a day take 0.14 ms for one."""
BLOCK_INPUTS = 24
"""Partial condensing joins stages until a block has about this many inputs: larger matrices, fewer calls per iteration.
Measured on the battery (N = 96, nu = 3): blocks of 8 stages take 0.4 of the time of single stages."""


Symbols = Any
"""ca.SX or ca.MX: all of one problem's expressions are of one kind."""


def search_iterations(problem: Problem) -> int:
    """After as many iterations of the interior-point method a search for modes begins nothing new."""
    work = problem.horizon * (problem.nx + problem.nu) ** 3
    return int(min(max(SEARCH_WORK / work, FEWEST_SEARCHED), MOST_SEARCHED))


@dataclass(frozen=True)
class StageExpressions:
    """The problem in symbols: stage variables, and what the stage and the terminal functions make of them."""

    x: Symbols
    u: Symbols
    parameters: Symbols
    """[d, z, p, gamma^k]"""
    rows_of_p: slice
    """Where p lies in the parameters."""
    dynamics: Symbols
    cost: Symbols
    rows: Symbols
    """Inequalities >= 0: the hard ones first, then the soft ones."""
    terminal_cost: Symbols
    terminal_rows: Symbols


def expressions(problem: Problem, kind: type[ca.SX] | type[ca.MX] | None = None) -> StageExpressions:
    """Evaluate the problem's functions on fresh symbols of a kind. Costs carry gamma^k. Raises ProblemError."""
    kind = kind or symbols_for(problem)
    x, u = kind.sym("x", problem.nx), kind.sym("u", problem.nu)
    ends = np.cumsum([0, problem.nd, problem.nz, problem.np, 1]).tolist()
    parameters = kind.sym("parameters", ends[-1])
    d, z, p, gamma_k = ca.vertsplit(parameters, ends)
    stage, terminal = (x, u, d, z, p), (x, d, z, p)

    def call(function: ca.Function | None, arguments: tuple[Symbols, ...]) -> Symbols:
        if function is None:
            return kind(0, 1)
        try:
            # Inlined: derivatives of a call would be those with respect to all its arguments, p with its thousands too.
            return ca.densify(function.call(list(arguments), True, False)[0])
        except RuntimeError as error:
            raise ProblemError(
                f"{problem.name}: {function.name()} cannot be written in scalar operations: {error}"
            ) from error

    return StageExpressions(
        x, u, parameters, slice(ends[2], ends[3]),
        dynamics=call(problem.dynamics, stage),
        cost=gamma_k * call(problem.stage_cost, stage),
        rows=ca.vertcat(call(problem.hard, stage), call(problem.soft, stage)),
        terminal_cost=gamma_k * call(problem.terminal_cost, terminal),
        terminal_rows=call(problem.soft_terminal, terminal),
    )  # fmt: skip


def symbols_for(problem: Problem) -> type[ca.SX] | type[ca.MX]:
    """Matrix symbols for a problem written in matrix operations, else scalar ones.

    Matrices become loops over arrays in C; scalars a line per number, which folds away zeros and is the faster code
    while the numbers are few. With the thousands of a lifted model a compiler takes minutes over it.
    """
    functions = (problem.dynamics, problem.stage_cost, problem.terminal_cost, problem.soft, problem.soft_terminal)
    in_matrices = all(f.is_a("MXFunction") for f in (*functions, problem.hard) if f is not None)
    return ca.MX if in_matrices else ca.SX


def is_quadratic_program(problem: Problem) -> bool:
    """True when, for fixed parameters, costs are quadratic and all rows and the dynamics affine in (x, u)."""
    e = expressions(problem, ca.SX)  # in scalars what depends on what is seen number by number
    w = ca.vertcat(e.x, e.u)
    return not any(ca.depends_on(matrix, w) for matrix in _derivatives(e))


def has_constant_matrices(problem: Problem) -> bool:
    """True for a quadratic program whose matrices theta alone makes: forecasts enter its vectors only."""
    e = expressions(problem, ca.SX)
    varies = ca.vertcat(e.x, e.u, e.parameters[: e.rows_of_p.start])
    return not any(ca.depends_on(matrix, varies) for matrix in _derivatives(e))


def has_modes(problem: Problem) -> bool:
    """True where a few programs are solved in turn: actions exclude each other, or a stage cost is partly concave."""
    return bool(problem.exclusive) or problem.relaxed is not None


def check_modes(problem: Problem) -> None:
    """Raises ProblemError for a declaration of modes that the controller cannot keep."""
    concave = (problem.relaxed, problem.tangent)
    if any(f is None for f in concave) and any(f is not None for f in concave):
        raise ProblemError(f"{problem.name}: `relaxed` and `tangent` belong together: give both")
    if has_modes(problem) and not is_quadratic_program(problem):
        raise ProblemError(f"{problem.name}: modes are for quadratic programs: leave them out, or the curved cost")
    paired = [name for pair in problem.exclusive for name in pair]
    lower = {a.name: a.lower for a in problem.actions}
    for name in paired:
        if name not in lower or lower[name] != 0.0 or paired.count(name) > 1:
            raise ProblemError(f"{problem.name}: {name!r} in `exclusive` must be an action from 0 up, named there once")


def _derivatives(e: StageExpressions) -> tuple[Symbols, Symbols]:
    """Jacobians and Hessians of a stage and of the end, in (x, u)."""
    w = ca.vertcat(e.x, e.u)
    affine = ca.vertcat(e.dynamics, e.rows, e.terminal_rows)
    return ca.jacobian(affine, w), ca.vertcat(ca.hessian(e.cost, w)[0], ca.hessian(e.terminal_cost, w)[0])


def hessian_of_stage(problem: Problem, e: StageExpressions) -> ca.MX:
    """The Hessian in (u, x), dense. That of a quadratic program copies and scales numbers of the parameters.

    Entries linear in them are a table, a product with a constant sparse matrix, of which most states have nothing else;
    the others, where a forecast scales what p says, are scalars, a line each. A loop over columns would evaluate the
    cost's slope once for each.
    """
    s = expressions(problem, ca.SX)  # in scalars what depends on what is seen number by number
    w = ca.vertcat(s.u, s.x)
    hessian = ca.hessian(s.cost, w)[0]
    if ca.depends_on(hessian, w):
        return hessian_by_columns(e.cost, e.u, e.x, e.parameters)
    lower = ca.tril(hessian)
    entries = lower.nz[:]
    undiscounted, names = ca.substitute(entries, s.parameters[-1], 1), s.parameters[:-1]
    slopes = ca.jacobian(undiscounted, names)
    bent = ca.jacobian_sparsity(slopes.nz[:], names).row()
    rows = slopes.sparsity().row()
    curved = {rows[i] for i in bent}
    tabled = [row for row in range(entries.numel()) if row not in curved]
    written = sorted(curved)
    used = sorted(set(slopes[tabled, :].sparsity().get_col()))
    table = ca.DM(slopes[tabled, used])
    offset = ca.DM(ca.substitute(undiscounted[tabled], names, ca.DM.zeros(names.shape)))
    scalars = ca.Function("written", [s.parameters], [ca.densify(entries[written])])
    values = ca.vertcat(e.parameters[-1] * (table @ e.parameters[used] + offset), scalars(e.parameters))
    order = np.empty(entries.numel(), dtype=int)
    order[[*tabled, *written]] = np.arange(entries.numel())
    return ca.densify(ca.tril2symm(ca.MX(lower.sparsity(), values[order.tolist()])))


def hessian_by_columns(cost: ca.MX, u: ca.MX, x: ca.MX, parameters: ca.MX) -> ca.MX:
    """The Hessian in (u, x) as a loop over its columns; CasADi's own would write every column out."""
    nu, size = u.numel(), u.numel() + x.numel()
    slope, direction = slope_of(cost, u, x), ca.MX.sym("direction", size)
    column = ca.jtimes(slope, u, direction[:nu]) + ca.jtimes(slope, x, direction[nu:])
    function = ca.Function("column", [direction, u, x, parameters], [column])
    return function.map("columns", "serial", size, [1, 2, 3], [])(ca.DM.eye(size), u, x, parameters)


def slope_of(cost: Symbols, u: Symbols, x: Symbols) -> Symbols:
    """The gradient in (u, x)."""
    return ca.vertcat(ca.gradient(cost, u), ca.gradient(cost, x))


def condensed_stages(horizon: int, nx: int, nu: int) -> int:
    """Number of blocks for partial condensing; each block joins horizon // blocks stages, some one more.

    Blocks whose inputs number 3 modulo 4 are avoided where nx = 1: the wheel's BLASFEO for aarch64 (Cortex-A57, tried
    under qemu) computes `dtrsv_ltn_mn` wrongly when a matrix of n + 1 rows has n = 3 (modulo 4) columns, and every such
    solve fails.
    """
    for block in range(max(1, BLOCK_INPUTS // nu), 0, -1):
        blocks = max(1, horizon // block)
        sizes = {horizon // blocks, -(-horizon // blocks)}
        if nx != 1 or all(size * nu % 4 != 3 for size in sizes):
            return blocks
    return horizon


def check_penalties(problem: Problem) -> None:
    """Each soft row needs its price. Raises ProblemError."""
    for label, function, penalty in (
        ("soft", problem.soft, problem.soft_penalty),
        ("soft_terminal", problem.soft_terminal, problem.soft_terminal_penalty),
    ):
        rows = 0 if function is None else int(function.numel_out(0))
        if len(penalty.linear) != rows or len(penalty.quadratic) != rows:
            raise ProblemError(
                f"{problem.name}: {label} has {rows} rows but prices for {len(penalty.linear)} (linear) and "
                f"{len(penalty.quadratic)} (quadratic): give one of each per row"
            )


def build_ocp(problem: Problem, e: StageExpressions, templates: ModuleType) -> Any:
    """The AcadosOcp. x_0, theta, forecast, discounted slack prices and masks are set at run time by the shim."""
    check_penalties(problem)
    check_modes(problem)
    ocp, model = templates.AcadosOcp(), templates.AcadosModel()
    model.name = OCP_NAME
    model.x, model.u, model.p = e.x, e.u, e.parameters
    model.disc_dyn_expr = e.dynamics
    model.cost_expr_ext_cost, model.cost_expr_ext_cost_0 = e.cost, e.cost
    model.cost_expr_ext_cost_e = e.terminal_cost
    if isinstance(e.x, ca.MX):
        hessian = hessian_of_stage(problem, e)
        model.cost_expr_ext_cost_custom_hess = model.cost_expr_ext_cost_custom_hess_0 = hessian
    ocp.model = model
    set_horizon(ocp, problem.horizon)
    ocp.parameter_values = np.zeros(int(e.parameters.numel()))
    ocp.cost.cost_type = ocp.cost.cost_type_0 = ocp.cost.cost_type_e = "EXTERNAL"

    signals = (*problem.actions, *problem.auxiliaries)
    ocp.constraints.lbu = np.array([s.lower for s in signals])
    ocp.constraints.ubu = np.array([s.upper for s in signals])
    ocp.constraints.idxbu = np.arange(problem.nu)
    ocp.constraints.x0 = np.zeros(problem.nx)

    rows, soft = int(e.rows.numel()), len(problem.soft_penalty.linear)
    if rows:
        model.con_h_expr = e.rows
        ocp.constraints.lh, ocp.constraints.uh = np.zeros(rows), np.full(rows, UNBOUNDED)
    if soft:
        ocp.constraints.idxsh = np.arange(rows - soft, rows)
        ocp.cost.zl, ocp.cost.Zl = np.array(problem.soft_penalty.linear), np.array(problem.soft_penalty.quadratic)
        ocp.cost.zu, ocp.cost.Zu = np.ones(soft), np.ones(soft)
    rows_from_the_first_stage_on(ocp)
    soft_e = len(problem.soft_terminal_penalty.linear)
    if soft_e:
        model.con_h_expr_e = e.terminal_rows
        ocp.constraints.lh_e, ocp.constraints.uh_e = np.zeros(soft_e), np.full(soft_e, UNBOUNDED)
        ocp.constraints.idxsh_e = np.arange(soft_e)
        terminal = problem.soft_terminal_penalty
        ocp.cost.zl_e, ocp.cost.Zl_e = np.array(terminal.linear), np.array(terminal.quadratic)
        ocp.cost.zu_e, ocp.cost.Zu_e = np.ones(soft_e), np.ones(soft_e)

    quadratic = is_quadratic_program(problem)
    options = ocp.solver_options
    options.tf = float(problem.horizon)
    options.integrator_type = "DISCRETE"
    options.qp_solver = "PARTIAL_CONDENSING_HPIPM"
    options.qp_solver_cond_N = condensed_stages(problem.horizon, problem.nx, problem.nu)
    # Not by a Cholesky factor of the Hessian: a state whose cost is linear (what is stored, say) has a pivot of zero
    # there, and its gradient would be lost at all stages but the first of each block.
    options.qp_solver_cond_ric_alg = 0
    # The cost Hessian is exact either way; a QP has no other curvature, so the cheaper evaluation is exact as well.
    options.hessian_approx = "GAUSS_NEWTON" if quadratic else "EXACT"
    options.nlp_solver_type = "SQP_RTI" if quadratic else "SQP"
    options.nlp_solver_max_iter = SQP_ITERATIONS
    options.tol = TOLERANCE
    options.qp_tol = QP_TOLERANCE
    options.qp_solver_iter_max = RESERVED_ITERATIONS
    # "SPEED" stops short (minimum step, residual 1e-2) where the initial state of charge sits exactly on its limit.
    # Reserves the memory of the most careful mode; the shim chooses the mode of each attempt.
    options.hpipm_mode = "ROBUST"
    options.print_level = 0
    return ocp
