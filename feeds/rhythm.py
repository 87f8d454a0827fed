"""When a source is asked: when new data appear, not before its answer expires, and ever more rarely while it fails."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

DAY_S = 86400.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 60.0, 3600.0
SPREAD_S = 300.0
"""Houses do not all ask in the same second: each adds a part of this that is its own."""


@dataclass(frozen=True)
class Daily:
    """New data once a day: from `hour:minute` of the market's clock tomorrow is awaited, every `every_s` until then."""

    zone: str
    hour: int
    minute: int = 0
    every_s: float = 600.0

    def next_s(self, now_s: float, until_s: float) -> float:
        """`until_s`: until when its data are known."""
        local = datetime.fromtimestamp(now_s, ZoneInfo(self.zone))
        appear = local.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0, fold=0)
        if until_s >= _midnight_s(local, 2) - 3600.0:  # tomorrow is there; Britain's day ends at 23:00
            return (appear + timedelta(days=1)).timestamp()
        if until_s < _midnight_s(local, 1) - 3600.0 or now_s >= appear.timestamp():
            return now_s + self.every_s
        return appear.timestamp()


@dataclass(frozen=True)
class Steady:
    """New data all the time: asked again after `every_s`."""

    every_s: float

    def next_s(self, now_s: float, until_s: float) -> float:
        return now_s + self.every_s


Rhythm = Daily | Steady


def own_delay_s(house: str) -> float:
    """(0, SPREAD_S), the same for a house always."""
    return SPREAD_S * (zlib.crc32(house.encode()) / 2**32)


def next_ask_s(
    rhythm: Rhythm,
    now_s: float,
    until_s: float,
    *,
    failures: int,
    expires_s: float | None,
    retry_after_s: float | None,
    house: str,
) -> float:
    """The Unix time of the next request, after an answer (failures = 0) or a failure."""
    if failures:
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10))
        return now_s + max(pause, min(retry_after_s or 0.0, DAY_S)) + own_delay_s(house) / 10
    due = rhythm.next_s(now_s, until_s) + own_delay_s(house)
    return max(due, min(expires_s or 0.0, now_s + DAY_S))


def _midnight_s(local: datetime, days: int) -> float:
    wall = local.replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0, fold=0) + timedelta(days=days)
    return wall.replace(tzinfo=local.tzinfo).timestamp()
