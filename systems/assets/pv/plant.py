"""Panels as they are: sun on a tilted plane, less what heat and the inverter take, less what is given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from systems.asset_plant import AssetPlant, Flow, Now
from systems.block import Block
from systems.world import Array, WorldColumn
from systems.world.foresight import Predicted
from systems.world.weather import clear_sky_w_m2, sun_position

if TYPE_CHECKING:
    from systems.assets.pv import Pv
    from systems.world.generate import WorldSurroundings

FULL_SUN_W_M2 = 1000.0
SYSTEM_EFFICIENCY = 0.85
HEAT_PER_K, CELL_RISE_K_PER_W_M2 = 0.004, 0.03
ALBEDO = 0.2
FORECAST_ERROR = 0.2


class PvPlant(AssetPlant):
    """Action, where it is curtailable: the share of the power that is given up."""

    inner = True

    def __init__(self, pv: Pv, block: Block, column: str) -> None:
        self.asset, self.actions, self._column = pv.name, block.actions, column
        self.inside = {column: "clouds"}
        self._kw = 0.0

    def draw(self, action: Sequence[float], now: Now) -> Flow:
        given_up = action[0] if self.actions else 0.0
        self._kw = now.world[self._column] * (1.0 - min(1.0, max(0.0, given_up)))
        return Flow(-self._kw)

    def flows(self) -> Mapping[str, float]:
        return {f"{self.asset}_kw": self._kw}


def panel_power(pv: Pv, around: WorldSurroundings) -> Array:
    """(n,) kW. Global irradiance is split by its ratio to the clear sky, and the beam turned onto the panels' plane.

    The split is the line that the windows use (`zone.physics.solar_gain_kw`), in place of the Erbs curve.
    """
    conditions, climate = around.conditions, around.climate
    sine, azimuth = sun_position(conditions.time_s, climate.latitude_deg, climate.longitude_deg)
    level = conditions.irradiance_w_m2
    beam = np.clip(level / np.maximum(clear_sky_w_m2(sine), 1.0) - 0.2, 0.0, 0.8) * level
    tilt = np.deg2rad(pv.tilt)
    # cot(elevation) explodes at the horizon, where hills and trees stand: cap it.
    cotangent = np.minimum(np.sqrt(np.maximum(1.0 - sine**2, 0.0)) / np.maximum(sine, 1e-3), 4.0)
    facing = np.cos(tilt) + np.sin(tilt) * cotangent * np.cos(azimuth - np.deg2rad(pv.azimuth))
    sky, ground = (1 + np.cos(tilt)) / 2 * (level - beam), ALBEDO * (1 - np.cos(tilt)) / 2 * level
    plane = beam * np.maximum(facing, 0.0) + sky + ground
    warm = np.maximum(conditions.outdoor_c + CELL_RISE_K_PER_W_M2 * plane - 25.0, -25.0)
    power: Array = pv.peak_kw * SYSTEM_EFFICIENCY * plane / FULL_SUN_W_M2 * (1.0 - HEAT_PER_K * warm)
    return np.asarray(np.clip(power, 0.0, pv.peak_kw))


def pv_column(pv: Pv, around: WorldSurroundings) -> WorldColumn:
    return WorldColumn(panel_power(pv, around), Predicted(FORECAST_ERROR, 8.0, True, 0.0, pv.peak_kw))
