"""`nisse tune`: learn theta so that decisions get better."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from systems.commands.numbers import MOST_PROCESSES, number, whole
from systems.commands.output import output_path
from tuner.commands import described_world, tune_described
from tuner.commands.own_options import declare_own, refuse_foreign, refuse_system
from tuner.critics import CRITICS
from tuner.methods import METHODS

# Each module offers `run(args) -> exit code`, and `add_arguments(parser)` where it has options of its own.
SYSTEMS: dict[str, str] = {
    "battery": "tuner.commands.tune_battery",
    "house": "tuner.commands.tune_house",
}

OWN_OPTIONS: dict[str, tuple[str, ...]] = {
    "battery": ("max_gap_hours",),
    "house": ("world", "log", "model", "weather", "beta", "exploration_kw", "episodes"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The learner sees the training part of the data only. Every step is tried on held-in weeks of that part and\n"
        "taken back when it makes them worse; the best theta of those weeks is the result, and the data\n"
        "fit stays when nothing was better. Held-out weeks then give the verdict, and --output holds the theta that\n"
        "it names: the tuned one where the gain is shown, otherwise the old one.\n\n"
        "examples:\n"
        "  nisse tune cabin --model model.json --output theta.json\n"
        "  nisse tune --system battery --theta fitted.json --output theta.json\n"
        "  nisse tune --system battery --prices prices.csv --train-until 2021-01-01 --output theta.json\n"
        "  nisse tune --system house --model arx.json --learn cost set_point --output theta.json\n"
        "  nisse tune --system house --model arx.json --world log --log nisse.db --output theta.json"
    )
    parser.add_argument("house", nargs="?", help="a house file, or the name of a shipped house (see `nisse check`)")
    parser.add_argument("--system", choices=sorted(SYSTEMS), help="without a house file (default: battery)")
    parser.add_argument("--method", choices=sorted(METHODS), default="dpg", help="(default: %(default)s)")
    parser.add_argument("--critic", choices=sorted(CRITICS), default="lstdq", help="(default: %(default)s)")
    parser.add_argument("--iterations", type=whole(1), metavar="N", help="(default: the system's own)")
    parser.add_argument(
        "--learn",
        nargs="+",
        metavar="NAME",
        help="parameters, or groups of the house, that may move (default: its own)",
    )
    parser.add_argument(
        "--theta",
        type=Path,
        metavar="FILE",
        help="start here, say from what `nisse identify --output` wrote (default: a fit to a simulated log)",
    )
    parser.add_argument(
        "--output", type=output_path, default=Path("theta.json"), metavar="FILE", help="(default: %(default)s)"
    )
    parser.add_argument("--checkpoint", type=output_path, metavar="FILE.npz", help="(default: OUTPUT.checkpoint.npz)")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint, bit for bit")
    parser.add_argument(
        "--jobs", type=whole(1, MOST_PROCESSES), default=2, metavar="N", help="processes (default: %(default)s)"
    )
    parser.add_argument(
        "--time-limit",
        type=number(0.0, 1e8, "seconds", above=True),
        metavar="S",
        help="stop after the iteration that passes this",
    )
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write the result for machines")
    for module in SYSTEMS.values():
        extra = getattr(importlib.import_module(module), "add_arguments", None)
        if extra is not None:
            extra(parser)
    described_world.add_arguments(parser)
    declare_own(parser, OWN_OPTIONS)


def run(args: argparse.Namespace) -> int:
    if args.checkpoint is None:
        args.checkpoint = args.output.with_suffix(".checkpoint.npz")
    if args.house is not None:
        refuse_system(args)
        return tune_described.run(args)
    args.system = args.system or "battery"
    refuse_foreign(args)
    return int(importlib.import_module(SYSTEMS[args.system]).run(args))
