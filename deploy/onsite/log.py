"""Rows of the daemon's log, from the first that the other side does not have."""

from __future__ import annotations

import base64
import contextlib
import sqlite3
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.onsite.wire import OnsiteError, tell

BATCH = 50
NEWEST_SCHEMA = 1


def send_rows(site: Path, known: dict[str, Any]) -> dict[str, Any]:
    """A line `head`, then lines `rows`; how many there were.

    known: `log` and `last`, the identity of the log that is known and the number of its last row.
    """
    name, cycle_s, path = described(site)
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20.0)) as db:
            schema = int(db.execute("PRAGMA user_version").fetchone()[0])
            if schema > NEWEST_SCHEMA:
                raise OnsiteError(f"{path}: written by a newer nisse (schema {schema}); update nisse here")
            db.execute("BEGIN")
            (identity,) = db.execute("SELECT max(value) FROM meta WHERE key = 'log'").fetchone()
            identity = identity or ""
            last = int(known.get("last") or 0)
            anchor = db.execute("SELECT time_s, bundle FROM transition WHERE id = ?", (last,)).fetchone()
            same = identity == known.get("log", "")
            first = db.execute("SELECT id, time_s FROM transition ORDER BY id LIMIT 1").fetchone() or (0, 0.0)
            head = {"site": name, "cycle_s": cycle_s, "log": identity, "first": first, "anchor": anchor}
            tell(head=head, same=same)
            count = 0
            for rows in _batches(db, last if same else 0):
                tell(rows=rows)
                count += len(rows)
            return {"count": count}
    except sqlite3.Error as error:
        raise OnsiteError(f"{path}: {error}; is it the log of a daemon, and undamaged?") from error


def described(site: Path) -> tuple[str, float, Path]:
    """Name, length of a cycle and log of the site."""
    try:
        document = tomllib.loads(site.read_text(encoding="utf-8-sig"))
        path = site.parent / document.get("store", {}).get("path", "nisse.db")
        name, cycle_s = str(document["site"]["name"]), float(document["controller"]["cycle_s"])
    except OSError as error:
        raise OnsiteError(f"{site}: {error.strerror}; name the site file there with --site") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OnsiteError(f"{site}: no site file ({error}); name it with --site") from error
    if not path.exists():
        raise OnsiteError(f"{path}: there is no log yet; has the daemon run?")
    return name, cycle_s, path


def _batches(db: sqlite3.Connection, after: int) -> Iterator[list[list[Any]]]:
    rows: list[list[Any]] = []
    for row in db.execute(
        "SELECT t.id, t.time_s, t.level, t.reason, t.bundle, t.state, t.action, t.nominal, t.forecast, t.details, "
        "i.solve_s, i.link_s, i.overhead_s FROM transition t LEFT JOIN timing i ON i.transition_id = t.id "
        "WHERE t.id > ? ORDER BY t.id",
        (after,),
    ):
        packed = None if row[8] is None else base64.b64encode(row[8]).decode()
        rows.append([*row[:8], packed, *row[9:]])
        if len(rows) == BATCH:
            yield rows
            rows = []
    if rows:
        yield rows
