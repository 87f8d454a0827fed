"""A recorded log on a regular grid: clocks that jump, repeated rows and jittering seconds straightened and reported.

Real logs have holes and clocks that jump, so unlike prices and weather a log is not refused for them: what cannot be
trusted becomes NaN, with its row and signal reported.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from systems.clock import localised
from systems.csv_rows import CsvRows, SeriesError
from systems.logs.log import Array, LogFault

BREAK_S = 3900.0
"""Left empty where the clock jumped, so that no hour of history spans the jump."""
ABSENT = frozenset({"", "nan", "inf", "-inf", "null", "none", "n/a", "unavailable", "unknown"})
"""What loggers (Home Assistant among them) write when nothing was measured."""


def seconds_of(path: Path, rows: CsvRows, column: str, zone: tzinfo | None) -> list[float]:
    """Unix times; of the written clock for times without an offset."""
    if not rows.naive or zone is None:
        return [(time.replace(tzinfo=UTC) if rows.naive else time).timestamp() for time in rows.times]
    found: list[float] = []
    for row, time, moment in zip(rows.numbers, rows.times, localised(rows.times, zone), strict=True):
        if moment is None:
            problem = f"{time.isoformat(sep=' ')} is skipped by the clock of {zone}, which goes to summer time"
            raise SeriesError(path, problem, "leave --timezone out, or name the right one", row=row, column=column)
        found.append(moment.timestamp())
    return found


def _is_dst_change(local_s: float, jump_s: float) -> bool:
    """Whether a one-hour jump of a local clock falls into the night of a European or North American change of time."""
    if abs(abs(jump_s) - 3600.0) > 600.0:
        return False
    day = datetime.fromtimestamp(local_s, UTC)
    if day.weekday() != 6 or day.hour > 4:
        return False
    last = (day + timedelta(days=7)).month != day.month
    spring = (day.month == 3 and last) or (day.month == 3 and 8 <= day.day <= 14)
    autumn = (day.month == 10 and last) or (day.month == 11 and day.day <= 7)
    return spring if jump_s > 0 else autumn


def straighten(
    time_s: Array, table: Array, row: NDArray[np.int64], dt_s: float, *, naive: bool
) -> tuple[Array, Array, NDArray[np.int64], list[LogFault]]:
    """Ascending times: repeated rows and late ones dropped, and the rows after a backward jump set behind a break.

    A jump forward leaves a gap, which is break enough; only daylight saving is named, as the gap is not one in time.
    """
    faults: list[LogFault] = []
    step = float(np.median(np.abs(np.diff(time_s))))
    keep, shifted, shift, last = [0], [float(time_s[0])], 0.0, float(time_s[0])
    for k in range(1, len(time_s)):
        now, place = float(time_s[k]), int(row[k])
        jump = now - last - step
        if now == last:
            faults.append(
                LogFault("duplicate", "time", place, place, 1, "the time of the row before once more; left out")
            )
            continue
        if now < last and k + 1 < len(time_s) and time_s[k + 1] > last:
            faults.append(LogFault("late", "time", place, place, 1, "a row that comes after a later one; left out"))
            continue
        if now < last:
            dst = naive and _is_dst_change(now, jump)
            kind = "daylight_saving" if dst else "clock"
            what = "the clock was set back for winter time" if dst else f"the clock jumped back by {-jump / 3600:.2f} h"
            faults.append(LogFault(kind, "time", place, place, 1, f"{what}; the hour after it is left out"))
            shift += last - now + _break_s(dt_s) + dt_s
        elif naive and _is_dst_change(now, jump):
            detail = "the clock was set forward for summer time; the hour after it is left out"
            faults.append(LogFault("daylight_saving", "time", place, place, 1, detail))
            shift += _break_s(dt_s) - jump
        last = now
        keep.append(k)
        shifted.append(now + shift)
    return np.array(shifted), table[keep], row[keep], faults


def _break_s(dt_s: float) -> float:
    return dt_s * math.ceil(BREAK_S / dt_s)


def bin_means(index: NDArray[np.int64], values: Array, steps: int) -> Array:
    """(steps, n) mean of the finite values with each index; NaN where there is none."""
    inside = (index >= 0) & (index < steps)
    index, values = index[inside], values[inside]
    finite = np.isfinite(values)
    total, count = np.zeros((steps, values.shape[1])), np.zeros((steps, values.shape[1]))
    np.add.at(total, index, np.where(finite, values, 0.0))
    np.add.at(count, index, finite)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
