"""`nisse fleet tune|evaluate HOUSES/`: many houses, each a task, on this machine or on a Dask cluster."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from systems.commands.numbers import MOST_PROCESSES, number, seed_number, whole
from systems.commands.output import output_folder, output_path, write_json
from systems.world.household import PRICE_SHAPES
from tuner.evaluate.comparison import RULE, TUNED, UNBIASED
from tuner.fleet.houses import Effort, members, packed, summary, worked
from tuner.loop.workers import Cluster, LocalWorkers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "HOUSES holds NAME/house.toml for each house, beside it model.json, theta.json and the daemon's log nisse.db\n"
        "where they are there, or NAME.toml alone. Results are the same whoever computes them; a worker that dies\n"
        "costs time, because its houses are done again by others.\n\n"
        "examples:\n"
        "  nisse fleet evaluate houses --weeks 8 --html fleet.html\n"
        "  nisse fleet tune houses --scheduler tcp://10.0.0.5:8786 --output tuned --html fleet.html"
    )
    parser.add_argument("verb", choices=("tune", "evaluate"), help="learn and judge, or judge alone")
    parser.add_argument("houses", type=Path, help="the folder")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster, as tcp://10.0.0.5:8786")
    parser.add_argument(
        "--jobs", type=whole(1, MOST_PROCESSES, also=-1), default=-1, help="processes here (default: one per core)"
    )
    parser.add_argument("--iterations", type=whole(1), default=1, metavar="N", help="of tuning (default: %(default)s)")
    parser.add_argument("--episodes", type=whole(1), default=2, metavar="N", help="of each (default: %(default)s)")
    parser.add_argument(
        "--episode-days", type=number(0.25, 60.0, "days"), default=2.0, metavar="D", help="(default: %(default)g)"
    )
    parser.add_argument("--weeks", type=whole(2), default=4, metavar="N", help="that judge (default: %(default)s)")
    parser.add_argument(
        "--week-days", type=number(1.0, 7.0, "days"), default=7.0, metavar="D", help="of each (default: %(default)g)"
    )
    parser.add_argument("--generator", choices=sorted(PRICE_SHAPES), default="nordic", help="of prices")
    parser.add_argument("--seed", type=seed_number, default=0, help="(default: %(default)s)")
    parser.add_argument(
        "--output", type=output_folder, metavar="DIR", help="tune: NAME.json with the theta of each house"
    )
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write the result for machines")
    parser.add_argument("--html", type=output_path, metavar="PATH", help="write a page of the fleet")


def run(args: argparse.Namespace) -> int:
    console, began = Console(highlight=False), time.monotonic()
    effort = Effort(
        args.verb == "tune", args.iterations, args.episodes, args.episode_days, 1, args.weeks, args.week_days,
        args.generator, args.seed,
    )  # fmt: skip
    tasks = [(packed(member),) for member in members(args.houses)]
    workers = LocalWorkers(args.jobs) if args.scheduler is None else Cluster(args.scheduler)
    found: dict[str, dict[str, Any]] = {}
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("houses", total=len(tasks))
        for one in workers.run(worked, (effort,), tasks):
            found[one["name"]] = one
            progress.update(bar, completed=len(found))
            progress.console.print(line_of(one), soft_wrap=True)
    whole_fleet = summary(found)
    console.print(table_of(found))
    console.print(told(whole_fleet, len(found)), soft_wrap=True)
    console.print(f"{whole_fleet['solves']} solves, {time.monotonic() - began:.0f} s", soft_wrap=True)
    if args.output is not None and effort.tune:
        args.output.mkdir(parents=True, exist_ok=True)
        for name, one in found.items():
            if "theta" in one:
                write_json(
                    args.output / f"{name}.json", {"system": one["house"], "theta": one["theta"], "provenance": {}}
                )
    document = {"summary": whole_fleet, "houses": [found[name] for name in sorted(found)]}
    if args.json is not None:
        write_json(args.json, document)
    if args.html is not None:
        from tuner.report.fleet import write_page

        write_page(args.html, document, told(whole_fleet, len(found)))
        console.print(f"drawn: {args.html}", soft_wrap=True)
    return 0


def line_of(one: Mapping[str, Any]) -> str:
    """Of a house that is done."""
    if "problem" in one:
        return f"{one['name']}: {one['problem']}"
    gain = one["tuned_against_start"]
    word = "no change" if gain is None else f"tuning {gain['mean']:+.2f} ({gain['low']:.2f} to {gain['high']:.2f})"
    costs = ", ".join(f"{name} {cost:.2f}" for name, cost in one["costs"].items())
    return f"{one['name']}: {costs} {one['currency']} a week; {word}"


def told(whole_fleet: Mapping[str, Any], count: int) -> str:
    """The fleet in a sentence."""
    gain, keep = len(whole_fleet["gain"]), len(whole_fleet["do_not"])
    houses = "house gains" if count == 1 else "houses gain"
    parts = [f"{gain} of {count} {houses} by tuning, {keep} keep{'s' if keep == 1 else ''} what they had"]
    if whole_fleet["ill"]:
        parts.append(f"sensors or models of {len(whole_fleet['ill'])} are ill: {', '.join(whole_fleet['ill'])}")
    if whole_fleet["problems"]:
        parts.append(f"{len(whole_fleet['problems'])} could not be worked on: {', '.join(whole_fleet['problems'])}")
    return "; ".join(parts)


def table_of(found: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title="the fleet, money a week")
    for heading in ("house", "rule", "start", "tuned", "gain", "ill"):
        table.add_column(heading, justify="left" if heading in ("house", "ill") else "right")
    for name in sorted(found):
        one = found[name]
        if "problem" in one:
            table.add_row(name, "-", "-", "-", "-", one["problem"][:60])
            continue
        costs, gain = one["costs"], one["tuned_against_start"]
        cells = [f"{costs[policy]:.2f}" if policy in costs else "-" for policy in (RULE, UNBIASED, TUNED)]
        table.add_row(name, *cells, "-" if gain is None else f"{gain['mean']:+.2f}", str(len(one.get("ill", [])) or ""))
    return table
