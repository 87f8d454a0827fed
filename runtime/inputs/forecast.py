"""Forecasts as they arrive, on the controller's horizon: one row per stage, each the mean over that stage.

What a profile says is taken as it is: a price is a step function and held. Temperatures that a weather service gives
for moments are joined by straight lines. Beyond its end, and in its gaps, the same hour of the last day stands in that
is known; where none is, the last value before.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

from runtime.formats.profile import Profile, Value
from runtime.formats.units import is_price, kind_of

DAYS_BACK = 7
# A weather service may begin with the next hour: its first value stands in until then.
LEAD_S = 3600.0
LEAST_STRETCH_S = 60.0
# Of the horizon: a forecast of which less is known, and not from a day before either, is as good as a single number.
LEAST_KNOWN = 0.25
BRIEFLY = 1e-9
ANYTHING = (-sys.float_info.max, sys.float_info.max)


@dataclass(frozen=True)
class Foreseen:
    """A forecast on the horizon. `known` and `recalled` are the shares of it that the profile and a day before say."""

    values: tuple[float, ...]
    known: float = 1.0
    recalled: float = 0.0
    ends_s: float | None = None
    """Until when the profile knows it without a gap."""

    @property
    def held(self) -> float:
        """The share of the horizon that nothing but the value before says."""
        return max(0.0, 1.0 - self.known - self.recalled)


@dataclass
class Memory:
    """What forecasts said of the past week, by stretches of Unix time: the yesterday of a list that has none."""

    dt_s: float
    """Length of a stretch: the controller's step, at least a minute."""
    zone: tzinfo = UTC
    _known: dict[str, dict[int, float]] = field(default_factory=dict)
    """Input -> index of a stretch -> mean."""
    _seen: dict[str, Profile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.dt_s = max(self.dt_s, LEAST_STRETCH_S)

    def learn(
        self,
        name: str,
        profile: Profile,
        now_s: float,
        *,
        smooth: bool,
        believed: tuple[float, float] = ANYTHING,
    ) -> None:
        """All that a profile says and is believed, once per profile: one in a wrong unit is not to be remembered."""
        if self._seen.get(name) == profile:
            return
        self._seen[name] = profile
        known = self._known.setdefault(name, {})
        lower, upper = believed
        first = max(self._index(profile.start_s), self._index(now_s) - self._days)
        last = min(self._index(profile.end_s), self._index(now_s) + self._days)
        edges_s = [index * self.dt_s for index in range(first, last + 2)]
        means = profile.means(edges_s, smooth=smooth) if last >= first else []
        for index, (mean, share) in enumerate(means, first):
            if share > 0.5 and lower <= mean <= upper:
                known[index] = mean
        oldest = self._index(now_s) - self._days
        for old in [index for index in known if index < oldest]:
            del known[old]

    def recall(self, name: str, time_s: float, value: float) -> None:
        """What held at a time, from a log."""
        self._known.setdefault(name, {})[self._index(time_s)] = value

    def inherit(self, other: Memory, names: Iterable[str]) -> None:
        """What another memory knows of these, which are in the same unit there."""
        for name in names:
            for index, value in other._known.get(name, {}).items():
                first = math.ceil(index * other.dt_s / self.dt_s - 1e-9)
                for own in range(first, max(first + 1, math.ceil((index + 1) * other.dt_s / self.dt_s - 1e-9))):
                    self._known.setdefault(name, {})[own] = value

    def day_before(self, name: str, time_s: float) -> float | None:
        """What held at the same time by the clock on the last day of which that is known."""
        known = self._known.get(name, {})
        if not known:
            return None
        local = datetime.fromtimestamp(time_s, self.zone).replace(tzinfo=None)
        for days in range(1, DAYS_BACK + 1):
            then = (local - timedelta(days=days)).replace(tzinfo=self.zone).timestamp()
            value = known.get(self._index(then))
            if value is not None:
                return value
        return None

    @property
    def _days(self) -> int:
        return math.ceil((DAYS_BACK + 1) * 86400.0 / self.dt_s)

    def _index(self, time_s: float) -> int:
        return math.floor(time_s / self.dt_s)


def on_horizon(
    name: str,
    value: Value,
    unit: str,
    now_s: float,
    dt_s: float,
    rows: int,
    memory: Memory,
    believed: tuple[float, float] = ANYTHING,
) -> Foreseen | None:
    """The mean over [now + k dt, now + (k + 1) dt) for k < rows; None when a profile does not cover `now_s`.

    A number holds throughout. believed: between what values may be remembered.
    """
    if isinstance(value, float):
        return Foreseen((value,) * rows)
    lead_s = 0.0 if is_price(unit) else LEAD_S
    if not value.start_s - lead_s <= now_s < value.end_s:
        return None
    smooth = kind_of(unit) == "temperature"
    memory.learn(name, value, now_s, smooth=smooth, believed=believed)
    values: list[float] = []
    known = recalled = 0.0
    ends_s = None
    edges_s = [now_s + k * dt_s for k in range(rows + 1)]
    for begin_s, (mean, share) in zip(edges_s, value.means(edges_s, smooth=smooth), strict=False):
        known += share
        if share == 0.0:
            before = memory.day_before(name, begin_s + dt_s / 2)
            recalled += before is not None
            mean = before if before is not None else values[-1] if values else value.nearest(begin_s)
        if share < 1.0 - 1e-9 and ends_s is None:
            ends_s = begin_s + share * dt_s
        values.append(mean)
    return Foreseen(tuple(values), known / rows, recalled / rows, ends_s)


def doubt(column: Foreseen, value: Value, unit: str, *, flat: bool) -> str:
    """Why this is no forecast to buy and sell by; empty for anything but a price. flat: a number is meant."""
    if not is_price(unit) or flat:
        return ""
    if isinstance(value, float):
        return "a number where a forecast is due; publish one, or say flat = true for a tariff that never changes"
    if column.known + column.recalled < LEAST_KNOWN:
        return f"only {100 * column.known:.0f} % of the horizon is left of this forecast, and no day before is known"
    return ""


def remark(column: Foreseen, value: Value, *, flat: bool) -> str:
    """What should be known of a forecast that is used all the same; the same words for the same forecast."""
    if isinstance(value, float):
        return "" if flat else "a number, held over the whole horizon, where a forecast is due"
    if column.held > BRIEFLY:
        return "does not say all of the horizon; the last value stands in for the rest"
    if column.recalled > BRIEFLY:
        return "does not say all of the horizon; the same hours of a day before stand in for the rest"
    return value.note
