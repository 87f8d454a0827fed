"""`nisse logs`: the daemon's log fetched from the house, and what is in it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from deploy.commands.reaching import add_reaching, reached
from deploy.logs import SITE, Hole, pull
from deploy.logs_view import iso, summary, view

SHOWN_HOLES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "example:\n  nisse logs pull pi@house --output house.db\n  nisse logs show house.db    # both take --json PATH"
    )
    verbs = parser.add_subparsers(dest="verb", metavar="pull|show", required=True)
    pulling = verbs.add_parser("pull", help="fetch what is new of the log")
    pulling.add_argument("host", help="what ssh takes: host, user@host, or a name of ~/.ssh/config")
    pulling.add_argument("--output", type=Path, metavar="FILE", help="the copy here (default: <name of the site>.db)")
    pulling.add_argument("--site", type=Path, metavar="PATH", help=f"the site file there (default: {SITE})")
    add_reaching(pulling)
    showing = verbs.add_parser("show", help="what a log holds: how far it goes, levels, holes, the last cycles")
    showing.add_argument("log", type=Path, help="a copy that was pulled, or a daemon's own log")
    showing.add_argument("--last", type=int, default=12, metavar="N", help="how many cycles are listed (12)")
    for verb in (pulling, showing):
        verb.add_argument("--json", type=Path, metavar="PATH", help="write the result as JSON")


def run(args: argparse.Namespace) -> int:
    document = _pull(args) if args.verb == "pull" else _show(args)
    if args.json is not None:
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _pull(args: argparse.Namespace) -> dict[str, object]:
    site = args.site or args.root / SITE.relative_to("/")
    pulled = pull(reached(args.host, args), args.output, site=site)
    print(f"{pulled.path}: {pulled.new} new cycles of {pulled.site}, {pulled.rows} in all")
    for line in hole_lines(pulled.holes):
        print(line)
    if pulled.unreadable:
        print(f"left out, because they make no sense: cycles {', '.join(map(str, pulled.unreadable[:SHOWN_HOLES]))}")
    return {**asdict(pulled), "path": str(pulled.path)}


def _show(args: argparse.Namespace) -> dict[str, object]:
    found = summary(args.log)
    print("\n".join(view(args.log, found, max(0, args.last))))
    for line in hole_lines(found.holes):
        print(line)
    return asdict(found)


def hole_lines(holes: tuple[Hole, ...]) -> list[str]:
    """The last of them, one a line."""
    lines = [f"hole: nothing from {iso(h.from_s)} to {iso(h.to_s)}, {h.missing} cycles" for h in holes[-SHOWN_HOLES:]]
    more = len(holes) - len(lines)
    return [*([f"{more} earlier holes"] if more > 0 else []), *lines]
