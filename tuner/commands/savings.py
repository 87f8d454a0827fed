"""`nisse savings HOUSE --log nisse.db`: what the house saved against its rules, month by month."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from codegen.commands.build import design_from
from systems.commands.output import output_path, write_json
from systems.design import HouseDesign
from tuner.evaluate.savings import Savings, savings_of, told
from tuner.loop.replay import Replay, replay_log


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The log is lived through once more by the rules that the house would have without nisse. With --model it is\n"
        "the identified house that answers them, else its nameplate.\n\n"
        "examples:\n"
        "  nisse savings villa.toml --model model.json --log nisse.db\n"
        "  nisse savings villa.toml --model model.json --log nisse.db --html savings.html --json savings.json"
    )
    parser.add_argument("house", help="a house file, or the name of a shipped house (see `nisse check`)")
    parser.add_argument("--log", type=Path, required=True, metavar="NISSE.db", help="the daemon's own log")
    parser.add_argument("--model", type=Path, metavar="FILE", help="what `nisse identify` wrote")
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write the result for machines")
    parser.add_argument("--html", type=output_path, metavar="PATH", help="write a page")


def run(args: argparse.Namespace) -> int:
    console = Console(highlight=False)
    design = design_from(args.house, args.model)
    with console.status("the rules live through the log"):
        found = savings_from(args.log, design)
    console.print(table_of(found))
    for line in told(found):
        console.print(line, soft_wrap=True)
    if args.json is not None:
        write_json(args.json, found.document())
    if args.html is not None:
        from tuner.report.savings import write_page

        write_page(args.html, found)
        console.print(f"drawn: {args.html}", soft_wrap=True)
    return 0


def savings_from(log: Path, design: HouseDesign) -> Savings:
    """Raises LogError for a log that does not fit the house."""
    return savings_in(replay_log(log, design), design)


def savings_in(replay: Replay, design: HouseDesign) -> Savings:
    """Of a log that was replayed."""
    house = design.house
    return savings_of(replay, house=house.name, currency=house.currency, zone=house.timezone, step_s=house.grid.step_s)


def table_of(found: Savings) -> Table:
    table = Table(title=f"{found.house}: saved against the rules, {found.currency}")
    columns = ("period", "energy", "peaks", "in store", "saved", "95 % interval", "paid", "days")
    for heading in columns:
        table.add_column(heading, justify="left" if heading == "period" else "right")
    for saving in (*found.months, found.week, found.whole):
        table.add_row(
            saving.name, f"{saving.energy:.2f}", f"{saving.capacity:.2f}", f"{saving.stored:.2f}",
            f"{saving.total:.2f}", "-" if saving.low is None else f"{saving.low:.2f}..{saving.high:.2f}",
            f"{saving.paid:.2f}", f"{saving.days:.1f} of {saving.days_of_period:.0f}",
        )  # fmt: skip
    return table
