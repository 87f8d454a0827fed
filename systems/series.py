"""Time series from CSV files: read strictly, so that a bad log is an error that names its place and its remedy.

Format: UTF-8, comma as separator, point as decimal mark, one header row, one column of ISO 8601 times with a UTC offset
(`2024-01-01T00:00:00Z`, `2024-01-01 00:00:00+01:00`), all in one offset, ascending, on one regular step. Missing rows
and empty cells are gaps: up to `max_gap_s` they are filled by linear interpolation and reported in `gaps`, longer ones
are refused. A written NaN is an error: something upstream failed, which is not the same as nothing measured.
"""

from __future__ import annotations

import csv
import difflib
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DEFAULT_MAX_GAP_S = 3 * 3600.0
_DECIMAL_COMMA = re.compile(r"^[+-]?\d+,\d+$")


class SeriesError(ValueError):
    """A file that cannot be used as it is; the message names file, row, column and remedy."""

    exit_code = 65

    def __init__(
        self, path: Path | str, problem: str, remedy: str, *, row: int | None = None, column: str | None = None
    ):
        place = str(path)
        place += f", row {row}" if row is not None else ""
        place += f", column {column!r}" if column is not None else ""
        super().__init__(f"{place}: {problem}; {remedy}")
        self.path, self.row, self.column = Path(path), row, column


@dataclass(frozen=True)
class Gap:
    """Missing values of one column that were filled."""

    column: str
    after_row: int
    """File row (the header is row 1) before the gap."""
    start: datetime
    """Time of the first missing step."""
    duration_s: float


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
    return (
        f"{source}: filled {len(gaps)} gap{'s' if len(gaps) > 1 else ''} by interpolation, {hours:g} h in all, "
        f"first at {gaps[0].start.isoformat(sep=' ')} in column {gaps[0].column!r} (after row {gaps[0].after_row})"
    )


