"""The meter as it is: what is bought and sold, the bill of it, and the month's peak that a capacity charge counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from runtime.inputs.uncharged import uncharged_kw
from systems.asset_plant import Around, AssetPlant, Now
from systems.grid import HOUR_S
from systems.problem import Signal
from systems.world import Exogenous

if TYPE_CHECKING:
    from systems.assets.meter.capacity import Capacity

DAY_MIN = 24 * 60

METER_RANGE_KW = 60.0


class MeterPlant(AssetPlant):
    """A house without [meter] buys every kWh: it sells nothing, and its meter is not read.

    A peak is the mean import over a whole interval of the clock. What an interval adds to the month's charge is a cost
    of the step that ends it. `month_peak` is the import that would add nothing.
    """

    asset = "meter"
    inner = True

    def __init__(self, read: bool, capacity: Capacity | None = None) -> None:
        self._read, self._capacity = read, capacity
        self._start()

    def _start(self) -> None:
        self._grid_kw = self._energy_cost = self._capacity_cost = 0.0
        self._days_kw: list[float] = [0.0]
        """The highest interval of each day of the month so far, today's last."""
        self._day = self._month = -1
        self._days_left = 0
        """Of the month, after the last step's."""
        self._interval, self._interval_kwh = -1, 0.0

    def initial_names(self) -> tuple[str, ...]:
        return () if self._capacity is None else ("month_peak",)

    def begin(
        self, rng: np.random.Generator, world: Exogenous, first: int, steps: int, initial: Mapping[str, float]
    ) -> None:
        self._start()
        self._days_kw = [initial.get("month_peak", 0.0)]

    def advance(self, now: Now, around: Around) -> None:
        self._grid_kw = around.electric_kw
        price = now.world["buy"] if self._grid_kw > 0.0 or not self._read else now.world["sell"]
        self._energy_cost = now.hours * price * self._grid_kw
        self._capacity_cost = 0.0 if self._capacity is None else self._charge(now, self._capacity)

    def _charge(self, now: Now, capacity: Capacity) -> float:
        """What the month's charge has risen by."""
        self._turn_the_page(now)
        interval = int(now.time_s // capacity.interval_s)
        if interval != self._interval:
            self._interval, self._interval_kwh = interval, 0.0
        self._interval_kwh += max(0.0, self._grid_kw) * now.hours
        ends = int((now.time_s + now.hours * HOUR_S + 1e-6) // capacity.interval_s) != interval
        mean_kw = self._interval_kwh / (capacity.interval_s / HOUR_S)
        if not ends or mean_kw <= self._days_kw[-1]:
            return 0.0
        before = capacity.fee(capacity.charged_kw(self._days_kw))
        self._days_kw[-1] = mean_kw
        return capacity.fee(capacity.charged_kw(self._days_kw)) - before

    def _turn_the_page(self, now: Now) -> None:
        day = now.minute_of_week // DAY_MIN
        if self._month >= 0 and now.month != self._month:
            self._days_kw = [0.0]
        elif self._day >= 0 and day != self._day:
            self._days_kw.append(0.0)
        self._day, self._month, self._days_left = day, now.month, now.days_left

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
        if self._capacity is None:
            return {}
        c, (*others, today) = self._capacity, self._days_kw
        return {"month_peak": uncharged_kw(others, today, c.days, c.free_kw, c.edges, self._days_left)}

    def flows(self) -> Mapping[str, float]:
        return {
            "grid_kw": self._grid_kw,
            "energy_cost": self._energy_cost,
            "capacity_cost": self._capacity_cost,
        }
