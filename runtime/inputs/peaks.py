"""The month's peaks of import so far, from the meter's readings: what a capacity charge counts from.

A peak is the mean import over a whole interval of the clock; a day counts with its highest. A month begins without one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, tzinfo

from runtime.bundle.manifest import Manifest, PeakObserver
from runtime.inputs.uncharged import days_left_in_month, uncharged_kw

HOUR_S = 3600.0
KEPT_AS = "month's peak"
BEGUN_ANEW = "the month's peak counts from zero: nothing of this month is known yet"
KNOWN_SHARE = 0.5
"""Of an interval must have been measured, or it does not count: less is a guess about the rest."""


class Peaks:
    """Told of the meter every cycle. Days and months are those of the site's clock."""

    def __init__(self, observer: PeakObserver, zone: tzinfo = UTC) -> None:
        self._observer, self._zone = observer, zone
        self._days: dict[str, float] = {}
        self._month = ""
        self._last_s: float | None = None
        self._known_s = self._kwh = 0.0

    def observe(self, time_s: float, import_kw: float | None) -> None:
        """What the meter shows at a time, which holds since the time before; None where it is not heard."""
        last_s, self._last_s = self._last_s, time_s
        self._enter(time_s)
        if last_s is None or time_s <= last_s:
            return
        begin_s = last_s
        while begin_s < time_s:
            end_s = min(time_s, self._interval_end(begin_s))
            if import_kw is not None and math.isfinite(import_kw) and time_s - last_s <= self._observer.interval_s:
                self._known_s += end_s - begin_s
                self._kwh += max(0.0, import_kw) * (end_s - begin_s) / HOUR_S
            if end_s == self._interval_end(begin_s):
                self._close(begin_s)
            begin_s = end_s

    @property
    def begun_anew(self) -> bool:
        """Nothing of this month is known yet."""
        return not self._days

    @property
    def value(self) -> float:
        """kW that may be imported at no charge beyond the month's so far."""
        observer = self._observer
        today = "" if self._last_s is None else self._day(self._last_s)
        others = [peak for day, peak in self._days.items() if day != today]
        left = days_left_in_month(date.fromisoformat(today)) if today else 0
        return uncharged_kw(others, self._days.get(today, 0.0), observer.days, observer.free, observer.edges, left)

    @property
    def text(self) -> str:
        """What has to outlive a restart."""
        return json.dumps({"month": self._month, "days": self._days}, sort_keys=True)

    def recall(self, text: str | None) -> None:
        """Take up what was known before; what cannot be read or is of another month is nothing."""
        try:
            document = json.loads(text or "{}")
            month, days = str(document["month"]), {str(day): float(kw) for day, kw in document["days"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        if not all(day.startswith(month) and math.isfinite(kw) and kw >= 0.0 for day, kw in days.items()):
            return
        if self._month in ("", month):
            self._month = month
            self._days = {day: max(kw, self._days.get(day, 0.0)) for day, kw in {**self._days, **days}.items()}

    def _enter(self, time_s: float) -> None:
        month = self._day(time_s)[:7]
        if month != self._month:
            self._month, self._days = month, {}

    def _interval_end(self, time_s: float) -> float:
        length = self._observer.interval_s
        return (math.floor(time_s / length) + 1) * length

    def _close(self, begin_s: float) -> None:
        """The interval around a time is over."""
        day = self._day(begin_s)
        if self._known_s >= KNOWN_SHARE * self._observer.interval_s and day.startswith(self._month):
            mean_kw = self._kwh / (self._known_s / HOUR_S)
            self._days[day] = max(self._days.get(day, 0.0), mean_kw)
        self._known_s = self._kwh = 0.0

    def _day(self, time_s: float) -> str:
        return datetime.fromtimestamp(time_s, self._zone).date().isoformat()


def peaks_of(manifest: Manifest, zone: tzinfo = UTC) -> Peaks | None:
    """Of a bundle that counts them from the meter."""
    observers = (group.estimator for group in manifest.groups)
    observer = next((o for o in observers if isinstance(o, PeakObserver)), None)
    return None if observer is None else Peaks(observer, zone)


def recall_peaks(peaks: Peaks | None, kept: Callable[[str], str | None]) -> None:
    """At the start: what was kept by an earlier run."""
    if peaks is not None:
        peaks.recall(kept(KEPT_AS))


def keep_peaks(peaks: Peaks | None, keep: Callable[[str, str], str], notice: Callable[[str, str], None]) -> None:
    """After a cycle: keep what has to outlive a restart, and say whether the month counts from zero."""
    if peaks is not None:
        keep(KEPT_AS, peaks.text)
        notice(KEPT_AS, BEGUN_ANEW if peaks.begun_anew else "")