def load_csv(
    path: Path | str,
    columns: Sequence[str],
    *,
    time_column: str = "time",
    max_gap_s: float = DEFAULT_MAX_GAP_S,
) -> TimeSeries:
    """Read `columns` (other columns are ignored). Raises SeriesError for anything that is not the format above."""
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows, times, numbers = _read_rows(path, csv.reader(file), columns, time_column)
    except OSError as error:
        raise SeriesError(path, error.strerror or str(error), "name a CSV file that can be read") from error
    except UnicodeDecodeError as error:
        raise SeriesError(path, f"not UTF-8 text ({error.reason})", "save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise SeriesError(path, f"not a CSV file ({error})", "save it as comma-separated text") from error
    _check_offsets(path, rows, times, time_column)
    _check_order(path, rows, times, time_column)
    return _on_grid(path, rows, times, np.array(numbers).T, columns, time_column, max_gap_s)


def resample(series: TimeSeries, dt_s: float) -> TimeSeries:
    """To a finer grid by holding each value, to a coarser one by the mean. The steps must divide one another.

    Raises ValueError otherwise; a coarse step that is only partly covered at the end is dropped.
    """
    if dt_s == series.dt_s:
        return series
    finer = series.dt_s / dt_s
    if finer >= 1:
        if finer != round(finer):
            raise ValueError(f"cannot resample {series.dt_s:g} s to {dt_s:g} s: not a whole ratio")
        values = {n: np.repeat(v, round(finer)) for n, v in series.values.items()}
        return replace(series, dt_s=dt_s, values=values, rows=None)
    coarser = dt_s / series.dt_s
    if coarser != round(coarser):
        raise ValueError(f"cannot resample {series.dt_s:g} s to {dt_s:g} s: not a whole ratio")
    m, whole = round(coarser), len(series) // round(coarser)
    values = {n: v[: whole * m].reshape(whole, m).mean(1) for n, v in series.values.items()}
    return replace(series, dt_s=dt_s, values=values, rows=None)


def parse_time(text: str) -> datetime:
    """An ISO 8601 time with UTC offset. Raises ValueError without one."""
    time = datetime.fromisoformat(text.strip())
    if time.tzinfo is None:
        raise ValueError("no UTC offset")
    return time


# -- reading -----------------------------------------------------------------------------------------------------------


def _read_rows(
    path: Path, reader: Iterator[list[str]], columns: Sequence[str], time_column: str
) -> tuple[list[int], list[datetime], list[list[float]]]:
    """Row numbers, times and numbers of every row that is not blank."""
    header = [name.strip() for name in next(reader, [])]
    if not any(header):
        raise SeriesError(path, "the file is empty", f"it needs a header row: {','.join([time_column, *columns])}")
    time_index, *indices = find_columns(path, header, [time_column, *columns])
    rows: list[int] = []
    times: list[datetime] = []
    numbers: list[list[float]] = []
    for fields in reader:
        row = reader.line_num  # type: ignore[attr-defined]
        if not any(field.strip() for field in fields):
            continue
        if len(fields) != len(header):
            hint = "write decimals with a point, not a comma" if len(fields) > len(header) else "complete the row"
            raise SeriesError(path, f"{len(fields)} fields where the header has {len(header)}", hint, row=row)
        rows.append(row)
        times.append(_time(path, fields[time_index], row, time_column))
        numbers.append([_number(path, fields[i], row, name) for i, name in zip(indices, columns, strict=True)])
    if len(rows) < 2:
        raise SeriesError(path, f"{len(rows)} rows of data", "at least two are needed to know the time step")
    return rows, times, numbers


def find_columns(path: Path, header: list[str], wanted: Sequence[str]) -> list[int]:
    missing = [name for name in wanted if name not in header]
    if not missing:
        repeated = [name for name in wanted if header.count(name) > 1]
        if repeated:
            raise SeriesError(path, "the column is there twice", "rename one of them", row=1, column=repeated[0])
        return [header.index(name) for name in wanted]
    if len(header) == 1:
        for separator, called in ((";", "semicolon"), ("\t", "tab"), ("|", "bar")):
            if separator in header[0]:
                remedy = "save the file with commas between columns and points as decimal marks"
                raise SeriesError(path, f"columns are separated by {called}s", remedy, row=1)
    spare = [name for name in header if name not in wanted]
    meant = _probably_meant(missing[0], spare)
    remedy = f"did you mean {meant!r}? rename it" if meant else "add or rename it"
    found = ", ".join(header)
    raise SeriesError(path, f"the column is missing (found: {found})", remedy, row=1, column=missing[0])


def _probably_meant(name: str, spare: Sequence[str]) -> str | None:
    """The column most like `name`, if it is spelled alike, or begins with the same word (price, price_eur_per_kwh)."""
    alike = difflib.get_close_matches(name, spare, n=1, cutoff=0.6)
    same_word = [other for other in spare if other.partition("_")[0] == name.partition("_")[0]]
    return next(iter([*alike, *same_word]), None)


def _time(path: Path, text: str, row: int, column: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError as error:
        remedy = "write it as 2024-01-01T00:00:00+01:00"
        raise SeriesError(path, f"{text!r} is not an ISO 8601 time", remedy, row=row, column=column) from error


def _number(path: Path, text: str, row: int, column: str) -> float:
    """The number in a cell; NaN stands for an empty one."""
    text = text.strip()
    if _DECIMAL_COMMA.match(text):
        raise SeriesError(path, f"{text!r} has a decimal comma", "write decimals with a point", row=row, column=column)
    if not text:
        return math.nan
    try:
        number = float(text)
    except ValueError as error:
        raise SeriesError(path, f"{text!r} is not a number", "correct it", row=row, column=column) from error
    if not math.isfinite(number):
        remedy = "correct it, or leave the cell empty if nothing was measured: short gaps are filled"
        raise SeriesError(path, f"{text!r} is not a finite number", remedy, row=row, column=column)
    return number


# -- times -------------------------------------------------------------------------------------------------------------


def _check_offsets(path: Path, rows: list[int], times: list[datetime], column: str) -> None:
    first = times[0].utcoffset()
    for row, time in zip(rows, times, strict=True):
        offset = time.utcoffset()
        if offset is None and first is None:
            remedy = "write the UTC offset (or Z) behind every time"
            raise SeriesError(path, f"{time.isoformat(sep=' ')} has no time zone", remedy, row=row, column=column)
        if offset != first:
            zones = f"{_zone(times[0])} in row {rows[0]}, {_zone(time)} here"
            remedy = "convert all times to UTC or to one offset"
            raise SeriesError(path, f"mixed time zones ({zones})", remedy, row=row, column=column)


def _zone(time: datetime) -> str:
    return f"UTC{time.isoformat()[-6:]}" if time.utcoffset() else ("UTC" if time.tzinfo else "no zone")


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
    rows: list[int],
    times: list[datetime],
    numbers: NDArray[np.float64],
    columns: Sequence[str],
    time_column: str,
    max_gap_s: float,
) -> TimeSeries:
    """Place the rows on the grid of their most frequent step, filling short gaps."""
    seconds = np.array([(time - times[0]).total_seconds() for time in times])
    differences = np.diff(seconds)
    steps, counts = np.unique(differences, return_counts=True)
    dt_s = float(steps[np.argmax(counts)])
    index = seconds / dt_s
    off_grid = np.flatnonzero(np.abs(index - np.round(index)) > 1e-6)
    if off_grid.size:
        k = int(off_grid[0])
        problem = f"{times[k].isoformat(sep=' ')} is off the regular step of {dt_s:g} s"
        raise SeriesError(path, problem, "resample the log to a regular step", row=rows[k], column=time_column)
    index = np.round(index).astype(np.int64)
    grid = np.arange(int(index[-1]) + 1)
    values, gaps = {}, []
    for name, column in zip(columns, numbers, strict=True):
        there = np.flatnonzero(~np.isnan(column))
        if there.size == 0 or there[0] != 0 or there[-1] != len(rows) - 1:
            k = 0 if there.size == 0 or there[0] != 0 else int(there[-1]) + 1
            remedy = "a gap at an end cannot be filled: complete it or cut the file there"
            raise SeriesError(path, "no value (empty cell)", remedy, row=rows[k], column=name)
        for before, after in itertools.pairwise(there.tolist()):
            missing = int(index[after] - index[before]) - 1
            if missing == 0:
                continue
            if missing * dt_s > max_gap_s:
                problem = (
                    f"a gap of {missing * dt_s / 3600:g} h before {times[after].isoformat(sep=' ')}, "
                    f"longer than the {max_gap_s / 3600:g} h that are filled"
                )
                remedy = "complete the data, cut the file there, or allow longer gaps (--max-gap-hours)"
                raise SeriesError(path, problem, remedy, row=rows[after], column=name)
            gaps.append(Gap(name, rows[before], times[before] + timedelta(seconds=dt_s), missing * dt_s))
        values[name] = np.interp(grid, index[there], column[there])
    file_rows = np.array(rows)[np.searchsorted(index, grid, side="right") - 1]
    return TimeSeries(times[0], dt_s, values, tuple(gaps), str(path), file_rows)
