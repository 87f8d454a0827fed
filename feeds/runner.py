"""The feeds of a house as one process: ask what is due, publish what is new, remember what came, sleep."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from feeds.disk import Files
from feeds.feed import LEARNED, Feed, Forecast
from feeds.fetch import Http
from feeds.history import HOUR_S, QUARTER_S, History, HistoryError
from feeds.publish import Outlet, forecast_document
from feeds.setup import House
from feeds.usual import DAYS, usual

STATUS = "status"
LONGEST_SLEEP_S = QUARTER_S
log = logging.getLogger("nisse.feed")


@dataclass
class Runner:
    """`step` does all that is due at a time and says when to come back. Times are Unix seconds."""

    house: House
    feeds: Sequence[Feed]
    http: Http
    files: Files
    history: History
    outlet: Outlet
    _published: dict[str, Forecast] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)
    _quarter: int | None = None
    _notices: dict[str, str] = field(default_factory=dict)

    def open(self, now_s: float) -> None:
        for feed in self.feeds:
            feed.load(self.files, now_s)

    def step(self, now_s: float) -> float:
        news = [self._ask(feed, number, now_s) for feed in self.feeds for number in range(len(feed.sources))]
        quarter = math.floor(now_s / QUARTER_S)
        if any(news) or quarter != self._quarter:
            self._publish(now_s)
        if quarter != self._quarter:
            self._remember(now_s, quarter)
        self._quarter = quarter
        due_s = min((feed.next_s(now_s) for feed in self.feeds), default=math.inf)
        return min(max(due_s, now_s + 1.0), (quarter + 1) * QUARTER_S, now_s + LONGEST_SLEEP_S)

    def forecasts(self) -> list[Forecast]:
        """What was published last."""
        return list(self._published.values())

    def status(self, now_s: float) -> dict[str, Any]:
        """Whence each forecast, how old, until when; and of each source how it does."""
        zone = self.house.zone
        return {
            "time": datetime.fromtimestamp(now_s, zone).isoformat(timespec="seconds"),
            "forecasts": {
                name: {
                    "unit": f.unit,
                    "origin": f.at(now_s)[1],
                    "age_s": None if f.fetched_s is None else round(now_s - f.fetched_s),
                    "until": datetime.fromtimestamp(f.known_until_s(now_s), zone).isoformat(timespec="minutes"),
                }
                for name, f in self._published.items()
            },
            "feeds": {feed.name: feed.status(now_s) for feed in self.feeds},
            "notices": dict(self._notices),
        }

    def _ask(self, feed: Feed, number: int, now_s: float) -> bool:
        if not feed.wants(number, now_s):
            return False
        feed.ask(number, self.http, now_s)
        kept = feed.kept[number]
        label = feed.sources[number].source.label
        self._tell(f"{feed.name} from {label}", kept.word, kept.problem)
        try:
            feed.save(self.files, number)
            self._notices.pop("disk", None)
        except OSError as error:
            self._notices["disk"] = f"answers are not kept: {error.strerror or error}"
        return True

    def _tell(self, who: str, word: str, problem: str) -> None:
        """Once for each kind of trouble, and when it is over."""
        if word and self._told.get(who) != word:
            log.warning("%s: %s: %s", who, word, problem)
        elif not word and who in self._told:
            log.info("%s: in order again", who)
        if word:
            self._told[who] = word
            self._notices[who] = f"{word}: {problem}"
        else:
            self._told.pop(who, None)
            self._notices.pop(who, None)

    def _publish(self, now_s: float) -> None:
        horizon_s = self.house.feeds.horizon_h * HOUR_S
        for feed in self.feeds:
            for forecast in feed.forecasts(now_s, horizon_s, lambda *at: self._usual(now_s, *at)):
                self._published[forecast.quantity] = forecast
                if any(value is not None for value in forecast.values):
                    self.outlet.put(forecast.quantity, forecast_document(forecast, self.house.zone))
                self._notice_origin(forecast, now_s)
        self.outlet.put(STATUS, self.status(now_s))

    def _notice_origin(self, forecast: Forecast, now_s: float) -> None:
        value, origin = forecast.at(now_s)
        subject = f"{forecast.quantity}"
        if value is None:
            self._notices[subject] = "nothing is known"
        elif origin == LEARNED:
            self._notices[subject] = "no source: what is usual stands in"
        elif origin.endswith(", kept"):
            self._notices[subject] = f"the last good answer of {origin.removesuffix(', kept')} stands in"
        else:
            self._notices.pop(subject, None)

    def _usual(self, now_s: float, quantity: str, start_s: float, step_s: float, count: int) -> list[float | None]:
        try:
            actual = self.history.actual(quantity, now_s - (DAYS + 1) * 86400.0, now_s)
        except HistoryError as error:
            self._notices["history"] = str(error)
            return [None] * count
        return usual(actual, now_s, start_s, step_s, count, self.house.zone, level=False)

    def _remember(self, now_s: float, quarter: int) -> None:
        """The present as the sources say it is what was, unless it is measured; and each hour what is ahead."""
        was: dict[str, tuple[float, bool]] = {}
        for name, forecast in self._published.items():
            value, origin = forecast.at(now_s)
            if value is not None and origin not in {"", LEARNED}:
                was[name] = (value, False)
        try:
            self.history.learn(now_s, was)
            if quarter % 4 == 0 or self._quarter is None:
                self.history.issue(now_s, self._ahead(now_s))
            self._notices.pop("history", None)
        except HistoryError as error:
            self._notices["history"] = str(error)

    def _ahead(self, now_s: float) -> Mapping[str, Sequence[float | None]]:
        """Hourly means from this hour on."""
        first_s = math.floor(now_s / HOUR_S) * HOUR_S
        found = {}
        for name, forecast in self._published.items():
            skipped = round((first_s - forecast.start_s) / forecast.step_s)
            per_hour = round(HOUR_S / forecast.step_s)
            cells = forecast.values[max(0, skipped) :]
            found[name] = [_mean(cells[k : k + per_hour]) for k in range(0, len(cells) - per_hour + 1, per_hour)]
        return found


def _mean(cells: Sequence[float | None]) -> float | None:
    known = [v for v in cells if v is not None]
    return sum(known) / len(known) if known else None
