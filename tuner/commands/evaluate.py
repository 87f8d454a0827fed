"""`nisse evaluate`: compare policies on held-out periods."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from systems.commands.numbers import MOST_PROCESSES, whole
from systems.commands.output import output_path
from tuner.commands import described_world, evaluate_described
from tuner.commands.battery_data import add_data_arguments
from tuner.commands.own_options import declare_own, refuse_foreign, refuse_system
from tuner.loop.periods import HELD_IN_WEEKS

# Each module offers `run(args) -> exit code`, and `add_arguments(group)` where it has options of its own.
SYSTEMS: dict[str, str] = {
    "battery": "tuner.commands.evaluate_battery",
    "house": "tuner.commands.evaluate_house",
}

OWN_OPTIONS: dict[str, tuple[str, ...]] = {
    "battery": ("data_fitted", "seeds", "horizon", "workers", "generator", "tariff", "max_gap_hours"),
    "house": ("weather", "model", "beta", "decide_every"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Policies: no battery, self-consumption rule, data-fitted MPC, tuned MPC (with --theta), and an MPC with a\n"
        "perfect forecast; for the house thermostat, heating curve and the MPCs, in the physical house.\n"
        "All meet the same weeks and the same disturbances.\n\n"
        "examples:\n"
        "  nisse evaluate cabin --model model.json --theta theta.json --html verdict.html\n"
        "  nisse evaluate --system battery --prices prices.csv --train-until 2021-01-01 --theta theta.json\n"
        "  nisse evaluate --system house --weeks 8 --html house.html"
    )
    parser.add_argument("house", nargs="?", help="a house file, or the name of a shipped house (see `nisse check`)")
    parser.add_argument("--system", choices=sorted(SYSTEMS), help="without a house file (default: battery)")
    parser.add_argument("--theta", type=Path, metavar="FILE", help="the tuned parameters")
    parser.add_argument(
        "--data-fitted",
        type=Path,
        metavar="FILE",
        help="battery: the data-fitted parameters (default: fitted on training weeks)",
    )
    parser.add_argument("--weeks", type=whole(2), default=12, help="held out, evenly spread (default: %(default)s)")
    parser.add_argument("--seeds", type=whole(1), default=2, help="battery: disturbances a week (default: %(default)s)")
    parser.add_argument(
        "--horizon", type=whole(2, 672), default=96, metavar="N", help="battery: steps of 15 min (default: %(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=whole(1, MOST_PROCESSES, also=-1),
        default=-1,
        help="battery: processes (default: one per core)",
    )
    parser.add_argument(
        "--search",
        type=whole(0),
        default=24,
        metavar="N",
        help="house file: thetas that a grid by hand and a black-box search may each try on the training weeks; 0 "
        "leaves both out (default: %(default)s)",
    )
    parser.add_argument(
        "--training-weeks", type=whole(1), default=HELD_IN_WEEKS, metavar="N", help="for them (default: %(default)s)"
    )
    parser.add_argument("--learn", nargs="+", metavar="NAME", help="what they turn, as in `nisse tune`")
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write the result for machines")
    parser.add_argument("--html", type=output_path, metavar="PATH", help="write a page with table and plots")
    add_data_arguments(parser)
    for name, module in SYSTEMS.items():
        extra = getattr(importlib.import_module(module), "add_arguments", None)
        if extra is not None:
            extra(parser.add_argument_group(f"with --system {name}"))
    described_world.add_arguments(parser)
    declare_own(parser, OWN_OPTIONS)


def run(args: argparse.Namespace) -> int:
    if args.house is not None:
        refuse_system(args)
        return evaluate_described.run(args)
    args.system = args.system or "battery"
    refuse_foreign(args)
    return int(importlib.import_module(SYSTEMS[args.system]).run(args))
