"""`nisse feed`: forecasts from services to where the daemon reads them."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from feeds.disk import Folder
from feeds.errors import FeedError
from feeds.feed import Feed
from feeds.fetch import Http, HttpxClient
from feeds.history import DAY_S, History
from feeds.homeassistant import discovery, discovery_topic
from feeds.house_feeds import factors_of, feeds_of
from feeds.lessons import Lessons
from feeds.lockstep import counted, run_lockstep
from feeds.meters import Meters
from feeds.publish import Beside, BrokerOutlet, FileOutlet, Outlet, forecast_document
from feeds.record import Recorder
from feeds.report import document as judgement_document
from feeds.report import lines as report_lines
from feeds.report import report
from feeds.runner import Runner
from feeds.setup import FeedSite, house_of
from feeds.usual import DAYS
from runtime.channel import connect
from runtime.clock import LockstepClock, SystemClock
from runtime.formats.text import log_to_stderr, plain
from runtime.interrupts import Signals
from runtime.site.config import SiteFile, load_site
from runtime.site.credentials import mqtt_password, mqtt_section
from runtime.systemd import Notifier, UnitContext

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
    parser.add_argument(
        "verb", choices=("once", "run", "report"), help="ask once and show; ask and publish for ever; how good it was"
    )
    parser.add_argument("site", type=Path, help="the site file, TOML, with a table [feeds]")
    parser.add_argument("--publish", action="store_true", help="once: publish what was found, too")
    parser.add_argument("--record", type=Path, metavar="DIR", help="once: write what services answer, without secrets")
    parser.add_argument("--days", type=int, default=28, metavar="N", help="report: how far back (28)")
    parser.add_argument("--json", metavar="PATH", help="once, report: write what is found as JSON, - for the output")
    parser.add_argument(
        "--lockstep", type=Path, metavar="SOCKET", help="run: let a bench at this socket drive the clock"
    )
    parser.add_argument("--quiet", action="store_true", help="say errors only")


def run(args: argparse.Namespace) -> int:
    importlib.import_module("httpx")  # where it is not installed that is said first
    log_to_stderr(logging.ERROR if args.quiet else logging.INFO)
    site = load_site(args.site)
    house = house_of(site)
    credentials = UnitContext.of(os.environ).credentials
    if args.verb == "report":
        return _report(args, site, house)
    if args.verb == "once":
        return _once(args, site, house, credentials)
    with Signals().installed() as signals:
        return _run(site, house, credentials, signals, args.lockstep)


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


def _once(args: argparse.Namespace, site: SiteFile, house: FeedSite, credentials: Path | None) -> int:
    """Every source is asked, the second ones too."""
    client = HttpxClient()
    now_s = SystemClock().wall()
    http: Http = client if args.record is None else Recorder(client, args.record, SystemClock().wall)
    folder = _folder(site, house)
    history = History.beside(folder.path / "history.db")
    feeds = feeds_of(site, house, credentials, Lessons(house, history).shade)
    runner = Runner(house, feeds, http, Unkept(folder), history, Nowhere())
    runner.open(now_s)
    for feed in feeds:
        for slot in feed.own:
            slot.ask(http, now_s)
    runner.step(now_s)
    client.close()
    forecasts = {f.quantity: f for f in runner.forecasts()}
    document = {
        "forecasts": {name: forecast_document(f, house.zone) for name, f in forecasts.items()},
        "status": runner.status(now_s),
    }
    if args.json == "-":
        print(json.dumps(document, indent=1))
    else:
        _show(now_s, runner)
        if isinstance(http, Recorder):
            print(f"recorded   {http.count} answers in {args.record}; look through them before you show them")
        _write(args.json, document)
    if args.publish:
        _publish_once(site, house, credentials, document)
    return 0 if all(f.at(now_s)[0] is not None for f in forecasts.values()) else EXIT_NOTHING


def _report(args: argparse.Namespace, site: SiteFile, house: FeedSite) -> int:
    """Of what `nisse feed run` has kept."""
    history = History.beside(_folder(site, house).path / "history.db")
    judgements = report(history, SystemClock().wall(), max(1, args.days))
    if args.json == "-":
        print(json.dumps(judgement_document(judgements), indent=1))
    else:
        print("\n".join(report_lines(judgements, house.feeds.units())))
        _write(args.json, judgement_document(judgements))
    return 0


def _write(path: str | None, document: object) -> None:
    if path is not None:
        Path(path).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


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
        for slot in feed.own:
            print(f"{feed.name:<10} {slot.label}: {plain(slot.kept.problem) or 'in order'}")


def _publish_once(site: SiteFile, house: FeedSite, credentials: Path | None, document: Mapping[str, Any]) -> None:
    outlet = _outlet(site, house, credentials, name="")
    for name, forecast in document["forecasts"].items():
        outlet.put(name, forecast)
    if isinstance(outlet, BrokerOutlet) and not (outlet.wait_connected(BROKER_WAIT_S) and outlet.flush(BROKER_WAIT_S)):
        outlet.close()
        raise NotPublishedError("the broker did not take the forecasts; nisse doctor says why")
    outlet.close()


def _run(site: SiteFile, house: FeedSite, credentials: Path | None, signals: Signals, bench: Path | None = None) -> int:
    surroundings = UnitContext.of(os.environ)
    notifier = Notifier(surroundings.notify_address)
    clock = SystemClock() if bench is None else LockstepClock()
    folder = _folder(site, house)
    http = HttpxClient() if bench is None else HttpxClient(monotonic=counted())
    history = History(folder.path / "history.db")
    feeds = feeds_of(site, house, credentials, Lessons(house, history).shade)
    meters = Meters(factors_of(house))
    learned = meters.hear_log(site.relative(site.store.path), clock.wall() - DAYS * DAY_S) if history.empty else 0
    if learned:
        log.info("learned from the daemon's log: %d values", learned)
    name = f"nisse-feeds-{site.site.name}"
    outlet = _outlet(
        site, house, credentials, name, lambda payload: meters.hear(payload, clock.wall()), bench is not None
    )
    places = [folder, *([Folder(runtime)] if (runtime := surroundings.runtime_directory) is not None else [])]
    runner = Runner(house, feeds, http, folder, history, Beside(outlet, places, site.site.name), meters)
    if not isinstance(clock, LockstepClock):
        runner.open(clock.wall())
    notifier.ready()
    log.info("feeds of %s: %s", site.site.name, ", ".join(_said(feed) for feed in feeds))
    try:
        if isinstance(clock, LockstepClock) and bench is not None:
            broker = outlet if isinstance(outlet, BrokerOutlet) else None
            run_lockstep(runner, broker, clock, connect(bench), signals)
            return 0
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
    return f"{feed.name} from {' then '.join(slot.label for slot, _ in feed.sources) or 'the house itself'}"


def _folder(site: SiteFile, house: FeedSite) -> Folder:
    """Beside the site file, or where the service manager lets us write."""
    state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    folder = house.feeds.folder
    return Folder(Path(state) / folder if state and not folder.is_absolute() else site.relative(folder))


def _outlet(
    site: SiteFile,
    house: FeedSite,
    credentials: Path | None,
    name: str,
    on_state: Callable[[bytes], None] | None = None,
    lockstep: bool = False,
) -> BrokerOutlet | Outlet:
    section = mqtt_section(site)
    if section is None:
        return FileOutlet(_folder(site, house))
    outlet = BrokerOutlet(site.site.name, section, mqtt_password(site, credentials), on_state, name, lockstep=lockstep)
    if name and site.homeassistant.discovery:
        topic = discovery_topic(site.homeassistant.prefix, site.site.name)
        outlet.say(topic, discovery(site.site.name, house.feeds.units()))
    outlet.start()
    return outlet
