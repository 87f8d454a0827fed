"""Does the compiled controller solve what the Problem says? Seeded problems against an independent solver."""

from __future__ import annotations

import math
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from codegen.compilers import find_compiler
from codegen.errors import CodegenError
from codegen.making import ABI_HEADER
from codegen.ocp import has_modes
from codegen.plan_cost import PlanCost, most_excluded
from codegen.reference import ReferenceSolver
from codegen.reference_condensed import CondensedReference, applies_to
from codegen.targets import host_arch
from runtime.abi.controller import Controller
from runtime.abi.library import SolveStatus
from systems.problem import Problem

DRIVER = Path(__file__).parent / "driver" / "verify_driver.c"
DEFAULT_PROBLEMS = 200
OBJECTIVE_TOLERANCE = 1e-6
RESIDUAL_TOLERANCE = 1e-6
EXCLUSION_TOLERANCE = 1e-6
"""Of the smaller of two actions that exclude each other."""
# Every so many problems the first move is checked as well: the reference, made to start with it, must do no worse.
FIRST_MOVE_EVERY = 4

GROWTH_LIMIT = 1.5
"""Over the usual model's. One with hundreds of coefficients explodes almost anywhere in their box, and where it is
stable may still swing by hundreds of degrees first; programs of 1e6 EUR prove nothing."""
MONEY_DECADES = 3.0
MANY_STATES = 10
"""From here on the state is a history in other words, and the reference eliminates it."""

EMULATED_SHARE = 5
"""Of slow programs every architecture but this machine's own solves the first fifth: emulated, one of many states, or
one whose modes are searched, takes seconds."""

Array = NDArray[np.float64]
Reference = ReferenceSolver | CondensedReference
Progress = Callable[[str, int, int], None]


class VerificationError(CodegenError):
    """A controller does not solve its problem; it must not be shipped."""


@dataclass(frozen=True)
class ProofCase:
    """One program: theta (ntheta), x0 (nx), forecast (N+1, nd)."""

    theta: Array
    x0: Array
    forecast: Array


@dataclass(frozen=True)
class SolverAnswer:
    """What a compiled controller made of a case."""

    status: SolveStatus
    iterations: int
    residual: float
    value: float
    action: Array
    plan_a: Array
    """(N, na)"""


@dataclass(frozen=True)
class Expected:
    """What the reference found: the optimal value. `real`: not of a relaxed program that leaves out what counts."""

    value: float
    solved: bool
    real: bool = True


def sample_cases(problem: Problem, count: int, seed: int, theta: Array | None = None) -> list[ProofCase]:
    """`count` programs that are functions of `seed` alone, edges included.

    x0 is at its bounds in two of five cases; forecasts are calm, wild, or constant at a corner of their
    range; theta is `theta` (or the default) in one of four cases, a corner of its box in one, random in the others.
    Where there are modes every other forecast is made smaller, column by column: its range holds any currency.
    Corners and random ones are drawn nearer to the usual theta until the model they make magnifies a state hardly more
    than the usual one does.
    """
    rng = np.random.default_rng(seed)
    usual = problem.theta_default() if theta is None else theta
    theta_lower, theta_upper = problem.theta_bounds()
    x_lower, x_upper = (np.array([getattr(s, side) for s in problem.states]) for side in ("lower", "upper"))
    d_lower, d_upper = (np.array([getattr(s, side) for s in problem.forecasts]) for side in ("lower", "upper"))
    rows, growth, many = problem.horizon + 1, _growth(problem), problem.nx > MANY_STATES
    limit = max(1.0, GROWTH_LIMIT * growth(usual))
    cases = []
    for i in range(count):
        x0 = rng.uniform(x_lower, x_upper)
        if i % 5 < 2:
            # Many states are parts of one history: at its bound each, but not all at the same side at once.
            x0 = np.where(rng.random(problem.nx) < 0.5, x_lower, x_upper) if many else (x_lower, x_upper)[i % 5]
        if i % 3 == 0:
            level, swing = rng.uniform(d_lower, d_upper), 0.1 * (d_upper - d_lower)
            forecast = np.clip(level + swing * rng.standard_normal((rows, problem.nd)), d_lower, d_upper)
        elif i % 3 == 1:
            forecast = rng.uniform(d_lower, d_upper, (rows, problem.nd))
        else:
            forecast = np.tile(np.where(rng.random(problem.nd) < 0.5, d_lower, d_upper), (rows, 1))
        if has_modes(problem) and i % 2:
            forecast *= 10.0 ** -rng.uniform(0.0, MONEY_DECADES, problem.nd)
        if i % 4 == 0:
            parameters = usual
        elif i % 4 == 1:
            parameters = np.where(rng.random(problem.ntheta) < 0.5, theta_lower, theta_upper)
        else:
            parameters = rng.uniform(theta_lower, theta_upper)
        while growth(parameters) > limit:
            parameters = usual + (parameters - usual) / 2
        cases.append(ProofCase(parameters.copy(), x0.copy(), forecast))
    return cases


