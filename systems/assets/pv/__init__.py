"""Solar panels: power that comes by itself, and can be given up where the inverter is able to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from systems.asset_plant import AssetPlant
from systems.assets import AssetKind, Nameplate, Portrait
from systems.block import Block, Forecast, Inflow, Ports, Scope, Terms
from systems.house_file import House
from systems.logs.lesson import Lesson
from systems.logs.log import Log, LogColumn, Quantity
from systems.problem import Parameter, Signal

if TYPE_CHECKING:
    from systems.world import WorldColumn
    from systems.world.generate import WorldSurroundings

CURTAILMENT_COST, CURTAILMENT_CURVATURE = 1e-4, 1e-4
"""Money per hour at full curtailment, and its curvature: nothing is given up where it makes no difference."""


class Pv(Nameplate):
    """[[pv]]"""

    peak_kw: Annotated[float, Field(gt=0)]
    tilt: Annotated[float, Field(ge=0, le=90)] = 35.0
    """Degrees from the horizontal."""
    azimuth: Annotated[float, Field(ge=0, lt=360)] = 180.0
    """Degrees from north; 180 is south."""
    curtailable: bool = False


def pv_block(house: House, pv: Pv, forecast: str) -> Block:
    """electric_kw = -(1 - curtailment) scale available, 0 <= curtailment <= 1.

    The share is the decision, as inverters take it, and not the power given up: at night that power is between 0 and 0,
    and a program without an inside is what interior-point methods fail on.
    """
    curtailment = Signal(f"{pv.name}_curtailment", "1", 0.0, 1.0, "share of the panels' power that is given up")

    def ports(scope: Scope) -> Ports:
        used = 1 - scope.u[0] if pv.curtailable else 1
        return Ports(electric_kw=-used * scope.p[0] * scope.forecast(forecast))

    def stage(scope: Scope, inflow: Inflow) -> Terms:
        if not pv.curtailable:
            return Terms()
        share = scope.u[0]
        return Terms(cost=house.grid.hold_h * (CURTAILMENT_COST * share + CURTAILMENT_CURVATURE / 2 * share**2))

    return Block(
        asset=pv.name,
        actions=(curtailment,) if pv.curtailable else (),
        forecasts=(Forecast(forecast, "kW", 0.0, pv.peak_kw, "power of the panels"),),
        theta=(Parameter(f"{pv.name}_scale", "1", 1.0, 0.0, 1.5, "factor on the forecast power", "model"),),
        ports=ports,
        stage=stage,
        gives_up=(curtailment.name,) if pv.curtailable else (),
    )


def forecast_name(house: House, pv: Pv) -> str:
    """`pv` where there is one array, else `pv_NAME`."""
    return "pv" if len(house.of("pv")) == 1 else f"pv_{pv.name}"


def _portrait(house: House, pv: Pv) -> Portrait:
    moved = (f"{pv.name}_curtailment",) if pv.curtailable else ()
    return Portrait(
        f"{pv.peak_kw:g} kW of panels" + (", can be curtailed" if pv.curtailable else ""),
        moved=moved,
        forecast=(forecast_name(house, pv),),
        kept="given up beyond the meter's export limit" if pv.curtailable else "",
    )


def _blocks(house: House, fits: Mapping[str, Any]) -> tuple[Block, ...]:
    return tuple(pv_block(house, pv, forecast_name(house, pv)) for pv in house.of("pv"))


def _plants(house: House, fits: Mapping[str, Any]) -> tuple[AssetPlant, ...]:
    from systems.assets.pv.plant import PvPlant

    names = {pv.name: forecast_name(house, pv) for pv in house.of("pv")}
    return tuple(PvPlant(pv, pv_block(house, pv, names[pv.name]), names[pv.name]) for pv in house.of("pv"))


def _world(house: House, around: WorldSurroundings) -> Mapping[str, WorldColumn]:
    from systems.assets.pv.plant import pv_column

    return {forecast_name(house, pv): pv_column(pv, around) for pv in house.of("pv")}


def _columns(house: House, pv: Pv) -> tuple[LogColumn, ...]:
    most, of = 3 * pv.peak_kw, forecast_name(house, pv)
    return (
        LogColumn(f"{pv.name}_kw", Quantity.POWER, most, text="power of the panels", bus=-1, world=of),
        LogColumn(f"{pv.name}_forecast_kw", Quantity.POWER, most, needed=False, text="what was forecast of it"),
    )


def _learn(house: House, arrays: tuple[Pv, ...], log: Log) -> tuple[Lesson, ...]:
    from systems.assets.pv.fit import learn_pv

    return tuple(learn_pv(pv, log) for pv in arrays)


KINDS = (AssetKind("pv", Pv, 20, _blocks, _portrait, plants=_plants, world=_world, columns=_columns, learn=_learn),)
