"""The options by which commands choose prices and periods."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from systems.clock import zone_named
from systems.commands.numbers import number, seed_number
from systems.prices import PriceOptions, price_unit
from systems.series import DEFAULT_MAX_GAP_S
from systems.world.household import PRICE_SHAPES

T = TypeVar("T")


class ForeignOptionError(ValueError):
    """An option that says nothing beside the others."""

    exit_code = 2


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """--prices and how to read them, --generator, --tariff, --train-until, --max-gap-hours, --seed."""
    group = parser.add_argument_group("prices and periods")
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--prices",
        type=Path,
        metavar="FILE.csv",
        help="day-ahead prices with columns time, price_eur_per_kwh (or price_usd_per_mwh, price_ct_per_kwh, ...)",
    )
    source.add_argument(
        "--generator", choices=sorted(PRICE_SHAPES), default="nordic", help="built-in prices (default: %(default)s)"
    )
    group.add_argument(
        "--price-unit", type=usable(_unit), metavar="UNIT", help="of --prices, as EUR/MWh, instead of its header"
    )
    group.add_argument(
        "--exchange-rate",
        type=number(0.0, 1e6, "of its currency for one of the house's, as 11.3", above=True),
        metavar="X",
        help="what one EUR, or whatever the house counts in, costs in the currency of --prices, if it is another",
    )
    group.add_argument(
        "--timezone",
        type=usable(zone_named),
        metavar="ZONE",
        help="of the house, as Europe/Oslo: fees and the day follow it (default: the UTC offsets of --prices)",
    )
    group.add_argument(
        "--tariff",
        type=Path,
        metavar="FILE.toml",
        help="vat, grid_fee_day, grid_fee_night, tax, ... per kWh, in the house's currency",
    )
    group.add_argument(
        "--train-until",
        type=_date,
        metavar="DATE",
        help="train on what is before, hold out what is after (default: the middle of the series)",
    )
    group.add_argument(
        "--max-gap-hours",
        type=number(0.0, 8784.0, "hours"),
        default=DEFAULT_MAX_GAP_S / 3600.0,
        metavar="H",
        help="fill gaps up to this long (default: %(default)g)",
    )
    group.add_argument(
        "--seed", type=seed_number, default=0, help="of everything that is random (default: %(default)s)"
    )


def price_options(args: argparse.Namespace, currency: str) -> PriceOptions:
    """How to read --prices of a house that counts in `currency`.

    Raises ForeignOptionError for options about a file that is not given.
    """
    given = [name for name in ("price_unit", "exchange_rate", "timezone") if getattr(args, name) is not None]
    if given and args.prices is None:
        option = "--" + given[0].replace("_", "-")
        raise ForeignOptionError(f"{option} says how --prices are to be read; name a file, or leave {option} out")
    return PriceOptions(args.price_unit, args.exchange_rate, args.timezone, args.max_gap_hours * 3600.0, currency)


def usable(parse: Callable[[str], T]) -> Callable[[str], T]:
    """For `type=`: the parser's own words instead of argparse's."""

    def checked(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return checked


def _unit(text: str) -> str:
    price_unit(text)
    return text


def _date(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write it as 2021-01-01") from error