def _growth(problem: Problem) -> Callable[[Array], float]:
    """theta -> the most that deviations of the state are magnified by within the horizon; linearised at the origin."""
    x, p = ca.SX.sym("x", problem.nx), ca.SX.sym("p", problem.np)
    x_next = problem.dynamics(x, np.zeros(problem.nu), np.zeros(problem.nd), np.zeros(problem.nz), p)
    jacobian = ca.Function("jacobian", [x, p], [ca.densify(ca.jacobian(x_next, x))])

    def growth(theta: Array) -> float:
        step = np.array(jacobian(np.zeros(problem.nx), theta if problem.prepare is None else problem.prepare(theta)))
        power, most = np.eye(problem.nx), 0.0
        for _ in range(problem.horizon):
            power = step @ power
            most = max(most, float(np.linalg.norm(power)))
        return most

    return growth


def solve_here(library: Path, cases: Sequence[ProofCase]) -> list[SolverAnswer]:
    """Solve every case in this process."""
    answers = []
    with Controller(library) as controller:
        for case in cases:
            controller.set_theta(case.theta)
            controller.reset()
            s = controller.solve(case.x0, case.forecast)
            answers.append(SolverAnswer(s.status, s.iterations, s.residual, s.value, s.action, s.plan_a))
    return answers


def emulator_for(arch: str) -> tuple[str, ...] | None:
    """The command prefix that runs programs of `arch` here: empty on its own machine, None without an emulator."""
    if arch == host_arch():
        return ()
    root = Path(f"/usr/{arch}-linux-gnu")
    qemu = shutil.which(f"qemu-{arch}-static") or shutil.which(f"qemu-{arch}")
    return (qemu, "-L", str(root)) if qemu and root.is_dir() else None


