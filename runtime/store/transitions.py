"""The log of transitions in SQLite: what was known, decided and done, every cycle, for people and for the tuner.

WAL, bounded, versioned. What depends on the computer's speed stands in a table of its own, so that a run in lockstep
leaves the same rows every time. Trouble with the disk is reported, and control goes on.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.clock import Clock
from runtime.decide.gate import LastAction
from runtime.decide.plan import Plan
from runtime.errors import StoreCorruptError, StoreError
from runtime.formats.text import document_text

SCHEMA_VERSION = 1
LAST_ACTION_MAX_AGE_S = 86400.0
MAX_RECALLED = 5000
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE transition (
    id INTEGER PRIMARY KEY,
    time_s REAL NOT NULL,        -- Unix time of the cycle
    level TEXT NOT NULL,         -- mpc, shifted_plan, rule, safe
    reason TEXT NOT NULL,
    bundle TEXT NOT NULL,        -- digest
    state TEXT NOT NULL,         -- JSON, name -> value or null
    action TEXT NOT NULL,        -- JSON, as actuated; {} at level safe
    nominal TEXT NOT NULL,       -- JSON, before limits and safety filter
    forecast BLOB,               -- zlib of little-endian doubles, row-major (horizon + 1, nd); null where not valid
    details TEXT NOT NULL        -- JSON: inputs, solver, filter, outputs
);
CREATE INDEX transition_time ON transition (time_s);
CREATE TABLE timing (transition_id INTEGER PRIMARY KEY, solve_s REAL, link_s REAL, overhead_s REAL);
CREATE TABLE latest (key TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO meta VALUES ('log', lower(hex(randomblob(16))));  -- which log this is, for copies of it
"""


@dataclass(frozen=True)
class Transition:
    """One row; see the schema for the meaning of the fields."""

    time_s: float
    level: str
    reason: str
    bundle: str
    state: Mapping[str, float | None]
    action: Mapping[str, float]
    nominal: Mapping[str, float]
    forecast: tuple[tuple[float, ...], ...] | None
    details: Mapping[str, Any]


