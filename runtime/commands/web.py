"""`nisse web`: the page of the running house, in a process of its own; and the password that opens it."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from runtime.errors import NisseError
from runtime.publish.status_file import Status, read_status, status_path
from runtime.site.config import SiteFile, load_site
from runtime.site.credentials import mqtt_password, mqtt_section
from runtime.site.web import WebSection
from runtime.systemd import UnitContext
from runtime.web.app import App
from runtime.web.commands import BrokerCommands, NoBroker
from runtime.web.password import read_password, write_password
from runtime.web.saved import SAVINGS_FILE, saved

DEFAULT_SITE = Path("/etc/nisse/site.toml")
THREADS, CONNECTIONS, PATIENCE_S = 4, 40, 20


class WebError(NisseError):
    """The page cannot be served."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "example:\n  nisse web site.toml                       # http://localhost:8377, until Ctrl-C\n"
        "  nisse web password /etc/nisse/web.password   # asks for one; [web] password_file names it"
    )
    parser.add_argument("what", nargs="?", default=str(DEFAULT_SITE), metavar="SITE|password", help="the site file")
    parser.add_argument("file", nargs="?", type=Path, help="where the password's hash is written")
    parser.add_argument("--status", type=Path, metavar="PATH", help="the daemon's status file, wherever it is")
    parser.add_argument("--json", action="store_true", help="say where the page is as JSON")


def run(args: argparse.Namespace) -> int:
    if args.what == "password":
        return _password(args.file)
    if args.file is not None:
        raise WebError(f"{args.file}: a site file is enough; a password is made by: nisse web password FILE")
    import waitress  # where it is not installed that is said first

    return _serve(load_site(Path(args.what)), args.status, waitress.create_server, as_json=args.json)


def _password(file: Path | None) -> int:
    if file is None:
        raise WebError("name the file of the password: nisse web password FILE")
    if sys.stdin.isatty():
        password = getpass.getpass("Password of the page: ")
        if getpass.getpass("The same again: ") != password:
            raise WebError("the two differ; nothing was written")
    else:
        password = sys.stdin.readline().rstrip("\n")
    write_password(file, password)
    print(f"wrote {file}; name it in the site file: [web] password_file")
    return 0


def make_app(
    site: SiteFile,
    look: Callable[[], Status],
    commands: BrokerCommands | NoBroker,
    credentials: Path | None = None,
) -> App:
    """The application of a site, as it is served. credentials: the service manager's folder. Raises PasswordError."""
    section = site.web or WebSection()
    file = _password_file(site, section, credentials)
    kept = "" if file is None else read_password(file)
    return App(
        site.site.name,
        section.hosts,
        look,
        commands,
        kept=kept,
        https=section.https,
        clock=time.time,
        now=time.monotonic,
        saved=partial(saved, site.relative(site.store.path).with_name(SAVINGS_FILE)),
    )


def _password_file(site: SiteFile, section: WebSection, credentials: Path | None) -> Path | None:
    if section.password_credential is None:
        return None if section.password_file is None else site.relative(section.password_file)
    if credentials is None:
        raise site.error(
            ("web", "password_credential"),
            "no credentials were handed over; start it by its unit (nisse service show --web), or use password_file",
        )
    return credentials / section.password_credential


def _serve(site: SiteFile, status: Path | None, create_server: Callable[..., Any], *, as_json: bool) -> int:
    section = site.web or WebSection()
    file = status or status_path(site)
    broker = mqtt_section(site)
    commands: BrokerCommands | NoBroker = NoBroker()
    credentials = UnitContext.of(os.environ).credentials
    if broker is not None:
        password = mqtt_password(site, credentials)
        commands = BrokerCommands(site.site.name, broker, password)
        commands.open()
    app = make_app(site, lambda: read_status(file), commands, credentials)
    try:
        server = create_server(
            app,
            host=section.listen,
            port=section.port,
            threads=THREADS,
            connection_limit=CONNECTIONS,
            channel_timeout=PATIENCE_S,
            max_request_header_size=16384,
            max_request_body_size=65536,
            ident=None,
            clear_untrusted_proxy_headers=True,
        )
    except OSError as error:
        raise WebError(f"{section.listen}:{section.port}: {error.strerror}; choose another [web] port") from error
    shown = f"http://{'localhost' if section.listen.startswith('127.') else section.listen}:{section.port}/"
    print(json.dumps({"url": shown}) if as_json else f"{site.site.name}: {shown}, until Ctrl-C", flush=True)
    try:
        server.run()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()
        if isinstance(commands, BrokerCommands):
            commands.close()
    return 0
