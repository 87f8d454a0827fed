"""A battery's plant as a table: what a stage makes of each state of charge and each power that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np

from systems.asset_plant import Around, Now
from systems.design import HouseDesign
from systems.plant import house_plants
from systems.world import Exogenous
from tuner.bound.program import StoreTable

BEYOND_BAND = 0.04
"""Of the state of charge: a piece of a step may end beyond the band in which it began."""
BISECTIONS = 30


class Cells:
    """The plant of the house's battery, one stage from any state of charge.

    pieces: of a step, in each of which a battery that follows its meter does what its limits of then allow. In one
    piece a power is asked for that a whole stage can keep.
    """

    def __init__(self, design: HouseDesign, pieces: int = 1) -> None:
        house = design.house
        self._pieces = pieces
        self.battery, self._grid = house.only("battery"), house.grid
        self._plant = next(p for p in house_plants(house) if p.asset == self.battery.name)
        self._soc = f"{self.battery.name}_soc"
        self.lowest, self.highest = self.battery.soc_min, self.battery.soc_max
        """The band of the house file, as for plans and rules."""
        self._now = Now(house.grid.step_h / pieces, 0, 0, 0, 0.0, {}, {})
        self._world = Exogenous(datetime(2000, 1, 1, tzinfo=UTC), house.grid.step_s, house.timezone, {})
        self._rng = np.random.default_rng(0)

    def stage(self, soc: float, power_kw: float) -> tuple[tuple[float, ...], float]:
        """(AC power in each piece, state of charge at the end)."""
        plant, real = self._plant, list[float]()
        plant.begin(self._rng, self._world, 0, self._grid.steps, {self._soc: soc})
        for _ in range(self._grid.steps * self._pieces):
            asked = power_kw
            if self._pieces > 1:
                shown = plant.measured()[self._soc]
                asked = max(asked, 0.0) if shown <= self.lowest else asked
                asked = min(asked, 0.0) if shown >= self.highest else asked
            real.append(plant.draw((max(asked, 0.0), max(-asked, 0.0)), self._now).electric_kw)
            plant.advance(self._now, Around({}))
        return tuple(real), plant.states()[self._soc]

    @property
    def full_kwh(self) -> float:
        """What all that fits in counts as, where what is left in store is counted."""
        self._plant.begin(self._rng, self._world, 0, 1, {self._soc: 1.0})
        return float(self._plant.states()[f"worth_kwh.{self.battery.name}"])

    def within(self, soc: float) -> tuple[float, float]:
        """The lowest and the highest power of a stage that stays in the band."""
        b = self.battery
        if self._pieces > 1:
            return -b.max_discharge_kw, b.max_charge_kw
        return (
            self._furthest(soc, -b.max_discharge_kw, lambda end: end >= self.lowest),
            self._furthest(soc, b.max_charge_kw, lambda end: end <= self.highest),
        )

    def _furthest(self, soc: float, most_kw: float, allowed: Callable[[float], bool]) -> float:
        """The power of most_kw's sign that is nearest to it and ends where it is allowed; 0 is."""
        if allowed(self.stage(soc, most_kw)[1]):
            return most_kw
        good, bad = 0.0, most_kw
        for _ in range(BISECTIONS):
            middle = (good + bad) / 2
            good, bad = (middle, bad) if allowed(self.stage(soc, middle)[1]) else (good, middle)
        return good


def tabulated(design: HouseDesign, socs: int, powers: int, pieces: int = 1) -> StoreTable:
    """From empty, which standby reaches, to a little above the band; pieces as of `Cells`."""
    cells = Cells(design, pieces)
    battery = cells.battery
    low, high = 0.0, min(1.0, cells.highest + BEYOND_BAND)
    soc = np.linspace(low, high, socs)
    most = max(battery.max_charge_kw, battery.max_discharge_kw)
    asked = np.linspace(-most, most, powers)
    count = design.house.grid.steps * pieces
    real, after = np.zeros((socs, powers, count)), np.zeros((socs, powers))
    for i, level in enumerate(soc.tolist()):
        lowest, highest = cells.within(level)
        for j, power in enumerate(asked.tolist()):
            real[i, j], after[i, j] = cells.stage(level, min(max(power, lowest), highest))
    return StoreTable(soc, asked, real, after)
