"""The worlds that the options of `tune` and `evaluate` mean, and the design of the house with its model."""

from __future__ import annotations

import argparse
from pathlib import Path

from systems.house_file import House
from systems.portrait import log_columns
from systems.prices import load_prices
from systems.tariff import load_tariff
from tuner.commands.prices import price_options
from tuner.identify.assemble import load_log
from tuner.identify.mapping import read_map
from tuner.loop.workers import Cluster, LocalWorkers, Workers
from tuner.loop.worlds import Worlds, generated_worlds, own_worlds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model and world")
    group.add_argument("--model", type=Path, metavar="FILE", help="what `nisse identify` wrote")
    group.add_argument(
        "--own-log", type=Path, action="append", metavar="FILE.csv", help="take load, panels and weather from this log"
    )
    group.add_argument("--map", type=Path, metavar="FILE.toml", help="of its columns, as for `nisse identify`")
    group.add_argument(
        "--cluster", metavar="ADDRESS", help="compute on the workers of this Dask scheduler, as tcp://10.0.0.5:8786"
    )


def workers_from(args: argparse.Namespace, jobs: int) -> Workers:
    return LocalWorkers(jobs) if args.cluster is None else Cluster(args.cluster)


def worlds_from(args: argparse.Namespace, house: House) -> Worlds:
    """Raises SeriesError, LogError and TariffError for the files, and PeriodError for their lengths."""
    tariff = None if args.tariff is None else load_tariff(args.tariff, house.currency)
    options = price_options(args, house.currency)
    if args.prices is None and not args.own_log:
        return generated_worlds(house, seed=args.seed, prices=args.generator, tariff=tariff)
    mapping = None if args.map is None else read_map(args.map, log_columns(house))
    log = None
    if args.own_log:
        log = load_log(house, args.own_log, mapping=mapping, zone=args.timezone).log
    prices = None if args.prices is None else load_prices(args.prices, options)
    until = args.train_until
    if until is not None and until.tzinfo is None:
        until = until.replace(tzinfo=house.timezone)
    return own_worlds(house, prices=prices, log=log, until=until, seed=args.seed, kind=args.generator, tariff=tariff)
