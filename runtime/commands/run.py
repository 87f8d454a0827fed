"""`nisse run`: the controller daemon."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import time
from pathlib import Path

from runtime.clock import LockstepClock, SystemClock
from runtime.config import SiteFile, load_site
from runtime.daemon import Daemon
from runtime.status_file import Status
from runtime.status_view import Style, view
from runtime.surface import Places
from runtime.systemd import Notifier, Surroundings
from runtime.text import log_to_stderr
from runtime.wall import run_on_the_wall_clock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "example:\n  nisse run site.toml --dry-run --cycles 1    # what would it do now?\n  nisse run site.toml"
    )
    parser.add_argument("site", type=Path, help="the site file, TOML")
    parser.add_argument("--dry-run", action="store_true", help="read, decide and show; move, say and log nothing")
    parser.add_argument("--cycles", type=_count, metavar="N", help="stop after N cycles")
    parser.add_argument("--lockstep", type=Path, metavar="SOCKET", help="let a bench at this socket drive the clock")
    parser.add_argument("--status-file", type=Path, metavar="PATH", help="write state and plan here after every cycle")
    parser.add_argument("--http-port", type=int, metavar="PORT", help="/metrics and /healthz on 127.0.0.1")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write at the end what the run came to")
    parser.add_argument("--quiet", action="store_true", help="say errors only")


def run(args: argparse.Namespace) -> int:
    log_to_stderr(logging.ERROR if args.quiet else logging.INFO)
    site = load_site(args.site)
    surroundings = Surroundings.of(os.environ)
    if args.lockstep is not None:
        from runtime.lockstep import connect, run_lockstep

        clock = LockstepClock()
        channel = connect(args.lockstep)
        daemon = Daemon(site, clock, lockstep=True, dry=args.dry_run, credentials=surroundings.credentials)
        run_lockstep(daemon, clock, channel)
    else:
        daemon = Daemon(
            site,
            SystemClock(),
            dry=args.dry_run,
            places=_places(args, site, surroundings),
            credentials=surroundings.credentials,
        )
        if args.dry_run:
            daemon.surface.on_show = _print
        try:
            run_on_the_wall_clock(daemon, Notifier(surroundings.notify_address), args.cycles)
        finally:
            daemon.stop()
    if args.json is not None:
        tally = daemon.tally
        summary = {"cycles": tally.cycles, "levels": dict(tally.levels), "first_action_s": tally.first_action_s}
        args.json.write_text(json.dumps(summary) + "\n", encoding="utf-8")
    return 0


def _places(args: argparse.Namespace, site: SiteFile, surroundings: Surroundings) -> Places:
    """What the command line says before what the site file says before what the service manager offers."""
    named = args.status_file or (None if site.status.file is None else site.relative(site.status.file))
    offered = surroundings.runtime_directory
    file = named or (None if offered is None else offered / f"{site.site.name}.json")
    return Places(file, args.http_port if args.http_port is not None else site.status.http_port)


def _print(status: Status) -> None:
    """A dry run shows what it would do."""
    width = shutil.get_terminal_size().columns
    lines = view(status, time.time(), width, Style(colour=sys.stdout.isatty()), written="would be set")
    print("\n".join(["dry run: no device is moved, nothing is published or logged", *lines, ""]), flush=True)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
