"""`nisse status`: what the daemon does and why, live in the terminal."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from runtime.publish.status_file import DEFAULT_DIRECTORY, Status, StatusError, read_status, status_path
from runtime.publish.status_view import Style, view
from runtime.site.config import load_site
from runtime.site.credentials import mqtt_password, mqtt_section
from runtime.systemd import UnitContext

DEFAULT_SITE = Path("/etc/nisse/site.toml")
BROKER_WAIT_S = 3.0
REFRESH_S = 1.0
# To the top left, and what is below the new text is cleared: no flicker, unlike clearing first.
HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
ENTER_SCREEN, LEAVE_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "example:\n  nisse status                      # live; Ctrl-C ends it\n"
        "  nisse status site.toml --once\n  nisse status --once --json state.json"
    )
    parser.add_argument("site", type=Path, nargs="?", default=DEFAULT_SITE, help=f"the site file ({DEFAULT_SITE})")
    parser.add_argument("--file", type=Path, metavar="PATH", help="the daemon's status file, wherever it is")
    parser.add_argument("--mqtt", action="store_true", help="ask the broker even if there is a status file")
    parser.add_argument("--once", action="store_true", help="show it once; also where the output is no terminal")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write state and plan as JSON, and show them once")


def run(args: argparse.Namespace) -> int:
    site = load_site(args.site) if args.file is None else None
    file = args.file or (None if site is None or args.mqtt else status_path(site))
    if file is not None and (file.exists() or args.file is not None):
        return _show(args, lambda: read_status(file), time.sleep)
    if site is None or site.mqtt is None:
        where = DEFAULT_DIRECTORY if site is None else status_path(site)
        raise StatusError(f"no status file at {where} and no [mqtt] in the site file; is the daemon running?")
    # paho is loaded only where it is asked.
    from runtime.publish.status_source import BrokerListener

    section = mqtt_section(site)
    assert section is not None
    listener = BrokerListener(site.site.name, section, mqtt_password(site, UnitContext.of(os.environ).credentials))
    listener.open(BROKER_WAIT_S)
    try:
        return _show(args, listener.status, listener.wait)
    finally:
        listener.close()


def _show(args: argparse.Namespace, look: Callable[[], Status], wait: Callable[[float], None]) -> int:
    status = look()
    if args.json is not None:
        document = {
            "site": status.site,
            "online": status.online,
            "written_s": status.written_s,
            "state": status.state,
            "plan": status.plan,
        }
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    terminal = sys.stdout.isatty()
    if args.once or args.json is not None or not terminal:
        width = shutil.get_terminal_size().columns
        print("\n".join(view(status, time.time(), width, Style(colour=terminal))))
        return 0 if status.online else 1
    _live(look, wait)
    return 0


def _live(look: Callable[[], Status], wait: Callable[[float], None]) -> None:
    """Until Ctrl-C, on the terminal's other screen, so that what was there comes back."""
    print(ENTER_SCREEN, end="")
    try:
        while True:
            columns, rows = shutil.get_terminal_size()
            try:
                lines = view(look(), time.time(), columns, Style(colour=True))
            except StatusError as error:  # stopped, or just restarting: the next look tells
                lines = [str(error)]
            print(
                HOME + "".join(f"{line}{CLEAR_LINE}\n" for line in lines[: rows - 1]) + CLEAR_BELOW, end="", flush=True
            )
            wait(REFRESH_S)
    except KeyboardInterrupt:
        pass
    finally:
        print(LEAVE_SCREEN, end="", flush=True)
