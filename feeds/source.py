"""What a source is: what it asks for now, how its answers are read, when it has news, and how good they stay."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any, Protocol, runtime_checkable

from feeds.errors import GarbledError, ImplausibleError
from feeds.fetch import HttpResponse, Request
from feeds.rhythm import Rhythm
from feeds.series import Channels
from runtime.formats.literals import PayloadError, moment, number
from runtime.formats.profile import Entry, Profile, profile_of


class Source(Protocol):
    """One service with the settings of this house."""

    @property
    def label(self) -> str:
        """How it is called in status and notices: `entsoe NO3`."""
        ...

    @property
    def rhythm(self) -> Rhythm: ...

    @property
    def good_for_s(self) -> float:
        """How long an answer may be used when there is no newer one; a price stays what it is."""
        ...

    def requests(self, now_s: float) -> Mapping[str, Request]:
        """What to ask, by a key of each piece: a piece with the same key takes the place of the one before."""
        ...

    def read(self, key: str, response: HttpResponse, now_s: float) -> Channels:
        """Raises GarbledError, NothingYetError, RefusedError or ImplausibleError."""
        ...


@runtime_checkable
class Own(Protocol):
    """A source that knows by itself, and asks nobody."""

    def known(self, now_s: float) -> Channels: ...


@dataclass(frozen=True)
class Place:
    """Of the house: degrees north and east, metres above the sea."""

    latitude: float
    longitude: float
    altitude_m: int | None = None


@dataclass(frozen=True)
class Money:
    """The currency of the house, and what one unit of a source's is worth in it where that is another one."""

    currency: str
    exchange_rate: float | None = None

    def of(self, currency: str) -> float:
        """Of the house for one of `currency`. Raises ImplausibleError where nobody has said how much that is."""
        if currency == self.currency:
            return 1.0
        if self.exchange_rate is not None:
            return self.exchange_rate
        raise ImplausibleError(
            f"prices in {currency[:5]!r}, and the house counts in {self.currency}; "
            f"give exchange_rate, {self.currency} for one {currency[:5]}"
        )


def document_of(response: HttpResponse) -> Any:
    """Raises GarbledError for anything but JSON, a web page above all."""
    text = response.body.lstrip()[:200].lower()
    if text.startswith((b"<!doctype html", b"<html")):
        raise GarbledError("a web page in place of data")
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError):
        raise GarbledError("no JSON, or cut off") from None


def table(document: Any, *path: str) -> Any:
    """What stands at `path`. Raises GarbledError where it is not there."""
    found = document
    for key in path:
        if not isinstance(found, dict) or key not in found:
            raise GarbledError(f"nothing at {'/'.join(path)}: has the form changed?")
        found = found[key]
    return found


def rows(document: Any, *path: str) -> list[Any]:
    """The list at `path`. Raises GarbledError."""
    found = table(document, *path)
    if not isinstance(found, list):
        raise GarbledError(f"no list at {'/'.join(path)}: has the form changed?")
    return found


def profile(
    lines: Sequence[tuple[Any, Any, Any]], *, factor: float = 1.0, zone: tzinfo | None = None, instants: bool = False
) -> Profile:
    """Of (start, end or None, value or None) as they are written. Raises GarbledError."""
    try:
        entries = [
            Entry(moment(s, zone), None if e is None else moment(e, zone), None if v is None else factor * number(v))
            for s, e, v in lines
        ]
    except PayloadError as error:
        raise GarbledError(str(error)) from None
    if any(e.end_s is not None and not 0.0 < e.end_s - e.start_s <= 366 * 86400.0 for e in entries):
        raise GarbledError("an entry that ends before it begins")
    found = profile_of(entries, instants=instants)
    if found is None:
        raise GarbledError("no values")
    return found


def local_day(now_s: float, zone: tzinfo, days: int = 0) -> date:
    return datetime.fromtimestamp(now_s, zone).date() + timedelta(days=days)


def midnight_s(day: date, zone: tzinfo) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
