"""The log of a house from its files: columns found by name or map, converted, put on the house's grid, and cleaned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

import numpy as np

from systems.house_file import House
from systems.logs.cleaning import by_row, cleaned, suspects_of
from systems.logs.log import Array, Index, Log, LogColumn, LogError, LogFault, Quantity, faults_of
from systems.portrait import asset_columns, log_columns
from tuner.identify.counters import counted_up
from tuner.identify.log_files import Readings, header_of, read_file
from tuner.identify.log_grid import bin_means
from tuner.identify.mapping import Foreign, map_text, propose
from tuner.identify.units import UNITS, LogUnit, named

COARSEST_S = 3600.0
"""Means over longer steps say nothing of how a house is used."""
POWERS = (Quantity.POWER, Quantity.NET_POWER)
HELD_S = 6 * 3600.0
"""A state of a history export is believed so long without a new one."""


class MissingColumnsError(LogError):
    """No asset has its columns; `proposal` is the text of a map that would help, if names resemble."""

    def __init__(self, message: str, proposal: str = "") -> None:
        super().__init__(message)
        self.proposal = proposal


@dataclass(frozen=True, eq=False)
class HouseLog:
    """The log, and by asset what it lacks."""

    log: Log
    missing: Mapping[str, tuple[LogColumn, ...]]
    proposal: Mapping[str, str]
    """Foreign columns that resemble missing ones."""


@dataclass(frozen=True)
class _Source:
    path: Path
    foreign: str
    unit: LogUnit


def load_log(
    house: House,
    paths: Sequence[Path],
    *,
    mapping: Mapping[str, Foreign] | None = None,
    zone: tzinfo | None = None,
) -> HouseLog:
    """Raises SeriesError and LogError for files that cannot be used, and MissingColumnsError where nothing is known."""
    columns = _with_parts(log_columns(house))
    headers = {path: header_of(path) for path in paths}
    sources = {column.name: _sources(column, headers, (mapping or {}).get(column.name)) for column in columns}
    found = {name for name, places in sources.items() if places}
    known = _derivable(columns, found)
    missing = {
        asset: tuple(column for column in needed if column.needed and column.name not in known)
        for asset, needed in asset_columns(house).items()
    }
    used = {(s.path, s.foreign) for places in sources.values() for s in places}
    spare = [name for path, header in headers.items() for name in header if (path, name) not in used]
    lacking = [column for column in log_columns(house) if column.needed and column.name not in known]
    proposal = propose(lacking, spare)
    if not any(column.needed and column.name in known for column in columns):
        raise MissingColumnsError(_nothing_known(house, paths, headers, lacking, proposal), map_text(proposal))
    log = _gridded(house, [c for c in columns if c.name in found], sources, zone or house.timezone)
    return HouseLog(_cleaned(_completed(log, log_columns(house)), log_columns(house)), missing, proposal)


def _with_parts(columns: Sequence[LogColumn]) -> tuple[LogColumn, ...]:
    """The columns and those that can make them up."""
    parts = [
        LogColumn(name, Quantity.POWER, column.largest, needed=False) for column in columns for name, _ in column.sum_of
    ]
    return (*columns, *parts)


def _sources(column: LogColumn, headers: Mapping[Path, list[str]], foreign: Foreign | None) -> list[_Source]:
    """Where the column stands: in every file that has it. Raises LogError for a mapped column that no file has."""
    if foreign is not None:
        unit = foreign.unit or UNITS[column.quantity][0]
        places = [_Source(path, foreign.column, unit) for path, names in headers.items() if foreign.column in names]
        if not places:
            files = ", ".join(str(path) for path in headers)
            raise LogError(f"--map: {column.name} is mapped to {foreign.column!r}, which is not in {files}; correct it")
        return places
    found = []
    for path, names in headers.items():
        here = [_Source(path, name, unit) for name, unit in named(column) if name in names]
        found += here[:1]
    return found


def _derivable(columns: Sequence[LogColumn], found: set[str]) -> set[str]:
    known = set(found)
    known |= {c.name for c in columns if c.sum_of and all(name in known for name, _ in c.sum_of)}
    for column in columns:
        others = [c for c in columns if c.bus and c.name != column.name]
        gives_back = any(c.bus == -1 and c.name != "import_kw" for c in others)
        if column.remainder and column.name not in known:
            needed = [c for c in others if c.needed or (gives_back and c.name == "export_kw")]
            if needed and all(c.name in known for c in needed):
                known.add(column.name)
    return known


def _nothing_known(
    house: House,
    paths: Sequence[Path],
    headers: Mapping[Path, list[str]],
    lacking: Sequence[LogColumn],
    proposal: Mapping[str, str],
) -> str:
    files, there = ", ".join(str(path) for path in paths), [name for names in headers.values() for name in names]
    meant = f"; {'; '.join(f'{theirs!r} may be {ours}' for ours, theirs in proposal.items())}" if proposal else ""
    wanted = ", ".join(column.name for column in lacking)
    return (
        f"{files}: no column of house {house.name!r} (it has {', '.join(there) or 'none'}; wanted {wanted}){meant}; "
        "name the log of this house, or map its columns with --map"
    )


# -- on the grid -------------------------------------------------------------------------------------------------------


def _gridded(house: House, columns: Sequence[LogColumn], sources: Mapping[str, list[_Source]], zone: tzinfo) -> Log:
    dt_s = house.grid.step_s
    wanted: dict[Path, list[str]] = {}
    for column in columns:
        for source in sources[column.name]:
            names = wanted.setdefault(source.path, [])
            if source.foreign not in names:
                names.append(source.foreign)
    files = {path: read_file(path, names, dt_s, zone) for path, names in wanted.items()}
    times = [r.time_s[[0, -1]] for file in files.values() for r in file.columns.values() if len(r.time_s)]
    first = math.floor(min(float(t[0]) for t in times) / dt_s + 0.5)
    steps = math.floor(max(float(t[-1]) for t in times) / dt_s + 0.5) - first + 1
    values: dict[str, Array] = {}
    rows: dict[str, Index] = {}
    coarse: dict[str, float] = {}
    faults = [fault for file in files.values() for fault in file.faults]
    for column in columns:
        for source in sources[column.name]:
            readings = files[source.path].columns.get(source.foreign)
            if readings is None:
                continue
            made, row, step_s, found = _on_grid(column, source, readings, first * dt_s, dt_s, steps)
            faults += found
            coarse[column.name] = max(step_s, coarse.get(column.name, 0.0))
            if column.name in values:
                gaps = ~np.isfinite(values[column.name])
                values[column.name][gaps] = made[gaps]
                rows[column.name][gaps] = row[gaps]
            else:
                values[column.name], rows[column.name] = made, row
    read = ", ".join(str(path) for path in files)
    return Log(first * dt_s, dt_s, values, rows, coarse, tuple(faults), read, zone)


def _on_grid(
    column: LogColumn, source: _Source, readings: Readings, start_s: float, dt_s: float, steps: int
) -> tuple[Array, Index, float, list[LogFault]]:
    """Values and file rows on the grid, the step they were logged at, and what was wrong."""
    values, faults = source.unit.convert(readings.values), list[LogFault]()
    step_s = dt_s if readings.events else max(dt_s, dt_s * round(readings.step_s / dt_s))
    if step_s > COARSEST_S:
        raise LogError(
            f"{source.path}: column {source.foreign!r} has a value every {step_s / 3600:g} h; log at least once an hour"
        )
    every = round(step_s / dt_s)
    blocks = -(-steps // every)
    place = (readings.time_s - start_s) / step_s
    nearest = np.floor(place + 0.5).astype(np.int64)
    row = np.zeros(blocks, dtype=np.int64)
    np.maximum.at(row, np.clip(nearest, 0, blocks - 1), readings.rows)
    row = np.maximum.accumulate(row)
    if source.unit.counter:
        made, reset = _differences(readings, values, start_s, step_s, blocks)
        faults += faults_of("counter", column.name, reset, row, "the counter went back, or was not read")
    elif readings.events:
        made = _held(readings, values, start_s, step_s, blocks, sampled=column.quantity.sampled)
    else:
        # Rows that come once per step with a jittery second belong to the grid time they mean.
        mean_at = nearest if readings.step_s > 0.8 * step_s else np.floor(place).astype(np.int64)
        made = bin_means(nearest if column.quantity.sampled else mean_at, values[:, None], blocks)[:, 0]
    if not source.unit.counter and column.quantity in POWERS and (up := counted_up(made, step_s)) is not None:
        raise LogError(
            f"{source.path}: column {source.foreign!r} hardly ever falls (counted up for {up}), so it is an energy and "
            f"not a power; {_as_counters(column)}"
        )
    if every > 1:
        if column.quantity.sampled:
            fine = np.full(blocks * every, np.nan)
            fine[::every] = made
        else:
            fine = np.repeat(made, every)
        made, row = fine[:steps], np.repeat(row, every)[:steps]
    return made, row, step_s, faults


def _as_counters(column: LogColumn) -> str:
    """How a log says the energies of what is a power to us; of one that has two signs, each has a counter."""
    if not column.sum_of:
        return f'name it {column.name.removesuffix("_kw")}_kwh, or map it with unit = "kWh"'
    names = " and ".join(f"{name.removesuffix('_kw')}_kwh" for name, _ in column.sum_of)
    return f"counters are {names}, one for each direction"


def _held(readings: Readings, values: Array, start_s: float, step_s: float, steps: int, *, sampled: bool) -> Array:
    """Of events: what holds at each grid time, or the mean over the step; NaN after words and long silence."""
    edges = start_s + step_s * np.arange(steps + 1)
    last = np.searchsorted(readings.time_s, edges, side="right") - 1
    at = np.where(last >= 0, values[np.maximum(last, 0)], np.nan)
    silent = (last < 0) | (edges - readings.time_s[np.maximum(last, 0)] > HELD_S)
    if sampled:
        return np.where(silent, np.nan, at)[:-1]
    knots = np.union1d(edges, readings.time_s)
    within = np.searchsorted(readings.time_s, knots[:-1], side="right") - 1
    level = np.where(within >= 0, values[np.maximum(within, 0)], np.nan)
    level[knots[:-1] - readings.time_s[np.maximum(within, 0)] > HELD_S] = np.nan
    length = np.diff(knots)
    good = np.isfinite(level)
    index = np.searchsorted(edges, knots[:-1], side="right") - 1
    inside = (index >= 0) & (index < steps)
    index, good, length = index[inside], good[inside], length[inside]
    total = np.bincount(index, np.where(good, np.nan_to_num(level[inside]) * length, 0.0), minlength=steps)
    covered = np.bincount(index, length * good, minlength=steps)
    return np.where(covered >= 0.5 * step_s, total / np.maximum(covered, 1e-9), np.nan)


def _differences(
    readings: Readings, energy_kwh: Array, start_s: float, step_s: float, steps: int
) -> tuple[Array, np.ndarray]:
    """(mean power over each step from a counter's readings, where it went back)."""
    good = np.isfinite(energy_kwh)
    times, counted = readings.time_s[good], energy_kwh[good]
    falls = np.flatnonzero(np.diff(counted) < 0) + 1
    edges = start_s + step_s * np.arange(steps + 1)
    if len(times) < 2:
        return np.full(steps, np.nan), np.zeros(steps, dtype=bool)
    # A total without its resets: what was counted before each is carried on, and the step across it left out.
    unrolled = np.concatenate([[0.0], np.cumsum(np.maximum(np.diff(counted), 0.0))])
    level = np.interp(edges, times, unrolled, left=np.nan, right=np.nan)
    power = np.diff(level) * 3600.0 / step_s
    reset = np.zeros(steps, dtype=bool)
    inside = np.clip(np.floor((times[falls] - start_s) / step_s - 1e-9).astype(np.int64), 0, steps - 1)
    reset[inside] = True
    gap = np.diff(times) > 2 * max(step_s, readings.step_s)
    for k in np.flatnonzero(gap):
        a, b = np.searchsorted(edges, [times[k], times[k + 1]])
        power[max(a - 1, 0) : b] = np.nan
    power[reset] = np.nan
    return power, reset


def _completed(log: Log, columns: Sequence[LogColumn]) -> Log:
    """With the columns that others make up."""
    values, rows, step_s = dict(log.columns), dict(log.rows), dict(log.step_s)

    def add(name: str, made: Array, like: Sequence[str]) -> None:
        values[name], rows[name] = made, rows[like[0]]
        step_s[name] = max(step_s[other] for other in like)

    for column in columns:
        parts = [name for name, _ in column.sum_of]
        if parts and column.name not in values and all(name in values for name in parts):
            add(column.name, sum((f * values[name] for name, f in column.sum_of), np.zeros(len(log))), parts)
    for column in columns:
        if column.remainder and column.name not in values:
            others = [c for c in columns if c.bus and c.name != column.name and c.name in values]
            if all(c.name in values for c in columns if c.bus and c.needed and c.name != column.name) and others:
                left = -sum((c.bus * values[c.name] for c in others), np.zeros(len(log)))
                # Meters that disagree by a little leave a little below zero.
                add(column.name, np.maximum(left, 0.0), [c.name for c in others])
    return Log(log.start_s, log.dt_s, values, rows, step_s, log.faults, log.source, log.zone)


def _cleaned(log: Log, columns: Sequence[LogColumn]) -> Log:
    values, faults = dict(log.columns), list(log.faults)
    for column in columns:
        if column.name not in values:
            continue
        # Between the readings of a coarser column there is nothing to find.
        every = max(1, round(log.step_s[column.name] / log.dt_s)) if column.quantity.sampled else 1
        table, found = cleaned(
            values[column.name][::every, None],
            [column.name],
            log.rows[column.name][::every],
            lambda v, signal, of=column, n=every: suspects_of(of, v, n * log.dt_s, log.source),  # type: ignore[misc]
        )
        values[column.name] = values[column.name].copy()
        values[column.name][::every] = table[:, 0]
        faults += found
    return Log(log.start_s, log.dt_s, values, log.rows, log.step_s, by_row(faults), log.source, log.zone)
