"""Time series on a regular grid from CSV files, read strictly: a bad file is an error that names its place and remedy.

The rows are those of `systems.csv_rows`, ascending. Missing rows and empty cells are gaps: up to `max_gap_s` they are
filled and reported in `gaps`, longer ones are refused. A written NaN is an error: something upstream failed, which is
not the same as nothing measured. What is measured is filled by linear interpolation; what is a step function, as prices
are, is held, and its rows may come on several steps: where a market changes from hours to quarter-hours, the grid is of
quarter-hours, and each hour holds for four of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from systems.clock import localised, zone_of
from systems.csv_rows import CsvRows, SeriesError, read_rows

DEFAULT_MAX_GAP_S = 3 * 3600.0
LONGEST_MARKET_UNIT_S = 3600.0


@dataclass(frozen=True)
class Gap:
    """Missing values of one column that were filled."""

    column: str
    after_row: int
    """File row (the header is row 1) before the gap."""
    start: datetime
    """Time of the first missing step."""
    duration_s: float
    held: bool = False
    """Filled with the last value, not by interpolation."""


@dataclass(frozen=True, eq=False)
class TimeSeries:
    """Columns of equal length n on a regular grid: step k begins at `start + k * dt_s`."""

    start: datetime
    """With UTC offset."""
    dt_s: float
    values: dict[str, NDArray[np.float64]]
    gaps: tuple[Gap, ...] = ()
    source: str = ""
    rows: NDArray[np.int64] | None = None
    """File row of each step (n,), of the row before it where it was filled; None when it is not from a file."""
    zone: tzinfo | None = None
    """Of the local clock, where the file or its reader knows it; otherwise that of `start` all along."""

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def __getitem__(self, column: str) -> NDArray[np.float64]:
        return self.values[column]

    @property
    def end(self) -> datetime:
        """When the last step ends."""
        return self.start + timedelta(seconds=len(self) * self.dt_s)

    def describe_gaps(self) -> str:
        """One line for the user; empty when nothing was filled."""
        return describe_gaps(self.gaps, self.source)


def describe_gaps(gaps: Sequence[Gap], source: str) -> str:
    """What was filled, in one line; empty when nothing was."""
    if not gaps:
        return ""
    hours = sum(gap.duration_s for gap in gaps) / 3600.0
    how = "with the value before" if gaps[0].held else "by interpolation"
    return (
        f"{source}: filled {len(gaps)} gap{'s' if len(gaps) > 1 else ''} {how}, {hours:g} h in all, "
        f"first at {gaps[0].start.isoformat(sep=' ')} in column {gaps[0].column!r} (after row {gaps[0].after_row})"
    )


def load_csv(
    path: Path | str,
    columns: Sequence[str],
    *,
    time_column: str = "time",
    max_gap_s: float = DEFAULT_MAX_GAP_S,
    hold: bool = False,
    zone: tzinfo | None = None,
) -> TimeSeries:
    """Read `columns` (other columns are ignored); `hold` for step functions.

    `zone` is that of the local clock, in which times without an offset are meant. Raises SeriesError for anything that
    is not the format above.
    """
    path = Path(path)
    rows = read_rows(path, columns, time_column=time_column)
    times, zone = _moments(path, rows, time_column, zone)
    _check_order(path, rows.numbers, times, time_column)
    return _on_grid(path, rows, times, columns, time_column, max_gap_s, hold, zone)


def resample(series: TimeSeries, dt_s: float) -> TimeSeries:
    """To a finer grid by holding each value, to a coarser one by the mean. The steps must divide one another.

    Coarse steps begin at multiples of dt_s of the clock of `start`; those that are only partly covered are dropped.
    Raises SeriesError where the steps do not divide one another.
    """
    if dt_s == series.dt_s:
        return series
    ratio = max(series.dt_s / dt_s, dt_s / series.dt_s)
    if ratio != round(ratio):
        problem = f"a step of {series.dt_s:g} s does not go into one of {dt_s:g} s, nor the other way round"
        raise SeriesError(series.source, problem, "bring it to steps of 5, 15, 30 or 60 min")
    m = round(ratio)
    if series.dt_s > dt_s:
        values = {n: np.repeat(v, m) for n, v in series.values.items()}
        return replace(series, dt_s=dt_s, values=values, rows=None)
    midnight = series.start.replace(hour=0, minute=0, second=0, microsecond=0)
    skip = round(-(series.start - midnight).total_seconds() % dt_s / series.dt_s)
    whole = (len(series) - skip) // m
    if whole < 1:
        raise SeriesError(series.source, f"it covers no whole step of {dt_s:g} s", "bring more data")
    values = {n: v[skip : skip + whole * m].reshape(whole, m).mean(1) for n, v in series.values.items()}
    start = series.start + timedelta(seconds=skip * series.dt_s)
    return replace(series, start=start, dt_s=dt_s, values=values, rows=None)


def held_at(series: TimeSeries, column: str, unix_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (n,) of a step function at the times (n,); NaN outside the series."""
    index = np.floor((unix_s - series.start.timestamp()) / series.dt_s + 1e-6).astype(np.int64)
    inside = (index >= 0) & (index < len(series))
    return np.where(inside, series[column][np.clip(index, 0, len(series) - 1)], np.nan)


# -- times -------------------------------------------------------------------------------------------------------------


