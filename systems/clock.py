"""The local clock over a grid, by IANA zone or offset: hour, weekday, day; and the zone in which times are written.

In a zone with daylight saving a day has 23 or 25 hours twice a year; all grids run in real time, and only what follows
the clock on the wall (fees by the hour, the publication of prices, habits) looks here.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache

import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400.0
LIKELY = ("Europe/Oslo", "Europe/Helsinki", "Europe/London", "Europe/Lisbon")
"""Tried first where offsets alone tell the zone; zones with equal offsets are equal for all that is done here."""


class ClockError(ValueError):
    """A zone that does not exist, or times that are none in it."""

    exit_code = 2


@dataclass(frozen=True, eq=False)
class LocalClock:
    """Step k of a grid begins at `hour[k]` on the wall."""

    hour: NDArray[np.float64]
    """(n,) of the day."""
    weekday: NDArray[np.int64]
    """(n,) Monday = 0."""
    day_of_year: NDArray[np.int64]
    """(n,)"""
    day: NDArray[np.int64]
    """(n,) ascending number of the local day."""


def local_clock(start: datetime, dt_s: float, n: int, zone: tzinfo | None = None) -> LocalClock:
    """The clock over n steps of dt_s from `start` (with UTC offset) in `zone`, by default that offset all along."""
    seconds = start.timestamp() + dt_s * np.arange(n, dtype=np.float64)
    offset = np.full(n, _seconds(start.utcoffset()))
    if zone is not None:
        offset = _offsets(seconds, zone)
    wall = seconds + offset
    day = np.floor(wall / DAY_S).astype(np.int64)
    date = np.datetime64(0, "D") + day
    day_of_year = (date - date.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64) + 1
    # 1 January 1970 was a Thursday.
    return LocalClock((wall % DAY_S) / 3600.0, (day + 3) % 7, day_of_year, day)


def _offsets(seconds: NDArray[np.float64], zone: tzinfo) -> NDArray[np.float64]:
    """(n,) offset from UTC in s at Unix times (n,).

    Asked at the midnights of UTC alone, and of a day between two that differ at each step: a tuning makes such a clock
    in every worker, and no zone changes twice within a day.
    """

    def at(time: float) -> float:
        return _seconds(datetime.fromtimestamp(time, zone).utcoffset())

    days, place = np.unique(np.floor(seconds / DAY_S), return_inverse=True)
    told = {day: at(day * DAY_S) for day in sorted({*days.tolist(), *(days + 1.0).tolist()})}
    found = np.array([told[day] for day in days.tolist()])[place]
    turns = np.array([told[day] != told[day + 1.0] for day in days.tolist()], dtype=bool)[place]
    for k in np.flatnonzero(turns).tolist():
        found[k] = at(float(seconds[k]))
    return found


def _seconds(delta: timedelta | None) -> float:
    return 0.0 if delta is None else delta.total_seconds()


@cache
def zone_named(name: str) -> zoneinfo.ZoneInfo:
    """The IANA zone. Raises ClockError for an unknown name."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        have = zoneinfo.available_timezones()
        remedy = "write it as Europe/Oslo" if have else "install the time zones: pip install tzdata"
        raise ClockError(f"time zone {name!r} is unknown; {remedy}") from error


def zone_of(times: Sequence[datetime]) -> tzinfo | None:
    """The zone whose offsets the times (ascending, with offset) have: a fixed one where they do not change.

    Several zones may agree with all of the times; the first is as good as any. None if no zone does.
    """
    offsets = [time.utcoffset() for time in times]
    if len(set(offsets)) == 1:
        return times[0].tzinfo
    turns = [k for k in range(1, len(times)) if offsets[k] != offsets[k - 1]]
    telling = [times[k] for k in sorted({0, len(times) - 1, *turns, *(k - 1 for k in turns)})]
    for name in (*LIKELY, *sorted(zoneinfo.available_timezones())):
        zone = zone_named(name)
        if all(time.astimezone(zone).utcoffset() == time.utcoffset() for time in telling) and all(
            time.astimezone(zone).utcoffset() == time.utcoffset() for time in times
        ):
            return zone
    return None


def localised(times: Sequence[datetime], zone: tzinfo) -> list[datetime | None]:
    """Times without offset as UTC, read off a clock in `zone`; None where the clock never shows such a time.

    In the hour that comes twice the later one is meant as soon as time would run backwards.
    """
    found: list[datetime | None] = []
    last: datetime | None = None
    for time in times:
        moment = time.replace(tzinfo=zone).astimezone(UTC)
        if last is not None and moment <= last:
            moment = time.replace(tzinfo=zone, fold=1).astimezone(UTC)
        there = moment.astimezone(zone).replace(tzinfo=None) == time
        found.append(moment if there else None)
        last = moment if there else last
    return found
