"""Rows of a CSV file of times and numbers: read strictly, every error with its place and its remedy.

Format: UTF-8, one header row, one column of times in ISO 8601 or as Unix time. Columns are separated by commas,
semicolons, tabs or bars, as the header's names are; decimals are marked by points or commas. Times carry a UTC offset
each (offsets may differ, as local ones do in a year), or none does and a time zone is named for them.
"""

from __future__ import annotations

import csv
import difflib
import math
import re
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runtime.formats.plain_files import open_text

_DECIMAL_COMMA = re.compile(r"^[+-]?\d+,\d+$")
_EPOCH = re.compile(r"\d{9,19}(\.\d+)?", re.ASCII)
MOST_EPOCH_S = 1e11
"""In milliseconds it is 1973."""
EMPTY = frozenset({""})


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
class CsvRows:
    """What is in the file, n rows in its order."""

    numbers: list[int]
    """File rows (n,); the header is row 1."""
    times: list[datetime]
    """(n,) as written: all with a UTC offset, or none."""
    values: list[list[float]]
    """(n, columns); NaN where the cell says that nothing was measured."""

    @property
    def naive(self) -> bool:
        return bool(self.times) and self.times[0].tzinfo is None


def read_header(path: Path) -> list[str]:
    """Names of the columns. Raises SeriesError."""
    with opened(path) as reader:
        return _header(path, reader, ["time"])


def read_rows(
    path: Path, columns: Sequence[str], *, time_column: str = "time", absent: Set[str] = EMPTY, least: int = 2
) -> CsvRows:
    """`columns` of every row that is not blank; cells that are one of `absent` (lower case) count as not measured.

    Raises SeriesError for anything that is not the format, and for fewer than `least` rows.
    """
    with opened(path) as reader:
        header = _header(path, reader, [time_column, *columns])
        time_index, *indices = find_columns(path, header, [time_column, *columns])
        rows = CsvRows([], [], [])
        for fields in reader:
            row = reader.line_num
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(header):
                hint = "separate columns by semicolons, or write decimals with a point"
                hint = hint if len(fields) > len(header) else "complete the row"
                raise SeriesError(path, f"{len(fields)} fields where the header has {len(header)}", hint, row=row)
            time = _time(path, fields[time_index], row, time_column)
            if rows.times and (time.tzinfo is None) != rows.naive:
                remedy = "write the UTC offset (or Z) behind every time, or behind none"
                raise SeriesError(
                    path, "times with and without UTC offset are mixed", remedy, row=row, column=time_column
                )
            rows.numbers.append(row)
            rows.times.append(time)
            rows.values.append(
                [_number(path, fields[i], row, name, absent) for i, name in zip(indices, columns, strict=True)]
            )
    if len(rows.numbers) < least:
        remedy = f"at least {'two' if least == 2 else least} are needed to know the time step"
        raise SeriesError(path, f"{len(rows.numbers)} rows of data", remedy)
    return rows


def find_columns(path: Path, header: list[str], wanted: Sequence[str]) -> list[int]:
    """Places of the `wanted` columns. Raises SeriesError for one that is missing or there twice."""
    missing = [name for name in wanted if name not in header]
    if not missing:
        repeated = [name for name in wanted if header.count(name) > 1]
        if repeated:
            raise SeriesError(path, "the column is there twice", "rename one of them", row=1, column=repeated[0])
        return [header.index(name) for name in wanted]
    spare = [name for name in header if name not in wanted]
    meant = _probably_meant(missing[0], spare)
    remedy = f"did you mean {meant!r}? rename it" if meant else "add or rename it"
    found = ", ".join(header)
    raise SeriesError(path, f"the column is missing (found: {found})", remedy, row=1, column=missing[0])


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A csv.reader from the first row on. Raises SeriesError."""
    try:
        with open_text(path) as file:
            head = file.readline()
            file.seek(0)
            yield csv.reader(file, delimiter=_separator(head))
    except OSError as error:
        raise SeriesError(path, error.strerror or str(error), "name a CSV file that can be read") from error
    except UnicodeDecodeError as error:
        raise SeriesError(path, f"not UTF-8 text ({error.reason})", "save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise SeriesError(path, f"not a CSV file ({error})", "save it as comma-separated text") from error


def _separator(head: str) -> str:
    """Of the columns: what the header has, the comma last, since it may stand within a name."""
    return next((mark for mark in (";", "\t", "|") if mark in head), ",")


def _header(path: Path, reader: Iterator[list[str]], wanted: Sequence[str]) -> list[str]:
    header = [name.strip() for name in next(reader, [])]
    if not any(header):
        raise SeriesError(path, "the file is empty", f"it needs a header row: {','.join(wanted)}")
    return header


def _probably_meant(name: str, spare: Sequence[str]) -> str | None:
    """The column most like `name`, if it is spelled alike, or begins with the same word (price, price_eur_per_kwh)."""
    alike = difflib.get_close_matches(name, spare, n=1, cutoff=0.6)
    same_word = [other for other in spare if other.partition("_")[0] == name.partition("_")[0]]
    return next(iter([*alike, *same_word]), None)


def _time(path: Path, text: str, row: int, column: str) -> datetime:
    try:
        if _EPOCH.fullmatch(text.strip()):
            return _of_epoch(float(text))
        time = datetime.fromisoformat(text.strip())
        # Times at the edges of the calendar have no Unix time in every zone.
        (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        return time
    except (ValueError, OverflowError) as error:
        remedy = "write it as 2024-01-01T00:00:00+01:00"
        raise SeriesError(path, f"{text!r} is not an ISO 8601 time", remedy, row=row, column=column) from error


def _of_epoch(number: float) -> datetime:
    """Of Unix seconds, or their thousandths, millionths or billionths, as databases write them."""
    while number > MOST_EPOCH_S:
        number /= 1000.0
    return datetime.fromtimestamp(number, UTC)


def _number(path: Path, text: str, row: int, column: str, absent: Set[str]) -> float:
    """The number in a cell; NaN stands for one in which nothing was measured."""
    text = text.strip()
    if text.lower() in absent:
        return math.nan
    try:
        number = float(text.replace(",", ".") if _DECIMAL_COMMA.match(text) else text)
    except ValueError as error:
        remedy = "correct it, or leave the cell empty"
        raise SeriesError(path, f"{text!r} is not a number", remedy, row=row, column=column) from error
    if not math.isfinite(number):
        remedy = "correct it, or leave the cell empty if nothing was measured: short gaps are filled"
        raise SeriesError(path, f"{text!r} is not a finite number", remedy, row=row, column=column)
    return number
