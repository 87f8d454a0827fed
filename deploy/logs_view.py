"""What a log holds, for people: how far it goes, who decided how often, which bundles, and its last cycles."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.errors import LogCopyError
from deploy.logs import Hole, check, holes
from runtime.formats.text import plain


@dataclass(frozen=True)
class Reign:
    """A bundle, and when its first and last cycle was (Unix seconds)."""

    bundle: str
    first_s: float
    last_s: float
    cycles: int


@dataclass(frozen=True)
class Summary:
    """Times are Unix seconds; `cycle_s` is 0 where the log does not say it, and holes are not looked for then."""

    site: str
    cycle_s: float
    cycles: int
    first_s: float
    last_s: float
    levels: dict[str, int]
    bundles: tuple[Reign, ...]
    holes: tuple[Hole, ...]


def summary(path: Path) -> Summary:
    """Raises LogError for what is no log, or a damaged one."""
    if not path.is_file():
        raise LogCopyError(f"{path}: there is no such log; fetch one with: nisse logs pull")
    check(path)
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            meta = dict(db.execute("SELECT key, value FROM meta"))
            times = [float(t) for (t,) in db.execute("SELECT time_s FROM transition ORDER BY id")]
            levels = dict(db.execute("SELECT level, count(*) FROM transition GROUP BY level ORDER BY count(*) DESC"))
            reigns = db.execute(
                "SELECT bundle, min(time_s), max(time_s), count(*) FROM transition GROUP BY bundle ORDER BY min(id)"
            ).fetchall()
    except sqlite3.Error as error:
        raise LogCopyError(f"{path}: {error}; name a daemon's log") from error
    cycle_s = float(meta.get("cycle_s") or 0.0)
    return Summary(
        str(meta.get("site", "")),
        cycle_s,
        len(times),
        times[0] if times else 0.0,
        times[-1] if times else 0.0,
        levels,
        tuple(Reign(*row) for row in reigns),
        holes(times, cycle_s),
    )


def view(path: Path, found: Summary, last: int) -> list[str]:
    """The lines of `nisse logs show`."""
    if not found.cycles:
        return [f"{path}: no cycle yet"]
    lines = [
        f"{path}: {found.cycles} cycles{' of ' + plain(found.site) if found.site else ''}, "
        f"{iso(found.first_s)} to {iso(found.last_s)}"
    ]
    lines += [f"  {plain(level):<13} {n:7}  {n / found.cycles:6.1%}" for level, n in found.levels.items()]
    lines += [
        f"  bundle {plain(r.bundle[:16])}  {iso(r.first_s)} to {iso(r.last_s)}, {r.cycles} cycles"
        for r in found.bundles
    ]
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT time_s, level, reason, action FROM transition ORDER BY id DESC LIMIT ?", (last,)
        ).fetchall()
    return [*lines, *(_line(*row) for row in reversed(rows))]


def iso(time_s: float) -> str:
    """UTC, to the minute."""
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%MZ}"


def _line(time_s: float, level: str, reason: str, action: str) -> str:
    try:
        moved: dict[str, Any] = json.loads(action)
        said = "  ".join(f"{plain(name)} {float(value):g}" for name, value in moved.items())
    except (ValueError, TypeError, AttributeError):
        said = "?"
    return f"  {iso(time_s)}  {plain(level):<13} {said}{'  (' + plain(reason) + ')' if reason else ''}"
