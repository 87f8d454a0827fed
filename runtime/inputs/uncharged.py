"""The import that raises no capacity charge: one law for the daemon that counts peaks and for the meter of a bench."""

from __future__ import annotations

from collections.abc import Sequence


def uncharged_kw(
    others_kw: Sequence[float], today_kw: float, days: int, free_kw: float, edges: Sequence[float]
) -> float:
    """What an interval of today may take while the month's charge stays as it is.

    others_kw, today_kw: the highest interval of each other day of the month and of today so far. Charged is the mean of
    the `days` highest, at least free_kw, and in tiers up to the next of `edges`.
    """
    others = sorted(others_kw, reverse=True)
    mean = max(free_kw, sum(sorted((*others, today_kw), reverse=True)[:days]) / days)
    unchanged = next((edge for edge in edges if edge >= mean), mean)
    # Of the highest days all but one are others: what is left of their sum may be today's.
    return days * unchanged - sum(others[: days - 1])
