"""Numbers and times as messages write them: JSON numbers, text, several calendars' ways; all else is a PayloadError."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

MAX_DIGITS = 64
# Beyond this a number of seconds is one of milliseconds: year 5138 or, in milliseconds, 1973.
MOST_SECONDS = 1e11
WEEK_S = 7 * 86400.0
# What programs write where they have no value.
NO_VALUE = frozenset({"", "unavailable", "unknown", "none", "null", "n/a", "na", "undef", "uninitialized", "-", "--"})

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
_EPOCH = re.compile(r"\d{9,19}(\.\d+)?", re.ASCII)
_SPAN = re.compile(r"PT(?:(\d{1,4})H)?(?:(\d{1,5})M)?(?:(\d{1,6})S)?", re.ASCII)


class PayloadError(ValueError):
    """A message that holds no usable value; the text says why."""


class NoValueError(PayloadError):
    """A message that says itself that there is no value."""


def number(value: Any) -> float:
    """A finite number from JSON, or from text such as `+0.31`, `.31`, `0,31` or `1e-1`.

    Raises NoValueError where a program says that it has none, PayloadError for anything else.
    """
    if isinstance(value, str):
        return _number_in(value.strip())
    if value is None:
        raise NoValueError("no value")
    # bool is an int in Python; true is no measurement
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PayloadError(f"{type(value).__name__} instead of a number")
    try:
        return finite(float(value))
    except OverflowError:
        raise PayloadError("a number too large") from None


def finite(value: float) -> float:
    if not math.isfinite(value):
        raise PayloadError("not a finite number")
    return value


def _number_in(text: str) -> float:
    if text.lower() in NO_VALUE:
        raise NoValueError(f"says {text[:20]!r}")
    if len(text) > MAX_DIGITS:
        raise PayloadError("a text too long for a number")
    if _NUMBER.fullmatch(text):
        return finite(float(text))
    if _COMMA.fullmatch(text):
        if _THOUSANDS.fullmatch(text):
            raise PayloadError(f"{text!r} may be thousands or a fraction; send it with a decimal point")
        return finite(float(text.replace(",", ".")))
    if text.lower().lstrip("+-") in {"nan", "inf", "infinity"}:
        raise PayloadError("not a finite number")
    raise PayloadError(f"{text[:20]!r} is no number")


def moment(value: Any, zone: tzinfo | None, taken: set[float] | None = None) -> float:
    """Unix seconds from seconds, their thousandths, millionths or billionths, or ISO 8601; without an offset in `zone`.

    Raises PayloadError.

    taken: the times before it in its list; in the hour that a clock shows twice, one of them is meant the second time.
    """
    if isinstance(value, str):
        text = value.strip()
        if not _EPOCH.fullmatch(text):
            return _iso(text, zone, taken if taken is not None else set())
        value = float(text)
    seconds = number(value)
    for _ in range(3):
        seconds = seconds / 1000.0 if abs(seconds) > MOST_SECONDS else seconds
    if abs(seconds) > MOST_SECONDS:
        raise PayloadError(f"{seconds:g} is no time")
    return seconds


def span(value: Any) -> float:
    """Seconds of an ISO 8601 duration of hours, minutes and seconds, such as PT30M; a bare number is of minutes.

    Raises PayloadError.
    """
    found = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return 60.0 * number(value)
    return sum(factor * int(part or 0) for factor, part in zip((3600.0, 60.0, 1.0), found.groups(), strict=True))


def is_moment(text: str) -> bool:
    """Whether a key of a table is a time."""
    if _EPOCH.fullmatch(text):
        return True
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _iso(text: str, zone: tzinfo | None, taken: set[float]) -> float:
    try:
        read = datetime.fromisoformat(text)
        if read.tzinfo is not None:
            return read.timestamp()
        if zone is None:
            raise PayloadError(f"time {text[:40]!r} has no offset, and the zone of the message is not known here")
        first = read.replace(tzinfo=zone).timestamp()
        return read.replace(tzinfo=zone, fold=1).timestamp() if first in taken else first
    except PayloadError:
        raise
    except (ValueError, OverflowError):
        raise PayloadError(f"{text[:40]!r} is no time") from None


def zone_of(document: Mapping[str, Any], otherwise: tzinfo | None) -> tzinfo | None:
    """The zone that a message names for its times; None for one that is not known here."""
    offset, name = document.get("utc_offset_seconds"), document.get("timezone")
    if isinstance(offset, int | float) and not isinstance(offset, bool) and abs(offset) < 86400:
        return timezone(timedelta(seconds=offset))
    if isinstance(name, str) and name:
        try:
            return ZoneInfo(name)
        except (OSError, ValueError, KeyError):
            return None
    return otherwise
