"""A tank as it is: two layers that mix when the lower one is warmer, standing loss, draws, and showers gone cold.

Hot water leaves at the top and the mains follow at the bottom, where heat enters. The thermometer shows the mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from systems.asset_plant import Around, AssetPlant, Now
from systems.assets.tank import KWH_PER_LITRE_K
from systems.problem import Signal
from systems.world import Array, Column, Exogenous
from systems.world.foresight import Usual

if TYPE_CHECKING:
    from systems.assets.tank import Tank
    from systems.world.generate import Surroundings

MAINS_C, TAP_C = 8.0, 38.0
"""Of the water that comes in, and of a shower."""
USUAL_C = 55.0
LITRES_PER_PERSON = 60.0
"""Of a tank, as they are sized."""
SHOWER_KWH, SMALL_DRAW_KWH = 1.6, 0.15
SHOWERS_A_DAY, SMALL_DRAWS_A_DAY = 0.9, 6.0
"""Of a person."""
SHOWER_S = 600.0
HABITS = ((7.2, 0.8, 0.55), (20.5, 1.5, 0.45))
"""(hour, standard deviation in hours, share) of the showers."""
AWAKE = (6.5, 23.0)
SENSOR_STEP_K = 0.1
THERMOMETER_RANGE_C = (-10.0, 120.0)


class TankPlant(AssetPlant):
    def __init__(self, tank: Tank) -> None:
        self.asset, self._tank = tank.name, tank
        self._layers_c = [USUAL_C, USUAL_C]
        self._cold_litres = self._draw_kw = 0.0

    def initial_names(self) -> tuple[str, ...]:
        return (f"{self.asset}_temperature",)

    def begin(
        self, rng: np.random.Generator, world: Exogenous, first: int, steps: int, initial: Mapping[str, float]
    ) -> None:
        start_c = initial.get(f"{self.asset}_temperature", min(USUAL_C, self._tank.upper.lowest))
        self._layers_c, self._cold_litres, self._draw_kw = [start_c, start_c], 0.0, 0.0

    @property
    def mean_c(self) -> float:
        return sum(self._layers_c) / 2

    def temperatures(self) -> Mapping[str, float]:
        return {self.asset: self.mean_c}

    def advance(self, now: Now, around: Around) -> None:
        self._draw_kw = now.world[f"{self.asset}_draw"]
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
        return {f"{self.asset}_temperature": self.mean_c, f"{self.asset}_top": self._layers_c[0]}

    def flows(self) -> Mapping[str, float]:
        return {f"{self.asset}_draw_kw": self._draw_kw, f"{self.asset}_cold_litres": self._cold_litres}


def draw_columns(tank: Tank, hold_h: float, around: Surroundings, number: int) -> Mapping[str, Column]:
    """Draws, what is usual, and the spread of a decision's mean: a compound Poisson process by the hour of the day.

    Showers and small draws come at rates that follow habits; the size of each is within half and one and a half times
    the mean. Variance of the heat in a time: rate times the mean square of a draw.
    """
    rng, hour, dt_h = around.rng(100 + number), around.clock.hour, around.dt_s / 3600.0
    persons = max(1.0, tank.litres / LITRES_PER_PERSON)
    showers = persons * SHOWERS_A_DAY * sum(share * _density(hour, centre, std) for centre, std, share in HABITS)
    awake = (hour >= AWAKE[0]) & (hour < AWAKE[1])
    small = persons * SMALL_DRAWS_A_DAY * awake / (AWAKE[1] - AWAKE[0])
    spread_steps = max(1, round(SHOWER_S / around.dt_s))
    drawn = np.zeros(len(hour))
    usual, variance = np.zeros(len(hour)), np.zeros(len(hour))
    for rate, size, steps in ((showers, SHOWER_KWH, spread_steps), (small, SMALL_DRAW_KWH, 1)):
        energy = rng.poisson(rate * dt_h) * size * rng.uniform(0.5, 1.5, len(hour))
        drawn += np.convolve(energy, np.ones(steps) / steps)[: len(hour)]
        usual += rate * size
        variance += rate * size**2 * (1 + 1 / 12)
    peak = tank.draw_peak_kw
    name = f"{tank.name}_draw"
    spread = np.minimum(np.sqrt(variance / hold_h), peak)
    return {
        name: Column(np.minimum(drawn / dt_h, peak), Usual(np.minimum(usual, peak))),
        f"{name}_spread": Column(spread, Usual(spread)),
    }


def _density(hour: Array, centre: float, std: float) -> Array:
    """Of the hour of the day, 1/h."""
    distance = np.abs((hour - centre + 12.0) % 24.0 - 12.0)
    return np.exp(-0.5 * (distance / std) ** 2) / (std * math.sqrt(2 * math.pi))
