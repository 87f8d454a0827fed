"""Does an acados solve what it is given? A known problem, generated, compiled and solved in a process of its own.

    python -m codegen.proof INSTALL TEMPLATES ARCH VERSION OWN RENDERER CACHE

A process of its own, since libraries for another processor kill theirs, and a Python package is imported only once.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import casadi as ca
import numpy as np

from codegen.compilers import find_compiler
from codegen.errors import CodegenError, ToolchainError
from codegen.making import LIBRARY, compile_controller, generate_sources
from codegen.tree import AcadosTree
from codegen.verify import certify, failures
from runtime.abi.library import ControllerError
from systems.problem import STAGE_INPUTS, TERMINAL_INPUTS, Parameter, Problem, Signal, SoftPenalty

CASES = 8
UNFIT = 3
"""Exit code of the child: it is the acados, and nothing that another acados could not have either."""


class Unfit(ToolchainError):
    """An acados does not solve the known problem."""


def prove(tree: AcadosTree, renderer: Path, cache: Path) -> str:
    """How the known problem was solved, in words. Raises Unfit, and ToolchainError when it could not be tried."""
    arguments = [tree.install, tree.templates, tree.arch, tree.version, "own" if tree.own else "wheel", renderer, cache]
    command = [sys.executable, "-P", "-m", "codegen.proof", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = (done.stdout.strip() or done.stderr.strip() or "no word").splitlines()[-1]
    if done.returncode == 0:
        return said
    if done.returncode < 0:
        raise Unfit(f"it dies of {signal.Signals(-done.returncode).name}")
    if done.returncode == UNFIT:
        raise Unfit(said)
    raise ToolchainError(said)


def known_problem() -> Problem:
    """Six states in a chain with a soft limit, a forecast and a discount: small, and large enough for HPIPM."""
    nx, nu, horizon = 6, 2, 12
    x, u = ca.SX.sym("x", nx), ca.SX.sym("u", nu)
    d, z, p = ca.SX.sym("d", 1), ca.SX.sym("z", 0), ca.SX.sym("theta", 1)
    A = 0.8 * np.eye(nx) + 0.15 * np.eye(nx, k=-1)
    B = np.zeros((nx, nu))
    B[0, 0], B[3, 1] = 0.5, 0.4
    cost = 0.5 * ca.sumsqr(x - p) + 0.05 * ca.sumsqr(u) + d * u[0]
    stage, terminal = [x, u, d, z, p], [x, d, z, p]
    return Problem(
        name="known",
        dt_s=60.0,
        horizon=horizon,
        discount=0.98,
        states=tuple(Signal(f"x{i}", "1", -1.0, 1.0) for i in range(nx)),
        actions=tuple(Signal(f"u{i}", "1", -0.7, 0.9) for i in range(nu)),
        forecasts=(Signal("d", "1", -0.5, 0.5),),
        theta=(Parameter("level", "1", 0.2, -0.5, 0.5),),
        dynamics=ca.Function("dynamics", stage, [A @ x + B @ u], list(STAGE_INPUTS), ["x_next"]),
        stage_cost=ca.Function("stage_cost", stage, [cost], list(STAGE_INPUTS), ["cost"]),
        terminal_cost=ca.Function("terminal_cost", terminal, [ca.sumsqr(x - p)], list(TERMINAL_INPUTS), ["cost"]),
        soft=ca.Function("soft", stage, [0.4 - x[5]], list(STAGE_INPUTS), ["h"]),
        soft_penalty=SoftPenalty((2.0,), (10.0,)),
    )


def solve_known_problem(tree: AcadosTree, renderer: Path, cache: Path) -> str:
    """In this process: generate, compile, solve, compare with an independent solver. Raises CodegenError."""
    problem = known_problem()
    compiler = find_compiler(tree.arch, cache)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        generate_sources(problem, tree, renderer, work / "src")
        compile_controller(work, tree, compiler)
        certificate = certify(problem, {tree.arch: work / "lib" / LIBRARY}, count=CASES, cache=cache)
    wrong = failures(certificate)
    if wrong:
        raise Unfit("; ".join(wrong))
    entry = certificate["arch"][tree.arch]
    if "skipped" in entry:
        return f"compiled; not run, {entry['skipped']}"
    return f"solved {entry['solved']} programs" + (" under qemu" if entry["emulated"] else "")


def main() -> int:
    install, templates, arch, version, kind, renderer, cache = sys.argv[1:]
    tree = AcadosTree(Path(install), Path(templates), arch, version, own=kind == "own")
    try:
        find_compiler(arch, Path(cache))
    except CodegenError as error:
        print(error)
        return error.exit_code
    try:
        print(solve_known_problem(tree, Path(renderer), Path(cache)))
    except (CodegenError, ControllerError) as error:
        print(" ".join(str(error).split()))
        # Whatever stands against a wheel, another one may do; of the user's own there is one.
        return UNFIT if isinstance(error, Unfit) or not tree.own else error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
