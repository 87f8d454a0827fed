"""`nisse run`: the controller daemon."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path

from runtime.clock import LockstepClock, SystemClock
from runtime.config import load_site
from runtime.daemon import Daemon
from runtime.systemd import Notifier
from runtime.wall import run_on_the_wall_clock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "example:\n  nisse run site.toml --dry-run --cycles 1    # what would it do now?\n  nisse run site.toml"
    )
    parser.add_argument("site", type=Path, help="the site file, TOML")
    parser.add_argument("--dry-run", action="store_true", help="read, decide, publish and log, but move no device")
    parser.add_argument("--cycles", type=_count, metavar="N", help="stop after N cycles")
    parser.add_argument("--lockstep", type=Path, metavar="SOCKET", help="let a bench at this socket drive the clock")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write at the end what the run came to")
    parser.add_argument("--quiet", action="store_true", help="say errors only")


def run(args: argparse.Namespace) -> int:
    # The service manager's log puts times on lines; in lockstep a line must not depend on the time of day.
    level = logging.ERROR if args.quiet else logging.INFO
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s")
    site = load_site(args.site)
    if args.lockstep is not None:
        from runtime.lockstep import connect, run_lockstep

        clock = LockstepClock()
        channel = connect(args.lockstep)
        daemon = Daemon(site, clock, lockstep=True, dry=args.dry_run)
        run_lockstep(daemon, clock, channel)
    else:
        daemon = Daemon(site, SystemClock(), dry=args.dry_run)
        try:
            run_on_the_wall_clock(daemon, Notifier(os.environ.get("NOTIFY_SOCKET")), args.cycles)
        finally:
            daemon.stop()
    if args.json is not None:
        tally = daemon.tally
        summary = {"cycles": tally.cycles, "levels": dict(tally.levels), "first_action_s": tally.first_action_s}
        args.json.write_text(json.dumps(summary) + "\n", encoding="utf-8")
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
