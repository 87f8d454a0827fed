"""Durations as people write them: a number of seconds, or a text such as "15 min" and "2 d 6 h"."""

from __future__ import annotations

import re

UNITS_S = {"s": 1, "min": 60, "h": 3600, "d": 86400, "day": 86400, "days": 86400, "week": 604800, "weeks": 604800}
_TERM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)")


def parse_duration(value: object) -> float:
    """Seconds from a number of seconds or a text such as "2 d 6 h". Raises ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a duration is a number of seconds or a text such as '15 min' or '2 d 6 h'")
    if isinstance(value, int | float):
        return float(value)
    total, end = 0.0, 0
    while end < len(value.rstrip()):
        term = _TERM.match(value, end)
        if term is None or term[2] not in UNITS_S:
            raise ValueError(
                f"cannot read the duration {value!r}: write '15 min' or '2 d 6 h' (units s, min, h, d, week)"
            )
        total += float(term[1]) * UNITS_S[term[2]]
        end = term.end()
    if end == 0:
        raise ValueError("an empty duration: write '15 min' or '2 d 6 h'")
    return total
