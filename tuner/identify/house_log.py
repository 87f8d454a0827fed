"""A house log on a regular grid: read from CSV as it comes, or simulated from the physical house.

CSV format: UTF-8, comma as separator, point as decimal mark, a header with the columns time, outdoor_c, room1_c..,
power1_kw..; one row at least every five minutes. What cannot be trusted becomes NaN, as `tuner.identify.log_grid` says.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from systems.house.plant import PhysicalHouse
from systems.house.rules import Rule
from systems.logs.log import Fault
from tuner.identify.counters import powers_of
from tuner.identify.log_grid import read_log

Array = NDArray[np.float64]
DT_S = 300.0
ROOMS = 4


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


def load_house_log(
    path: Path, *, rooms: int = ROOMS, time_column: str = "time", counters: Sequence[str] | None = None
) -> HouseLog:
    """Raises SeriesError for a file that is not the format, LogError for one too coarse to grid, or with energies.

    `counters` are columns of powers that hold energies in kWh; None where the user has no way to name them.
    """
    columns = log_columns(rooms)
    readings, powers = columns[: 1 + rooms], columns[1 + rooms :]
    log = read_log(path, columns, (*readings, *(counters or ())), dt_s=DT_S, time_column=time_column)
    table, counted = powers_of(log, columns, powers, counters, str(path))
    return from_table(table, log.start_s, log.row, (*log.faults, *counted), str(path))


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
