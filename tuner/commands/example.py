"""`nisse example`: files in the format that a log and prices of one's own must have, to try the commands with."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rich.progress import Progress

from systems.clock import local_clock
from systems.commands.numbers import number, seed_number
from systems.commands.output import output_folder, output_path, write_json
from systems.currency import usual_per_eur
from systems.house_file import House, load_house
from systems.world.generate import generated_world, moment
from systems.world.household import PRICE_SHAPES, spot_prices
from tuner.identify.simulate import simulate_log

LOG_DAYS, LOG_START = 28.0, "2023-01-09"
"""In the heating season, so that heat pumps show what they do."""
PRICES_START, PRICES_WEEKS = datetime(2024, 1, 1), 104
"""A Monday; a year to train on and one, with the same seasons, to hold out from."""
HOUR_S = 3600.0
Writer = Callable[[Path, House, argparse.Namespace], None]


class ExampleExistsError(FileExistsError):
    """A file of that name may be the user's own."""

    exit_code = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "log.csv: --days days of the house used at random. prices.csv: two years by the hour.\n"
        "All of it is generated or simulated.\n\n"
        "examples:\n"
        "  nisse example battery\n"
        "  nisse example cabin --output data"
    )
    parser.add_argument("house", help="a house file, or the name of a shipped house (see `nisse check`)")
    parser.add_argument("--output", type=output_folder, default=Path(), metavar="DIR", help="(default: this folder)")
    parser.add_argument("--force", action="store_true", help="write over files that are there")
    parser.add_argument(
        "--generator", choices=sorted(PRICE_SHAPES), default="nordic", help="of the prices (default: %(default)s)"
    )
    parser.add_argument(
        "--days", type=number(1.0, 400.0, "days"), default=LOG_DAYS, help="of the log (default: %(default)g)"
    )
    parser.add_argument("--start", default=LOG_START, metavar="DATE", help="of the log (default: %(default)s)")
    parser.add_argument("--seed", type=seed_number, default=0, help="(default: %(default)s)")
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write what was written for machines")


def run(args: argparse.Namespace) -> int:
    house = load_house(args.house)
    written: dict[str, Writer] = {"log.csv": write_log, "prices.csv": write_prices}
    files = {args.output / name: write for name, write in written.items()}
    there = [str(path) for path in files if path.exists()]
    if there and not args.force:
        raise ExampleExistsError(f"{', '.join(there)}: already there; give another --output, or --force")
    args.output.mkdir(parents=True, exist_ok=True)
    for path, write in files.items():
        write(path, house, args)
        print(f"written: {path}")
    if args.json is not None:
        write_json(args.json, {"house": house.name, "seed": args.seed, "files": [str(path) for path in files]})
    return 0


def write_log(path: Path, house: House, args: argparse.Namespace) -> None:
    """What its sensors and meters show while the house is used at random."""
    world = generated_world(house, moment(args.start, house.timezone), args.days, seed=args.seed, prices=args.generator)
    with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("simulating a log", total=len(world))
        log = simulate_log(house, world, seed=args.seed, on_step=lambda k: progress.update(bar, completed=k))
    log.write(path)


def write_prices(path: Path, house: House, args: argparse.Namespace) -> None:
    """Day-ahead prices by the hour."""
    start = PRICES_START.replace(tzinfo=house.timezone)
    clock = local_clock(start, HOUR_S, PRICES_WEEKS * 168, house.timezone)
    spot = usual_per_eur(house.currency) * spot_prices(args.generator, clock, args.seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time", f"price_{house.currency.lower()}_per_kwh"])
        for k, price in enumerate(spot.tolist()):
            time = datetime.fromtimestamp(start.timestamp() + k * HOUR_S, house.timezone)
            writer.writerow([time.isoformat(), f"{price:.5f}"])
