"""What comes from outside and no decision changes: weather, prices, load, sun on panels, draws, as named columns.

A column is named as the problem names its forecast, so what is published as a forecast is a column seen ahead of time.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from systems.clock import LocalClock, local_clock
from systems.world.foresight import Certain, Foresight

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class WorldColumn:
    """What really comes (n,), one value a step, and what can be known of it ahead."""

    values: Array
    foresight: Foresight = field(default_factory=Certain)


@dataclass(frozen=True, eq=False)
class Exogenous:
    """Columns of one length on one grid: step k lasts from `start + k dt_s` on."""

    start: datetime
    """With UTC offset."""
    dt_s: float
    zone: tzinfo
    """Of the local clock: habits, tariffs and schedules follow it."""
    columns: Mapping[str, WorldColumn]
    source: str = ""

    def __len__(self) -> int:
        return min((len(column.values) for column in self.columns.values()), default=0)

    def __getitem__(self, name: str) -> Array:
        return self.columns[name].values

    @cached_property
    def clock(self) -> LocalClock:
        return local_clock(self.start, self.dt_s, len(self), self.zone)

    @cached_property
    def minute_of_week(self) -> NDArray[np.int64]:
        """(n,) in the middle of each step, from Monday 00:00 local time: what a weekly schedule is read at."""
        middle_h = self.dt_s / 7200.0
        minutes = self.clock.weekday * 1440 + np.floor((self.clock.hour + middle_h) * 60 + 1e-6).astype(np.int64)
        return np.asarray(minutes % 10080)

    def time_s(self, step: int) -> float:
        """Unix time at which a step begins."""
        return self.start.timestamp() + step * self.dt_s

    def step_at(self, time: datetime) -> int:
        """The step that `time` falls in; may lie outside."""
        return int((time - self.start).total_seconds() // self.dt_s)

    def time(self, step: int) -> datetime:
        return (self.start + timedelta(seconds=step * self.dt_s)).astimezone(self.zone)

    def row(self, step: int) -> dict[str, float]:
        """What holds over a step, by column."""
        return {name: float(column.values[step]) for name, column in self.columns.items()}

    def coming(self, name: str, step: int, count: int) -> Array:
        """(count,) what really comes from a step on; beyond the end, the last value."""
        index = np.minimum(np.arange(step, step + count), len(self) - 1)
        return self.columns[name].values[index]

    def forecast(self, name: str, step: int, count: int, *, seed: int = 0, error: float = 1.0) -> Array:
        """(count,) a column as it is foreseen at the beginning of a step; the same arguments give the same numbers.

        error: how wrong, in units of the column's own error; 0 is the perfect forecast, of prices and habits too.
        """
        if error == 0.0:
            return self.coming(name, step, count)
        rng = np.random.default_rng((seed, step, zlib.crc32(name.encode())))
        return self.columns[name].foresight.ahead(self, name, step, count, rng, error)

    def with_columns(self, columns: Mapping[str, Array], source: str = "") -> Exogenous:
        """The same with other values, of a file say; what is known of them ahead stays of the same kind."""
        changed = {
            name: replace(self.columns[name], values=np.asarray(values, dtype=np.float64))
            for name, values in columns.items()
        }
        return replace(self, columns={**self.columns, **changed}, source=source or self.source)