class Store:
    """One connection, used by the daemon's thread only."""

    def __init__(self, path: Path, *, max_transitions: int) -> None:
        """Open or create. Raises StoreError, and leaves a file it cannot read as it is."""
        self._max = max_transitions
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            self._db.execute("PRAGMA journal_mode = WAL")
            # What was committed outlives a power cut: an answered command, a counted write. The log grows by the same
            # blocks either way; the cycle waits until the disk has them.
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA journal_size_limit = 4194304")
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if version == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
            self._db.execute("SELECT count(*) FROM (SELECT id FROM transition ORDER BY id DESC LIMIT 1)")
        except (sqlite3.Error, OSError) as error:
            raise _kind(error)(f"{path}: {error}; make it writable or name another under [store] path") from error
        if version > SCHEMA_VERSION:
            raise StoreError(f"{path}: written by a newer nisse (schema {version}); update nisse or name another path")

    def append(
        self,
        row: Transition,
        plan: Plan | None,
        timing: tuple[float, float, float],
        boot: str = "",
        instead_of: int | None = None,
    ) -> int:
        """Commit one transition and the plan in force, dated by the monotonic clock of this boot; the row's number.

        timing: (solve_s, link_s, overhead_s). instead_of: the number of a row that this one takes the place of.
        Raises StoreError.
        """
        blob = None
        if row.forecast is not None:
            numbers = [value for line in row.forecast for value in line]
            blob = zlib.compress(struct.pack(f"<{len(numbers)}d", *numbers), 6)
        texts = [document_text(document) for document in (row.state, row.action, row.nominal)]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            if instead_of is not None:
                self._db.execute("DELETE FROM transition WHERE id = ?", (instead_of,))
                self._db.execute("DELETE FROM timing WHERE transition_id = ?", (instead_of,))
            cursor = self._db.execute(
                "INSERT INTO transition (time_s, level, reason, bundle, state, action, nominal, forecast, details) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (row.time_s, row.level, row.reason, row.bundle, *texts, blob, document_text(row.details)),
            )
            number = cursor.lastrowid or 0
            self._db.execute("INSERT OR REPLACE INTO timing VALUES (?, ?, ?, ?)", (number, *timing))
            if plan is not None:
                packed = pack_plan(plan, row.bundle, boot)
                self._db.execute("INSERT OR REPLACE INTO latest VALUES ('plan', ?)", (packed,))
            self._db.execute("DELETE FROM transition WHERE id <= ?", (number - self._max,))
            self._db.execute("DELETE FROM timing WHERE transition_id <= ?", (number - self._max,))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise _kind(error)(f"log: {error}") from error
        return number

    def last_plan(self, bundle: str, clock: Clock) -> Plan | None:
        """The plan that was in force when the daemon last ran with this bundle, on the present clocks.

        Its age comes from the monotonic clock where the machine has been up since. After a boot it comes from wall
        time, if somebody vouches for that: a computer without a battery clock boots into yesterday.
        """
        try:
            row = self._db.execute("SELECT value FROM latest WHERE key = 'plan'").fetchone()
            if row is None:
                return None
            about, plan = unpack_plan(row[0])
        except (sqlite3.Error, ValueError, KeyError, TypeError, struct.error, zlib.error) as error:
            raise StoreError(f"log: last plan cannot be read ({error})") from error
        if about["bundle"] != bundle:
            return None
        if about["boot"] and about["boot"] == clock.boot:
            return plan
        if not clock.synchronised():
            return None
        return replace(plan, monotonic_s=clock.monotonic() - (clock.wall() - plan.time_s))

    def last_action(self, names: Sequence[str], clock: Clock) -> LastAction | None:
        """What the devices were told last; None if the daemon left them safe or it is too long ago to matter."""
        try:
            row = self._db.execute(
                "SELECT time_s, action FROM transition WHERE id = (SELECT max(id) FROM transition) "
                "AND id > COALESCE((SELECT CAST(value AS INTEGER) FROM latest WHERE key = 'stopped'), 0)"
            ).fetchone()
            named = json.loads(row[1]) if row else {}
            age_s = clock.wall() - float(row[0]) if row else 0.0
            if set(named) != set(names) or not 0.0 <= age_s <= LAST_ACTION_MAX_AGE_S:
                return None
            then_s = clock.monotonic() - age_s
            return LastAction(tuple(float(named[n]) for n in names), then_s, (then_s,) * len(names))
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise StoreError(f"log: last action cannot be read ({error})") from error

    def forecasts_since(self, bundle: str, time_s: float, columns: int) -> list[tuple[float, tuple[float, ...]]]:
        """(time, forecast of that moment) of the cycles of a bundle since then. Raises StoreError."""
        try:
            rows = self._db.execute(
                "SELECT time_s, forecast FROM transition WHERE time_s >= ? AND bundle = ? AND forecast IS NOT NULL "
                "ORDER BY id DESC LIMIT ?",
                (time_s, bundle, MAX_RECALLED),
            ).fetchall()
            return [(float(then_s), unpack_forecast(blob, columns)[0]) for then_s, blob in rows]
        except (sqlite3.Error, ValueError, TypeError, IndexError, struct.error, zlib.error) as error:
            raise StoreError(f"log: forecasts cannot be read ({error})") from error

    def keep(self, key: str, text: str) -> None:
        """Remember `text`, instead of what was kept under `key` before. Raises StoreError."""
        try:
            self._db.execute("INSERT OR REPLACE INTO latest VALUES (?, ?)", (key, text))
        except sqlite3.Error as error:
            raise _kind(error)(f"log: {error}") from error

    def kept(self, key: str) -> str | None:
        """What was kept under `key`. Raises StoreError."""
        try:
            row = self._db.execute("SELECT value FROM latest WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise _kind(error)(f"log: {error}") from error
        return None if row is None else str(row[0])

    def stopped(self) -> None:
        """The devices were left safe: the last action is no longer in force. Raises StoreError."""
        try:
            self._db.execute(
                "INSERT OR REPLACE INTO latest SELECT 'stopped', CAST(COALESCE(max(id), 0) AS TEXT) FROM transition"
            )
        except sqlite3.Error as error:
            raise _kind(error)(f"log: {error}") from error

    def close(self) -> None:
        self._db.close()


def pack_plan(plan: Plan, bundle: str, boot: str) -> bytes:
    """One line of JSON, then zlib of little-endian doubles: states, then actions, row by row."""
    about = {
        "bundle": bundle, "boot": boot, "time_s": plan.time_s, "monotonic_s": plan.monotonic_s, "dt_s": plan.dt_s,
        "nx": len(plan.states[0]), "na": len(plan.actions[0]), "horizon": len(plan.actions),
    }  # fmt: skip
    numbers = [value for rows in (plan.states, plan.actions) for row in rows for value in row]
    return document_text(about).encode() + b"\n" + zlib.compress(struct.pack(f"<{len(numbers)}d", *numbers), 1)


def unpack_plan(data: bytes) -> tuple[dict[str, Any], Plan]:
    """What `pack_plan` was told, and the plan. Raises ValueError, KeyError, TypeError, struct.error or zlib.error."""
    if not isinstance(data, bytes):
        raise TypeError("not packed")
    head, _, body = data.partition(b"\n")
    about = json.loads(head)
    nx, na, horizon = (int(about[key]) for key in ("nx", "na", "horizon"))
    split = (horizon + 1) * nx
    numbers = struct.unpack(f"<{split + horizon * na}d", zlib.decompress(body))
    plan = Plan(
        time_s=float(about["time_s"]),
        monotonic_s=float(about["monotonic_s"]),
        dt_s=float(about["dt_s"]),
        states=tuple(numbers[i : i + nx] for i in range(0, split, nx)),
        actions=tuple(numbers[i : i + na] for i in range(split, len(numbers), na)),
    )
    return about, plan


def _kind(error: Exception) -> type[StoreError]:
    """Damage calls for another file, anything else for patience."""
    damaged = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    return StoreCorruptError if getattr(error, "sqlite_errorcode", 0) & 0xFF in damaged else StoreError


def unpack_forecast(blob: bytes, columns: int) -> tuple[tuple[float, ...], ...]:
    """The forecast of a row, (horizon + 1, columns)."""
    raw = zlib.decompress(blob)
    numbers = struct.unpack(f"<{len(raw) // 8}d", raw)
    return tuple(numbers[i : i + columns] for i in range(0, len(numbers), columns))
