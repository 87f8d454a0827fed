"""The daemon's own log of a house, read back: the field feeds the next offline tuning."""

from __future__ import annotations

import json
import sqlite3
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from systems.logs.log import LogError
from tuner.identify.house_log import DT_S, ROOMS, HouseLog, from_table

Array = NDArray[np.float64]
SQLITE_MAGIC = b"SQLite format 3\x00"
FORECAST_COLUMNS = 7
"""Six outdoor temperatures and the price: `systems.house.problem`."""


def is_field_log(path: Path) -> bool:
    """Is it the daemon's SQLite log, not a CSV?"""
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    except OSError:
        return False


def read_field_log(path: Path) -> tuple[HouseLog, Array]:
    """(log on the 5-min grid, prices (T,) EUR/kWh as the controller knew them), NaN where a cycle is missing.

    Rooms come from the estimated state, powers from what was actuated; a cycle at which the devices were left to
    themselves has no powers. Raises LogError.
    """
    rows = _rows(path)
    if not rows:
        raise LogError(f"{path}: the log holds no cycle yet; let the daemon run for some weeks")
    times = np.array([row[0] for row in rows])
    start = np.floor(times[0] / DT_S) * DT_S
    index = np.round((times - start) / DT_S).astype(int)
    if index.max() > 5_000_000 or index.min() < 0:
        raise LogError(f"{path}: its times leap by decades; a clock was wrong, cut that part out")
    table = np.full((index.max() + 1, 1 + 2 * ROOMS), np.nan)
    price, row_number = np.full(len(table), np.nan), np.zeros(len(table), dtype=np.int64)
    for k, (number, (_, state, action, forecast)) in zip(index, enumerate(rows), strict=True):
        table[k, 1 : 1 + ROOMS] = [_number(state.get(f"room_{room + 1}")) for room in range(ROOMS)]
        table[k, 1 + ROOMS :] = [_number(action.get(f"power_{room + 1}")) for room in range(ROOMS)]
        row_number[k] = number + 1
        if forecast is not None:
            table[k, 0], price[k] = forecast[0], forecast[-1]
    return from_table(table, float(start), np.maximum.accumulate(row_number), (), path.name), price


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _rows(path: Path) -> list[tuple[float, dict[str, object], dict[str, object], tuple[float, ...] | None]]:
    """(time, state, action, first row of the forecast) of every cycle, oldest first."""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            found = db.execute("SELECT time_s, state, action, forecast FROM transition ORDER BY id").fetchall()
    except sqlite3.Error as error:
        raise LogError(f"{path}: not a log of the daemon ({error}); name its nisse.db or a CSV") from error
    return [(time, json.loads(state), json.loads(action), _first_row(blob)) for time, state, action, blob in found]


def _first_row(blob: bytes | None) -> tuple[float, ...] | None:
    if blob is None:
        return None
    raw = zlib.decompress(blob)
    numbers = struct.unpack(f"<{len(raw) // 8}d", raw)
    return numbers[:FORECAST_COLUMNS]
