"""The house file of `nisse init`: what there is, by a few questions or from options alone."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

from systems.assets.heat_pump import COP_BY_KIND
from systems.house_file import known_timezone, parse_house
from systems.house_template import (
    BATTERY,
    HEATER,
    HEATER_KW,
    ROOF,
    USUAL_KW,
    WATER,
    HeatSource,
    HouseAnswers,
    house_text,
)  # fmt: skip
from systems.names import RESERVED, asset_name, suggested

KINDS = tuple(COP_BY_KIND)
MOST_ZONES = 12
T = TypeVar("T")


class Ask(Protocol):
    """(question, default, what an answer means, the option where it was given) -> what is meant.

    What an answer means raises ValueError with a remedy.
    """

    def __call__(self, question: str, default: str, meant: Callable[[str], T], given: str | None = None) -> T: ...


class NothingSaidError(ValueError):
    """Nothing is asked, and nothing is said of what there is."""

    exit_code = 2


OPTIONS = ("zones", "heat_pump", "tank", "pv", "battery", "grid_kw", "peak_charge", "currency")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    of = parser.add_argument_group("what there is; asked for, but where one is given the others are not there")
    of.add_argument("--zones", metavar="NAMES", help="heated, each with its thermometer: living,bedroom - or how many")
    of.add_argument(
        "--heat-pump", action="append", metavar="KIND:KW[:FEEDS]",
        help=f"{', '.join(KINDS)}; electric power at most; what it feeds: all, each (one in every zone), or names "
        "joined by + (repeatable)",
    )  # fmt: skip
    of.add_argument("--tank", metavar="LITRES", help="of hot water, called water")
    of.add_argument("--pv", metavar="KW", help="peak power of solar panels")
    of.add_argument("--battery", metavar="KWH[:KW]", help="capacity, and power where it is not half of that an hour")
    of.add_argument("--grid-kw", metavar="KW", help="what the connection to the grid carries")
    of.add_argument("--peak-charge", metavar="PRICE", help="for each kW of the month's highest import")
    of.add_argument("--currency", metavar="CODE", help="of all prices (EUR)")


def said(args: argparse.Namespace) -> list[str]:
    """The options of a house that were given."""
    return [f"--{name.replace('_', '-')}" for name in OPTIONS if getattr(args, name) is not None]


def ask_house(args: argparse.Namespace, ask: Ask, timezone: str, *, silent: bool) -> str:
    """The text of the house file, in order. Raises NothingSaidError, HouseFileError, and what `ask` raises."""
    if silent and not {"--zones", "--tank", "--battery"} & set(said(args)):
        raise NothingSaidError(
            "nothing is said of what there is: give --zones, --tank or --battery, or start from a shipped house "
            "(--house villa)"
        )
    # An option for one thing means that there is nothing else unless that is said too.
    rest = {name: getattr(args, name) for name in ("tank", "pv", "battery", "peak_charge")}
    if said(args):
        rest = {name: value or "0" for name, value in rest.items()}
    name = ask("Name of the house (lower case, part of every topic)?", "home", asset_name, args.name)
    zone = ask("Time zone of the house?", timezone, known_timezone, args.timezone)
    zones = ask(
        "Which rooms or floors are heated and have a thermometer each (names, or how many, 0 for none)?",
        "0" if silent or said(args) else "living",
        zone_names,
        args.zones if args.zones is not None or not said(args) else "0",
    )
    litres = ask("Litres of a hot-water tank that is heated (0: none)?", "0", _number("litres", 5000.0), rest["tank"])
    heat = _heat(args, ask, zones, tank=litres > 0, silent=silent)
    pv_kw = ask("Solar panels, peak power in kW (0: none)?", "0", _number("kW", 500.0), rest["pv"])
    kwh, kw = ask("Battery, capacity in kWh, or KWH:KW (0: none)?", "0", battery_size, rest["battery"])
    peak = ask(
        "Does the grid charge for the month's highest import: the price of a kW (0: it does not)?", "0",
        _number("a kW", 1e6), rest["peak_charge"],
    )  # fmt: skip
    answers = HouseAnswers(name, zone, "EUR", zones, heat, litres, pv_kw, kwh, kw, peak_charge=peak)
    if answers.metered:
        grid_kw = ask("What does the connection to the grid carry, kW?", "11", _number("kW", 500.0, 1.0), args.grid_kw)
        answers = replace(answers, grid_kw=grid_kw)
    answers = replace(answers, currency=ask("Currency of all prices?", "EUR", _currency, args.currency))
    text = house_text(answers)
    parse_house(text)
    return text


def _heat(
    args: argparse.Namespace, ask: Ask, zones: tuple[str, ...], *, tank: bool, silent: bool
) -> tuple[HeatSource, ...]:
    """Until everything is heated. What is not fed by an option gets what is usual when nothing is asked."""
    found: list[HeatSource] = []
    needed = [*zones, *([WATER] if tank else [])]
    for text in args.heat_pump or ():
        taken = (*needed, *(source.name for source in found))
        found += ask("", "", partial(heat_sources, zones=zones, needed=needed, taken=taken), text)
    while unfed := [name for name in needed if not any(name in source.feeds for source in found)]:
        cold = [name for name in unfed if name != WATER]
        names = ", ".join(unfed)
        if cold:
            kind = ask(
                f"What heats {names}: {', '.join(KINDS)}?", KINDS[1] if "air-water" in KINDS else KINDS[0], _kind
            )
            most = ask("Its electric power at most (not the heat), kW?", f"{USUAL_KW[kind]:g}", _power)
            usual = "all" if kind == "air-water" else "each"
            feeds = ask(
                "What does it feed: all of them, each (one unit in every room), or names?", usual,
                partial(fed, known=unfed),
            )  # fmt: skip
        else:
            kind, feeds = "electric", "all"
            most = ask("Electric power of the heater in the tank, kW?", f"{HEATER_KW:g}", _power)
        taken = (*needed, *(source.name for source in found))
        found += _sources(kind, most, feeds, cold or unfed if feeds == "each" else unfed, taken)
    return tuple(found)


def heat_sources(given: str, zones: Sequence[str], needed: Sequence[str], taken: Sequence[str]) -> list[HeatSource]:
    """Of KIND:KW[:FEEDS]. Raises ValueError."""
    parts = given.split(":")
    if not 2 <= len(parts) <= 3:
        raise ValueError(f"cannot read the heat pump {given!r}: write it as air-water:3.5 or air-air:1.5:living")
    kind, most = _kind(parts[0]), _power(parts[1])
    feeds = fed(parts[2] if len(parts) == 3 else "all", needed)
    return _sources(kind, most, feeds, zones if feeds == "each" else needed, taken)


def _sources(kind: str, most: float, feeds: str, among: Sequence[str], taken: Sequence[str]) -> list[HeatSource]:
    if feeds == "each":
        stem = "heater" if kind == "electric" else "hp"
        found: list[HeatSource] = []
        for zone in among:
            name = _free(suggested(f"{stem}_{zone}"), (*taken, *(source.name for source in found)))
            found.append(HeatSource(name, kind, most, (zone,)))
        return found
    names = tuple(among) if feeds == "all" else tuple(feeds.split("+"))
    return [HeatSource(_free(HEATER if kind == "electric" else "hp", taken), kind, most, names)]


def _free(name: str, taken: Sequence[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name[:20]}_{number}"
    return free


def zone_names(text: str) -> tuple[str, ...]:
    """Names, or as many as a number says. Raises ValueError."""
    if text.isascii() and text.isdigit():
        if int(text) > MOST_ZONES:
            raise ValueError(f"{text} zones are more than can be planned together; at most {MOST_ZONES}")
        return tuple(f"zone_{i + 1}" for i in range(int(text)))
    names = tuple(asset_name(name) for name in re.split(r"[\s,]+", text.strip(" ,")))
    taken = [name for name in names if name in RESERVED or name in {WATER, HEATER, BATTERY, ROOF}]
    if taken:
        raise ValueError(
            f"{taken[0]!r} is the name of something else; call the zone {'zone_' + taken[0]!r} for example"
        )
    if len(set(names)) != len(names):
        raise ValueError(f"two zones are called {max(names, key=names.count)!r}; give each a name of its own")
    if len(names) > MOST_ZONES:
        raise ValueError(f"{len(names)} zones are more than can be planned together; at most {MOST_ZONES}")
    return names


def fed(text: str, known: Sequence[str]) -> str:
    """`all`, `each`, or names of what is there, joined by +. Raises ValueError."""
    if text in {"all", "each"}:
        return text
    names = [name for name in re.split(r"[\s,+]+", text) if name]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = repr(unknown[0]) if unknown else "nothing"
        raise ValueError(f"there is no {what} to feed: say all, each, or some of {', '.join(known)}")
    return "+".join(dict.fromkeys(names))


def battery_size(text: str) -> tuple[float, float]:
    """(kWh, kW) of `10` or `10:5`. Raises ValueError."""
    capacity, colon, power = text.partition(":")
    kwh = _number("kWh", 1000.0)(capacity)
    kw = _number("kW", 500.0)(power) if colon else kwh / 2
    if kwh > 0 and not 0 < kw <= kwh:
        raise ValueError(f"a battery of {kwh:g} kWh with {kw:g} kW would be empty within an hour; correct one of them")
    return kwh, kw


def _kind(text: str) -> str:
    if text not in KINDS:
        raise ValueError(f"no heat pump is of kind {text!r}; known here: {', '.join(KINDS)}")
    return text


def _power(text: str) -> float:
    value = _number("kW", 100.0)(text)
    if value <= 0:
        raise ValueError("a power above 0 kW is needed")
    return value


def _number(unit: str, most: float, least: float = 0.0) -> Callable[[str], float]:
    def meant(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value <= most:
            raise ValueError(f"{text!r} is no number of {unit} from {least:g} to {most:g}")
        return value

    return meant


def _currency(text: str) -> str:
    if re.fullmatch(r"[A-Z]{3}", text) is None:
        raise ValueError(f"{text!r} is no currency; write its three letters, like EUR or NOK")
    return text
