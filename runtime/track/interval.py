"""What this interval of a tariff has imported so far, from the meter's readings."""

from __future__ import annotations

import math

HOUR_S = 3600.0


class IntervalImport:
    """Told of every reading; intervals are those of the clock (Unix time, on which quarter hours and hours lie)."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._last_s: float | None = None
        self._begin_s = -math.inf
        self._kwh = self._known_s = 0.0

    def observe(self, time_s: float, import_kw: float, gap_s: float = 120.0) -> None:
        """A reading, which holds since the one before unless that is more than gap_s ago."""
        begin_s = math.floor(time_s / self.interval_s) * self.interval_s
        if begin_s != self._begin_s:
            self._begin_s, self._kwh, self._known_s = begin_s, 0.0, 0.0
        last_s, self._last_s = self._last_s, time_s
        if last_s is None or not 0.0 < time_s - last_s <= gap_s:
            return
        known_s = time_s - max(last_s, begin_s)
        self._known_s += known_s
        self._kwh += max(0.0, import_kw) * known_s / HOUR_S

    def so_far_kwh(self, time_s: float, otherwise_kw: float) -> float:
        """Imported since the interval began; while nothing was heard, as much as `otherwise_kw` makes."""
        begin_s = math.floor(time_s / self.interval_s) * self.interval_s
        if begin_s != self._begin_s:
            return otherwise_kw * (time_s - begin_s) / HOUR_S
        return self._kwh + otherwise_kw * max(0.0, time_s - begin_s - self._known_s) / HOUR_S

    def left_s(self, time_s: float) -> float:
        return self.interval_s - time_s % self.interval_s
