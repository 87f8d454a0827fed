"""`nisse identify`: fit the models of a house to its log."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from systems.clock import zone_named
from systems.commands.numbers import seed_number
from systems.commands.output import output_path
from systems.logs.log import LogError
from tuner.commands import identify_described
from tuner.commands.battery_data import usable
from tuner.commands.own_options import declare_own, refuse_foreign, refuse_system

# Each module offers `run(args) -> exit code`, and `add_arguments(group)` where it has options of its own.
SYSTEMS: dict[str, str] = {
    "battery": "tuner.commands.identify_battery",
    "house": "tuner.commands.identify_house",
}

OWN_OPTIONS: dict[str, tuple[str, ...]] = {
    "battery": ("capacity_kwh",),
    "house": ("days", "plot", "no_constant"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "A log is one or more CSV files: a column for each quantity (`nisse check HOUSE` lists them) and one of\n"
        "times, or Home Assistant's history export (entity_id, state, last_changed). hp_w, hp_kwh, living_f and\n"
        "home_soc_percent are understood as what their names say; foreign names are mapped with --map.\n"
        "`nisse example HOUSE` writes a log of any house.\n\n"
        "examples:\n"
        "  nisse identify house.toml --log log.csv --output model.json --page model.html\n"
        "  nisse identify cabin --log heat.csv --log meter.csv --map names.toml --output model.json\n"
        "  nisse identify --system battery --log log.csv --output theta.json"
    )
    parser.add_argument("house", nargs="?", help="a house file, or the name of a shipped house (see `nisse check`)")
    parser.add_argument("--system", choices=sorted(SYSTEMS), help="without a house file")
    parser.add_argument(
        "--log", type=Path, action="append", metavar="FILE.csv", help="the log; for a house file repeatable, files join"
    )
    parser.add_argument(
        "--timezone", type=usable(zone_named), metavar="ZONE", help="of times without UTC offset (default: the house's)"
    )
    parser.add_argument("--force", action="store_true", help="write --output in spite of the problems found")
    parser.add_argument(
        "--counters",
        nargs="+",
        default=(),
        metavar="COLUMN",
        help="columns of powers that count energy in kWh, for life or for the day: their differences are taken",
    )
    parser.add_argument("--output", type=output_path, metavar="FILE", help="write the fitted parameters here")
    parser.add_argument("--seed", type=seed_number, default=0, help="of the simulated log (default: %(default)s)")
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write the result for machines")
    identify_described.add_arguments(parser.add_argument_group("with a house file"))
    for name, module in SYSTEMS.items():
        extra = getattr(importlib.import_module(module), "add_arguments", None)
        if extra is not None:
            extra(parser.add_argument_group(f"with --system {name}"))
    declare_own(parser, OWN_OPTIONS)


def run(args: argparse.Namespace) -> int:
    if args.house is not None:
        refuse_system(args)
        return identify_described.run(args)
    args.system = args.system or "battery"
    refuse_foreign(args)
    if args.log is not None and len(args.log) > 1:
        raise LogError("several --log files are joined for a house file; name the house")
    args.log = None if args.log is None else args.log[0]
    return int(importlib.import_module(SYSTEMS[args.system]).run(args))
