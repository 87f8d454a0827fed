"""The feeds of a house as one process: ask what is due, publish what is new, remember what came, sleep."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from feeds.disk import Files
from feeds.feed import ASSUMED, KEPT, LEARNED, Feed, FeedForecast, Slot
from feeds.fetch import Http
from feeds.history import DAY_S, HOUR_S, QUARTER_S, History, HistoryError
from feeds.house_feeds import factors_of
from feeds.meters import Meters
from feeds.publish import Outlet, forecast_document
from feeds.report import Judgement, report, worse_notice
from feeds.setup import FeedSite
from feeds.usual import DAYS, usual
from runtime.clock import CLOCK_JUMP_S
from runtime.site.feeds import STATUS

log = logging.getLogger("nisse.feed")


@dataclass
class Runner:
    """`step` does all that is due at a time and says when to come back. Times are Unix seconds."""

    house: FeedSite
    feeds: Sequence[Feed]
    http: Http
    files: Files
    history: History
    outlet: Outlet
    meters: Meters = field(default_factory=lambda: Meters({}))
    _published: dict[str, FeedForecast] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)
    _quarter: int | None = None
    _stepped_s: float = -math.inf
    _judged: dict[str, Judgement] = field(default_factory=dict)
    _judged_s: float = -math.inf
    _notices: dict[str, str] = field(default_factory=dict)

    def open(self, now_s: float) -> None:
        """What was kept, and what was wrong when it was."""
        for feed in self.feeds:
            for slot in feed.own:
                slot.load(self.files, now_s)
                self._tell(f"{feed.name} from {slot.label}", slot.kept.word, slot.kept.problem)

    def step(self, now_s: float) -> float:
        if now_s < self._stepped_s - CLOCK_JUMP_S:
            self._set_back(now_s)
        self._stepped_s = now_s
        asked: list[Slot] = []
        for feed in self.feeds:
            for slot in feed.due(now_s):
                self._ask(feed, slot, now_s)
                asked.append(slot)
        quarter = math.floor(now_s / QUARTER_S)
        if quarter != self._quarter:
            self._measured(quarter)
        self._forgive(now_s)
        changed = [f for f in self.feeds if quarter != self._quarter or any(slot in asked for slot, _ in f.sources)]
        if changed:
            self._publish(changed, now_s)
        if quarter != self._quarter:
            self._remember(now_s, quarter)
        self._quarter = quarter
        due_s = min((feed.next_s(now_s) for feed in self.feeds), default=math.inf)
        return min(max(due_s, now_s + 1.0), (quarter + 1) * QUARTER_S)

    def _set_back(self, now_s: float) -> None:
        """The clock was ahead: what was to come then, or is dated from there, is not waited for."""
        for feed in self.feeds:
            for slot in feed.own:
                slot.kept = slot.kept.not_after(now_s)

    def forecasts(self) -> list[FeedForecast]:
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
                    "error": self._error(name),
                    "until": datetime.fromtimestamp(f.known_until_s(now_s), zone).isoformat(timespec="minutes"),
                }
                for name, f in self._published.items()
            },
            "feeds": {feed.name: [slot.status(now_s) for slot in feed.own] for feed in self.feeds if feed.own},
            "notices": dict(self._notices),
        }

    def _error(self, name: str) -> float | None:
        """Mean absolute error up to a day ahead over the last week, in the quantity's unit."""
        judged = self._judged.get(name)
        return judged.recent if judged is not None and math.isfinite(judged.recent) else None

    def _judge(self, now_s: float) -> None:
        """Once a day: how good forecasts were, and which source got worse."""
        if 0.0 <= now_s - self._judged_s < DAY_S:
            return
        self._judged_s = now_s
        self._judged = {one.quantity: one for one in report(self.history, now_s)}
        for name, one in self._judged.items():
            self._notices.pop(f"{name}, quality", None)
            if one.worse:
                self._notices[f"{name}, quality"] = worse_notice(one)
                log.warning("%s %s", name, worse_notice(one))

    def _ask(self, feed: Feed, slot: Slot, now_s: float) -> None:
        slot.ask(self.http, now_s)
        self._tell(f"{feed.name} from {slot.label}", slot.kept.word, slot.kept.problem)
        try:
            slot.save(self.files)
            self._notices.pop("disk", None)
        except OSError as error:
            self._notices["disk"] = f"answers are not kept: {error.strerror or error}"

    def _forgive(self, now_s: float) -> None:
        """What a source did wrong that is not needed now is no news."""
        for feed in self.feeds:
            wanted = feed.wanted(now_s)
            for slot in feed.own:
                if slot not in wanted:
                    self._notices.pop(f"{feed.name} from {slot.label}", None)
                    self._told.pop(f"{feed.name} from {slot.label}", None)

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

    def _publish(self, feeds: Sequence[Feed], now_s: float) -> None:
        horizon_s = self.house.feeds.horizon_h * HOUR_S
        for feed in feeds:
            for forecast in feed.forecasts(now_s, horizon_s, partial(self._usual, now_s)):
                self._published[forecast.quantity] = forecast
                if any(value is not None for value in forecast.values):
                    self.outlet.put(forecast.quantity, forecast_document(forecast, self.house.zone))
                self._notice_origin(feed, forecast, now_s)
        self.outlet.put(STATUS, self.status(now_s))

    def _notice_origin(self, feed: Feed, forecast: FeedForecast, now_s: float) -> None:
        value, origin = forecast.at(now_s)
        if value is None:
            text = "nothing is known"
        elif origin == ASSUMED:
            text = "nothing is learned yet: usual_kw stands in"
        elif origin == LEARNED and feed.sources:
            text = "no source: what is usual stands in"
        elif origin.endswith(KEPT):
            text = f"the last good answer of {origin.removesuffix(KEPT)} stands in"
        else:
            self._notices.pop(forecast.quantity, None)
            return
        self._notices[forecast.quantity] = text

    def _usual(self, now_s: float, quantity: str, times_s: Sequence[float], level: bool) -> list[float | None]:
        try:
            actual = self.history.actual(quantity, now_s - (DAYS + 1) * DAY_S, now_s)
        except HistoryError as error:
            self._notices["history"] = str(error)
            return [None] * len(times_s)
        return usual(actual, now_s, times_s, self.house.zone, level=level)

    def _measured(self, quarter: int) -> None:
        """What the daemon has told of the quarter hours that are over."""
        try:
            for number, values in self.meters.take(quarter).items():
                self.history.learn(number * QUARTER_S, {name: (value, True) for name, value in values.items()})
        except HistoryError as error:
            self._notices["history"] = str(error)

    def _remember(self, now_s: float, quarter: int) -> None:
        """The present as the sources say it is what was, unless it is measured; and each hour what is ahead."""
        was: dict[str, tuple[float, bool]] = {}
        measured = factors_of(self.house)
        for name, forecast in self._published.items():
            value, origin = forecast.at(now_s)
            if value is not None and origin not in {"", LEARNED, ASSUMED} and name not in measured:
                was[name] = (value, False)
        for feed in self.feeds:
            was |= {name: (value, False) for name, value in feed.aside(now_s).items()}
        try:
            self.history.learn(now_s, was)
            if quarter % 4 == 0 or self._quarter is None:
                self.history.issue(now_s, self._ahead(now_s))
                self._judge(now_s)
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
