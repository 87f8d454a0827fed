"""The log of transitions in SQLite: what was known, decided and done, every cycle, for people and for the tuner.

WAL, bounded, versioned. What depends on the computer's speed stands in a table of its own, so that a run in lockstep
leaves the same rows every time. Trouble with the disk is reported, and control goes on.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import StoreError
from runtime.plan import Plan

SCHEMA_VERSION = 1
SLOW_CYCLE_S = 60.0
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

    def __init__(self, path: Path, *, max_transitions: int, cycle_s: float) -> None:
        """Open or create. Raises StoreError, and leaves a file it cannot read as it is."""
        self._max = max_transitions
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            self._db.execute("PRAGMA journal_mode = WAL")
            # Slow cycles can afford to wait for the disk; fast ones may lose the last rows to a power cut, never order.
            self._db.execute(f"PRAGMA synchronous = {'FULL' if cycle_s >= SLOW_CYCLE_S else 'NORMAL'}")
            self._db.execute("PRAGMA journal_size_limit = 4194304")
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if version == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{path}: {error}; move the file away or name another under [store] path") from error
        if version > SCHEMA_VERSION:
            raise StoreError(f"{path}: written by a newer nisse (schema {version}); update nisse or name another path")

    def append(self, row: Transition, plan: Plan | None, timing: tuple[float, float, float]) -> None:
        """Commit one transition and the plan in force; timing is (solve_s, link_s, overhead_s). Raises StoreError."""
        blob = None
        if row.forecast is not None:
            numbers = [value for line in row.forecast for value in line]
            blob = zlib.compress(struct.pack(f"<{len(numbers)}d", *numbers), 6)
        texts = [_json(document) for document in (row.state, row.action, row.nominal)]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            cursor = self._db.execute(
                "INSERT INTO transition (time_s, level, reason, bundle, state, action, nominal, forecast, details) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (row.time_s, row.level, row.reason, row.bundle, *texts, blob, _json(row.details)),
            )
            number = cursor.lastrowid or 0
            self._db.execute("INSERT OR REPLACE INTO timing VALUES (?, ?, ?, ?)", (number, *timing))
            if plan is not None:
                document = {"time_s": plan.time_s, "dt_s": plan.dt_s, "states": plan.states, "actions": plan.actions}
                self._db.execute(
                    "INSERT OR REPLACE INTO latest VALUES ('plan', ?)", (_json({"bundle": row.bundle, **document}),)
                )
            self._db.execute("DELETE FROM transition WHERE id <= ?", (number - self._max,))
            self._db.execute("DELETE FROM timing WHERE transition_id <= ?", (number - self._max,))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StoreError(f"log: {error}") from error

    def last_plan(self, bundle: str, time_s: float, monotonic_s: float) -> Plan | None:
        """The plan that was in force when the daemon last ran with this bundle, on the present clocks."""
        try:
            row = self._db.execute("SELECT value FROM latest WHERE key = 'plan'").fetchone()
            document = json.loads(row[0]) if row else {}
            if document.get("bundle") != bundle:
                return None
            begun = float(document["time_s"])
            return Plan(
                time_s=begun,
                monotonic_s=monotonic_s - (time_s - begun),
                dt_s=float(document["dt_s"]),
                states=tuple(tuple(map(float, line)) for line in document["states"]),
                actions=tuple(tuple(map(float, line)) for line in document["actions"]),
            )
        except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"log: last plan cannot be read ({error})") from error

    def close(self) -> None:
        self._db.close()


def unpack_forecast(blob: bytes, columns: int) -> tuple[tuple[float, ...], ...]:
    """The forecast of a row, (horizon + 1, columns)."""
    raw = zlib.decompress(blob)
    numbers = struct.unpack(f"<{len(raw) // 8}d", raw)
    return tuple(numbers[i : i + columns] for i in range(0, len(numbers), columns))


def _json(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)
