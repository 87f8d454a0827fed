"""A tank as it is: two layers that mix when the lower one is warmer, standing loss, draws, and showers gone cold.

Hot water leaves at the top and the mains follow at the bottom, where heat enters. The thermometer shows the mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from systems.asset_plant import Around, AssetPlant, Now
from systems.assets.tank import KWH_PER_LITRE_K, NOMINAL_COP
from systems.assets.tank.draws import rates, spread_kw, usual_kw
from systems.problem import Signal
from systems.world import Exogenous, WorldColumn
from systems.world.foresight import Usual

if TYPE_CHECKING:
    from systems.assets.tank import Tank
    from systems.world.generate import WorldSurroundings

MAINS_C, TAP_C = 8.0, 38.0
"""Of the water that comes in, and of a shower."""
USUAL_C = 55.0
SHOWER_S = 600.0
SENSOR_STEP_K = 0.1
THERMOMETER_RANGE_C = (-10.0, 120.0)


class TankPlant(AssetPlant):
    def __init__(self, tank: Tank) -> None:
        self.asset, self._tank = tank.name, tank
        self._layers_c = [USUAL_C, USUAL_C]
        self._cold_litres = self._draw_kw = self._cost = 0.0

    def initial_names(self) -> tuple[str, ...]:
        return (f"{self.asset}_temperature",)

    def begin(
        self, rng: np.random.Generator, world: Exogenous, first: int, steps: int, initial: Mapping[str, float]
    ) -> None:
        start_c = initial.get(f"{self.asset}_temperature", min(USUAL_C, self._tank.upper.lowest))
        self._layers_c, self._cold_litres, self._draw_kw = [start_c, start_c], 0.0, 0.0
        self._cost = 0.0

    @property
    def mean_c(self) -> float:
        return sum(self._layers_c) / 2

    def temperatures(self) -> Mapping[str, float]:
        return {self.asset: self.mean_c}

    def advance(self, now: Now, around: Around) -> None:
        self._draw_kw = now.world[f"{self.asset}_draw"]
        missing_k = max(0.0, self._tank.lower.at(now.minute_of_week) - self.mean_c)
        self._cost = now.hours * self._tank.cold_shower_per_kh * missing_k
        self._cold_litres = 0.0
        # Small parts, so that no layer is emptied at once.
        parts = max(1, math.ceil(self._draw_kw * now.hours / (0.05 * self._tank.litres * KWH_PER_LITRE_K * 30.0)))
        for _ in range(parts):
            self._part(around.heat_kw(self.asset), now.hours / parts)

    def _part(self, heat_kw: float, hours: float) -> None:
        half = self._tank.litres / 2
        capacity = half * KWH_PER_LITRE_K
        top, bottom = self._layers_c
        # At the tap: so many litres of a shower, hot and cold water mixed as far as the tank is hot.
        tap = self._draw_kw * hours / (KWH_PER_LITRE_K * (TAP_C - MAINS_C))
        hot = min(half, tap * min(1.0, (TAP_C - MAINS_C) / max(top - MAINS_C, 1e-6)))
        if top < TAP_C:
            self._cold_litres += tap
        top, bottom = (top * (half - hot) + bottom * hot) / half, (bottom * (half - hot) + MAINS_C * hot) / half
        loss = self._tank.loss_w_per_k / 2000.0
        top -= loss * (top - self._tank.ambient_c) * hours / capacity
        bottom += (heat_kw - loss * (bottom - self._tank.ambient_c)) * hours / capacity
        self._layers_c = [top, bottom] if top >= bottom else [(top + bottom) / 2] * 2

    def sensors(self) -> tuple[Signal, ...]:
        return (Signal(f"{self.asset}_temperature", "degC", *THERMOMETER_RANGE_C),)

    def measured(self) -> Mapping[str, float]:
        return {f"{self.asset}_temperature": round(self.mean_c / SENSOR_STEP_K) * SENSOR_STEP_K}

    def states(self) -> Mapping[str, float]:
        worth_kwh = self._tank.capacity_kwh_per_k * self.mean_c / NOMINAL_COP
        top = self._layers_c[0]
        return {
            f"{self.asset}_temperature": self.mean_c, f"{self.asset}_top": top, f"worth_kwh.{self.asset}": worth_kwh
        }  # fmt: skip

    def flows(self) -> Mapping[str, float]:
        return {
            f"{self.asset}_draw_kw": self._draw_kw, f"{self.asset}_cold_litres": self._cold_litres,
            f"cost.{self.asset}": self._cost,
        }  # fmt: skip


def draw_columns(tank: Tank, hold_h: float, around: WorldSurroundings, number: int) -> Mapping[str, WorldColumn]:
    """Draws as they happen, what is usual, and the spread of a decision's mean."""
    rng, hour, dt_h = around.rng(100 + number), around.clock.hour, around.dt_s / 3600.0
    drawn = np.zeros(len(hour))
    for (rate, size), length_s in zip(rates(tank, hour), (SHOWER_S, 0.0), strict=True):
        steps = max(1, round(length_s / around.dt_s))
        energy = rng.poisson(rate * dt_h) * size * rng.uniform(0.5, 1.5, len(hour))
        drawn += np.convolve(energy, np.ones(steps) / steps)[: len(hour)]
    usual, spread = usual_kw(tank, hour), spread_kw(tank, hour, hold_h)
    return {
        f"{tank.name}_draw": WorldColumn(np.minimum(drawn / dt_h, tank.draw_peak_kw), Usual(usual)),
        f"{tank.name}_draw_spread": WorldColumn(spread, Usual(spread)),
    }
