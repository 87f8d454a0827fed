"""`nisse experiment value-aware`: the neighbours of decision-oriented tuning on the same data, in described houses.

"All AI Models are Wrong, but Some are Optimal" names them: fits by likelihood and Bayesian ones (III-B), losses that
weigh an error by what it is worth, gradients through the program. Scenario MPC stands for models of what may happen.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from codegen.solver import build_solver
from codegen.targets import host_arch
from research.experiments.output import PAPER, add_output_arguments, write_outputs
from research.experiments.progress import steps
from research.experiments.settings import Settings
from research.experiments.value_aware_page import Compared, make_page, report
from research.house_grid import grid_told, on_coarse_grid
from research.memory import free_memory
from research.value_aware.scenarios import check_scenarios
from research.value_aware.study import SeedPlan, check_days, study
from systems.commands.numbers import MOST_PROCESSES, number, seed_number, whole
from systems.design import HouseDesign
from systems.house_file import read_house
from tuner.loop.workers import LocalWorkers

QUICK = {"days": 4.0, "judged_days": 1.0, "scenarios": (5,)}
"""Under two minutes of processor time."""
FULL = {"days": 14.0, "judged_days": 7.0, "scenarios": (5, 10, 20)}
HOUSES = ("battery", "cabin")
"""Of the full comparison"""
CHOSEN_ON = (0,)
"""Seeds on which the settings were chosen."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Example: nisse experiment value-aware --json value-aware.json\n"
        "Example: nisse experiment value-aware --house cabin --json value-aware-cabin.json\n"
        "Example: nisse experiment value-aware --full          (hours)"
    )
    parser.add_argument(
        "--house", action="append", metavar="HOUSE", help="a file or a shipped house, once or more (default: battery)"
    )
    days = number(1.0, 200.0)
    parser.add_argument("--days", type=days, metavar="N", help=f"of data (default: {QUICK['days']:g})")
    parser.add_argument(
        "--judged-days", type=number(1.0, 7.0), metavar="N", help=f"held out (default: {QUICK['judged_days']:g})"
    )
    parser.add_argument(
        "--scenarios", type=whole(1, 10**12), nargs="*", metavar="N", help="of scenario MPC, each a row (default: 5)"
    )
    parser.add_argument(
        "--own-grid", action="store_true", help="that of the house file; else 15 min and decisions of 1 h with zones"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="battery and cabin on their own grids, 14 days, 7 held out, 5 10 20 scenarios",
    )
    parser.add_argument("--seeds", type=whole(1, 1000), default=5, metavar="N")
    parser.add_argument("--seed", type=seed_number, default=11, help="the first; settings were chosen with 0")
    parser.add_argument("--jobs", type=whole(1, MOST_PROCESSES), default=2, metavar="N", help="processes")
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    chosen: dict[str, Any] = dict(FULL if args.full else QUICK)
    chosen |= {name: value for name in chosen if (value := getattr(args, name)) is not None}
    seeds = range(args.seed, args.seed + args.seeds)
    designs = {}
    for name in args.house or (HOUSES if args.full else HOUSES[:1]):
        text, source = read_house(name)
        if not (args.full or args.own_grid):
            text = on_coarse_grid(text, source)
        design = HouseDesign(text, {}, source)
        problem, grid = design.problem, design.house.grid
        paths = round(chosen["days"] * 86_400.0 / grid.hold_s)
        for count in chosen["scenarios"]:
            check_scenarios(count, (problem.horizon + 1, problem.nd), paths, free_memory())
        check_days(design, chosen["days"])
        designs[design.house.name] = design
    with steps("value-aware", len(designs) * len(seeds)) as step:
        compared = {name: compare(design, chosen, seeds, args.jobs, step) for name, design in designs.items()}
    grids = [grid_told(name, design.text) for name, design in designs.items()]
    page = make_page(compared, chosen["days"], chosen["judged_days"], grids)
    result = as_json(compared, designs, chosen, seeds)
    path = write_outputs("value-aware", page, result, settings_of(seeds), args.output, args.json)
    report(compared)
    print(f"page: {path}")
    return 0


def settings_of(seeds: Sequence[int]) -> Settings:
    return Settings(
        "Widths of differences, damping, the prior and the search of the scenarios by hand on the battery; the "
        "learner's are those of `nisse tune`.",
        shown=seeds,
        chosen_on=CHOSEN_ON,
    )


def compare(design: HouseDesign, chosen: dict[str, Any], seeds: Sequence[int], jobs: int, step: Any) -> Compared:
    library = build_solver(design.problem, host_arch()).library
    tasks = [
        (SeedPlan(design.text, library, seed, chosen["days"], chosen["judged_days"], tuple(chosen["scenarios"])),)
        for seed in seeds
    ]
    outcomes = []
    for outcome in LocalWorkers(jobs).run(study, (), tasks):
        outcomes.append(outcome)
        step(f"{design.house.name}, {len(outcomes)} of {len(seeds)} seeds")
    return Compared(design.house.currency, tuple(outcomes))


def as_json(
    compared: dict[str, Compared], designs: dict[str, HouseDesign], chosen: dict[str, Any], seeds: Sequence[int]
) -> dict[str, Any]:
    return {
        "experiment": "value-aware",
        "source": PAPER,
        "seeds": list(seeds),
        **chosen,
        "houses": {
            name: {
                "currency": of.currency,
                "step_s": designs[name].house.grid.step_s,
                "hold_s": designs[name].house.grid.hold_s,
                "totals": {way: of.totals(way) for way in of.ways},
                "saving_percent": {way: of.savings(way) for way in of.ways},
                "prediction_errors_kw": [outcome.prediction_errors for outcome in of.outcomes],
                "thetas": [outcome.thetas for outcome in of.outcomes],
                "transitions": of.outcomes[0].transitions,
                "without_q": [outcome.without_q for outcome in of.outcomes],
                "failures": sum(outcome.failures for outcome in of.outcomes),
            }
            for name, of in compared.items()
        },
    }
