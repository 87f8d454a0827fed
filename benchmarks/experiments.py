"""What the experiments of the literature cost: processor time of each, by its own command at its own settings.

Each runs in a process of its own; counted are its processor seconds, user and system, those of its own processes too.
Solvers of houses are compiled before and not counted: that happens once. Results of runs that are not named stay.
Writes docs/results/experiments.json and .md, with the settings and seeds that each run itself declares.

    python -m benchmarks.experiments [NAME ...] [--keep DIR] [--json PATH] [--page PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codegen.solver import build_solver
from codegen.targets import host_arch
from research.command import EXPERIMENTS
from research.experiments.settings import named
from research.house_grid import on_coarse_grid
from systems.design import HouseDesign
from systems.house_file import read_house

RESULTS = Path("docs/results")
AIM_S = 120.0
HOUSES = {"value-aware": ("cabin",), "two-layer": ("cabin", "villa")}
"""In which an experiment runs besides its default."""
WITHOUT = ("smart-home", "battery-tuning")
"""Learning at full length: their own pages say how long they take."""
ONE_PROCESS = ("value-aware", "two-layer")
"""Have --jobs."""


def commands() -> dict[str, list[str]]:
    """By name, what comes after `nisse`."""
    found = {name: ["experiment", name] for name in EXPERIMENTS if name not in WITHOUT}
    for name, houses in HOUSES.items():
        found |= {f"{name} --house {house}": ["experiment", name, "--house", house] for house in houses}
    return found


def compiled(command: list[str]) -> None:
    """The solver of a run's house, in the cache."""
    house = command[-1] if "--house" in command else "battery" if command[1] == "value-aware" else None
    if house is not None:
        text, source = read_house(house)
        build_solver(HouseDesign(on_coarse_grid(text, source), {}, source).problem, host_arch())


def measured(command: list[str], keep: Path | None) -> dict[str, Any]:
    """Processor seconds of a run, and the settings that it declares; raises RuntimeError where it fails.

    Its page, figures and JSON stay in a folder of its own below `keep`.
    """
    compiled(command)
    jobs = ["--jobs", "1"] if command[1] in ONE_PROCESS else []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if keep is None else keep / "-".join(command[1:]).replace("---house", "")
        whole = [*command, *jobs, "--output", str(folder)]
        program = "import sys; from nisse.cli import main; sys.exit(main())"
        child = os.posix_spawn(sys.executable, [sys.executable, "-c", program, *whole], os.environ)
        _, status, used = os.wait4(child, 0)
        if status:
            raise RuntimeError(f"nisse {' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
        settings = json.loads((folder / "result.json").read_text())["settings"]
    return {"seconds": used.ru_utime + used.ru_stime, "load": os.getloadavg()[1], "settings": settings}


def page(runs: Mapping[str, Any]) -> str:
    rows = [
        f"| `{name}` | {run['seconds']:.0f} | {seeds(run['settings']['shown_seeds'])} | "
        f"{seeds(run['settings']['chosen_on_seeds'])} | {run['settings']['chosen']} |"
        for name, run in runs.items()
    ]
    missing = [name for name in commands() if name not in runs]
    loads = [run["load"] for run in runs.values()]
    return "\n".join(
        [
            "# What the experiments cost, and how their settings were chosen",
            "",
            "    python -m benchmarks.experiments",
            "",
            f"Processor seconds of `nisse experiment NAME` at its own settings, on {platform.machine()} with "
            f"{os.cpu_count()} processors at a load of",
            f"{min(loads):.0f} to {max(loads):.0f}; on a busy machine they grow. Aim: {AIM_S:.0f}. Solvers of houses "
            "are compiled before, which happens once. Numbers:",
            "[experiments.json](experiments.json). `smart-home` and `battery-tuning` learn at full length; "
            "[their](smart-home.md) [pages](battery-tuning.md) say how long.",
            "",
            "| experiment | s | seeds shown | seeds looked at | how settings were chosen |",
            "|---|---:|---|---|---|",
            *rows,
            "",
            *([f"Not measured yet: {', '.join(f'`{name}`' for name in missing)}.", ""] if missing else []),
        ]
    )


def seeds(of: list[int]) -> str:
    return named(of).removeprefix("seeds ").removeprefix("seed ") if of else "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    known = commands()
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--json", type=Path, default=RESULTS / "experiments.json")
    parser.add_argument("--page", type=Path, default=RESULTS / "experiments.md")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="of what the runs themselves leave")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in known]:
        parser.error(f"no experiment {unknown[0]!r}; there are {', '.join(known)}")
    runs: dict[str, Any] = json.loads(args.json.read_text())["runs"] if args.json.exists() else {}
    for name in args.names or known:
        runs[name] = measured(known[name], args.keep)
        print(f"{name}: {runs[name]['seconds']:.0f} s", flush=True)
        ordered = {name: runs[name] for name in known if name in runs}
        args.json.write_text(json.dumps({"aim_s": AIM_S, "runs": ordered}, indent=1) + "\n")
        args.page.write_text(page(ordered))


if __name__ == "__main__":
    main()
