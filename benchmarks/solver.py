"""How fast is a battery solve? The compiled controller against CasADi with IPOPT, and against its own derivative.

    python -m benchmarks.solver [--problems 30] [--json PATH]

CPU time of the calling thread, so that a busy machine disturbs less; medians over the same seeded problems.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from codegen.reference import ReferenceSolver
from codegen.solver import compiled_controller
from systems.battery.problem import home_battery


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


def measure(problems: int, seed: int = 0) -> dict[str, float]:
    """Medians in ms, and the ratios."""
    problem = home_battery()
    rng = np.random.default_rng(seed)
    reference = ReferenceSolver(problem)
    theta = problem.theta_default()
    compiled, ipopt, derivative, fixed, iterations = [], [], [], [], []
    with compiled_controller(problem) as controller:
        for _ in range(problems):
            x0, forecast = np.array([rng.uniform(0.1, 0.9)]), day_of_prices(rng, problem.horizon + 1)
            compiled.append(cpu_time(lambda: controller.solve(x0, forecast)))  # noqa: B023
            derivative.append(cpu_time(controller.differentiate))
            iterations.append(controller.solve(x0, forecast).iterations)
            fixed.append(cpu_time(lambda: controller.solve_fixed(x0, forecast, [1.0, 0.0])))  # noqa: B023
            ipopt.append(cpu_time(lambda: reference.solve(theta, x0, forecast)))  # noqa: B023
    median = {
        "solve_ms": 1e3 * float(np.median(compiled)),
        "solve_fixed_ms": 1e3 * float(np.median(fixed)),
        "differentiate_ms": 1e3 * float(np.median(derivative)),
        "ipopt_ms": 1e3 * float(np.median(ipopt)),
        "iterations_mean": float(np.mean(iterations)),
    }
    median["ipopt_over_solve"] = median["ipopt_ms"] / median["solve_ms"]
    median["differentiate_over_solve"] = median["differentiate_ms"] / median["solve_ms"]
    return median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=30)
    parser.add_argument("--json", type=Path)
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


if __name__ == "__main__":
    main()
