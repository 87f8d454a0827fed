"""`nisse run`: the controller daemon."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import shutil
import sys
import time
from pathlib import Path

from runtime.clock import LockstepClock, SystemClock
from runtime.daemon import Daemon
from runtime.errors import EXIT_UNSAFE, StoppedError
from runtime.formats.text import log_to_stderr
from runtime.interrupts import Signals
from runtime.publish.operator_view import ViewPlaces
from runtime.publish.status_file import Status
from runtime.publish.status_view import Style, view
from runtime.site.check import lock_file
from runtime.site.config import SiteFile, load_site
from runtime.site.descriptors import require
from runtime.store.state_lock import state_lock
from runtime.systemd import Notifier, UnitContext
from runtime.wall_clock import run_on_the_wall_clock

log = logging.getLogger("nisse.run")


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
    parser.add_argument(
        "--allow-older", action="store_true", help="take a bundle and theta that are older than what was accepted last"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write at the end what the run came to")
    parser.add_argument("--quiet", action="store_true", help="say errors only")


def run(args: argparse.Namespace) -> int:
    with Signals().installed() as signals:
        return _run(args, signals)


def _run(args: argparse.Namespace, signals: Signals) -> int:
    log_to_stderr(logging.ERROR if args.quiet else logging.INFO)
    site = load_site(args.site)
    require(site)
    surroundings = UnitContext.of(os.environ)
    # A dry run may stand beside the daemon.
    with contextlib.nullcontext() if args.dry_run else state_lock(lock_file(site)):
        clock = SystemClock() if args.lockstep is None else LockstepClock()
        daemon = Daemon(
            site,
            clock,
            lockstep=args.lockstep is not None,
            dry=args.dry_run,
            places=_places(args, site, surroundings) if args.lockstep is None else None,
            credentials=surroundings.credentials,
            allow_older=args.allow_older,
        )
        with signals.also(daemon.interrupt):
            code = _control(args, daemon, clock, Notifier(surroundings.notify_address), signals)
    if args.json is not None:
        tally = daemon.tally
        summary = {"cycles": tally.cycles, "levels": dict(tally.levels), "first_action_s": tally.first_action_s}
        args.json.write_text(json.dumps(summary) + "\n", encoding="utf-8")
    return code


def _control(
    args: argparse.Namespace, daemon: Daemon, clock: SystemClock | LockstepClock, notifier: Notifier, signals: Signals
) -> int:
    """From the bundle to the last safe value, whatever happens in between; the exit code."""
    safe = written = True
    try:
        if isinstance(clock, LockstepClock):
            from runtime.channel import connect
            from runtime.lockstep import run_lockstep

            channel = connect(args.lockstep)
            if not signals.stop_requested:
                daemon.open()
            run_lockstep(daemon, clock, channel, signals)
        elif not signals.stop_requested:
            daemon.open()
            if args.dry_run:
                daemon.view.on_show = _print
            run_on_the_wall_clock(daemon, notifier, signals, args.cycles)
            written = args.cycles is None or not daemon.unwritten
    except StoppedError:
        log.info("a signal came before the first cycle")
    finally:
        safe = daemon.stop()
    for name, problem in () if written else daemon.unwritten.items():
        log.error("output %s did not take the set-point of the last cycle: %s", name, problem)
    return 0 if safe and written else EXIT_UNSAFE


def _places(args: argparse.Namespace, site: SiteFile, surroundings: UnitContext) -> ViewPlaces:
    """What the command line says before what the site file says before what the service manager offers."""
    named = args.status_file or (None if site.status.file is None else site.relative(site.status.file))
    offered = surroundings.runtime_directory
    file = named or (None if offered is None else offered / f"{site.site.name}.json")
    return ViewPlaces(file, args.http_port if args.http_port is not None else site.status.http_port)


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
