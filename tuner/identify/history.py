"""Home Assistant's history export: one row for each change of each entity, in any order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np

from systems.csv_rows import SeriesError, opened
from systems.logs.log import Array, Index

ENTITY, STATE, CHANGED = "entity_id", "state", ("last_changed", "last_updated")


def is_history(header: Sequence[str]) -> bool:
    return ENTITY in header and STATE in header and any(name in header for name in CHANGED)


@lru_cache(maxsize=8)
def read_history(path: Path) -> dict[str, tuple[Array, Array, Index]]:
    """By entity: Unix times (n,) ascending, values (n,) with NaN for words, file rows (n,). Raises SeriesError."""
    raw: dict[str, list[tuple[float, float, int]]] = {}
    with opened(path) as reader:
        header = [name.strip() for name in next(reader)]
        entity, state = header.index(ENTITY), header.index(STATE)
        changed = next(header.index(name) for name in CHANGED if name in header)
        for fields in reader:
            row = reader.line_num
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(header):
                remedy = "complete the row"
                raise SeriesError(path, f"{len(fields)} fields where the header has {len(header)}", remedy, row=row)
            time = _time(path, fields[changed], row, header[changed])
            raw.setdefault(fields[entity].strip(), []).append((time, _number(fields[state]), row))
    if not raw:
        raise SeriesError(path, "0 rows of data", "export the history of the sensors again")
    found = {}
    for name, events in raw.items():
        table = np.array(sorted(events))
        found[name] = (table[:, 0], table[:, 1], table[:, 2].astype(np.int64))
    return found


def _number(text: str) -> float:
    """NaN for on, off, unavailable and whatever else a state may be."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _time(path: Path, text: str, row: int, column: str) -> float:
    try:
        time = datetime.fromisoformat(text.strip())
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        remedy = "export the history again, or write it as 2024-01-01T00:00:00Z"
        raise SeriesError(path, f"{text!r} is not an ISO 8601 time", remedy, row=row, column=column) from error
