"""A value that follows the week: a number, or a number with exceptions by weekday and time of day."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from functools import cached_property, lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MIN = 24 * 60
WEEK_MIN = 7 * DAY_MIN
_TIME = re.compile(r"^([01]?\d|2[0-4]):([0-5]\d)$")


def weekdays(value: object) -> tuple[int, ...]:
    """Numbers (0: Monday) of "mon-fri", "sat,sun", "fri-mon" or "daily". Raises ValueError."""
    if isinstance(value, list | tuple):
        if all(isinstance(day, int) and day in range(7) for day in value):
            return tuple(value)
        value = ",".join(map(str, value))
    text = str(value).strip().lower()
    if text == "daily":
        return tuple(range(7))
    days: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if first not in WEEKDAYS or (dash and last not in WEEKDAYS):
            raise ValueError(f"cannot read the days {value!r}: write 'mon-fri', 'sat,sun' or 'daily'")
        begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        days += [(begin + i) % 7 for i in range((end - begin) % 7 + 1)]
    return tuple(dict.fromkeys(days))


def minute_of_day(value: object) -> int:
    """Minutes after midnight of "06:30"; "24:00" is the end of the day. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= DAY_MIN:
        return value
    found = _TIME.match(str(value))
    minutes = -1 if found is None else int(found[1]) * 60 + int(found[2])
    if not 0 <= minutes <= DAY_MIN:
        raise ValueError(f"cannot read the time {value!r}: write it as '06:30'")
    return minutes


class Span(BaseModel):
    """Another value on these days between two times; one that ends before it begins runs past midnight."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)
    days: Annotated[tuple[int, ...], BeforeValidator(weekdays)] = tuple(range(7))
    begin: Annotated[int, BeforeValidator(minute_of_day), Field(alias="from")]
    end: Annotated[int, BeforeValidator(minute_of_day), Field(alias="to")]
    value: Annotated[float, Field(allow_inf_nan=False, strict=True)]

    def covers(self, minute_of_week: int) -> bool:
        length = (self.end - self.begin) % DAY_MIN or DAY_MIN
        return any((minute_of_week - day * DAY_MIN - self.begin) % WEEK_MIN < length for day in self.days)


class Weekly(BaseModel):
    """`default`, and what the schedule says instead; of two exceptions that meet the later one in the list counts."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    default: Annotated[float, Field(allow_inf_nan=False, strict=True)]
    schedule: tuple[Span, ...] = ()

    def at(self, minute_of_week: int) -> float:
        """The value at a minute since Monday, 00:00 local time."""
        minutes, values = self._switches
        return values[bisect_right(minutes, minute_of_week % WEEK_MIN) - 1]

    def _covered(self, minute_of_week: int) -> float:
        covering = [e.value for e in self.schedule if e.covers(minute_of_week)]
        return covering[-1] if covering else self.default

    @cached_property
    def _switches(self) -> tuple[list[int], list[float]]:
        """(minutes of the week, values from then on) wherever it may change; the first minute is 0."""
        edges = {0} | {
            (day * DAY_MIN + minute) % WEEK_MIN
            for e in self.schedule
            for day in range(7)
            for minute in (e.begin, e.end)
        }
        minutes = sorted(edges)
        return minutes, [self._covered(minute) for minute in minutes]

    def column(self, zone: tzinfo, time_s: float, step_s: float, rows: int) -> tuple[float, ...]:
        """The value in the middle of each of `rows` steps from a Unix time on, by the clock of the zone."""
        if not self.schedule:
            return (self.default,) * rows
        return tuple(map(self.at, _minutes(zone, time_s, step_s, rows)))

    def values(self) -> Iterator[tuple[int, float]]:
        """(minute of the week, value from then on) wherever it may change."""
        return zip(*self._switches, strict=True)

    def next_switch(self, zone: tzinfo, time_s: float) -> float | None:
        """The Unix time after this one from which it is another value; None where the week has only one."""
        now = datetime.fromtimestamp(time_s, zone)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        value, edges = self.at(_minute(now)), sorted({minute % DAY_MIN for minute, _ in self.values()})
        for day in range(8):
            for edge in edges:
                # By the wall clock: a day in which it is set has its switches at the same times.
                local = (midnight.replace(tzinfo=None) + timedelta(days=day, minutes=edge)).replace(tzinfo=zone)
                if local.timestamp() > time_s and self.at(_minute(local)) != value:
                    return local.timestamp()
        return None

    @property
    def lowest(self) -> float:
        return min([self.default, *(e.value for e in self.schedule)])

    @property
    def highest(self) -> float:
        return max([self.default, *(e.value for e in self.schedule)])


@lru_cache(maxsize=4)  # all schedules of a house are asked for the same steps
def _minutes(zone: tzinfo, time_s: float, step_s: float, rows: int) -> tuple[int, ...]:
    """Of the week, in the middle of each step."""
    return tuple(_minute(datetime.fromtimestamp(time_s + (k + 0.5) * step_s, zone)) for k in range(rows))


def _minute(local: datetime) -> int:
    """Of the week."""
    return local.weekday() * DAY_MIN + local.hour * 60 + local.minute


def weekly(value: Any) -> Any:
    """A number stands for a schedule without exceptions."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"default": value}
    if not isinstance(value, dict | Weekly):
        raise ValueError("write a number, or { default = 21, schedule = [...] }; found " + repr(value)[:40])
    if isinstance(value, dict) and not isinstance(value.get("schedule", []), list | tuple):
        raise ValueError("schedule is a list of spans: write schedule = [{ from = ..., to = ..., value = ... }]")
    return value


WeeklyValue = Annotated[Weekly, BeforeValidator(weekly)]