def solve_emulated(
    library: Path, cases: Sequence[ProofCase], arch: str, emulator: Sequence[str], cache: Path | None = None
) -> list[SolverAnswer]:
    """Solve every case in a small C program for `arch` under an emulator. Raises VerificationError when it dies."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        np.concatenate([np.concatenate([c.theta, c.x0, c.forecast.ravel()]) for c in cases]).tofile(work / "cases")
        for source in (DRIVER, ABI_HEADER):
            shutil.copyfile(source, work / source.name)
        # Behind a plain name: the linker splits its options at commas, the loader its paths at colons.
        (work / "lib").symlink_to(library.parent.resolve())
        links = ["-Llib", f"-l:{library.name}", "-Wl,--allow-shlib-undefined", "-Wl,-rpath,$ORIGIN/lib"]
        with find_compiler(arch, cache).at(work) as run:
            run(["-O1", "-I.", DRIVER.name, "-o", "driver", *links])
        command = [*emulator, "./driver", "cases", str(len(cases))]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or len(lines) != len(cases):
        raise VerificationError(
            f"the {arch} controller died after {len(lines)} of {len(cases)} problems (exit code {done.returncode}): "
            f"{done.stderr.strip()[:200] or 'no message'}; rebuild it"
        )
    return [_parse_answer(line, cases[0].forecast.shape[0] - 1) for line in lines]


def _parse_answer(line: str, horizon: int) -> SolverAnswer:
    status, iterations, residual, value, *moves = line.split()
    plan_a = np.array(moves, dtype=float).reshape(horizon, -1)
    return SolverAnswer(SolveStatus(int(status)), int(iterations), float(residual), float(value), plan_a[0], plan_a)


def reference_for(problem: Problem) -> tuple[Reference, str]:
    """The independent solver that suits a problem, and its method by name."""
    if problem.nx > MANY_STATES and applies_to(problem):
        return CondensedReference(problem), "a projected Newton method"
    return ReferenceSolver(problem), "IPOPT"


def reference_values(reference: Reference, cases: Sequence[ProofCase], progress: Progress) -> list[Expected]:
    """V of every case, of the relaxed program where there is one."""
    expected = []
    for i, case in enumerate(cases):
        solution = reference.solve(case.theta, case.x0, case.forecast)
        expected.append(Expected(solution.value, solution.solved, solution.real))
        progress("reference", i + 1, len(cases))
    return expected


def expected_in_modes(
    reference: Reference, cases: Sequence[ProofCase], answers: Sequence[SolverAnswer], expected: Sequence[Expected]
) -> list[Expected]:
    """`expected`, but where the relaxed program is not the real one that of the real one in the modes of the answer."""
    found = []
    for case, answer, best in zip(cases, answers, expected, strict=True):
        if isinstance(reference, ReferenceSolver) and not best.real and answer.status is SolveStatus.OK:
            solution = reference.solve(case.theta, case.x0, case.forecast, plan_a=answer.plan_a)
            best = Expected(solution.value, solution.solved)
        found.append(best)
    return found


def first_move_gaps(
    reference: Reference,
    cases: Sequence[ProofCase],
    answers: Sequence[SolverAnswer],
    relaxed: Sequence[Expected],
    expected: Sequence[Expected],
) -> list[float]:
    """Relative (Q(x0, a) - V(x0)) of the controller's first moves, both by the reference."""
    gaps = []
    every = list(zip(cases, answers, relaxed, expected, strict=True))[::FIRST_MOVE_EVERY]
    for case, answer, first, best in every:
        if answer.status is SolveStatus.OK and best.solved:
            modes = {"plan_a": answer.plan_a} if isinstance(reference, ReferenceSolver) and not first.real else {}
            q = reference.solve(case.theta, case.x0, case.forecast, first_action=answer.action, **modes)
            gaps.append(relative_gap(q.value, best.value) if q.solved else math.inf)
    return gaps


def relative_gap(value: float, reference: float) -> float:
    """|value - reference| over the size of the reference, which counts as 1 when it is smaller."""
    return abs(value - reference) / max(1.0, abs(reference))


def money_gaps(problem: Problem, cases: Sequence[ProofCase], answers: Sequence[SolverAnswer]) -> tuple[float, float]:
    """Of solved cases: the largest relative difference of value and plan cost, and `most_excluded`; 0 without modes.

    The cost is that of the plan's moves carried out, no expression of which the controller shares.
    """
    if not has_modes(problem):
        return 0.0, 0.0
    cost, solved = (
        PlanCost(problem),
        [(c, a) for c, a in zip(cases, answers, strict=True) if a.status is SolveStatus.OK],
    )
    gaps = (relative_gap(a.value, cost(c.theta, c.x0, c.forecast, a.plan_a)) for c, a in solved)
    return max(gaps, default=0.0), max((most_excluded(problem, a.plan_a) for _, a in solved), default=0.0)


def compare(answers: Sequence[SolverAnswer], expected: Sequence[Expected]) -> dict[str, Any]:
    """One architecture's entry of the certificate."""
    pairs = list(zip(answers, expected, strict=True))
    both = [(a, e) for a, e in pairs if a.status is SolveStatus.OK and e.solved]
    # Only a case that both sides call unsolvable is no failure.
    failed = [i for i, (a, e) in enumerate(pairs) if a.status is not SolveStatus.OK and e.solved]
    gap = max((relative_gap(a.value, e.value) for a, e in both), default=math.inf)
    residual = max((a.residual for a, _ in both), default=math.inf)
    iterations = [a.iterations for a, _ in both]
    return {
        "problems": len(pairs),
        "verified": not failed and gap <= OBJECTIVE_TOLERANCE and residual <= RESIDUAL_TOLERANCE,
        "solved": len(both),
        "unsolved_by_reference": sum(not e.solved for e in expected),
        "failed": failed,
        "max_relative_objective_gap": _json_number(gap),
        "max_kkt_residual": _json_number(residual),
        "iterations_mean": float(np.mean(iterations)) if iterations else None,
        "iterations_max": max(iterations, default=None),
    }


