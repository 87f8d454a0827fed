"""A house log on a regular grid: read from CSV as it comes, or simulated from the physical house.

CSV format: UTF-8, comma as separator, point as decimal mark, a header with the columns time, outdoor_c, room1_c..,
power1_kw..; one row at least every five minutes. Real logs have holes and clocks that jump, so unlike tariffs and
prices a house log is not refused for them: what cannot be trusted becomes NaN, with its row and signal reported.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from systems.house.plant import PhysicalHouse
from systems.house.rules import Rule
from systems.series import SeriesError, find_columns

Array = NDArray[np.float64]
DT_S = 300.0
ROOMS = 4
BREAK_STEPS = 13
"""Empty steps put where the clock jumped, so that no hour of history spans the jump."""
ABSENT = {"", "nan", "null", "none", "unavailable", "unknown"}
"""What loggers (Home Assistant among them) write when nothing was measured."""


class HouseLogError(ValueError):
    """A log that cannot be used; the message says what is wrong and what to do."""

    exit_code = 65


@dataclass(frozen=True)
class Fault:
    """Values that were found wrong and are left out of the fit."""

    kind: str
    """dropout, stuck, spike, range, fahrenheit, watt, clock, daylight_saving or duplicate."""
    signal: str
    first_row: int
    """File row (the header is row 1)."""
    last_row: int
    values: int
    """How many values (or rows, for the clock) are affected."""
    detail: str

    def __str__(self) -> str:
        rows = f"row {self.first_row}" if self.first_row == self.last_row else f"rows {self.first_row}-{self.last_row}"
        return f"{rows}, {self.signal}: {self.detail}"


@dataclass(frozen=True, eq=False)
class HouseLog:
    """Samples on the 5-min grid; NaN is missing."""

    start_s: float
    """Unix time of sample 0 (of the written clock, where the file gives no UTC offset)."""
    outputs: Array
    """(T, rooms) room temperatures, °C."""
    inputs: Array
    """(T, 1 + rooms) outdoor temperature °C, then electrical powers kW, means over [t, t+1)."""
    row: NDArray[np.int64]
    """(T,) file row of each sample; where nothing was logged, that of the sample before."""
    faults: tuple[Fault, ...] = ()
    source: str = ""
    dt_s: float = DT_S

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def rooms(self) -> int:
        return self.outputs.shape[1]

    @property
    def days(self) -> float:
        return len(self) * self.dt_s / 86400.0

    @property
    def signals(self) -> tuple[str, ...]:
        return log_columns(self.rooms)

    @property
    def table(self) -> Array:
        """(T, 1 + 2 rooms): outdoor, rooms, powers, in the order of `signals`."""
        return np.column_stack([self.inputs[:, 0], self.outputs, self.inputs[:, 1:]])


def log_columns(rooms: int = ROOMS) -> tuple[str, ...]:
    """Names of the signals in a CSV log, without time."""
    numbers = range(1, rooms + 1)
    return ("outdoor_c", *(f"room{i}_c" for i in numbers), *(f"power{i}_kw" for i in numbers))


def from_table(
    log_table: Array, start_s: float, row: NDArray[np.int64], faults: tuple[Fault, ...], source: str
) -> HouseLog:
    """The log from a table (T, 1 + 2 rooms) in the order of `log_columns`."""
    rooms = log_table.shape[1] // 2
    inputs = np.column_stack([log_table[:, 0], log_table[:, 1 + rooms :]])
    return HouseLog(start_s, log_table[:, 1 : 1 + rooms].copy(), inputs, row, faults, source)


# -- reading -----------------------------------------------------------------------------------------------------------


def load_house_log(path: Path, *, rooms: int = ROOMS, time_column: str = "time") -> HouseLog:
    """Raises SeriesError for a file that is not the format, HouseLogError for one too coarse or too short to grid."""
    columns = log_columns(rooms)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows, times, values, naive = _read_rows(path, csv.reader(file), columns, time_column)
    except OSError as error:
        raise SeriesError(path, error.strerror or str(error), "name a CSV file that can be read") from error
    except UnicodeDecodeError as error:
        raise SeriesError(path, f"not UTF-8 text ({error.reason})", "save it as CSV in UTF-8") from error
    time_s, table, row = np.array(times), np.array(values), np.array(rows)
    if len(row) < 2:
        raise SeriesError(path, f"{len(row)} rows of data", "give a log of a week or more")
    step_s = float(np.median(np.abs(np.diff(time_s))))
    if step_s > 1.2 * DT_S:
        raise HouseLogError(
            f"{path}: one row per {step_s / 60:g} min; the model steps {DT_S / 60:g} min, so log at least that often"
        )
    time_s, table, row, faults = _straighten(time_s, table, row, naive=naive)
    return _on_grid(time_s, table, row, faults, str(path), step_s)


def _read_rows(
    path: Path, reader: Iterator[list[str]], columns: tuple[str, ...], time_column: str
) -> tuple[list[int], list[float], list[list[float]], bool]:
    """(file rows, Unix times, values, whether the times have no UTC offset and so follow a local clock)."""
    header = [name.strip() for name in next(reader, [])]
    if not any(header):
        raise SeriesError(path, "the file is empty", f"it needs a header row: {','.join([time_column, *columns])}")
    time_index, *indices = find_columns(path, header, [time_column, *columns])
    rows: list[int] = []
    times: list[float] = []
    values: list[list[float]] = []
    naive: bool | None = None
    for row, fields in enumerate(reader, start=2):
        if not any(field.strip() for field in fields):
            continue
        if len(fields) != len(header):
            hint = "write decimals with a point, not a comma" if len(fields) > len(header) else "complete the row"
            raise SeriesError(path, f"{len(fields)} fields where the header has {len(header)}", hint, row=row)
        try:
            time = datetime.fromisoformat(fields[time_index].strip())
        except ValueError as error:
            remedy = "write it as 2024-01-01T00:00:00+01:00"
            problem = f"{fields[time_index]!r} is not an ISO 8601 time"
            raise SeriesError(path, problem, remedy, row=row, column=time_column) from error
        local = time.tzinfo is None
        if naive is not None and local != naive:
            remedy = "write the UTC offset (or Z) behind every time, or behind none"
            raise SeriesError(path, "times with and without UTC offset are mixed", remedy, row=row, column=time_column)
        naive = local
        rows.append(row)
        times.append((time.replace(tzinfo=UTC) if local else time).timestamp())
        values.append([_number(path, fields[i], row, name) for i, name in zip(indices, columns, strict=True)])
    return rows, times, values, bool(naive)


def _number(path: Path, text: str, row: int, column: str) -> float:
    text = text.strip()
    if text.lower() in ABSENT:
        return math.nan
    try:
        number = float(text)
    except ValueError as error:
        hint = "write decimals with a point" if "," in text else "correct it, or leave the cell empty"
        raise SeriesError(path, f"{text!r} is not a number", hint, row=row, column=column) from error
    return number if math.isfinite(number) else math.nan


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


def _straighten(
    time_s: Array, table: Array, row: NDArray[np.int64], *, naive: bool
) -> tuple[Array, Array, NDArray[np.int64], list[Fault]]:
    """Ascending times: repeated rows dropped, and the rows after a backward jump set behind a break.

    A jump forward leaves a gap, which is break enough; only daylight saving is named, as the gap is not one in time.
    """
    faults: list[Fault] = []
    step = float(np.median(np.abs(np.diff(time_s))))
    keep, shifted, shift, last = [0], [float(time_s[0])], 0.0, float(time_s[0])
    for k in range(1, len(time_s)):
        now, place = float(time_s[k]), int(row[k])
        jump = now - last - step
        if now == last:
            faults.append(Fault("duplicate", "time", place, place, 1, "the time of the row before once more; left out"))
            continue
        if now < last:
            dst = naive and _is_dst_change(now, jump)
            kind = "daylight_saving" if dst else "clock"
            what = "the clock was set back for winter time" if dst else f"the clock jumped back by {-jump / 3600:.2f} h"
            faults.append(Fault(kind, "time", place, place, 1, f"{what}; the hour after it is left out"))
            shift += last - now + (BREAK_STEPS + 1) * DT_S
        elif naive and _is_dst_change(now, jump):
            detail = "the clock was set forward for summer time; the hour after it is left out"
            faults.append(Fault("daylight_saving", "time", place, place, 1, detail))
            shift += BREAK_STEPS * DT_S - jump
        last = now
        keep.append(k)
        shifted.append(now + shift)
    return np.array(shifted), table[keep], row[keep], faults


def _on_grid(
    time_s: Array, table: Array, row: NDArray[np.int64], faults: list[Fault], source: str, step_s: float
) -> HouseLog:
    """Temperatures from the rows nearest to each grid time, powers from the rows within the step that begins there."""
    start = math.floor(time_s[0] / DT_S + 0.5) * DT_S
    place = (time_s - start) / DT_S
    nearest = np.floor(place + 0.5).astype(int)
    # Rows that come once per step with a jittery second belong to the grid time they mean.
    during = nearest if step_s > 0.8 * DT_S else np.floor(place).astype(int)
    steps = int(nearest[-1]) + 1
    rooms = table.shape[1] // 2
    temperatures = _bin_means(nearest, table[:, : 1 + rooms], steps)
    powers = _bin_means(during, table[:, 1 + rooms :], steps)
    file_row = np.zeros(steps, dtype=np.int64)
    np.maximum.at(file_row, np.clip(nearest, 0, steps - 1), row)
    file_row = np.maximum.accumulate(file_row)
    return from_table(np.column_stack([temperatures, powers]), start, file_row, tuple(faults), source)


def _bin_means(index: NDArray[np.int64], values: Array, steps: int) -> Array:
    """(steps, n) mean of the finite values with each index; NaN where there is none."""
    inside = (index >= 0) & (index < steps)
    index, values = index[inside], values[inside]
    finite = np.isfinite(values)
    total, count = np.zeros((steps, values.shape[1])), np.zeros((steps, values.shape[1]))
    np.add.at(total, index, np.where(finite, values, 0.0))
    np.add.at(count, index, finite)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


# -- writing and simulating --------------------------------------------------------------------------------------------


def simulate_house_log(
    plant: PhysicalHouse,
    rule: Rule,
    *,
    seed: int,
    first: int = 0,
    source: str = "simulated log",
    on_step: Callable[[int], None] | None = None,
) -> HouseLog:
    """Run the plant for its episode under `rule` and log what its sensors and meters show.

    `on_step` hears the number of steps done, once per simulated day.
    """
    y, _ = plant.reset(seed=seed, options={"first": first})
    outdoor = plant.conditions.outdoor_c
    outputs, inputs = np.empty((plant.steps, plant.rooms)), np.empty((plant.steps, 1 + plant.rooms))
    start = plant.time_s
    for t in range(plant.steps):
        outputs[t], inputs[t, 0] = y, outdoor[plant.k]
        y, _, _, _, info = plant.step(rule.act(y, float(outdoor[plant.k])))
        inputs[t, 1:] = info["power_kw"]
        if on_step is not None and t % 288 == 0:
            on_step(t)
    return HouseLog(start, outputs, inputs, np.arange(2, plant.steps + 2), (), source, plant.dt_s)


def write_house_log(log: HouseLog, path: Path) -> None:
    """CSV that `load_house_log` reads; missing values are empty cells."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["time", *log.signals])
        for t, values in enumerate(log.table):
            time = datetime.fromtimestamp(log.start_s + t * log.dt_s, UTC).isoformat()
            writer.writerow([time, *("" if math.isnan(v) else f"{v:.4f}" for v in values)])