def _moments(path: Path, rows: CsvRows, column: str, zone: tzinfo | None) -> tuple[list[datetime], tzinfo | None]:
    """The times, all in the offset of the first, and the zone of the local clock."""
    if not rows.naive:
        first = timezone(rows.times[0].utcoffset() or timedelta())
        clock = zone or zone_of(rows.times)
        if clock is None:
            odd = next(k for k, time in enumerate(rows.times) if time.utcoffset() != rows.times[0].utcoffset())
            zones = f"{_zone(rows.times[0])} in row {rows.numbers[0]}, {_zone(rows.times[odd])} here"
            remedy = "name the zone of the house (--timezone Europe/Oslo), or write all times in UTC"
            problem = f"UTC offsets change as in no time zone ({zones})"
            raise SeriesError(path, problem, remedy, row=rows.numbers[odd], column=column)
        return [time.astimezone(first) for time in rows.times], clock
    if zone is None:
        remedy = "write the UTC offset (or Z) behind every time, or name the zone of its clock (--timezone Europe/Oslo)"
        problem = f"{rows.times[0].isoformat(sep=' ')} has no time zone"
        raise SeriesError(path, problem, remedy, row=rows.numbers[0], column=column)
    found = localised(rows.times, zone)
    for row, time, moment in zip(rows.numbers, rows.times, found, strict=True):
        if moment is None:
            problem = f"{time.isoformat(sep=' ')} is skipped by the clock of {zone}, which goes to summer time"
            remedy = "name the zone in which the file was written with --timezone, or write the UTC offset"
            raise SeriesError(path, problem, remedy, row=row, column=column)
    moments = [moment for moment in found if moment is not None]
    first = timezone(moments[0].astimezone(zone).utcoffset() or timedelta())
    return [moment.astimezone(first) for moment in moments], zone


def _zone(time: datetime) -> str:
    return f"UTC{time.isoformat()[-6:]}"


def _check_order(path: Path, rows: list[int], times: list[datetime], column: str) -> None:
    for k in range(1, len(times)):
        if times[k] == times[k - 1]:
            problem = f"{times[k].isoformat(sep=' ')} is there twice (first in row {rows[k - 1]})"
            raise SeriesError(path, problem, "delete one of the rows", row=rows[k], column=column)
        if times[k] < times[k - 1]:
            problem = f"{times[k].isoformat(sep=' ')} is earlier than the row before"
            raise SeriesError(path, problem, "sort the rows by time", row=rows[k], column=column)


def _on_grid(
    path: Path,
    rows: CsvRows,
    times: list[datetime],
    columns: Sequence[str],
    time_column: str,
    max_gap_s: float,
    hold: bool,
    zone: tzinfo | None,
) -> TimeSeries:
    """Place the rows on the grid of their step, the finest one of a step function, filling short gaps."""
    seconds = np.array([(time - times[0]).total_seconds() for time in times])
    unit = _units(np.diff(seconds), hold)
    dt_s = float(unit.min())
    index = seconds / dt_s
    off_grid = np.flatnonzero(np.abs(index - np.round(index)) > 1e-6)
    if off_grid.size:
        k = int(off_grid[0])
        problem = f"{times[k].isoformat(sep=' ')} is off the regular step of {dt_s:g} s"
        raise SeriesError(path, problem, "bring the file to a regular step", row=rows.numbers[k], column=time_column)
    index = np.round(index).astype(np.int64)
    covers = np.round(unit / dt_s).astype(np.int64)
    grid = np.arange(int(index[-1] + covers[-1]))
    values, gaps = {}, []
    for name, column in zip(columns, np.array(rows.values).T, strict=True):
        there = np.flatnonzero(~np.isnan(column))
        if there.size == 0 or there[0] != 0 or there[-1] != len(times) - 1:
            k = 0 if there.size == 0 or there[0] != 0 else int(there[-1]) + 1
            remedy = "a gap at an end cannot be filled: complete it or cut the file there"
            raise SeriesError(path, "no value (empty cell)", remedy, row=rows.numbers[k], column=name)
        for before, after in itertools.pairwise(there.tolist()):
            missing_s = float(index[after] - index[before] - covers[before]) * dt_s
            if missing_s <= 0.0:
                continue
            if missing_s > max_gap_s:
                problem = (
                    f"a gap of {missing_s / 3600:g} h before {times[after].isoformat(sep=' ')}, "
                    f"longer than the {max_gap_s / 3600:g} h that are filled"
                )
                remedy = "complete the data, cut the file there, or allow longer gaps (--max-gap-hours)"
                raise SeriesError(path, problem, remedy, row=rows.numbers[after], column=name)
            start = times[before] + timedelta(seconds=float(unit[before]))
            gaps.append(Gap(name, rows.numbers[before], start, missing_s, hold))
        if hold:
            values[name] = column[there[np.searchsorted(index[there], grid, side="right") - 1]]
        else:
            values[name] = np.interp(grid, index[there], column[there])
    file_rows = np.array(rows.numbers)[np.searchsorted(index, grid, side="right") - 1]
    return TimeSeries(times[0], dt_s, values, tuple(gaps), str(path), file_rows, zone)


def _units(steps: NDArray[np.float64], hold: bool) -> NDArray[np.float64]:
    """How long each of the n rows lasts (n,), from the n - 1 steps between them, s.

    What is measured has one step, the most frequent. A step function has those that come twice in a row and are no
    longer than an hour besides: a row whose step is none of them lasts as long as the row before it, and then is a gap.
    """
    found, counts = np.unique(steps, return_counts=True)
    usual = float(found[np.argmax(counts)])
    if not hold:
        return np.full(len(steps) + 1, usual)
    again = np.concatenate([[False], steps[1:] == steps[:-1], [False]])
    regular = (steps == usual) | ((again[1:] | again[:-1]) & (steps <= LONGEST_MARKET_UNIT_S))
    last_regular = np.maximum.accumulate(np.where(regular, np.arange(len(steps)), -1))
    first = int(np.argmax(regular))
    return np.append(steps[np.maximum(last_regular, first)], steps[max(int(last_regular[-1]), first)])
