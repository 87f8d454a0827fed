"""`nisse service`: daemon, feeds and page as systemd services."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from runtime.site.config import SiteFile, load_site
from runtime.site.service_unit import CREDENTIALS, FeedsUnit, ServiceError, ServiceUnit, WebUnit, install

SITE = Path("/etc/nisse/site.toml")
STATE = Path("/var/lib/nisse")
# The service sees neither of them.
HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"), Path("/tmp"), Path("/var/tmp"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "example:\n  nisse service show\n  sudo nisse service install --site /etc/nisse/site.toml\n"
        "  sudo systemctl daemon-reload && sudo systemctl enable --now nisse"
    )
    parser.add_argument("verb", choices=("install", "show"), help="write the unit and its folders, or print the unit")
    parser.add_argument("--site", type=Path, default=SITE, metavar="PATH", help=f"the site file ({SITE})")
    parser.add_argument("--exec", type=Path, metavar="PATH", help="the command nisse; this one by default")
    parser.add_argument("--no-serial", action="store_true", help="hide all devices: the site speaks MQTT only")
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="install under this folder (/)")
    for name, what in (("feeds", "of the feeds, nisse-feeds"), ("web", "of the page, nisse-web")):
        parser.add_argument(
            f"--{name}", dest="other", action="store_const", const=name, help=f"show: the unit {what}, instead"
        )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the result as JSON")


def run(args: argparse.Namespace) -> int:
    executable = (args.exec or Path(sys.argv[0])).absolute()
    if not executable.is_file():
        raise ServiceError(f"{executable}: no such command; name it with --exec")
    unit = ServiceUnit(executable, args.site.absolute(), serial=not args.no_serial)
    written: list[Path] = []
    if args.verb == "show":
        shown: dict[str, FeedsUnit | WebUnit] = {
            "feeds": FeedsUnit(executable, unit.site),
            "web": WebUnit(executable, unit.site),
        }
        print((shown[args.other] if args.other else unit).text(), end="")
    else:
        units = [unit, *_others(unit, args.root)]
        written = install(units, args.root)
        for path in written:
            print(f"wrote {path}")
        for note in notes(unit, args.root):
            print(f"note  {note}")
        names = " ".join(one.place.stem for one in units)
        print(f"next: systemctl daemon-reload && systemctl enable --now {names}, then nisse status")
    if args.json is not None:
        document = {"verb": args.verb, "written": [str(path) for path in written], "executable": str(executable)}
        args.json.write_text(json.dumps(document) + "\n", encoding="utf-8")
    return 0


def _others(unit: ServiceUnit, root: Path) -> list[FeedsUnit | WebUnit]:
    """Those of the tables [feeds] and [web], where the site file is there already; its mistakes are said later."""
    file = root / unit.site.relative_to("/")
    if not file.exists():
        return []
    site = load_site(file)
    feeds = [FeedsUnit(unit.executable, unit.site)] if site.feeds is not None else []
    return [*feeds, *([WebUnit(unit.executable, unit.site)] if site.web is not None else [])]


def notes(unit: ServiceUnit, root: Path) -> list[str]:
    """What would keep the installed service from running."""
    found = []
    if _hidden(unit.executable):
        found.append(f"{unit.executable} is hidden from the service; install nisse into /opt/nisse and use --exec")
    site = root / unit.site.relative_to("/")
    if not site.exists():
        return [*found, f"{unit.site} is not there yet: nisse init {unit.site}"]
    content = load_site(site)
    bundle = unit.site.parent / content.controller.bundle
    if _hidden(bundle):
        found.append(f"{bundle} is hidden from the service; put it beside the site file")
    if content.mqtt is not None and content.mqtt.password_file is not None:
        found.append(
            f"the service may not read a closed password_file; move it to /{CREDENTIALS}/mqtt_password and say "
            'password_credential = "nisse_mqtt_password"'
        )
    if content.web is not None and content.web.password_file is not None:
        found.append(
            f"the page may not read a closed password_file; move it to /{CREDENTIALS}/web_password and say "
            'password_credential = "nisse_web_password"'
        )
    for path, source in _token_files(content):
        found.append(
            f"the feeds may not read a closed token_file ({source}); move {path} to /{CREDENTIALS}/{source} and say "
            f'token_credential = "nisse_{source}"'
        )
    store = content.store.path
    if not store.is_absolute() or not store.is_relative_to(STATE):
        found.append(f'{unit.site}: the service may write under {STATE} only; set [store] path = "{STATE}/nisse.db"')
    return found


def _token_files(content: SiteFile) -> Iterator[tuple[Path, str]]:
    """(file, source) of every token that a table of [feeds] names by its file."""
    feeds = content.feeds
    if feeds is None:
        return
    for section in (feeds.price, feeds.weather, *feeds.pv.values(), *feeds.load.values()):
        for one in (section, None if section is None else section.second):
            if one is not None and one.token_file is not None:
                yield one.token_file, one.source


def _hidden(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in HIDDEN)
