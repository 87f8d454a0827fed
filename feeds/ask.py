"""A source asked in its rhythm: what it last said is kept, over failures and restarts, until it is too old to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from feeds.errors import NothingYetError, QuotaError, RefusedError, SourceError
from feeds.fetch import NO_CONTENT, NOT_MODIFIED, Http, Validators
from feeds.plausible import checked
from feeds.rhythm import DAY_S, Daily, next_ask_s
from feeds.series import Channels, covered_until, entries_of, from_document, over, since, to_document
from feeds.setup import Asked
from feeds.source import Own
from runtime.formats.profile import Profile, profile_of

FORMAT = 1
NO_VALIDATORS = Validators()


@dataclass(frozen=True)
class Piece:
    """One request's last answer."""

    channels: Mapping[str, Profile]
    validators: Validators = NO_VALIDATORS


@dataclass(frozen=True)
class Kept:
    """What is known of a source. Times are Unix seconds; `problem` is empty after an answer that could be used."""

    channels: Mapping[str, Profile] = field(default_factory=dict)
    fetched_s: float | None = None
    pieces: Mapping[str, Piece] = field(default_factory=dict)
    failures: int = 0
    word: str = ""
    problem: str = ""
    next_s: float = 0.0
    day: str = ""
    asked: int = 0
    """Requests of the day `day` (UTC)."""

    def usable(self, source: Asked, now_s: float) -> bool:
        """Young enough, and it says something of the present."""
        if self.fetched_s is None or not -DAY_S < now_s - self.fetched_s <= source.source.good_for_s:
            return False
        return any(p.start_s <= now_s + 3600.0 and p.end_s > now_s for p in self.channels.values())

    def not_after(self, now_s: float) -> Kept:
        """The same, heard no later than now and asked again now: the clock has been set back."""
        fetched_s = None if self.fetched_s is None else min(self.fetched_s, now_s)
        return replace(self, fetched_s=fetched_s, next_s=min(self.next_s, now_s))

    def until_s(self, now_s: float) -> float:
        """Until when every channel is known without a gap."""
        return min((covered_until(p, now_s) for p in self.channels.values()), default=now_s)


def ask(asked: Asked, kept: Kept, http: Http, now_s: float) -> Kept:
    """What is known after asking now. Nothing is raised: what went wrong stands in `problem`."""
    today = datetime.fromtimestamp(now_s, UTC).date().isoformat()
    kept = kept if kept.day == today else replace(kept, day=today, asked=0)
    pieces = dict(kept.pieces)
    count, expires_s, retry_after_s = kept.asked, None, None
    answered: dict[str, Piece] = {}
    nothing: NothingYetError | None = None
    market = isinstance(asked.source.rhythm, Daily)
    if isinstance(asked.source, Own):
        answered["own"] = Piece(asked.source.known(now_s))
    try:
        for key, request in asked.source.requests(now_s).items():
            before = pieces.get(key)
            if before is not None and request.once:
                answered[key] = before
                continue
            if count >= asked.asks_per_day:
                raise QuotaError(f"{count} requests today, and no more until midnight UTC")
            count += 1
            response = http.fetch(request, before.validators if before is not None else Validators())
            if response.expires_s is not None:
                expires_s = max(expires_s or 0.0, response.expires_s)
            if response.status == NOT_MODIFIED and before is not None:
                answered[key] = before
                continue
            try:
                if response.status in {NOT_MODIFIED, NO_CONTENT}:
                    raise NothingYetError("no data yet")
                answered[key] = Piece(asked.source.read(key, response, now_s), response.validators)
            except NothingYetError as error:
                nothing = error
        if not answered:
            raise nothing or NothingYetError("nothing was asked")
        found = checked(
            _joined(answered), now_s, currency=asked.currency, zone=asked.zone, most_kw=asked.most_kw, market=market
        )
    except SourceError as error:
        retry_after_s = error.retry_after_s if isinstance(error, RefusedError) else None
        return _failed(asked, replace(kept, asked=count), error, retry_after_s, now_s)
    if market:  # prices stay what they were
        older = {name: since(p, now_s - DAY_S) for name, p in kept.channels.items()}
        found = {name: over(older.get(name), p) for name, p in found.items()}
    good = replace(kept, channels=found, fetched_s=now_s, pieces=answered, failures=0, word="", problem="", asked=count)
    due_s = next_ask_s(
        asked.source.rhythm, now_s, good.until_s(now_s),
        failures=0, expires_s=expires_s, retry_after_s=None, house=asked.house,
    )  # fmt: skip
    return replace(good, next_s=due_s)


def _failed(asked: Asked, kept: Kept, error: SourceError, retry_after_s: float | None, now_s: float) -> Kept:
    failures = kept.failures + 1
    due_s = next_ask_s(
        asked.source.rhythm, now_s, now_s,
        failures=failures, expires_s=None, retry_after_s=retry_after_s, house=asked.house,
    )  # fmt: skip
    if isinstance(error, QuotaError):
        due_s = (now_s // DAY_S + 1) * DAY_S
    return replace(kept, failures=failures, word=error.word, problem=str(error), next_s=due_s)


def _joined(pieces: Mapping[str, Piece]) -> Channels:
    """All pieces as one: each channel with the cells of all."""
    if len(pieces) == 1:
        return next(iter(pieces.values())).channels
    names = dict.fromkeys(name for piece in pieces.values() for name in piece.channels)
    found = {}
    for name in names:
        own = [piece.channels[name] for piece in pieces.values() if name in piece.channels]
        joined = profile_of([e for p in own for e in entries_of(p)], instants=own[0].instants)
        if joined is not None:
            found[name] = joined
    return found


def to_state(kept: Kept, identity: str) -> dict[str, Any]:
    """For the disk; nothing in it is secret."""
    return {
        "format": FORMAT,
        "identity": identity,
        "channels": to_document(kept.channels),
        "fetched_s": kept.fetched_s,
        "pieces": {
            key: {
                "channels": to_document(piece.channels),
                "etag": piece.validators.etag,
                "last_modified": piece.validators.last_modified,
            }
            for key, piece in kept.pieces.items()
        },
        "failures": kept.failures,
        "word": kept.word,
        "problem": kept.problem,
        "next_s": kept.next_s,
        "day": kept.day,
        "asked": kept.asked,
    }


def from_state(document: Any, identity: str, now_s: float) -> Kept:
    """An empty one for a document of other settings or a damaged one; never later than the clock allows."""
    try:
        if document["format"] != FORMAT or document["identity"] != identity:
            return Kept()
        pieces = {
            str(key): Piece(from_document(one["channels"]), Validators(str(one["etag"]), str(one["last_modified"])))
            for key, one in dict(document["pieces"]).items()
        }
        fetched_s = document["fetched_s"]
        return Kept(
            from_document(document["channels"]),
            None if fetched_s is None else min(float(fetched_s), now_s),
            pieces,
            int(document["failures"]),
            str(document["word"]),
            str(document["problem"]),
            min(float(document["next_s"]), now_s + DAY_S),
            str(document["day"]),
            int(document["asked"]),
        )
    except (ValueError, KeyError, TypeError):
        return Kept()
