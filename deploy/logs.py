"""The daemon's log at home: fetched row by row, only what is new, checked, and never mixed with another daemon's.

The copy has the daemon's own format, so everything that reads a log reads it; it keeps every row for ever, where the
daemon drops the oldest. Its table `meta` says of which site it is and how far it goes.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.errors import ForeignLogError, LogCopyError
from deploy.ssh import Host, ask
from runtime.errors import StoreError
from runtime.store.transitions import Store

SITE = Path("/etc/nisse/site.toml")
HOLE_CYCLES = 2.5
"""A hole is a pause of more than this many cycles."""
MEANT = ("site", "log", "cycle_s")


@dataclass(frozen=True)
class Hole:
    """No row between these two (Unix seconds), where `missing` cycles should have been."""

    from_s: float
    to_s: float
    missing: int


@dataclass(frozen=True)
class Pulled:
    """What a pull brought. `unreadable`: numbers of rows that were left out because they hold no sense."""

    path: Path
    site: str
    new: int
    rows: int
    holes: tuple[Hole, ...]
    unreadable: tuple[int, ...] = ()


@dataclass(frozen=True)
class Known:
    """How far the copy goes. `last` counts as the daemon's log does; here a row is `last + shift`."""

    site: str = ""
    log: str = ""
    last: int = 0
    shift: int = 0
    last_s: float = 0.0
    last_bundle: str = ""


def pull(host: Host, output: Path | None = None, *, site: Path = SITE) -> Pulled:
    """Fetch what is new of the log of the daemon at `site` there into `output` (default: <name of the site>.db).

    Every batch is kept as it comes: a link that is lost costs what was under way. Raises HostError and its kinds,
    ForeignLogError for a log of another daemon than the copy's, LogError for a copy or a log that cannot be used.
    """
    known = _known(output) if output is not None and output.exists() else Known()
    copy: list[_Copy] = []

    def hear(line: dict[str, Any]) -> None:
        if "head" in line:
            head = dict(line["head"])
            path = Path(f"{head['site']}.db") if output is None else output
            before = known
            if output is None and path.exists():
                raise LogCopyError(f"{path} is there already; go on with it by --output {path}, or name another")
            shift = _continues(path, head, before, same=bool(line["same"]))
            copy.append(_Copy(path, head, shift))
        elif "rows" in line:
            copy[0].add(line["rows"])

    request = {"do": "log", "site": str(site), "known": {"log": known.log, "last": known.last}}
    try:
        ask(host, request, hear=hear)
    finally:
        for one in copy:
            one.close()
    (done,) = copy
    check(done.path)
    rows, holes = extent(done.path)
    return Pulled(done.path, done.site, done.new, rows, holes, tuple(done.unreadable))


def check(path: Path) -> None:
    """Raises LogError for a file that SQLite finds damaged."""
    try:
        with _opened(path) as db:
            found = [str(row[0]) for row in db.execute("PRAGMA quick_check(3)")]
    except sqlite3.Error as error:
        found = [str(error)]
    if found != ["ok"]:
        raise LogCopyError(f"{path}: damaged ({'; '.join(found)}); move it aside and pull again")


def extent(path: Path) -> tuple[int, tuple[Hole, ...]]:
    """Number of rows, and the holes between them."""
    with _opened(path) as db:
        cycle_s = float(_meta(db).get("cycle_s") or 0.0)
        times = [float(t) for (t,) in db.execute("SELECT time_s FROM transition ORDER BY id")]
    return len(times), holes(times, cycle_s)


def holes(times_s: Iterable[float], cycle_s: float) -> tuple[Hole, ...]:
    """Pauses of more than HOLE_CYCLES cycles between ascending times."""
    found, before_s = [], None
    for time_s in times_s:
        if before_s is not None and cycle_s > 0.0 and time_s - before_s > HOLE_CYCLES * cycle_s:
            found.append(Hole(before_s, time_s, round((time_s - before_s) / cycle_s) - 1))
        before_s = time_s
    return tuple(found)


def _continues(path: Path, head: dict[str, Any], known: Known, *, same: bool) -> int:
    """What to add to the numbers there. Raises ForeignLogError where the copy is no beginning of what is there."""
    if not known.site:
        return 0
    if head["site"] != known.site:
        raise ForeignLogError(
            f"{path} is the log of {known.site}, and there runs {head['site']}; name another --output"
        )
    first, first_s = head["first"]
    anchor = head["anchor"]
    if same and anchor is not None and (anchor[0], anchor[1]) != (known.last_s, known.last_bundle):
        same = False
    if same and (anchor is not None or first > known.last or not known.last):
        return known.shift
    if first_s <= known.last_s:
        raise ForeignLogError(
            f"{path} is another daemon's log: what it holds and what is there are of the same time and differ; name "
            "another --output"
        )
    return known.last + known.shift


def _known(path: Path) -> Known:
    """Raises LogError for a file that is no copy of a log."""
    try:
        with _opened(path) as db:
            meta = _meta(db)
            row = db.execute("SELECT id, time_s, bundle FROM transition ORDER BY id DESC LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise LogCopyError(f"{path}: {error}; it is no copy of a log, name another --output") from error
    if "site" not in meta:
        raise LogCopyError(f"{path}: was not made by `nisse logs pull`; name another --output")
    shift = int(meta["shift"])
    last, last_s, bundle = row or (shift, 0.0, "")
    return Known(meta["site"], meta["log"], int(last) - shift, shift, float(last_s), str(bundle))


class _Copy:
    """The file here, open to be added to."""

    def __init__(self, path: Path, head: dict[str, Any], shift: int) -> None:
        self.path, self.site, self.new, self.unreadable = path, str(head["site"]), 0, list[int]()
        self._shift = shift
        try:
            Store(path, max_transitions=1).close()  # the daemon's own schema; nothing is dropped by opening it
            self._db = sqlite3.connect(path, isolation_level=None)
        except (StoreError, sqlite3.Error) as error:
            raise LogCopyError(f"{error}") from error
        meant = {**{name: str(head[name]) for name in MEANT}, "shift": str(shift)}
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meant.items())

    def add(self, rows: list[list[Any]]) -> None:
        """One batch, whole or not at all. Raises LogError."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for number, *row in rows:
                if not _makes_sense(row):
                    self.unreadable.append(int(number))
                    continue
                packed = None if row[7] is None else base64.b64decode(row[7])
                here = int(number) + self._shift
                self._db.execute(
                    "INSERT OR REPLACE INTO transition VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (here, *row[:7], packed, row[8]),
                )
                self._db.execute("INSERT OR REPLACE INTO timing VALUES (?, ?, ?, ?)", (here, *row[9:12]))
                self.new += 1
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise LogCopyError(f"{self.path}: {error}; make room, then pull again: what came before is kept") from error

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()


def _makes_sense(row: list[Any]) -> bool:
    """time_s, level, reason, bundle, state, action, nominal, forecast, details, ...: as the schema has them."""
    try:
        tables = [json.loads(row[k]) for k in (4, 5, 6, 8)]
        packed = b"" if row[7] is None else zlib.decompress(base64.b64decode(row[7]))
        texts = all(isinstance(text, str) for text in row[1:4])
        return texts and float(row[0]) > 0.0 and all(isinstance(t, dict) for t in tables) and len(packed) % 8 == 0
    except (ValueError, TypeError, IndexError, zlib.error, RecursionError):
        return False


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)) as db:
        yield db


def _meta(db: sqlite3.Connection) -> dict[str, str]:
    return {str(key): str(value) for key, value in db.execute("SELECT key, value FROM meta")}
