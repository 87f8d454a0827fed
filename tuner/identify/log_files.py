"""Log files as they come: CSV with commas, semicolons or tabs, decimal points or commas, a column per quantity or Home
Assistant's history export (entity_id, state, last_changed). Several files join.

What cannot be trusted becomes NaN with its row reported, as `tuner.identify.log_grid` says; a file that is no log is an
error with its row and its remedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

import numpy as np

from systems.csv_rows import SeriesError, read_header, read_rows
from systems.logs.log import DAY_S, Array, Index, LogError, LogFault
from tuner.identify.history import is_history, read_history
from tuner.identify.log_grid import ABSENT, seconds_of, straighten

TIMES = ("time", "timestamp", "datetime", "date", "last_changed", "zeit", "datum")
MAX_DAYS = 4000.0
MOST_BACKWARDS = 0.1
"""Share of rows that may be earlier than the row before, as when a clock is set: beyond it they are in no order."""


@dataclass(frozen=True, eq=False)
class Readings:
    """One foreign column: when and what, in the order of time. `events`: a value lasts until the next one."""

    time_s: Array
    values: Array
    rows: Index
    step_s: float
    events: bool = False


@dataclass(frozen=True, eq=False)
class LogFile:
    """The columns of one file by their own names."""

    path: Path
    columns: dict[str, Readings]
    faults: tuple[LogFault, ...]


def header_of(path: Path) -> list[str]:
    """Foreign names in a file, without the time. Raises SeriesError."""
    header = read_header(path)
    if is_history(header):
        return list(read_history(path))
    time = _time_column(path, header)
    return [name for name in header if name and name != time]


def read_file(path: Path, wanted: Sequence[str], dt_s: float, zone: tzinfo) -> LogFile:
    """The wanted foreign columns; times without UTC offset are those of the zone's clock.

    Raises SeriesError for a file that is not the format and LogError for one that runs backwards.
    """
    header = read_header(path)
    if is_history(header):
        events = read_history(path)
        found = {name: Readings(*events[name], step_s=dt_s, events=True) for name in wanted if len(events[name][0]) > 0}
        return LogFile(path, found, ())
    rows = read_rows(path, wanted, time_column=_time_column(path, header), absent=ABSENT)
    time_s = np.array(seconds_of(path, rows, _time_column(path, header), zone))
    steps = np.diff(time_s)
    if (steps < 0).mean() > MOST_BACKWARDS:
        raise LogError(
            f"{path}: {(steps < 0).mean():.0%} of the rows are earlier than the row before; sort them, the oldest first"
        )
    if not (steps != 0).any():
        raise LogError(f"{path}: all rows have the same time; write when each was measured")
    if np.ptp(time_s) > MAX_DAYS * DAY_S:
        raise LogError(f"{path}: {np.ptp(time_s) / DAY_S:.0f} days from first to last row; correct the years")
    values, numbers = np.array(rows.values), np.array(rows.numbers)
    time_s, values, numbers, faults = straighten(time_s, values, numbers, dt_s, naive=False)
    readings = {name: _readings(time_s, values[:, i], numbers) for i, name in enumerate(wanted)}
    return LogFile(path, readings, tuple(faults))


def _readings(time_s: Array, values: Array, rows: Index) -> Readings:
    """With the usual step between values that are there: files that join quantities of several steps have gaps."""
    there = np.isfinite(values)
    steps = np.diff(time_s[there] if there.sum() > 2 else time_s)
    return Readings(time_s, values, rows, float(np.median(steps)))


def _time_column(path: Path, header: Sequence[str]) -> str:
    found = next((name for wanted in TIMES for name in header if name.lower() == wanted), None)
    if found is None:
        raise SeriesError(path, f"no column of times (found: {', '.join(header)})", "name it time", row=1)
    return found
