"""The import that raises no capacity charge: one law for the daemon that counts peaks and for the meter of a bench."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from datetime import date


def uncharged_kw(
    others_kw: Sequence[float], today_kw: float, days: int, free_kw: float, edges: Sequence[float], days_left: int = 0
) -> float:
    """What an interval of today may take while the month's charge stays as it is.

    others_kw, today_kw: the highest interval of each other day of the month and of today so far. Charged is the mean of
    the `days` highest, at least free_kw, and in tiers up to the next of `edges`. What a tier has left is shared with
    the `days_left` days of the month that are still to come: each may take as much, so the first does not spend it all.
    """
    others = sorted(others_kw, reverse=True)
    mean = max(free_kw, sum(sorted((*others, today_kw), reverse=True)[:days]) / days)
    tier = next((edge for edge in edges if edge >= mean), None)
    if tier is None:
        # Of the highest days all but one are others: what is left of their sum may be today's.
        return days * mean - sum(others[: days - 1])
    # With m other days above it, today and days to come fill the rest of the highest, or as many as there are.
    fewest = max(0, days - 1 - days_left)
    shares = [(days * tier - sum(others[:m])) / (days - m) for m in range(fewest, days)]
    return max(today_kw, min(shares))


def days_left_in_month(day: date) -> int:
    """After `day`."""
    return calendar.monthrange(day.year, day.month)[1] - day.day
