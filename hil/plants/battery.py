"""The home battery behind its inverter: state of charge, power and net load by register, prices by MQTT."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from hil.errors import ScenarioError
from hil.plants import Forecast, Panel, Register
from hil.scenario import Scenario
from runtime.toml_lines import did_you_mean
from systems.battery.exogenous import DAY_S, Exogenous, from_price_file, generated
from systems.battery.generator import PRICE_SHAPES
from systems.battery.plant import BatteryPlant, PlantSpec
from systems.battery.spec import BatterySpec

STEP_S = 900.0
AHEAD_DAYS = 9
"""Days of prices beyond the scenario's end: horizon and the plant's own look-ahead."""


class BatteryOnBench:
    """`systems.battery.plant.BatteryPlant` with the register map of a small hybrid inverter."""

    step_s = STEP_S
    sensors = (
        Register("soc", "1", 0, 0.001),
        Register("power", "kW", 1, 0.001, signed=True),
        Register("net_load_meter", "kW", 2, 0.001, signed=True),
    )
    set_points = (Register("power", "kW", 10, 0.001, signed=True),)
    quantities = ("soc", "power_kw", "net_load_kw", "grid_kw", "buy_price", "sell_price", "cost_eur")
    plan_state = "soc"

    def __init__(self, plant: BatteryPlant, *, start_step: int, seed: int) -> None:
        self._plant = plant
        _, self._info = plant.reset(seed=seed, options={"step": start_step})
        battery = plant.physics.battery
        self.panels = (
            Panel("Prices", "EUR/kWh", ("buy_price", "sell_price")),
            Panel("State of charge", "1", ("soc",), stairs=False, limits=(battery.soc_min, battery.soc_max)),
            Panel("Power", "kW", ("power_kw", "net_load_kw", "grid_kw")),
        )

    def time_s(self) -> float:
        return self._plant.time.timestamp()

    def measured(self) -> Mapping[str, float]:
        return {
            "soc": float(self._plant.measured_state()[0]),
            "power": float(self._info["power_kw"]),
            "net_load_meter": float(self._info["net_load_kw"]),
        }

    def forecasts(self, horizon: int) -> Mapping[str, Forecast]:
        rows = self._plant.forecast(horizon)
        names = ("buy_price", "sell_price", "net_load")
        return {
            name: Forecast(f"forecast/{name}", self.time_s(), STEP_S, tuple(rows[:, i].tolist()))
            for i, name in enumerate(names)
        }

    def advance(self, set_points: Mapping[str, float]) -> Mapping[str, float]:
        k, soc = self._plant.step_index, float(self._info["soc_true"])
        power = set_points["power"]
        *_, self._info = self._plant.step(np.array([max(power, 0.0), max(-power, 0.0)]))
        return {
            "soc": soc,
            "power_kw": float(self._info["power_kw"]),
            "net_load_kw": float(self._info["net_load_kw"]),
            "grid_kw": float(self._info["grid_kw"]),
            "buy_price": float(self._plant.exogenous.buy_price[k]),
            "sell_price": float(self._plant.exogenous.sell_price[k]),
            "cost_eur": float(self._info["cost_eur"]),
        }


def make(scenario: Scenario) -> BatteryOnBench:
    """The plant of a battery scenario. Raises ScenarioError for an unknown option or a start outside the prices."""
    head, options = scenario.head, dict(scenario.plant)
    initial_soc = options.pop("initial_soc", 0.5)
    steps = math.ceil(head.duration / STEP_S)
    exogenous, start_step = _exogenous(scenario)
    if start_step < 0 or start_step + steps > len(exogenous):
        raise ScenarioError(
            f"{head.name}: the prices ({exogenous.source}) do not cover {head.duration / DAY_S:g} days from "
            f"{head.start}: change start, duration or prices"
        )
    plant = BatteryPlant(
        _physics(scenario, options), exogenous, episode_steps=steps, start_step=start_step, initial_soc=initial_soc
    )
    return BatteryOnBench(plant, start_step=start_step, seed=head.seed)


def _exogenous(scenario: Scenario) -> tuple[Exogenous, int]:
    """Prices and net-load forecast, and the step at which the scenario starts."""
    head, tariff = scenario.head, scenario.tariff
    if tariff.prices is not None:
        exogenous = from_price_file(scenario.path(tariff.prices), dt_s=STEP_S, seed=head.seed)
        return exogenous, exogenous.step_at(head.start)
    if tariff.generator not in PRICE_SHAPES:
        raise ScenarioError(
            f"{head.name}: no price generator {tariff.generator!r}: there are {', '.join(PRICE_SHAPES)}"
        )
    weeks = math.ceil((head.duration / DAY_S + AHEAD_DAYS + 7) / 7)
    exogenous = generated(weeks, kind=tariff.generator, seed=head.seed, start=_monday(head.start), dt_s=STEP_S)
    return exogenous, exogenous.step_at(head.start)


def _monday(time: datetime) -> datetime:
    """Midnight of the Monday at or before `time`, in its own offset."""
    return time.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=time.weekday())


def _physics(scenario: Scenario, options: Mapping[str, float]) -> PlantSpec:
    """PlantSpec and its nameplate from the numbers of [plant]."""
    nameplate = {f.name for f in dataclasses.fields(BatterySpec)}
    known = {f.name for f in dataclasses.fields(PlantSpec)} - {"battery"} | nameplate
    for name in options:
        if name not in known:
            hint = did_you_mean(name, [*known, "initial_soc"])
            raise ScenarioError(f"{scenario.head.name}: [plant] has an unknown option {name!r}{hint}")
    values: dict[str, Any] = {n: int(v) if n == "spike_max_steps" else v for n, v in options.items()}
    battery = BatterySpec(**{n: v for n, v in values.items() if n in nameplate})
    return PlantSpec(battery=battery, **{n: v for n, v in values.items() if n not in nameplate})
