"""`nisse feed`: forecasts from services to where the daemon reads them."""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feeds.disk import Folder
from feeds.errors import FeedError
from feeds.feed import Feed
from feeds.fetch import HttpxClient
from feeds.history import History
from feeds.house_feeds import feeds_of
from feeds.publish import BrokerOutlet, FileOutlet, Outlet, forecast_document
from feeds.runner import Runner
from feeds.setup import House, house_of
from runtime.clock import SystemClock
from runtime.formats.text import log_to_stderr, plain
from runtime.interrupts import Signals
from runtime.site.config import SiteFile, load_site
from runtime.site.credentials import mqtt_password, mqtt_section
from runtime.systemd import Notifier, Surroundings

EXIT_NOTHING = 1
BROKER_WAIT_S = 10.0
log = logging.getLogger("nisse.feed")


class NotPublishedError(FeedError):
    """The broker did not take the forecasts."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  nisse feed once site.toml             # ask every source now and show what it says\n"
        "  nisse feed once site.toml --json -    # the same for programs\n"
        "  nisse feed run site.toml              # as a service: nisse service install"
    )
    parser.add_argument("verb", choices=("once", "run"), help="ask once and show, or ask and publish for ever")
    parser.add_argument("site", type=Path, help="the site file, TOML, with a table [feeds]")
    parser.add_argument("--publish", action="store_true", help="once: publish what was found, too")
    parser.add_argument("--json", metavar="PATH", help="once: write forecasts and status as JSON, - for the output")
    parser.add_argument("--quiet", action="store_true", help="say errors only")


def run(args: argparse.Namespace) -> int:
    log_to_stderr(logging.ERROR if args.quiet else logging.INFO)
    site = load_site(args.site)
    house = house_of(site)
    credentials = Surroundings.of(os.environ).credentials
    feeds = feeds_of(site, house, credentials)
    if args.verb == "once":
        return _once(args, site, house, feeds, credentials)
    with Signals().installed() as signals:
        return _run(site, house, feeds, credentials, signals)


class Nowhere:
    """An outlet that publishes nothing."""

    def put(self, name: str, document: object) -> None:
        pass

    def close(self) -> None:
        pass


class Unkept:
    """Files that are read and not written: whoever only looks leaves the service's answers alone."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def read(self, name: str) -> bytes | None:
        return self._folder.read(name)

    def write(self, name: str, content: bytes) -> None:
        pass


def _once(args: argparse.Namespace, site: SiteFile, house: House, feeds: list[Feed], credentials: Path | None) -> int:
    """Every source is asked, the second ones too."""
    http = HttpxClient()
    now_s = SystemClock().wall()
    runner = Runner(house, feeds, http, Unkept(_folder(site, house)), History(None), Nowhere())
    runner.open(now_s)
    for feed in feeds:
        for number in range(len(feed.sources)):
            feed.ask(number, http, now_s)
    runner.step(now_s)
    http.close()
    forecasts = {f.quantity: f for f in runner.forecasts()}
    document = {
        "forecasts": {name: forecast_document(f, house.zone) for name, f in forecasts.items()},
        "status": runner.status(now_s),
    }
    if args.json == "-":
        print(json.dumps(document, indent=1))
    else:
        _show(now_s, runner)
        if args.json is not None:
            Path(args.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if args.publish:
        _publish_once(site, house, credentials, document)
    return 0 if all(f.at(now_s)[0] is not None for f in forecasts.values()) else EXIT_NOTHING


def _show(now_s: float, runner: Runner) -> None:
    for forecast in runner.forecasts():
        known = [v for v in forecast.values if v is not None]
        value, origin = forecast.at(now_s)
        if value is None or not known:
            print(f"{forecast.quantity:<10} nothing is known")
            continue
        span = f"{min(known):.4g} .. {max(known):.4g}"
        until = runner.status(now_s)["forecasts"][forecast.quantity]["until"]
        print(f"{forecast.quantity:<10} now {value:.4g} {forecast.unit}, {span}; {plain(origin)}, known until {until}")
    for feed in runner.feeds:
        for asked, kept in zip(feed.sources, feed.kept, strict=True):
            print(f"{feed.name:<10} {asked.source.label}: {plain(kept.problem) or 'in order'}")


def _publish_once(site: SiteFile, house: House, credentials: Path | None, document: Mapping[str, Any]) -> None:
    outlet = _outlet(site, house, credentials, name="")
    for name, forecast in document["forecasts"].items():
        outlet.put(name, forecast)
    if isinstance(outlet, BrokerOutlet) and not (outlet.wait_connected(BROKER_WAIT_S) and outlet.flush(BROKER_WAIT_S)):
        outlet.close()
        raise NotPublishedError("the broker did not take the forecasts; nisse doctor says why")
    outlet.close()


def _run(site: SiteFile, house: House, feeds: list[Feed], credentials: Path | None, signals: Signals) -> int:
    notifier = Notifier(Surroundings.of(os.environ).notify_address)
    clock, folder = SystemClock(), _folder(site, house)
    http = HttpxClient()
    history = History(folder.path / "history.db")
    outlet = _outlet(site, house, credentials, name=f"nisse-feeds-{site.site.name}")
    runner = Runner(house, feeds, http, folder, history, outlet)
    runner.open(clock.wall())
    notifier.ready()
    log.info("feeds of %s: %s", site.site.name, ", ".join(_said(feed) for feed in feeds))
    try:
        while not signals.stop_requested:
            due_s = runner.step(clock.wall())
            notifier.watchdog()
            # In slices, so that a clock that is set meanwhile is noticed.
            until = time.monotonic() + max(0.0, due_s - clock.wall())
            while not signals.stop_requested and time.monotonic() < until:
                signals.wait(min(60.0, until - time.monotonic()))
                notifier.watchdog()
                if clock.wall() >= due_s:
                    break
    finally:
        notifier.stopping()
        outlet.close()
        history.close()
        http.close()
    return 0


def _said(feed: Feed) -> str:
    return f"{feed.name} from {' then '.join(a.source.label for a in feed.sources) or 'the house itself'}"


def _folder(site: SiteFile, house: House) -> Folder:
    return Folder(site.relative(house.feeds.folder))


def _outlet(site: SiteFile, house: House, credentials: Path | None, name: str) -> BrokerOutlet | Outlet:
    section = mqtt_section(site)
    if section is None:
        return FileOutlet(_folder(site, house))
    outlet = BrokerOutlet(site.site.name, section, mqtt_password(site, credentials), name=name)
    outlet.start()
    return outlet
