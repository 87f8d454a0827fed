"""The load: what the household draws and nobody controls; its forecast is learned from the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from systems.asset_plant import AssetPlant
from systems.assets import AssetKind, Mistake, Nameplate, Portrait
from systems.block import Block, Forecast, Ports
from systems.house_file import House
from systems.problem import Parameter

if TYPE_CHECKING:
    from systems.world import Column
    from systems.world.generate import Surroundings


class Load(Nameplate):
    """[load]"""

    base_kw: Annotated[float, Field(ge=0)] = 0.2
    """What is drawn when nobody is at home."""
    peak_kw: Annotated[float, Field(gt=0)] = 25.0
    """The most that is ever drawn."""


def load_block(house: House, load: Load) -> Block:
    """electric_kw = load + bias."""
    return Block(
        asset=load.name,
        forecasts=(Forecast("load", "kW", 0.0, load.peak_kw, "what is drawn and not controlled"),),
        theta=(Parameter(f"{load.name}_bias", "kW", 0.0, -1.0, 1.0, "added to the forecast load", "model"),),
        ports=lambda scope: Ports(electric_kw=scope.forecast("load") + scope.p[0]),
    )


def _mistakes(house: House) -> Iterable[Mistake]:
    load, meter = house.only("load"), house.only("meter")
    if load is not None and load.base_kw > load.peak_kw:
        yield Mistake(("load", "base_kw"), "base_kw is above peak_kw; exchange them")
    if load is not None and meter is not None and load.base_kw >= meter.import_limit_kw:
        yield Mistake(
            ("meter", "import_limit_kw"),
            f"the load alone draws {load.base_kw:g} kW, and no more than {meter.import_limit_kw:g} kW may be imported; "
            "correct import_limit_kw or base_kw",
        )


def _portrait(house: House, load: Load) -> Portrait:
    return Portrait("what is not controlled", forecast=("load",), logged=("load_kw",))


def _blocks(house: House, fits: Mapping[str, Any]) -> tuple[Block, ...]:
    return tuple(load_block(house, load) for load in house.of("load"))


def _plants(house: House, fits: Mapping[str, Any]) -> tuple[AssetPlant, ...]:
    from systems.assets.load.plant import LoadPlant

    return tuple(LoadPlant(load) for load in house.of("load"))


def _world(house: House, around: Surroundings) -> Mapping[str, Column]:
    from systems.assets.load.plant import load_columns

    return {name: column for load in house.of("load") for name, column in load_columns(load, around).items()}


KINDS = (AssetKind("load", Load, 10, _blocks, _portrait, _mistakes, _plants, _world, many=False),)
