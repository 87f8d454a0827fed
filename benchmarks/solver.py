"""How fast is a battery solve? The compiled controller against CasADi with IPOPT, HPIPM alone, and its own derivative.

    python -m benchmarks.solver [--problems 30] [--json PATH] [--markdown PATH]

CPU time of the calling thread, the best of three for all but IPOPT, so that a busy machine disturbs less; medians over
the same seeded problems, one after the other in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.hpipm_direct import HpipmDirect
from codegen.ocp import condensed_stages
from codegen.reference import ReferenceSolver
from codegen.solver import compiled_controller
from tests.codegen.home_battery import home_battery


def day_of_prices(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Buy and sell price and net load of a day with a morning and an evening peak."""
    hour = np.arange(rows) * 0.25
    buy = 0.2 + 0.08 * np.sin(2 * np.pi * (hour - 15) / 12) + 0.02 * rng.standard_normal(rows)
    load = 0.8 + 0.5 * np.sin(2 * np.pi * (hour - 12) / 24) + 0.3 * rng.standard_normal(rows)
    return np.column_stack([buy, 0.6 * buy, load])


def cpu_time(call: Callable[[], object]) -> float:
    started = time.thread_time()
    call()
    return time.thread_time() - started


def best_of_three(call: Callable[[], object]) -> float:
    return min(cpu_time(call) for _ in range(3))


def measure(problems: int, seed: int = 0) -> dict[str, float]:
    """Medians in ms, the ratios, and how far HPIPM's first move is from ours at most, in kW."""
    problem = home_battery()
    rng = np.random.default_rng(seed)
    reference = ReferenceSolver(problem)
    theta = problem.theta_default()
    blocks = condensed_stages(problem.horizon, problem.nx, problem.nu)
    times: dict[str, list[float]] = {}
    iterations, direct_iterations, distances = [], [], []
    with tempfile.TemporaryDirectory() as folder, compiled_controller(problem) as controller:
        direct = HpipmDirect(problem, Path(folder))
        for _ in range(problems):
            x0, forecast = np.array([rng.uniform(0.1, 0.9)]), day_of_prices(rng, problem.horizon + 1)
            plain = direct.solve(theta, x0, forecast, problem.horizon)
            condensed = direct.solve(theta, x0, forecast, blocks)
            solution = controller.solve(x0, forecast)
            inside = min(controller.solve(x0, forecast).time_s for _ in range(3))
            spent = {
                "solve": best_of_three(lambda: controller.solve(x0, forecast)),  # noqa: B023
                "inside_the_library": inside,
                "differentiate": best_of_three(controller.differentiate),
                "solve_fixed": best_of_three(lambda: controller.solve_fixed(x0, forecast, [1.0, 0.0])),  # noqa: B023
                "ipopt": cpu_time(lambda: reference.solve(theta, x0, forecast)),  # noqa: B023
                "hpipm": plain.cpu_s,
                "hpipm_condensed": condensed.cpu_s,
            }
            for name, seconds in spent.items():
                times.setdefault(name, []).append(seconds)
            iterations.append(solution.iterations)
            direct_iterations.append(plain.iterations)
            distances.append(float(np.abs(plain.u0[: problem.na] - solution.action).max()) if plain.solved else np.nan)
    result = {f"{name}_ms": 1e3 * float(np.median(seconds)) for name, seconds in times.items()}
    result["iterations_mean"] = float(np.mean(iterations))
    result["hpipm_iterations_mean"] = float(np.mean(direct_iterations))
    result["ipopt_over_solve"] = result["ipopt_ms"] / result["solve_ms"]
    result["solve_over_hpipm"] = result["solve_ms"] / result["hpipm_ms"]
    result["solve_over_hpipm_condensed"] = result["solve_ms"] / result["hpipm_condensed_ms"]
    result["differentiate_over_solve"] = result["differentiate_ms"] / result["solve_ms"]
    result["first_move_from_hpipm_kw"] = float(np.nanmax(distances))
    result["not_solved_by_hpipm"] = float(np.isnan(distances).sum())
    return result


def markdown(result: dict[str, float], problems: int) -> str:
    """The page docs/results/solver.md."""
    rows = "\n".join(f"| {name} | {value:.3g} |" for name, value in result.items())
    return f"""# A battery solve, N = 96

Written by `python -m benchmarks.solver --problems {problems} --markdown docs/results/solver.md` on
{platform.machine()} with {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}. Medians of CPU time over
{problems} seeded days; `hpipm` is HPIPM called directly on the same QP with the same tolerances (SPEED mode, state 0
eliminated), `hpipm_condensed` the same with partial condensing and the time that takes. `inside_the_library` is wall
time, without the Python side.

| what | value |
|---|---:|
{rows}

Aims: `ipopt_over_solve` 100, `solve_over_hpipm` at most 1.5.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=30)
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--markdown", type=Path, metavar="PATH")
    args = parser.parse_args()
    result = measure(args.problems)
    table = Table(title="battery, N = 96, CPU time")
    table.add_column("what")
    table.add_column("value", justify="right")
    for name, value in result.items():
        table.add_row(name, f"{value:.3f}")
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    if args.markdown:
        args.markdown.parent.mkdir(parents=True, exist_ok=True)
        args.markdown.write_text(markdown(result, args.problems))


if __name__ == "__main__":
    main()
