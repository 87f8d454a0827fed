"""A battery as it is: losses that depend on power, limits that taper, standby that is always paid, charge in steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from systems.asset_plant import Around, AssetPlant, Flow, Now, SetPoint
from systems.assets.battery.physics import BatteryPhysics, cell_power, limited_power, reported_soc
from systems.block import Block
from systems.problem import Signal
from systems.world import Exogenous

if TYPE_CHECKING:
    from systems.assets.battery import Battery

USUAL_SOC = 0.5
NOMINAL_EFFICIENCY = 0.95
"""Of a kWh in the cells, what the house gets."""


class BatteryPlant(AssetPlant):
    """The inverter follows charge less discharge. Powers count positive into the battery, on the AC side."""

    inner = True

    def __init__(self, battery: Battery, block: Block) -> None:
        self.asset, self.actions = battery.name, block.actions
        self.physics = BatteryPhysics(battery.capacity_kwh, battery.max_charge_kw, battery.max_discharge_kw)
        self._soc, self._power_kw, self._wear = USUAL_SOC, 0.0, battery.wear_per_kwh
        self._drawn_kw = 0.0
        self._cost = 0.0

    def initial_names(self) -> tuple[str, ...]:
        return (f"{self.asset}_soc",)

    def begin(
        self, rng: np.random.Generator, world: Exogenous, first: int, steps: int, initial: Mapping[str, float]
    ) -> None:
        self._soc, self._power_kw, self._cost = initial.get(f"{self.asset}_soc", USUAL_SOC), 0.0, 0.0
        self._drawn_kw = 0.0

    def draw(self, action: Sequence[float], now: Now) -> Flow:
        self._power_kw = limited_power(self.physics, self._soc, action[0] - action[1], now.hours)
        self._cost = now.hours * self._wear / 2 * abs(self._power_kw)
        # What empty cells cannot give to the inverter's own needs comes from the house.
        lacking_kw = -self._soc * self.physics.capacity_kwh / now.hours - cell_power(self.physics, self._power_kw)
        self._drawn_kw = self._power_kw + max(lacking_kw, 0.0)
        return Flow(self._drawn_kw)

    def advance(self, now: Now, around: Around) -> None:
        stored = now.hours * cell_power(self.physics, self._power_kw) / self.physics.capacity_kwh
        self._soc = min(1.0, max(0.0, self._soc + stored))

    def sensors(self) -> tuple[Signal, ...]:
        return (Signal(f"{self.asset}_soc", "1", 0.0, 1.0, "state of charge as it is displayed"),)

    def set_points(self) -> tuple[SetPoint, ...]:
        charge, discharge = self.actions
        power = Signal(f"{self.asset}_power", "kW", -discharge.upper, charge.upper, "into the battery")
        return (SetPoint(power, {charge.name: 1.0, discharge.name: -1.0}),)

    def measured(self) -> Mapping[str, float]:
        return {f"{self.asset}_soc": reported_soc(self.physics, self._soc)}

    def states(self) -> Mapping[str, float]:
        worth_kwh = NOMINAL_EFFICIENCY * self.physics.capacity_kwh * self._soc
        return {f"{self.asset}_soc": self._soc, f"worth_kwh.{self.asset}": worth_kwh}

    def flows(self) -> Mapping[str, float]:
        return {f"{self.asset}_kw": self._drawn_kw, f"cost.{self.asset}": self._cost}
