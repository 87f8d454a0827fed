"""The daemon's log read with sqlite and numpy alone: how often each level decided, and how long it took.

    .venv/bin/python examples/read_the_log.py nisse.db

`nisse hil HOUSE.toml` and `nisse run` both write such a log; `[store] path` in the site file says where.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections import Counter
from datetime import UTC, datetime

import numpy as np


def main(path: str) -> None:
    # mode=ro: the daemon may be writing meanwhile, and readers do not disturb it.
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as log:
        rows = log.execute("SELECT time_s, level, reason, state, action FROM transition ORDER BY id").fetchall()
        solve_s = np.array([s for (s,) in log.execute("SELECT solve_s FROM timing WHERE solve_s IS NOT NULL")])
    if not rows:
        sys.exit(f"{path}: no cycle yet")
    first, last = (datetime.fromtimestamp(rows[k][0], UTC) for k in (0, -1))
    print(f"{len(rows)} cycles from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC")
    for level, count in Counter(row[1] for row in rows).most_common():
        print(f"  {level:13} {count:6}  {count / len(rows):6.1%}")
    for reason, count in Counter(row[2] for row in rows if row[1] != "mpc").most_common(5):
        print(f"  {count} x {reason}")
    if len(solve_s):
        print(f"a solve takes {1e3 * np.median(solve_s):.1f} ms, at most {1e3 * solve_s.max():.1f} ms")

    for column, place in (("state", 3), ("action", 4)):
        values: dict[str, list[float]] = {}
        for row in rows:
            for name, value in json.loads(row[place]).items():
                if value is not None:
                    values.setdefault(name, []).append(value)
        for name, series in values.items():
            print(f"{column} {name}: mean {np.mean(series):.3f}, from {min(series):.3f} to {max(series):.3f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "nisse.db")
