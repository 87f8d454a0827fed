"""The physical house behind one gateway: thermometers, meters and set-points by register, forecasts by MQTT."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np

from hil.errors import ScenarioError
from hil.plants import Forecast, Panel, Register
from hil.scenario import Scenario
from runtime.toml_lines import did_you_mean
from systems.house.plant import ForecastError, PhysicalHouse
from systems.house.weather import DAY_S, HOUR_S, Conditions, generate_conditions
from systems.prices import PRICE, load_prices
from systems.series import TimeSeries, held_at

STEP_S = 300.0
STEPS_PER_STAGE = 6
AHEAD_DAYS = 3
"""Days beyond the scenario's end: the horizon and the prices of the day ahead."""
ROOMS = (1, 2, 3, 4)
OPTIONS = ("initial_c", "forecast_std_k")


class HouseOnBench:
    """`systems.house.plant.PhysicalHouse` with a register map of two words per room."""

    step_s = STEP_S
    sensors = (
        *(Register(f"room_{i}", "degC", i - 1, 0.01, signed=True) for i in ROOMS),
        *(Register(f"meter_{i}", "kW", 3 + i, 0.001) for i in ROOMS),
        Register("outdoor", "degC", 8, 0.01, signed=True),
    )
    set_points = tuple(Register(f"power_{i}", "kW", 9 + i, 0.001) for i in ROOMS)
    quantities = (
        *(f"room_{i}" for i in ROOMS),
        *(f"power_{i}_kw" for i in ROOMS),
        "outdoor",
        "price",
        "grid_kw",
        *(f"discomfort_k.room_{i}" for i in ROOMS),
        "cost_eur",
    )
    plan_state: str | None = None  # the plan's states are those of the observer, not temperatures

    def __init__(self, plant: PhysicalHouse, *, first: int, seed: int, initial_c: float) -> None:
        self._plant = plant
        self._measured, self._info = plant.reset(seed=seed, options={"first": first, "initial_c": initial_c})
        band = (plant.cost.lower_c, plant.cost.upper_c)
        self.panels = (
            Panel("Price", "EUR/kWh", ("price",)),
            Panel("Rooms", "degC", tuple(f"room_{i}" for i in ROOMS), stairs=False, limits=band),
            Panel("Heat pumps, one above the other", "kW", tuple(f"power_{i}_kw" for i in ROOMS), stacked=True),
            Panel("Outdoors", "degC", ("outdoor",), stairs=False),
        )

    def time_s(self) -> float:
        return self._plant.time_s

    def measured(self) -> Mapping[str, float]:
        plant = self._plant
        k = min(plant.k, len(plant.conditions) - 1)
        return {
            **{f"room_{i}": float(self._measured[i - 1]) for i in ROOMS},
            **{f"meter_{i}": float(self._info["power_kw"][i - 1]) for i in ROOMS},
            "outdoor": float(plant.conditions.outdoor_c[k]),
        }

    def forecasts(self, horizon: int) -> Mapping[str, Forecast]:
        """Of at least a day. `outdoor_i` is the temperature i steps into each stage of half an hour."""
        rows, now_s = self._plant.forecast(max(horizon, round(DAY_S / STEP_S))), self.time_s()
        stage_s = STEPS_PER_STAGE * STEP_S
        outdoor = {
            f"outdoor_{i}": Forecast(
                f"forecast/outdoor_{i}", now_s, stage_s, tuple(rows[i::STEPS_PER_STAGE, 0].tolist())
            )
            for i in range(STEPS_PER_STAGE)
        }
        return {**outdoor, "price": Forecast("forecast/price", now_s, STEP_S, tuple(rows[:, 1].tolist()))}

    def advance(self, set_points: Mapping[str, float]) -> Mapping[str, float]:
        plant = self._plant
        rooms, k = self._info["temperature_c"], plant.k
        outside = plant.cost.outside_band_k(rooms)
        self._measured, _, _, _, self._info = plant.step(np.array([set_points[f"power_{i}"] for i in ROOMS]))
        return {
            **{f"room_{i}": float(rooms[i - 1]) for i in ROOMS},
            **{f"power_{i}_kw": float(self._info["power_kw"][i - 1]) for i in ROOMS},
            "outdoor": float(plant.conditions.outdoor_c[k]),
            "price": float(plant.conditions.price_eur_kwh[k]),
            "grid_kw": float(self._info["power_kw"].sum()),
            **{f"discomfort_k.room_{i}": float(outside[i - 1]) for i in ROOMS},
            "cost_eur": float(self._info["cost_eur"]),
        }


def make(scenario: Scenario) -> HouseOnBench:
    """The plant of a house scenario. Raises ScenarioError for an unknown option or prices that do not cover it."""
    head = scenario.head
    for name in scenario.plant:
        if name not in OPTIONS:
            raise ScenarioError(f"{head.name}: [plant] has an unknown option {name!r}{did_you_mean(name, OPTIONS)}")
    conditions, first = _conditions(scenario)
    plant = PhysicalHouse(
        conditions,
        steps=math.ceil(head.duration / STEP_S),
        forecast_error=ForecastError(std_k=float(scenario.plant.get("forecast_std_k", 1.0))),
    )
    return HouseOnBench(plant, first=first, seed=head.seed, initial_c=float(scenario.plant.get("initial_c", 21.0)))


def _conditions(scenario: Scenario) -> tuple[Conditions, int]:
    """Generated weather, prices generated or from the file, and the sample at which the scenario starts."""
    head, tariff = scenario.head, scenario.tariff
    start_s = head.start.timestamp()
    if start_s % STEP_S:
        raise ScenarioError(f"{head.name}: start {head.start} is not on a step of five minutes; move it there")
    # A day before the start, for the yesterday that price forecasts fall back on.
    begin = datetime.fromtimestamp(start_s // HOUR_S * HOUR_S - DAY_S, UTC)
    days = head.duration / DAY_S + 1 + AHEAD_DAYS
    conditions = generate_conditions(head.seed, start=begin, days=days)
    if tariff.prices is not None:
        path = scenario.path(tariff.prices)
        series = load_prices(path)
        prices = _held(series, conditions, head.name)
        conditions = dataclasses.replace(conditions, price_eur_kwh=prices)
    return conditions, round((start_s - conditions.start_s) / STEP_S)


def _held(series: TimeSeries, conditions: Conditions, name: str) -> np.ndarray:
    prices = held_at(series, PRICE, conditions.time_s)
    if not np.isfinite(prices).all():
        raise ScenarioError(
            f"{name}: the prices ({series.source}, {series.start:%Y-%m-%d} to {series.end:%Y-%m-%d}) do not cover the "
            f"scenario with a day before and {AHEAD_DAYS} after it: change start, duration or prices"
        )
    return prices
