"""How often each output may be written in a day: registers wear out, many of them after some hundred writes a day.

A day is the site's, from midnight to midnight. An output has a few writes at hand, which come back in time; while it
has them every change is written. Without one, a change must matter: the longer since the last write, the smaller the
change may be, so that what is left lasts for the rest of the day. Counts outlive restarts, as each comes first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from runtime.clock import Clock

AT_HAND = 10.0
"""Writes that nobody waits for; never more than a quarter of the budget."""
REFILL = 1.5
"""How fast they come back, in shares of what is left over what remains of the day."""
FOR_CYCLES = 0.5
"""Of the budget: what following a meter between cycles leaves to them."""
DAY_S = 86400.0


@dataclass(frozen=True)
class Usage:
    """Of one output and the present day. `kept_alive`: writes that only told a device its set-point in time again."""

    today: int
    budget: int | None
    kept_alive: int

    @property
    def left(self) -> float:
        return math.inf if self.budget is None else max(0.0, self.budget - self.today)


@dataclass
class _Count:
    today: int = 0
    kept_alive: int = 0
    at_hand: float = math.inf
    monotonic_s: float | None = None


class WriteBudget:
    """Used by the daemon's thread only."""

    def __init__(
        self,
        budgets: Mapping[str, int | None],
        where: tzinfo,
        clock: Clock,
        keep: Callable[[str], object] = lambda text: None,
        kept: str | None = None,
    ) -> None:
        """budgets: output -> writes a day, None for any number. keep, kept: where counts outlive the process."""
        self._budgets, self._where, self._clock, self._keep = dict(budgets), where, clock, keep
        self._day, self._counts = _recalled(kept, self._budgets)
        self._behind_since_s: float | None = None
        """Since when the clock has shown a day before the one that is counted."""

    def usage(self, name: str) -> Usage:
        self._turn()
        count = self._counts[name]
        return Usage(count.today, self._budgets[name], count.kept_alive)

    def allows(self, name: str, share: float, since_s: float) -> bool:
        """Whether a change by `share` of the output's range may be written, `since_s` after the last write."""
        usage, count = self.usage(name), self._counts[name]
        if usage.budget is None:
            return True
        remaining_s = self._remaining_s()
        most, now_s = min(AT_HAND, usage.budget / 4), self._clock.monotonic()
        passed_s = 0.0 if count.monotonic_s is None else max(0.0, now_s - count.monotonic_s)
        count.at_hand = min(most, count.at_hand + REFILL * passed_s * usage.left / remaining_s)
        count.monotonic_s = now_s
        if usage.left < 1:
            return False
        return count.at_hand >= 1.0 or share >= dead_band(since_s, remaining_s / usage.left)

    def spares(self, name: str) -> bool:
        """Whether a write is left beside those that cycles may need: half of the budget over the rest of the day."""
        usage = self.usage(name)
        return usage.budget is None or usage.left - FOR_CYCLES * usage.budget * self._remaining_s() / DAY_S >= 1.0

    def spend(self, name: str, *, lasting: bool = True) -> None:
        """A write that is about to be made; lasting: kept before it is."""
        self._turn()
        count = self._counts[name]
        count.today, count.at_hand = count.today + 1, max(0.0, count.at_hand - 1.0)
        if lasting:
            self._remember(name)

    def settle(self, name: str, *, made: bool, lasting: bool = True) -> None:
        """What became of the write that was spent last: nothing came back from one that was not made."""
        count = self._counts[name]
        if not made:
            count.today, count.at_hand = max(0, count.today - 1), count.at_hand + 1.0
        if lasting:
            self._remember(name)

    def keep_alive(self, name: str) -> None:
        """A write that the device's own time-out asks for: counted by itself, and not against the budget."""
        self._turn()
        self._counts[name].kept_alive += 1

    def remember(self) -> None:
        """Keep the counts now."""
        counts = {
            name: [count.today, count.kept_alive, min(count.at_hand, AT_HAND)]
            for name, count in self._counts.items()
            if self._budgets[name] is not None
        }
        if counts and self._day:
            self._keep(json.dumps({"day": self._day, "outputs": counts}))

    def _turn(self) -> None:
        """Begin to count anew at midnight. A clock that was set back does not give writes back.

        Where nobody vouches for the clock it is believed after a day: it may have been ahead by years before.
        """
        day = datetime.fromtimestamp(self._clock.wall(), self._where).date().isoformat()
        if day >= self._day:
            self._behind_since_s = None
        elif self._behind_since_s is None:
            self._behind_since_s = self._clock.monotonic()
        a_day_behind = self._behind_since_s is not None and self._clock.monotonic() - self._behind_since_s >= DAY_S
        if day > self._day or a_day_behind:
            self._day, self._behind_since_s = day, None
            for count in self._counts.values():
                count.today, count.kept_alive, count.at_hand = 0, 0, math.inf
        elif day < self._day and self._clock.synchronised():
            self._day, self._behind_since_s = day, None

    def _remaining_s(self) -> float:
        now = datetime.fromtimestamp(self._clock.wall(), self._where)
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), self._where)
        return max(1.0, midnight.timestamp() - now.timestamp())

    def _remember(self, name: str) -> None:
        if self._budgets[name] is not None:  # one without may be written many times a minute, and disks wear out too
            self.remember()


def dead_band(since_s: float, spacing_s: float) -> float:
    """The least change worth a write, in shares of the range, where one each `spacing_s` would use up what is left.

    The whole range after two thirds of the spacing, half of it after one, anything after two.
    """
    return max(0.0, spacing_s / since_s - 0.5) if since_s > 0.0 else math.inf


def _recalled(kept: str | None, budgets: Mapping[str, int | None]) -> tuple[str, dict[str, _Count]]:
    """The day and the counts of an earlier process; none where nothing, or nothing that can be read, was kept."""
    counts = {name: _Count() for name in budgets}
    try:
        document = json.loads(kept or "{}")
        day = datetime.fromisoformat(str(document["day"])).date().isoformat()
        for name, (today, kept_alive, at_hand) in document["outputs"].items():
            if name in counts:
                counts[name] = _Count(max(0, int(today)), max(0, int(kept_alive)), max(0.0, float(at_hand)))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return "", {name: _Count() for name in budgets}
    return day, counts
