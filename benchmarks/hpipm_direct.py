"""A problem's QP for HPIPM alone: stage matrices by CasADi, solved by a few lines of C on acados' own libhpipm."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from codegen.compilers import find_compiler
from codegen.ocp import BARRIER, QP_TOLERANCE
from codegen.targets import cache_directory, host_arch
from codegen.toolchain import acados_tree
from systems.problem import Problem

SOURCE = Path(__file__).with_suffix(".c")
MU0 = 10.0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DirectSolution:
    """What HPIPM made of the QP; `cpu_s` is the best of three runs."""

    u0: Array
    iterations: int
    solved: bool
    cpu_s: float


class HpipmDirect:
    """One problem whose QPs HPIPM solves, in `folder` a library of its own."""

    def __init__(self, problem: Problem, folder: Path) -> None:
        self.problem = problem
        tree = acados_tree(host_arch(), cache_directory())
        includes = [f"-I{tree.include / part}" for part in ("hpipm/include", "blasfeo/include")]
        library = folder / "libhpipm_direct.so"
        links = [f"-L{tree.lib}", "-l:libhpipm.so", "-l:libblasfeo.so", f"-Wl,-rpath,{tree.lib}"]
        options = ["-O2", "-std=gnu11", "-fPIC", "-shared", *includes]
        with find_compiler(host_arch(), cache_directory()).at(folder) as run:
            run([*options, str(SOURCE), "-o", str(library), *links])
        for name in ("libblasfeo.so", "libhpipm.so"):
            ctypes.CDLL(str(tree.lib / name), ctypes.RTLD_GLOBAL)
        self._call = ctypes.CDLL(str(library)).hpipm_direct
        self._call.restype = ctypes.c_double
        self._stage, self._terminal = _stage_matrices(problem)

    def solve(self, theta: Array, x0: Array, forecast: Array, blocks: int) -> DirectSolution:
        """Solve from x0 (nx) under forecast (N+1, nd), joined to so many blocks by partial condensing."""
        problem, n = self.problem, self.problem.horizon
        z = problem.features(forecast, x0) if problem.features is not None else ca.DM(0, 1)
        p = problem.prepare(theta) if problem.prepare is not None else theta
        soft, end = problem.soft_penalty, problem.soft_terminal_penalty
        flat = []
        for k in range(n + 1):
            parts = self._stage(forecast[k], z, p) if k < n else self._terminal(forecast[n], z, p)
            matrices = [np.array(part) for part in parts]
            matrices = _first(matrices, x0) if k == 0 else matrices
            weight, price = problem.discount**k, soft if k < n else end
            at = slice(3, 8) if 0 < k < n else slice(2, 4) if k == 0 else slice(0, 2)
            matrices[at] = [weight * cost for cost in matrices[at]]
            prices = [weight * np.array(side, dtype=float) for side in (price.linear, price.quadratic)]
            flat += [part.ravel(order="F") for part in (*matrices, *prices)]
        signals = (*problem.actions, *problem.auxiliaries)
        vectors = [np.concatenate(flat), *(np.array([getattr(s, e) for s in signals]) for e in ("lower", "upper"))]
        u0, iterations, status = np.zeros(problem.nu), ctypes.c_int(), ctypes.c_int()
        hard = 0 if problem.hard is None else int(problem.hard.numel_out(0))
        numbers = [ctypes.c_double(v) for v in (MU0, QP_TOLERANCE, BARRIER)]
        cpu_s = self._call(
            n, problem.nx, problem.nu, hard, len(soft.linear), len(end.linear),
            *(ctypes.c_void_p(v.ctypes.data) for v in vectors), blocks, *numbers,
            ctypes.c_void_p(u0.ctypes.data), ctypes.byref(iterations), ctypes.byref(status),
        )  # fmt: skip
        return DirectSolution(u0, iterations.value, status.value == 0, float(cpu_s))


def _first(parts: list[Array], x0: Array) -> list[Array]:
    """Stage 0 with its known state folded in: B b R r D d."""
    A, B, b, _, S, R, _, r, C, D, d = parts
    x = np.asarray(x0, dtype=float).reshape(-1, 1)
    return [B, b + A @ x, R, r + S @ x, D, d - C @ x]


def _stage_matrices(problem: Problem) -> tuple[ca.Function, ca.Function]:
    """(d, z, p) -> A B b Q S R q r C D d of a stage; Q q C d (in the same order) of the terminal one. Undiscounted."""
    x, u = ca.SX.sym("x", problem.nx), ca.SX.sym("u", problem.nu)
    d, z, p = ca.SX.sym("d", problem.nd), ca.SX.sym("z", problem.nz), ca.SX.sym("p", problem.np)
    stage, terminal, zero = (x, u, d, z, p), (x, d, z, p), ca.vertcat(x, u)
    rows = ca.vertcat(*(f(*stage) for f in (problem.hard, problem.soft) if f is not None))
    f, cost = problem.dynamics(*stage), problem.stage_cost(*stage)
    q, r = ca.gradient(cost, x), ca.gradient(cost, u)
    parts = [
        ca.jacobian(f, x), ca.jacobian(f, u), f, ca.jacobian(q, x), ca.jacobian(r, x), ca.jacobian(r, u), q, r,
        ca.jacobian(rows, x), ca.jacobian(rows, u), -rows,
    ]  # fmt: skip
    last = problem.terminal_cost(*terminal)
    last_rows = ca.SX(0, 1) if problem.soft_terminal is None else problem.soft_terminal(*terminal)
    slope = ca.gradient(last, x)
    last_parts = [ca.jacobian(slope, x), slope, ca.jacobian(last_rows, x), -last_rows]

    def at_origin(name: str, expressions: list[ca.SX]) -> ca.Function:
        here = [ca.densify(ca.substitute(e, zero, ca.DM.zeros(zero.shape))) for e in expressions]
        return ca.Function(name, [d, z, p], here)

    return at_origin("stage", parts), at_origin("terminal", last_parts)