def iterations_of(answers: Sequence[SolverAnswer], relaxed: Sequence[Expected]) -> dict[str, Any]:
    """Mean and most of what is solved, apart: one program each, and several one after another where modes are
    searched. `relaxed`: of the relaxed programs; where one is the real program it is the only one."""
    solved = [(a.iterations, e.real) for a, e in zip(answers, relaxed, strict=True) if a.status is SolveStatus.OK]

    def told(taken: Sequence[int]) -> dict[str, Any]:
        return {"problems": len(taken), "mean": float(np.mean(taken)), "most": max(taken)}

    parts = {name: [n for n, real in solved if real is wanted] for name, wanted in (("one", True), ("searched", False))}
    return {name: told(taken) for name, taken in parts.items() if taken}


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def certify(
    problem: Problem,
    libraries: Mapping[str, Path],
    *,
    count: int = DEFAULT_PROBLEMS,
    seed: int = 0,
    theta: Array | None = None,
    cache: Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """The certificate of a bundle: the same seeded problems on every architecture that can run here (EMULATED_SHARE).

    libraries: arch -> controller library. An architecture without an emulator is listed as not verified, with why.
    """
    cases = sample_cases(problem, count, seed, theta)
    reference, method = reference_for(problem)
    expected = reference_values(reference, cases, progress)
    entries: dict[str, Any] = {}
    for arch, library in sorted(libraries.items()):
        emulator = emulator_for(arch)
        if emulator is None:
            reason = f"no emulator here: install qemu-user-static and libc6-{arch.replace('aarch64', 'arm64')}-cross"
            entries[arch] = {"verified": False, "skipped": reason}
            continue
        progress(arch, 0, 1)
        slow = problem.nx > MANY_STATES or problem.exclusive or problem.relaxed is not None
        share = EMULATED_SHARE if emulator and slow else 1
        tried = cases[: -(-count // share)]
        answers = solve_emulated(library, tried, arch, emulator, cache) if emulator else solve_here(library, tried)
        relaxed = expected[: len(tried)]
        real = expected_in_modes(reference, tried, answers, relaxed)
        entry = compare(answers, real)
        gap = max(first_move_gaps(reference, tried, answers, relaxed, real), default=math.inf)
        entry["iterations_of"] = iterations_of(answers, relaxed)
        entry["max_relative_first_move_gap"] = _json_number(gap)
        bill_gap, excluded = money_gaps(problem, tried, answers)
        entry["max_relative_bill_gap"], entry["max_excluded_action"] = bill_gap, excluded
        right_money = bill_gap <= OBJECTIVE_TOLERANCE and excluded <= EXCLUSION_TOLERANCE
        entry["verified"] = entry["verified"] and gap <= OBJECTIVE_TOLERANCE and right_money
        entry["emulated"] = bool(emulator)
        entries[arch] = entry
        progress(arch, 1, 1)
    return {
        "problems": count,
        "seed": seed,
        "reference": f"CasADi {ca.CasadiMeta.version()} with {method}, on {platform.machine()}",
        "tolerances": {"relative_objective_gap": OBJECTIVE_TOLERANCE, "kkt_residual": RESIDUAL_TOLERANCE},
        "arch": entries,
    }


def failures(certificate: Mapping[str, Any]) -> list[str]:
    """One sentence per architecture that was tried and did not pass."""
    return [
        f"{arch}: {len(entry['failed'])} unsolved, objective gap {entry['max_relative_objective_gap']}, "
        f"first-move gap {entry['max_relative_first_move_gap']}, bill gap {entry['max_relative_bill_gap']}, "
        f"excluded action {entry['max_excluded_action']}, KKT residual {entry['max_kkt_residual']}"
        for arch, entry in certificate["arch"].items()
        if not entry["verified"] and "skipped" not in entry
    ]
