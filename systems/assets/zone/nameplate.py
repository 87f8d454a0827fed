"""What the owner knows of zones: comfort by the week, and roughly how fast they warm and cool."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from runtime.formats.weekly import Weekly, WeeklyValue
from systems.assets import Nameplate
from systems.house_file import Duration, House

USUAL_MEMORY_S = 3600.0


class Building(Nameplate):
    """[building]: what the zones share."""

    memory: Duration = USUAL_MEMORY_S
    """How far back the model of the zones looks; a multiple of the model's step."""
    sun: bool = False
    """Whether the irradiance is an input of the model."""


class Zone(Nameplate):
    """[[zone]]; temperatures in degC, money in the currency of the house."""

    set_point: WeeklyValue = Weekly(default=21.0)
    lower: WeeklyValue = Weekly(default=18.0)
    upper: WeeklyValue = Weekly(default=23.0)
    weight_per_k2h: Annotated[float, Field(ge=0)] = 0.002
    """On the squared distance from the set-point."""
    band_weight_per_k2h: Annotated[float, Field(ge=0)] = 0.5
    """On half the squared distance to the band."""
    never_below_c: float = 8.0
    """Frost: heated to stay above it as far as there is power, whatever the plan says."""
    never_above_c: float = 30.0
    """Not heated beyond it, whatever the plan says."""
    heat_capacity_kwh_per_k: Annotated[float, Field(gt=0)] = 3.0
    heat_loss_kw_per_k: Annotated[float, Field(gt=0)] = 0.08
    sun_m2: Annotated[float, Field(ge=0)] = 1.5
    """Effective aperture of the windows."""


def memory_s(house: House) -> float:
    """How far back the model of the zones looks, whether the house says so or not."""
    building = house.only("building")
    return USUAL_MEMORY_S if building is None else float(building.memory)
