"""`nisse identify HOUSE`: what a log teaches of a house, as one model file and one page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from systems.clock import zone_named
from systems.commands.output import output_path, write_json
from systems.house_file import House, load_house
from systems.logs.lesson import Lesson
from systems.logs.log import LogError
from systems.portrait import log_columns
from tuner.commands.faults_table import faults_table
from tuner.commands.prices import usable
from tuner.identify.assemble import HouseLog, MissingColumnsError, load_log
from tuner.identify.mapping import map_text, read_map
from tuner.identify.model import HouseModel, learn_house


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "A log is one or more CSV files: a column for each quantity (`nisse check HOUSE` lists them) and one of\n"
        "times, or Home Assistant's history export (entity_id, state, last_changed). hp_w, hp_kwh, living_f and\n"
        "home_soc_percent are understood as what their names say; foreign names are mapped with --map.\n"
        "`nisse example HOUSE` writes a log of any house.\n\n"
        "examples:\n"
        "  nisse identify house.toml --log log.csv --output model.json --page model.html\n"
        "  nisse identify cabin --log heat.csv --log meter.csv --map names.toml --output model.json"
    )
    parser.add_argument("house", help="a house file, or the name of a shipped house (see `nisse check`)")
    parser.add_argument("--log", type=Path, action="append", metavar="FILE.csv", help="repeatable, files join")
    parser.add_argument(
        "--timezone", type=usable(zone_named), metavar="ZONE", help="of times without UTC offset (default: the house's)"
    )
    parser.add_argument("--map", type=Path, metavar="FILE.toml", help="foreign names of columns; one is proposed")
    parser.add_argument("--force", action="store_true", help="write --output in spite of the problems found")
    parser.add_argument("--output", type=output_path, metavar="FILE", help="write the fitted model here")
    parser.add_argument("--page", type=output_path, metavar="FILE.html", help="write a page with a plot for each asset")
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write the result for machines")


def run(args: argparse.Namespace) -> int:
    house = load_house(args.house)
    if not args.log:
        raise LogError("--log FILE.csv is missing; `nisse example` writes a log of any house")
    mapping = None if args.map is None else read_map(args.map, log_columns(house))
    waiting = Console(stderr=True)
    try:
        with waiting.status("reading the log"):
            found = load_log(house, args.log, mapping=mapping, zone=args.timezone)
    except MissingColumnsError as error:
        if error.proposal:
            raise LogError(f"{error} ({_keep_proposal(args, error.proposal)})") from error
        raise
    with waiting.status("learning"):
        model = learn_house(house, found)
    console = Console()
    _tell(console, house, found, model)
    if found.proposal:
        console.print(_keep_proposal(args, map_text(found.proposal)), soft_wrap=True, highlight=False)
    if args.page is not None:
        from tuner.identify.page import write_page  # matplotlib takes a second to import

        write_page(args.page, house, found, model)
        console.print(f"drawn: {args.page}", soft_wrap=True, highlight=False)
    if args.json is not None:
        write_json(args.json, model.told(found))
    for problem in model.problems:
        print(f"nisse identify: {problem}", file=sys.stderr)
    if model.problems and not args.force:
        return 1
    if args.output is not None:
        write_json(args.output, model.document(found))
        console.print(f"written: {args.output}", soft_wrap=True, highlight=False)
    return 0


def _keep_proposal(args: argparse.Namespace, proposal: str) -> str:
    """Writes the proposed map beside the log, unless one of that name is there, and says so."""
    path = args.log[0].with_suffix(".map.toml")
    if not path.exists():
        path.write_text(proposal, encoding="utf-8")
        return f"proposed names are written to {path}: look at them, and run again with --map {path}"
    return f"{path} is there already: look at it, and run again with --map {path}, or delete it for a new proposal"


def _tell(console: Console, house: House, found: HouseLog, model: HouseModel) -> None:
    faults = [*found.log.faults, *(fault for lesson in model.lessons for fault in lesson.faults)]
    if faults:
        console.print(faults_table(faults, model.share_excluded))
    for lesson in model.lessons:
        console.print(_lesson_table(lesson))
        for note in lesson.notes:
            console.print(f"  {note}", soft_wrap=True, highlight=False)
    for asset, columns in found.missing.items():
        if columns:
            names = ", ".join(column.name for column in columns)
            text = f"nothing is learned of {asset}: the log lacks {names}"
            console.print(text, soft_wrap=True, highlight=False)
    for asset, reason in model.unlearned.items():
        console.print(f"nothing is learned of {asset}: {reason}", soft_wrap=True, highlight=False)


def _lesson_table(lesson: Lesson) -> Table:
    table = Table(title=f"{lesson.asset}: {lesson.summary}", title_justify="left")
    for heading in ("", "unit", "value", "95 % interval", ""):
        table.add_column(heading, justify="right" if heading in ("value", "95 % interval") else "left")
    for f in lesson.findings:
        interval = "" if f.low is None or f.high is None else f"{f.low:z.3f} to {f.high:z.3f}"
        table.add_row(f.name, f.unit, f"{f.value:z.3f}", interval, f.text)
    return table
