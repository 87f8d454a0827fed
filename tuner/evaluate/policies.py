"""The policies that are compared: nothing, a rule, and the MPC under one theta and one kind of forecast."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from codegen.controller import Controller, Solution
from runtime.decide.rules_laws import self_consumption
from systems.battery.plant import BatteryPlant

IDLE = np.zeros(2)


class Policy(Protocol):
    """Decides the coming step of a plant. `failures` and `solve_time_s` are zero where nothing is solved."""

    has_battery: bool
    """Without one, no stored energy is credited or missed."""
    failures: int
    solve_time_s: float

    def action(self, plant: BatteryPlant) -> NDArray[np.float64]:
        """[charge_kw, discharge_kw]."""
        ...


class NoBattery:
    """The household as it is without a battery."""

    has_battery = False
    failures = 0
    solve_time_s = 0.0

    def action(self, plant: BatteryPlant) -> NDArray[np.float64]:
        return IDLE


class SelfConsumption:
    """Stores the surplus that was just measured and covers the demand that was just measured; knows no prices.

    It sees the mean net load of the past step, at the cadence of the other controllers.
    """

    has_battery = True
    failures = 0
    solve_time_s = 0.0

    def action(self, plant: BatteryPlant) -> NDArray[np.float64]:
        battery = plant.physics.battery
        soc, net_kw = float(plant.measured_state()[0]), plant.measured_net_load_kw
        charge, discharge = self_consumption(net_kw)
        return np.array(
            [
                min(charge, battery.max_charge_kw) if soc < battery.soc_max else 0.0,
                min(discharge, battery.max_discharge_kw) if soc > battery.soc_min else 0.0,
            ]
        )


class Mpc:
    """The first move of the compiled solver. A failed solve leaves the battery idle for the step, and is counted."""

    has_battery = True

    def __init__(self, controller: Controller, theta: NDArray[np.float64], *, perfect_forecast: bool = False) -> None:
        self.controller = controller
        self.controller.set_theta(theta)
        self.controller.reset()
        self.perfect_forecast = perfect_forecast
        self.failures = 0
        self.solve_time_s = 0.0
        self.forecast: NDArray[np.float64] | None = None
        """(horizon + 1, 3) of the last decision."""
        self.solution: Solution | None = None
        """The last decision, for whoever wants to see the plan."""

    def action(self, plant: BatteryPlant) -> NDArray[np.float64]:
        horizon = self.controller.dimensions.horizon
        forecast = plant.true_forecast(horizon) if self.perfect_forecast else plant.forecast(horizon)
        solution = self.controller.solve(plant.measured_state(), forecast)
        self.forecast, self.solution = forecast, solution
        self.solve_time_s += solution.time_s
        if not solution.ok:
            self.failures += 1
            return IDLE
        return np.maximum(solution.action, 0.0)
