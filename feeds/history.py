"""What was forecast and what came, in SQLite: to learn what is usual, and to say how good forecasts were.

Quarter-hour means of what really was, and once an hour the forecast of the next two days, packed. Bounded in days.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feeds.errors import FeedError

QUARTER_S, HOUR_S, DAY_S = 900.0, 3600.0, 86400.0
KEPT_DAYS = 120
_SCHEMA = """
CREATE TABLE actual (quantity TEXT NOT NULL, quarter INTEGER NOT NULL, value REAL NOT NULL,
    measured INTEGER NOT NULL, PRIMARY KEY (quantity, quarter)) WITHOUT ROWID;
CREATE TABLE issue (quantity TEXT NOT NULL, hour INTEGER NOT NULL, ahead BLOB NOT NULL,
    PRIMARY KEY (quantity, hour)) WITHOUT ROWID;
"""


class HistoryError(FeedError):
    """The file cannot be opened or written."""


@dataclass(frozen=True)
class Issue:
    """A forecast as it was made at the beginning of an hour: hourly means from then on, NaN where nothing was said."""

    hour: int
    values: tuple[float, ...]


class History:
    """One connection, one thread. `path` None keeps it in memory."""

    def __init__(self, path: Path | None) -> None:
        """Raises HistoryError."""
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(":memory:" if path is None else path, isolation_level=None, timeout=5.0)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = 1; COMMIT;")
            self._db.execute("SELECT count(*) FROM actual LIMIT 1")
        except (sqlite3.Error, OSError) as error:
            raise HistoryError(f"{path}: {error}; make it writable, or move it away: it is begun anew") from error

    @classmethod
    def beside(cls, path: Path) -> History:
        """A copy in memory, for whoever only looks; an empty one where there is none to be read."""
        copy = cls(None)
        try:
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)) as there:
                there.backup(copy._db)
        except sqlite3.Error:
            return cls(None)
        return copy

    @property
    def empty(self) -> bool:
        return not self._read("SELECT 1 FROM actual WHERE measured LIMIT 1", ())

    def learn(self, time_s: float, values: Mapping[str, tuple[float, bool]]) -> None:
        """What was in the quarter hour that holds `time_s`: quantity -> (mean, measured). Raises HistoryError."""
        quarter = math.floor(time_s / QUARTER_S)
        rows = [(name, quarter, value, int(measured)) for name, (value, measured) in values.items()]
        oldest = quarter - KEPT_DAYS * 96
        self._write("INSERT OR REPLACE INTO actual VALUES (?, ?, ?, ?)", rows, "actual", "quarter", oldest)

    def issue(self, time_s: float, ahead: Mapping[str, Sequence[float | None]]) -> None:
        """Hourly means from the hour that holds `time_s`, once for each hour. Raises HistoryError."""
        hour = math.floor(time_s / HOUR_S)
        rows = [(name, hour, _packed(values)) for name, values in ahead.items()]
        self._write("INSERT OR IGNORE INTO issue VALUES (?, ?, ?)", rows, "issue", "hour", hour - KEPT_DAYS * 24)

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]], table: str, key: str, oldest: int) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(statement, rows)
            self._db.execute(f"DELETE FROM {table} WHERE {key} < ?", (oldest,))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise HistoryError(f"history: {error}") from error

    def actual(self, quantity: str, first_s: float, last_s: float) -> dict[int, float]:
        """Number of the quarter hour -> mean, of [first, last). Raises HistoryError."""
        rows = self._read(
            "SELECT quarter, value FROM actual WHERE quantity = ? AND quarter >= ? AND quarter < ?",
            (quantity, math.floor(first_s / QUARTER_S), math.ceil(last_s / QUARTER_S)),
        )
        return {int(quarter): float(value) for quarter, value in rows}

    def hours(self, quantity: str, first_s: float, last_s: float) -> dict[int, float]:
        """Number of the hour -> mean, of hours of which at least half is known. Raises HistoryError."""
        found: dict[int, list[float]] = {}
        for quarter, value in self.actual(quantity, first_s, last_s).items():
            found.setdefault(quarter // 4, []).append(value)
        return {hour: sum(v) / len(v) for hour, v in found.items() if len(v) >= 2}

    def issues(self, quantity: str, first_s: float, last_s: float) -> list[Issue]:
        """Raises HistoryError."""
        rows = self._read(
            "SELECT hour, ahead FROM issue WHERE quantity = ? AND hour >= ? AND hour < ? ORDER BY hour",
            (quantity, math.floor(first_s / HOUR_S), math.ceil(last_s / HOUR_S)),
        )
        return [Issue(int(hour), _unpacked(blob)) for hour, blob in rows]

    def quantities(self) -> list[str]:
        return [str(name) for (name,) in self._read("SELECT DISTINCT quantity FROM issue ORDER BY quantity", ())]

    def is_measured(self, quantity: str) -> bool:
        """Whether the last actual value was measured, and is not the forecast's own of that moment."""
        rows = self._read("SELECT measured FROM actual WHERE quantity = ? ORDER BY quarter DESC LIMIT 1", (quantity,))
        return bool(rows and rows[0][0])

    def _read(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise HistoryError(f"history: {error}") from error

    def close(self) -> None:
        self._db.close()


def _packed(values: Sequence[float | None]) -> bytes:
    return zlib.compress(struct.pack(f"<{len(values)}f", *(math.nan if v is None else v for v in values)), 6)


def _unpacked(blob: bytes) -> tuple[float, ...]:
    raw = zlib.decompress(blob)
    return struct.unpack(f"<{len(raw) // 4}f", raw)
