"""`nisse identify`: fit the model of a system to a log."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from systems.commands.numbers import seed_number
from tuner.commands.output import output_path
from tuner.commands.own_options import declare_own, refuse_foreign

# Each module offers `run(args) -> exit code`, and `add_arguments(group)` where it has options of its own.
SYSTEMS: dict[str, str] = {
    "battery": "tuner.commands.identify_battery",
    "house": "tuner.commands.identify_house",
}

OWN_OPTIONS: dict[str, tuple[str, ...]] = {
    "battery": ("capacity_kwh", "timezone"),
    "house": ("days", "plot", "no_constant", "force"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "A battery log is a CSV file with the columns time, soc, charge_kw, discharge_kw, net_load_kw,\n"
        "net_load_forecast_kw: powers in kW, as means over the step, soc from 0 to 1.\n"
        "A house log has time, outdoor_c, room1_c..room4_c, power1_kw..power4_kw, at least every five minutes.\n"
        "`nisse example` writes either.\n\n"
        "examples:\n"
        "  nisse identify --system battery --log log.csv --output theta.json\n"
        "  nisse identify --system house --log house.csv --output house-arx.json --plot house.html"
    )
    parser.add_argument("--system", choices=sorted(SYSTEMS), default="battery", help="(default: %(default)s)")
    parser.add_argument("--log", type=Path, metavar="FILE.csv", help="the log; without it, one is simulated")
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
    for name, module in SYSTEMS.items():
        extra = getattr(importlib.import_module(module), "add_arguments", None)
        if extra is not None:
            extra(parser.add_argument_group(f"with --system {name}"))
    declare_own(parser, OWN_OPTIONS)


def run(args: argparse.Namespace) -> int:
    refuse_foreign(args)
    return int(importlib.import_module(SYSTEMS[args.system]).run(args))
