"""Transitions per second of learning an MPC: nisse's trainer against mpcrl, on one linear system (`linear_system.py`).

    python -m venv /tmp/mpcrl && /tmp/mpcrl/bin/pip install mpcrl==1.4.1
    python -m benchmarks.learning_throughput --mpcrl /tmp/mpcrl/bin/python [--json PATH]

Both sides learn 15 parameters of a 10-step MPC from batches of 100 transitions, in one process:
  dpg   a solve, d pi/d theta and the LSTD critic        LstdDpgAgent   /  trainer, method dpg with LSTDQ
  q     solves for V and Q, d Q/d theta                  LstdQLearningAgent, first order  /  trainer, method q
mpcrl runs with IPOPT and with qrqp; its fatrop path fails with current CasADi. First both must give the same V, pi,
Q and derivatives at the same theta. Ours pays besides for a held-in period of 50 solves per batch, which judges the
step and is not counted, and for both derivatives at every solve.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.linear_system import LinearSystem, TunableLinearSystem
from research.training.trainer import Progress, TrainingSpec, train

OTHER_SIDE = Path(__file__).with_name("linear_system_mpcrl.py")
SOLVERS, METHODS = ("ipopt", "qrqp"), ("dpg", "q")
EVERY, BATCHES, OTHER_BATCHES, POINTS = 100, 40, 6, 20
TOLERANCE = 1e-5


class DifferentWork(RuntimeError):
    """The two sides do not compute the same thing, so their speeds cannot be compared."""

    exit_code = 1


def draw_points(count: int, seed: int = 0) -> list[dict[str, list[float]]]:
    """States and actions at which both sides are asked."""
    rng = np.random.default_rng(seed)
    return [
        {"state": rng.uniform([0.0, -0.5], [0.8, 0.5]).tolist(), "action": rng.uniform(-1.0, 1.0, 1).tolist()}
        for _ in range(count)
    ]


def ask_mpcrl(python: Path, system: LinearSystem, solver: str, points: list[dict[str, list[float]]]) -> dict[str, Any]:
    """What the other side found and how fast it learns. Raises CalledProcessError."""
    request = {
        "system": system.as_json(), "solver": solver, "points": points, "methods": METHODS,
        "every": EVERY, "transitions": EVERY * OTHER_BATCHES,
    }  # fmt: skip
    done = subprocess.run(
        [python, "-W", "ignore::FutureWarning", OTHER_SIDE],
        input=json.dumps(request),
        text=True,
        check=True,
        stdout=subprocess.PIPE,
    )
    return dict(json.loads(done.stdout))


def largest_difference(
    system: TunableLinearSystem, points: list[dict[str, list[float]]], theirs: list[dict[str, Any]]
) -> float:
    """Largest difference of V, pi, dpi/dtheta, Q and dQ/dtheta, relative to 1 + their size."""
    controller, forecast, worst = system.controller(), np.zeros((system.system.horizon + 1, 0)), 0.0
    controller.set_theta(np.array(system.system.theta))
    for point, other in zip(points, theirs, strict=True):
        v = controller.solve(point["state"], forecast)
        jacobian = controller.differentiate()[1][0]
        q = controller.solve_fixed(point["state"], forecast, point["action"])
        gradient = controller.differentiate()[0]
        pairs = [
            (v.value, other["value"]), (v.action[0], other["action"]), (jacobian, other["action_jacobian"]),
            (q.value, other["q"]), (gradient, other["q_gradient"]),
        ]  # fmt: skip
        if not (v.ok and q.ok and other["ok"]):
            raise DifferentWork(f"a solve failed at state {point['state']}: draw other points")
        for ours, reference in pairs:
            worst = max(worst, float(np.max(np.abs(np.subtract(ours, reference)) / (1.0 + np.abs(reference)))))
    return worst


def our_throughput(system: TunableLinearSystem, method: str) -> dict[str, float]:
    """Transitions per second from the end of the first batch, which does the self-check, to the end of the last."""
    marks: list[tuple[float, float]] = []

    def mark(progress: Progress) -> None:
        marks.append((time.perf_counter(), time.process_time()))

    spec = TrainingSpec(
        method=method, iterations=BATCHES + 1, episodes=1, steps=EVERY, exploration=0.05, radius=0.002, backtracks=0
    )
    result = train(system, spec, report=mark)
    (wall, cpu), (wall_end, cpu_end) = marks[0], marks[-1]
    counted = sum(record.transitions for record in result.history[1:])
    return {"per_second": counted / (wall_end - wall), "per_cpu_second": counted / (cpu_end - cpu)}


def measure(python: Path) -> dict[str, Any]:
    """Throughputs, ratios of CPU time, and the largest difference in what is computed. Raises DifferentWork."""
    system, points = TunableLinearSystem(), draw_points(POINTS)
    results: dict[str, Any] = {}
    for solver in SOLVERS:
        other = ask_mpcrl(python, system.system, solver, points)
        difference = largest_difference(system, points, other["points"])
        if difference > TOLERANCE:
            raise DifferentWork(f"mpcrl with {solver} and nisse differ by {difference:.1e}; make the programs the same")
        results["mpcrl"], results["mpcrl_casadi"] = other["version"], other["casadi"]
        results[solver] = {"largest_difference": difference, **other["throughput"]}
    results["nisse"] = {method: our_throughput(system, method) for method in METHODS}
    for solver in SOLVERS:
        results[solver]["ratio"] = {
            method: results["nisse"][method]["per_cpu_second"] / results[solver][method]["per_cpu_second"]
            for method in METHODS
        }
    return results


def show(results: dict[str, Any]) -> None:
    table = Table(title=f"transitions per CPU second; mpcrl {results['mpcrl']}, CasADi {results['mpcrl_casadi']}")
    for column in ("", *METHODS, *(f"nisse / it, {method}" for method in METHODS), "largest difference"):
        table.add_column(column)
    table.add_row("nisse", *(f"{results['nisse'][m]['per_cpu_second']:.0f}" for m in METHODS), "", "", "")
    for solver in SOLVERS:
        found = results[solver]
        table.add_row(
            f"mpcrl, {solver}",
            *(f"{found[m]['per_cpu_second']:.0f}" for m in METHODS),
            *(f"{found['ratio'][m]:.0f}" for m in METHODS),
            f"{found['largest_difference']:.1e}",
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mpcrl", type=Path, required=True, metavar="PYTHON", help="interpreter that has mpcrl")
    parser.add_argument("--json", type=Path, metavar="PATH")
    args = parser.parse_args()
    results = measure(args.mpcrl)
    show(results)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
