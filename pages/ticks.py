"""Ticks of a local clock: at whole hours, midnights or days of the zone, however its offset changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from pages.chart import TimeAxis

HOUR_S, DAY_S = 3600.0, 86400.0
HOURS = (1, 2, 3, 4, 6, 12)
DAYS = (1, 2, 3, 4, 5, 7, 10, 14, 28)
MONTHS = (1, 2, 3, 4, 6, 12)
SHORT_DAYS = 2.6
"""Up to this many days, ticks are hours."""
LONG_DAYS = 100.0
"""Beyond this many days, ticks are months."""


def time_ticks(axis: TimeAxis, *, most: int) -> tuple[list[float], list[str]]:
    """(unix seconds, labels) of about `most` ticks or fewer.

    "06:00" over hours, "Tue 14" over days, "14 Jan" over weeks, "Mar" over months.
    """
    zone, days = axis.zone or UTC, (axis.end - axis.begin) / DAY_S
    if days <= SHORT_DAYS:
        every = next((h for h in HOURS if 24 * days / h <= most), 12)
        moments = [m for m in _hours(axis, zone) if m.hour % every == 0]
        return [m.timestamp() for m in moments], [f"{m:%a} {m.day}" if m.hour == 0 else f"{m:%H:%M}" for m in moments]
    midnights = _midnights(axis, zone)
    if days > LONG_DAYS:
        every = next((n for n in MONTHS if days / 30.4 / n <= most), MONTHS[-1])
        months = [m for m in midnights if m.day == 1 and (m.month - 1) % every == 0]
        return [m.timestamp() for m in months], [f"{m:%b %Y}" if m.month == 1 else f"{m:%b}" for m in months]
    every = next((d for d in DAYS if days / d <= most), DAYS[-1])
    midnights = midnights[::every]
    weekly = days <= 10
    return [m.timestamp() for m in midnights], [f"{m:%a} {m.day}" if weekly else f"{m.day} {m:%b}" for m in midnights]


def _hours(axis: TimeAxis, zone: tzinfo) -> list[datetime]:
    """Whole hours of the local clock."""
    first = -(-axis.begin // 1800.0) * 1800.0
    count = int((axis.end - first) // 1800.0) + 1
    moments = [datetime.fromtimestamp(first + 1800.0 * k, zone) for k in range(count)]
    return [m for m in moments if m.minute == 0]


def _midnights(axis: TimeAxis, zone: tzinfo) -> list[datetime]:
    day = datetime.fromtimestamp(axis.begin, zone).date()
    found: list[datetime] = []
    while True:
        midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
        if midnight.timestamp() > axis.end:
            return found
        if midnight.timestamp() >= axis.begin:
            found.append(midnight)
        day += timedelta(days=1)
