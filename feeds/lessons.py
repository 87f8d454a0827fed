"""What the log has taught of the panels, computed anew once a day."""

from __future__ import annotations

from dataclasses import dataclass, field

from feeds.history import DAY_S, History
from feeds.house_feeds import PLAIN
from feeds.panels import Shade, learned_shade
from feeds.setup import FeedSite

DAYS_SEEN = 60


@dataclass
class Lessons:
    house: FeedSite
    history: History
    _known: dict[str, tuple[float, Shade]] = field(default_factory=dict)
    """Array -> (when it was computed, shade)."""

    def shade(self, array: str, now_s: float) -> Shade:
        """Raises HistoryError."""
        computed_s, found = self._known.get(array, (-DAY_S, Shade()))
        section = self.house.feeds.pv[array]
        if section.measured is not None and not 0.0 <= now_s - computed_s < DAY_S:
            first_s = now_s - DAYS_SEEN * DAY_S
            measured = self.history.actual(array, first_s, now_s)
            plain = self.history.actual(PLAIN.format(array), first_s, now_s)
            found = learned_shade(measured, plain, section.peak_kw, self.house.place)
            self._known[array] = (now_s, found)
        return found
