"""Described houses as they are deployed: what a solve costs against others, and against zones and horizon.

    python -m benchmarks.described [--json PATH] [--plot PATH] [--part villa|zones|horizon ...] [--only NAME ...]
        [--hpipm-alone]

CPU times of one thread on the same ordinary days in one run: the controller as a bundle holds it, CasADi with IPOPT on
the same program, HPIPM called directly on the same QP. Every controller is generated and compiled anew, which takes
minutes on a busy machine; --hpipm-alone leaves controllers out. Results join those in the JSON file.
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
from benchmarks.hpipm_direct import DirectSolution, HpipmDirect
from codegen.compilers import find_compiler
from codegen.making import LIBRARY, compile_controller, generate_sources
from codegen.ocp import condensed_stages
from codegen.reference import ReferenceSolver
from codegen.targets import cache_directory, host_arch
from codegen.toolchain import acados_tree, renderer_for
from pages.chart import Chart, Line, Panel
from pages.drawing import write_picture
from pages.palette import Role
from runtime.abi.controller import Controller, Solution
from runtime.abi.library import SolveStatus
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


def hpipm_alone(design: HouseDesign) -> tuple[list[DirectSolution], dict[str, float]]:
    problem = design.problem
    theta, days = problem.theta_default(), ordinary_days(design, DAYS)
    blocks = condensed_stages(problem.horizon, problem.nx, problem.nu)
    with tempfile.TemporaryDirectory() as name:
        hpipm = HpipmDirect(problem, Path(name))
        alone = [hpipm.solve(theta, x0, forecast, blocks) for x0, forecast in days]
    found = {
        "states": problem.nx, "inputs": problem.nu, "stages": problem.horizon,
        "hpipm_ms": 1e3 * np.median([s.cpu_s for s in alone]),
        "hpipm_iterations": np.median([s.iterations for s in alone]),
        "hpipm_iteration_ms": 1e3 * np.median([s.cpu_s / s.iterations for s in alone]),
        "not_solved_by_hpipm": sum(not s.solved for s in alone),
    }  # fmt: skip
    return alone, found


def deployed(design: HouseDesign) -> tuple[list[float], list[Solution], dict[str, float]]:
    """CPU seconds of each solve, the solutions, and numbers."""
    problem, spent = design.problem, []
    with tempfile.TemporaryDirectory() as name:
        build_s = generate_and_compile(problem, Path(name))
        with Controller(Path(name) / "lib" / LIBRARY) as controller:
            controller.set_theta(problem.theta_default())
            solutions = [controller.solve(x0, forecast) for x0, forecast in ordinary_days(design, DAYS)]
            for x0, forecast in ordinary_days(design, DAYS):
                spent.append(fastest(lambda: controller.solve(x0, forecast)))  # noqa: B023
    bad = [s.status for s in solutions if s.status is not SolveStatus.OK]
    if bad:
        raise RuntimeError(f"the controller stopped with {bad[0]}")
    found = {
        "generate_and_compile_s": build_s, "solve_ms": 1e3 * np.median(spent),
        "solve_p95_ms": 1e3 * np.quantile(spent, 0.95), "solve_max_ms": 1e3 * max(spent),
        "iterations": np.median([s.iterations for s in solutions]),
        "iterations_max": max(s.iterations for s in solutions),
    }  # fmt: skip
    return spent, solutions, found


def measure(design: HouseDesign, *, with_controller: bool, with_ipopt: bool) -> dict[str, float]:
    problem = design.problem
    alone, found = hpipm_alone(design)
    if with_controller:
        spent, solutions, more = deployed(design)
        pairs = list(zip(solutions, alone, strict=True))
        moved = [np.abs(b.u0[: problem.na] - a.action).max() for a, b in pairs if b.solved]
        found |= more | {
            "solve_over_hpipm": np.median([s / b.cpu_s for s, b in zip(spent, alone, strict=True)]),
            "first_move_from_hpipm_kw": max(moved, default=np.nan),
        }
        if with_ipopt:
            reference, ratios = ReferenceSolver(problem), []
            for (x0, forecast), ours in zip(ordinary_days(design, DAYS)[:FEW], spent, strict=False):
                began = time.thread_time()
                reference.solve(problem.theta_default(), x0, forecast)
                ratios.append((time.thread_time() - began) / ours)
            found["ipopt_over_solve"] = np.median(ratios)
    found["load_average"] = os.getloadavg()[0]
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


def shipped(name: str) -> HouseDesign:
    text, path = read_house(name)
    return HouseDesign(text, source=path)


def villa(horizon_h: int) -> HouseDesign:
    text, path = read_house("villa")
    return HouseDesign(re.sub(r'horizon = "[^"]*"', f'horizon = "{horizon_h} h"', text), source=path)


SERIES: tuple[tuple[str, str, Role], ...] = (("solve_ms", "deployed", "first"), ("hpipm_ms", "HPIPM alone", "second"))
"""(key, label, role) of the lines of the figure."""


def plot(results: dict[str, Any], path: Path) -> None:
    panels = []
    for part in ("zones", "horizon"):
        at = sorted(results.get(part, {}), key=float)
        lines = []
        for name, text, role in SERIES:
            points = [(float(x), float(results[part][x][name])) for x in at if name in results[part][x]]
            if points:
                x, y = np.array(points).T
                lines.append(Line(text, x, y, role, "line and dots"))
        highest = max((float(line.y.max()) for line in lines), default=1.0)
        title = "CPU time of a solve, ms"
        panels.append(Panel(title, lines, y_range=(0.0, 1.1 * highest), x_title=part + ", h" * (part == "horizon")))
    write_picture(path, [Chart("described", "CPU time of a solve over zones and horizon.", panels, columns=2)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--plot", type=Path, metavar="PATH")
    parser.add_argument("--part", choices=("villa", "zones", "horizon"), action="append")
    parser.add_argument("--only", action="append", metavar="NAME", help="a number of zones, or of hours")
    parser.add_argument("--hpipm-alone", action="store_true")
    args = parser.parse_args()
    results: dict[str, Any] = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    wanted: dict[str, dict[str, HouseDesign]] = {
        "villa": {"villa": shipped("villa")},
        "horizon": {str(hours): villa(hours) for hours in HORIZONS_H},
        "zones": {str(zones): zones_house(zones) for zones in ZONES},
    }
    for part in args.part or wanted:
        for name, design in wanted[part].items():
            if args.only and name not in args.only:
                continue
            found = measure(design, with_controller=not args.hpipm_alone, with_ipopt=part == "villa")
            results.setdefault(part, {}).setdefault(name, {}).update(found)
            print(part, name, json.dumps(found), flush=True)
            if args.json:
                args.json.write_text(json.dumps(results, indent=1) + "\n")
    if args.plot:
        plot(results, args.plot)


if __name__ == "__main__":
    main()
