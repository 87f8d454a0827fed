"""The load: what the household draws and nobody controls; its forecast is learned from the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from systems.asset_plant import AssetPlant
from systems.assets import AssetKind, Mistake, Nameplate, Portrait
from systems.block import Block, Forecast, Ports
from systems.house_file import House
from systems.logs.lesson import Lesson
from systems.logs.log import Log, LogColumn, Quantity
from systems.problem import Parameter
from systems.profile import WeekProfile

if TYPE_CHECKING:
    from systems.world import WorldColumn
    from systems.world.generate import WorldSurroundings


class Load(Nameplate):
    """[load]"""

    base_kw: Annotated[float, Field(ge=0)] = 0.2
    """What is drawn when nobody is at home."""
    peak_kw: Annotated[float, Field(gt=0)] = 25.0
    """The most that is ever drawn."""


def load_block(house: House, load: Load, fit: WeekProfile | None = None) -> Block:
    """electric_kw = load + bias. The profile that a log taught is the forecast where nobody publishes one."""
    schedule = None if fit is None else fit.weekly()
    carries = None if fit is None else fit.carries
    text = "what is drawn and not controlled"
    return Block(
        asset=load.name,
        forecasts=(Forecast("load", "kW", 0.0, load.peak_kw, text, schedule=schedule, carries=carries),),
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
    return Portrait("what is not controlled", forecast=("load",))


def _blocks(house: House, fits: Mapping[str, Any]) -> tuple[Block, ...]:
    return tuple(load_block(house, load, fits.get("load")) for load in house.of("load"))


def _plants(house: House, fits: Mapping[str, Any]) -> tuple[AssetPlant, ...]:
    from systems.assets.load.plant import LoadPlant

    return tuple(LoadPlant(load) for load in house.of("load"))


def _world(house: House, around: WorldSurroundings) -> Mapping[str, WorldColumn]:
    from systems.assets.load.plant import load_columns

    return {name: column for load in house.of("load") for name, column in load_columns(load, around).items()}


def _columns(house: House, load: Load) -> tuple[LogColumn, ...]:
    most, text = 3 * load.peak_kw, "what is drawn and not controlled"
    return (
        LogColumn("load_kw", Quantity.POWER, most, text=text, bus=1, remainder=True, world="load"),
        LogColumn("load_forecast_kw", Quantity.POWER, most, needed=False, text="what was forecast of it"),
    )


def _learn(house: House, loads: tuple[Load, ...], log: Log) -> tuple[Lesson, ...]:
    from systems.assets.load.fit import learn_load

    return tuple(learn_load(load, log) for load in loads)


KINDS = (
    AssetKind(
        "load",
        Load,
        10,
        _blocks,
        _portrait,
        _mistakes,
        _plants,
        _world,
        columns=_columns,
        learn=_learn,
        read=WeekProfile.from_json,
        many=False,
    ),
)
