"""`nisse example`: files in the format that a log and prices of one's own must have, to try the commands with."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from rich.progress import Progress

from systems.battery.exogenous import GENERATED_START, generated_spot
from systems.battery.generator import PRICE_SHAPES
from systems.commands.numbers import number, seed_number
from systems.commands.output import output_folder, output_path, write_json
from systems.prices import PRICE
from tuner.commands.battery_data import GENERATED_WEEKS

HOUSE_DAYS = 60.0
HOUSE_LOG_DAYS, HOUSE_LOG_START = 28.0, "2023-01-09"
"""Of a described house: in the heating season, so that its heat pumps show what they do."""

Writer = Callable[[Path, argparse.Namespace], None]


class ExampleExistsError(FileExistsError):
    """A file of that name may be the user's own."""

    exit_code = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "HOUSE: log.csv, of --days days, of a house file or a shipped house used at random.\n"
        "battery: log.csv (four weeks by the quarter hour) and prices.csv (two years by the hour);\n"
        "house: house.csv (60 days by five minutes). All of it is generated or simulated.\n\n"
        "examples:\n"
        "  nisse example cabin --output data\n"
        "  nisse example --system battery --output data"
    )
    parser.add_argument("house", nargs="?", help="a house file, or the name of a shipped house (see `nisse check`)")
    parser.add_argument("--system", choices=sorted(FILES), help="without a house file (default: battery)")
    parser.add_argument("--output", type=output_folder, default=Path(), metavar="DIR", help="(default: this folder)")
    parser.add_argument("--force", action="store_true", help="write over files that are there")
    parser.add_argument(
        "--generator", choices=sorted(PRICE_SHAPES), default="nordic", help="of the prices (default: %(default)s)"
    )
    parser.add_argument(
        "--days", type=number(1.0, 400.0, "days"), default=HOUSE_LOG_DAYS, help="of the log (default: %(default)g)"
    )
    parser.add_argument("--start", default=HOUSE_LOG_START, metavar="DATE", help="of the log (default: %(default)s)")
    parser.add_argument("--seed", type=seed_number, default=0, help="(default: %(default)s)")
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write what was written for machines")


def run(args: argparse.Namespace) -> int:
    what = args.house if args.house is not None else args.system or "battery"
    written = {"log.csv": _described_log} if args.house is not None else FILES[what]
    files = {args.output / name: write for name, write in written.items()}
    there = [str(path) for path in files if path.exists()]
    if there and not args.force:
        raise ExampleExistsError(f"{', '.join(there)}: already there; give another --output, or --force")
    args.output.mkdir(parents=True, exist_ok=True)
    for path, write in files.items():
        write(path, args)
        print(f"written: {path}")
    if args.json is not None:
        write_json(args.json, {"system": what, "seed": args.seed, "files": [str(path) for path in files]})
    return 0


def _described_log(path: Path, args: argparse.Namespace) -> None:
    from systems.house_file import load_house
    from systems.world.generate import generated_world, moment
    from tuner.identify.simulate import simulate_log

    house = load_house(args.house)
    world = generated_world(house, moment(args.start, house.timezone), args.days, seed=args.seed, prices=args.generator)
    with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("simulating a log", total=len(world))
        log = simulate_log(house, world, seed=args.seed, on_step=lambda k: progress.update(bar, completed=k))
    log.write(path)


def _battery_log(path: Path, args: argparse.Namespace) -> None:
    from tuner.commands.identify_battery import simulated_log
    from tuner.identify.battery import write_log

    write_log(simulated_log(args.seed), path)


def _prices(path: Path, args: argparse.Namespace) -> None:
    spot = generated_spot(GENERATED_WEEKS, kind=args.generator, seed=args.seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time", PRICE])
        writer.writerows(
            [(GENERATED_START + timedelta(hours=k)).isoformat(), f"{price:.5f}"]
            for k, price in enumerate(spot.tolist())
        )


def _house_log(path: Path, args: argparse.Namespace) -> None:
    from tuner.commands.identify_house import simulated_log
    from tuner.identify.house_log import write_house_log

    write_house_log(simulated_log(args.seed, HOUSE_DAYS), path)


FILES: dict[str, dict[str, Writer]] = {
    "battery": {"log.csv": _battery_log, "prices.csv": _prices},
    "house": {"house.csv": _house_log},
}
