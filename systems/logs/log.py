"""A log on the house's grid: columns by name, what was found wrong in them, and which columns an asset asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.int64]
DAY_S = 86_400.0


class LogError(ValueError):
    """A log that cannot be used; the message says what is wrong and what to do."""

    exit_code = 65


class Quantity(Enum):
    """What a column holds: how it is put on the grid, which units it may come in, and what of it cannot be true."""

    INDOOR = "indoor"
    """Air of a zone, degC."""
    OUTDOOR = "outdoor"
    """degC"""
    WATER = "water"
    """Of a tank, degC."""
    POWER = "power"
    """kW, never negative."""
    NET_POWER = "net_power"
    """kW, of either sign."""
    SHARE = "share"
    """0 to 1."""
    SUN = "sun"
    """W/m2"""

    @property
    def sampled(self) -> bool:
        """Read at grid times; the others are means over the step that begins there."""
        return self in (Quantity.INDOOR, Quantity.OUTDOOR, Quantity.WATER, Quantity.SHARE)


@dataclass(frozen=True)
class LogColumn:
    """One column that an asset learns from."""

    name: str
    quantity: Quantity
    largest: float = 100.0
    """Above it a power is in watts."""
    needed: bool = True
    """Without it the asset keeps its nameplate; others refine what is learned."""
    text: str = ""
    bus: int = 0
    """1 where it draws from the house's electric bus, -1 where it gives: the sum over all columns is 0."""
    remainder: bool = False
    """What is left of the sum, where it is not logged itself."""
    world: str = ""
    """The column of the world that it is a record of, if it comes from outside."""
    sum_of: tuple[tuple[str, float], ...] = ()
    """Columns that make it up where it is not logged itself, with their factors."""


@dataclass(frozen=True)
class LogFault:
    """Values that were found wrong and are left out of the fit."""

    kind: str
    """dropout, stuck, spike, range, jump, fahrenheit, watt, counter, balance, clock, daylight_saving or duplicate."""
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
class Log:
    """Samples on a regular grid of T steps; NaN is missing."""

    start_s: float
    """Unix time of sample 0."""
    dt_s: float
    columns: Mapping[str, Array]
    """(T,) each"""
    rows: Mapping[str, Index]
    """(T,) file row of each sample, by column; where nothing was logged, that of the sample before."""
    step_s: Mapping[str, float]
    """How often each column was logged; coarser means are held, coarser samples leave gaps."""
    faults: tuple[LogFault, ...]
    source: str
    zone: tzinfo = UTC

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    @property
    def days(self) -> float:
        return len(self) * self.dt_s / DAY_S

    def table(self, names: tuple[str, ...] | list[str]) -> Array:
        """(T, names)"""
        return np.column_stack([self.columns[name] for name in names])

    def minutes_of_week(self) -> Index:
        """(T,) local minutes since Monday, 00:00, in the middle of each step."""
        first = self.start_s + self.dt_s / 2
        # A zone's offset changes on full quarters of an hour only.
        times = first + self.dt_s * np.arange(len(self))
        quarters, inverse = np.unique(np.floor(times / 900.0), return_inverse=True)
        local = [datetime.fromtimestamp(float(q) * 900.0, self.zone) for q in quarters]
        base = np.array([t.weekday() * 1440 + t.hour * 60 + t.minute for t in local], dtype=np.int64)
        return np.asarray(base[inverse] + ((times % 900.0) // 60).astype(np.int64))


def runs(mask: Mask) -> list[tuple[int, int]]:
    """(first, last + 1) of every stretch of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def faults_of(kind: str, signal: str, bad: Mask, row: Index, detail: str) -> list[LogFault]:
    """One fault per stretch of bad samples."""
    return [
        LogFault(kind, signal, int(row[a]), int(row[b - 1]), b - a, f"{detail} ({b - a} samples)") for a, b in runs(bad)
    ]
