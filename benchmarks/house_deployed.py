"""Speed of the house controller that is deployed: generated acados code against other solvers of the same programs.

    python -m benchmarks.house_deployed [--json PATH] [--no-valgrind]

CPU times of one thread in one run, on the same states: acados as the bundle holds it, the tuner's condensed solver, and
CasADi with IPOPT and with qrqp on the sparse program. Callgrind counts the instructions of a solve; what they take on a
Raspberry Pi 4 is an estimate: its clock, an assumed rate of instructions, and vectors half as wide as here.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.house_solver import REGIMES, draw_states, part_of, time_casadi
from codegen.compilers import find_compiler
from codegen.making import ABI_HEADER
from codegen.solver import build_solver
from codegen.targets import host_arch
from research.condensed.solver import CondensedMpc, States, solve
from research.four_rooms.cost import HouseCost
from research.four_rooms.problem import house_forecast, house_problem, house_state
from research.four_rooms.reference import reference_model
from research.four_rooms.theta import ROOMS, HouseMpc, theta_values
from runtime.abi.controller import Controller
from runtime.abi.library import SolveStatus
from systems.arx import ArxModel

Array = NDArray[np.float64]
DRIVER = Path(__file__).with_suffix(".c")
PROBLEMS, FEW, COUNTED = 60, 4, 4
"""Timed with acados; with IPOPT and qrqp; under valgrind."""
REPEATS = 3
"""Of a solve of acados, which always begins at the same point; the fastest counts, the others met other work."""
PI4_HZ, PI4_IPC, PI4_WIDER = 1.5e9, 1.0, 1.6
"""Clock of a Raspberry Pi 4, instructions per cycle of its Cortex-A72 in dense arithmetic that misses its first cache
(assumed), and how many more instructions vectors of two doubles take than ours of four (assumed: twice as many in the
three fifths that are vector arithmetic)."""


def arguments(model: ArxModel, mpc: HouseMpc, theta: Array, states: States) -> list[tuple[Array, Array]]:
    """(x0, forecast) of each state."""
    return [
        (
            house_state(theta, model, states.outputs[i], states.inputs[i]),
            house_forecast(mpc, states.outdoor[i], states.price[i]),
        )
        for i in range(len(states))
    ]


def time_deployed(controller: Controller, programs: list[tuple[Array, Array]]) -> tuple[Array, Array, Array, float]:
    """(first moves, CPU s of each solve, iterations; CPU s of the first solve after a change of theta)."""
    moves, times, iterations = [], [], []
    began = time.thread_time()
    controller.solve(*programs[0])
    first = time.thread_time() - began
    for program in programs:
        spent = []
        for _ in range(REPEATS):
            began = time.thread_time()
            found = controller.solve(*program)
            spent.append(time.thread_time() - began)
        times.append(min(spent))
        if found.status is not SolveStatus.OK:
            raise RuntimeError(f"the controller stopped with {found.status}")
        moves.append(found.action)
        iterations.append(found.iterations)
    return np.array(moves), np.array(times), np.array(iterations), first


def instructions(library: Path, theta: Array, programs: list[tuple[Array, Array]]) -> float:
    """Instructions of a solve by callgrind, on this architecture."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        np.concatenate([theta, *(np.concatenate([x0, d.ravel()]) for x0, d in programs)]).tofile(work / "programs")
        for source in (DRIVER, ABI_HEADER):
            shutil.copyfile(source, work / source.name)
        links = [f"-L{library.parent}", f"-l:{library.name}", f"-Wl,-rpath,{library.parent}"]
        links += ["-Wl,--allow-shlib-undefined"]
        with find_compiler(host_arch()).at(work) as run:
            run(["-O1", "-g", "-I.", DRIVER.name, "-o", "driver", *links])
        command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=out", "--collect-atstart=no"]
        command += ["--toggle-collect=counted", "./driver", "programs", str(len(programs))]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(f"callgrind counted nothing: {done.stderr[-300:]}")
    return int(found[1]) / len(programs)


def measure(name: str, *, count: bool) -> dict[str, float]:
    beta, alpha = REGIMES[name]
    model, mpc = reference_model(), HouseMpc(cost=HouseCost(beta=beta, alpha=alpha))
    theta, states = theta_values(model), draw_states(PROBLEMS, 0)
    library = build_solver(house_problem(model, mpc), host_arch()).library
    programs = arguments(model, mpc, theta, states)
    with Controller(library) as controller:
        controller.set_theta(theta)
        moves, times, iterations, first = time_deployed(controller, programs)
    condensed = CondensedMpc(mpc, theta)
    began = time.process_time()
    ours = solve(condensed, states)
    condensed_s = (time.process_time() - began) / PROBLEMS
    found = {
        "deployed_ms": 1e3 * float(np.median(times)),
        "deployed_max_ms": 1e3 * times.max(),
        "after_new_theta_ms": 1e3 * first,
        "iterations": float(iterations.mean()),
        "condensed_ms": 1e3 * condensed_s,
        "difference_from_condensed_kw": np.abs(moves - ours.action[:, :ROOMS]).max(),
    }
    few = part_of(states, slice(0, FEW))
    for method in ("ipopt", "qrqp"):
        theirs, spent = time_casadi(model, mpc, few, method)
        found |= {
            f"{method}_ms": 1e3 * spent,
            f"{method}_over_deployed": spent / float(times[:FEW].mean()),
            f"{method}_difference_kw": np.abs(theirs - moves[:FEW]).max(),
        }
    if count:
        per_solve = instructions(library, theta, programs[:COUNTED])
        found |= {"instructions_e6": per_solve / 1e6, "pi4_estimate_ms": 1e3 * per_solve * PI4_WIDER / PI4_IPC / PI4_HZ}
    return {key: float(value) for key, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--no-valgrind", action="store_true", help="leave the count of instructions out")
    args = parser.parse_args()
    count = not args.no_valgrind and shutil.which("valgrind") is not None
    results = {}
    for name in REGIMES:
        results[name] = measure(name, count=count)
        print(name, json.dumps(results[name], indent=1), flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
