"""Described houses as they are deployed: what a solve costs against others, and against zones and horizon.

    python -m benchmarks.described [--json PATH] [--plot PATH] [--part villa|zones|horizon ...]

CPU times of one thread on the same ordinary days in one run: the controller as a bundle holds it, CasADi with IPOPT on
the same program, HPIPM called directly on the same QP. Every controller is generated and compiled anew.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.described_days import ordinary_days
from benchmarks.hpipm_direct import HpipmDirect
from codegen.compilers import find_compiler
from codegen.making import LIBRARY, compile_controller, generate_sources
from codegen.ocp import condensed_stages
from codegen.reference import ReferenceSolver
from codegen.targets import cache_directory, host_arch
from codegen.toolchain import acados_tree, renderer_for
from runtime.abi.controller import Controller, Status
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.problem import Problem

DAYS, FEW, REPEATS = 20, 3, 3
"""Solved here and by HPIPM; by IPOPT. Of a solve, which always begins at the same point, the fastest counts."""
ZONES, HORIZONS_H = range(1, 9), (12, 24, 36, 48)


def generate_and_compile(problem: Problem, folder: Path) -> float:
    """Wall seconds until the library of a problem lies in folder/lib."""
    cache, arch = cache_directory(), host_arch()
    tree = acados_tree(arch, cache)
    began = time.monotonic()
    generate_sources(problem, tree, renderer_for(tree, cache), folder / "src")
    compile_controller(folder, tree, find_compiler(arch, cache))
    return time.monotonic() - began


def fastest(call: Callable[[], Any]) -> float:
    """CPU seconds."""
    spent = []
    for _ in range(REPEATS):
        began = time.thread_time()
        call()
        spent.append(time.thread_time() - began)
    return min(spent)


def measure(design: HouseDesign, *, with_ipopt: bool) -> dict[str, float]:
    problem = design.problem
    theta, days = problem.theta_default(), ordinary_days(design, DAYS)
    blocks = condensed_stages(problem.horizon, problem.nx, problem.nu)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_s = generate_and_compile(problem, folder)
        hpipm = HpipmDirect(problem, folder)
        ours, direct, iterations, theirs, moved = [], [], [], [], []
        with Controller(folder / "lib" / LIBRARY) as controller:
            controller.set_theta(theta)
            for x0, forecast in days:
                solution = controller.solve(x0, forecast)
                if solution.status is not Status.OK:
                    raise RuntimeError(f"the controller stopped with {solution.status}")
                ours.append(fastest(lambda: controller.solve(x0, forecast)))  # noqa: B023
                alone = hpipm.solve(theta, x0, forecast, blocks)
                direct.append(alone.cpu_s)
                iterations.append((solution.iterations, alone.iterations))
                if alone.solved:
                    moved.append(np.abs(alone.u0[: problem.na] - solution.action).max())
    if with_ipopt:
        reference = ReferenceSolver(problem)
        for x0, forecast in days[:FEW]:
            began = time.thread_time()
            reference.solve(theta, x0, forecast)
            theirs.append((time.thread_time() - began) / ours[len(theirs)])
    found = {
        "states": problem.nx, "inputs": problem.nu, "stages": problem.horizon, "generate_and_compile_s": build_s,
        "solve_ms": 1e3 * np.median(ours), "solve_p95_ms": 1e3 * np.quantile(ours, 0.95),
        "solve_max_ms": 1e3 * max(ours), "hpipm_ms": 1e3 * np.median(direct),
        "iterations": np.median([a for a, _ in iterations]), "iterations_max": max(a for a, _ in iterations),
        "hpipm_iterations": np.median([b for _, b in iterations]),
        "solve_over_hpipm": np.median(np.array(ours) / np.array(direct)),
        "first_move_from_hpipm_kw": max(moved, default=np.nan), "load_average": os.getloadavg()[0],
    }  # fmt: skip
    if theirs:
        found["ipopt_over_solve"] = np.median(theirs)
    return {name: float(value) for name, value in found.items()}


def zones_house(zones: int) -> HouseDesign:
    """So many zones with a split unit each, behind a meter with a battery."""
    text = '[house]\nname = "zones"\n[meter]\n[load]\n'
    text += '[[battery]]\nname = "home"\ncapacity_kwh = 10\nmax_charge_kw = 5\nmax_discharge_kw = 5\n'
    text += "".join(
        f'[[zone]]\nname = "zone{i}"\n[[heat_pump]]\nname = "hp{i}"\nfeeds = ["zone{i}"]\nmax_power_kw = 1.5\n'
        for i in range(zones)
    )
    return HouseDesign(text)


def villa(horizon_h: int) -> HouseDesign:
    text, path = read_house("villa")
    return HouseDesign(re.sub(r'horizon = "[^"]*"', f'horizon = "{horizon_h} h"', text), source=path)


def plot(results: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, part, label in zip(figure.subplots(1, 2), ("zones", "horizon"), ("zones", "horizon, h"), strict=True):
        at = sorted(results.get(part, {}), key=float)
        for name, text in (("solve_ms", "deployed"), ("hpipm_ms", "HPIPM alone")):
            axes.plot([float(x) for x in at], [results[part][x][name] for x in at], marker="o", label=text)
        axes.set_xlabel(label)
        axes.set_ylabel("CPU time of a solve, ms")
        axes.set_ylim(bottom=0)
        axes.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--plot", type=Path, metavar="PATH")
    parser.add_argument("--part", choices=("villa", "zones", "horizon"), action="append")
    args = parser.parse_args()
    results: dict[str, Any] = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    wanted = {
        "villa": {"villa": lambda: measure(HouseDesign(*_shipped("villa")), with_ipopt=True)},
        "horizon": {str(h): lambda h=h: measure(villa(h), with_ipopt=False) for h in HORIZONS_H},
        "zones": {str(n): lambda n=n: measure(zones_house(n), with_ipopt=False) for n in ZONES},
    }
    for part in args.part or wanted:
        for name, run in wanted[part].items():
            found = run()
            results.setdefault(part, {})[name] = found
            print(part, name, json.dumps(found), flush=True)
            if args.json:
                args.json.write_text(json.dumps(results, indent=1) + "\n")
    if args.plot:
        plot(results, args.plot)


def _shipped(name: str) -> tuple[str, dict[str, str], Path]:
    text, path = read_house(name)
    return text, {}, path


if __name__ == "__main__":
    main()
