"""The meter as it is: what is bought and sold, the bill of it, and the month's peak that a capacity charge counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from runtime.duration import parse_duration
from systems.asset_plant import Around, AssetPlant, Now
from systems.grid import HOUR_S
from systems.problem import Signal
from systems.world import Exogenous

if TYPE_CHECKING:
    from systems.assets.meter import Capacity

METER_RANGE_KW = 60.0


class MeterPlant(AssetPlant):
    """A house without [meter] buys every kWh: it sells nothing, and its meter is not read.

    The peak is that of the highest mean import over whole intervals of the clock; a month begins at `free_kw`. What an
    interval adds to the month's charge is a cost of the step that ends it.
    """

    asset = "meter"

    def __init__(self, read: bool, capacity: Capacity | None = None) -> None:
        self._read, self._capacity = read, capacity
        self._free_kw = 0.0 if capacity is None else capacity.free_kw
        self._interval_s = HOUR_S if capacity is None else float(parse_duration(capacity.interval))
        self._start()

    def _start(self) -> None:
        self._grid_kw = self._energy_cost = self._capacity_cost = 0.0
        self._peak_kw, self._month = self._free_kw, -1
        self._interval, self._interval_kwh = -1, 0.0

    def initial_names(self) -> tuple[str, ...]:
        return () if self._capacity is None else ("month_peak",)

    def begin(
        self, rng: np.random.Generator, world: Exogenous, first: int, steps: int, initial: Mapping[str, float]
    ) -> None:
        self._start()
        self._peak_kw = max(self._free_kw, initial.get("month_peak", self._free_kw))

    def advance(self, now: Now, around: Around) -> None:
        self._grid_kw = around.electric_kw
        price = now.world["buy"] if self._grid_kw > 0.0 or not self._read else now.world["sell"]
        self._energy_cost = now.hours * price * self._grid_kw
        self._capacity_cost = 0.0 if self._capacity is None else self._charge(now, self._capacity.price_per_kw)

    def _charge(self, now: Now, price_per_kw: float) -> float:
        """What the month's charge has risen by."""
        if now.month != self._month:
            self._peak_kw = self._peak_kw if self._month < 0 else self._free_kw
            self._month = now.month
        interval = int(now.time_s // self._interval_s)
        if interval != self._interval:
            self._interval, self._interval_kwh = interval, 0.0
        self._interval_kwh += max(0.0, self._grid_kw) * now.hours
        ends = int((now.time_s + now.hours * HOUR_S + 1e-6) // self._interval_s) != interval
        mean_kw = self._interval_kwh / (self._interval_s / HOUR_S)
        if not ends or mean_kw <= self._peak_kw:
            return 0.0
        risen = mean_kw - self._peak_kw
        self._peak_kw = mean_kw
        return price_per_kw * risen

    def sensors(self) -> tuple[Signal, ...]:
        if not self._read:
            return ()
        peak = () if self._capacity is None else (Signal("month_peak", "kW", 0.0, METER_RANGE_KW),)
        return (Signal("grid_power", "kW", -METER_RANGE_KW, METER_RANGE_KW, "positive is bought"), *peak)

    def measured(self) -> Mapping[str, float]:
        if not self._read:
            return {}
        return {"grid_power": self._grid_kw, **self.states()}

    def states(self) -> Mapping[str, float]:
        return {} if self._capacity is None else {"month_peak": self._peak_kw}

    def flows(self) -> Mapping[str, float]:
        return {
            "grid_kw": self._grid_kw,
            "energy_cost": self._energy_cost,
            "capacity_cost": self._capacity_cost,
        }
