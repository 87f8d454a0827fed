"""The weather that assets share as forecasts: outdoor temperature and sun, at every model step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from systems.block import Forecast

if TYPE_CHECKING:
    from systems.house_file import House

OUTDOOR_RANGE_C = (-35.0, 35.0)
SUN_RANGE_W_M2 = (0.0, 1400.0)


def outdoor_forecast(house: House) -> Forecast:
    return Forecast("outdoor", "degC", *OUTDOOR_RANGE_C, "outdoor temperature", steps=house.grid.steps)


def sun_forecast(house: House) -> Forecast:
    return Forecast("sun", "W/m2", *SUN_RANGE_W_M2, "global irradiance on the level", steps=house.grid.steps)
