"""Zones: rooms or floors whose temperature is measured, modelled together as one ARX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from runtime.formats.weekly import WEEKDAYS
from systems.asset_plant import AssetPlant
from systems.assets import AssetKind, Mistake, Portrait
from systems.assets.heat_pump import heating_feeders
from systems.assets.zone.cold_day import short_of_heat
from systems.assets.zone.limits import limit_mistakes
from systems.assets.zone.nameplate import Building, Zone, memory_s
from systems.block import Block
from systems.house_file import House
from systems.logs.lesson import Lesson
from systems.logs.log import Log, LogColumn, Quantity

MOST_LAGS = 60
"""Model steps that the zones' model may look back."""


def _mistakes(house: House) -> Iterable[Mistake]:
    for i, zone in enumerate(house.of("zone")):
        if not any(zone.name in pump.feeds for pump in house.of("heat_pump")):
            yield Mistake(("zone", i), f"nothing heats zone {zone.name!r}; name it in `feeds` of a [[heat_pump]]")
        changes = sorted({minute for value in (zone.set_point, zone.lower, zone.upper) for minute, _ in value.values()})
        for minute in changes:
            low, wanted, high = zone.lower.at(minute), zone.set_point.at(minute), zone.upper.at(minute)
            if not low <= wanted <= high:
                when = f"{WEEKDAYS[minute // 1440]} {minute % 1440 // 60:02d}:{minute % 60:02d}"
                yield Mistake(
                    ("zone", i, "set_point"),
                    f"the set-point leaves the band of {zone.name!r}: on {when} it is {wanted:g} degC and the band is "
                    f"{low:g} to {high:g}; widen the band or move the set-point",
                )
                break
        yield from limit_mistakes(i, zone)
    building = house.only("building")
    if building is not None and not house.of("zone"):
        yield Mistake(("building",), "[building] describes zones, and there is none; add a [[zone]]")
    if house.of("zone"):
        steps = memory_s(house) / house.grid.step_s
        if abs(steps - round(steps)) > 1e-9 or not 1 <= round(steps) <= MOST_LAGS:
            usual = "the usual memory of the zones' model, " if building is None else "a memory of "
            remedy = "write [building] memory and make it" if building is None else "make it"
            yield Mistake(
                ("grid", "step") if building is None else ("building", "memory"),
                f"{usual}{memory_s(house) / 60:g} min, is {steps:g} model steps of {house.grid.step_s:g} s; "
                f"{remedy} a whole number of them, from 1 to {MOST_LAGS}",
            )


def _portrait(house: House, zone: Zone) -> Portrait:
    pumps = [pump.name for pump in heating_feeders(house) if zone.name in pump.feeds]
    wanted, low, high = zone.set_point, zone.lower, zone.upper
    span = f"{wanted.default:g}" if wanted.lowest == wanted.highest else f"{wanted.lowest:g} to {wanted.highest:g}"
    sun = house.only("building") is not None and house.only("building").sun
    short = short_of_heat(house, zone)
    return Portrait(
        f"{span} degC, within {low.lowest:g} to {high.highest:g}, heated by {', '.join(pumps)}",
        measured=(f"{zone.name}_temperature",),
        forecast=("outdoor", "sun") if sun else ("outdoor",),
        kept=f"{zone.never_below_c:g} to {zone.never_above_c:g} degC",
        notes=() if short is None else (short,),
    )


def _blocks(house: House, fits: Mapping[str, Any]) -> tuple[Block, ...]:
    from systems.assets.zone.block import zones_block  # CasADi, which reading a house file does without

    return (zones_block(house, fits.get("zone")),) if house.of("zone") else ()


def _plants(house: House, fits: Mapping[str, Any]) -> tuple[AssetPlant, ...]:
    from systems.assets.zone.plant import ArxZones, PhysicalZones

    if not house.of("zone"):
        return ()
    return (ArxZones(house, fits["zone"]) if "zone" in fits else PhysicalZones(house),)


def _columns(house: House, zone: Zone) -> tuple[LogColumn, ...]:
    building = house.only("building")
    sun = building is not None and building.sun
    return (
        LogColumn(f"{zone.name}_c", Quantity.INDOOR, text="temperature of the zone"),
        LogColumn("outdoor_c", Quantity.OUTDOOR, world="outdoor", text="outdoor temperature"),
        *((LogColumn("sun_w_m2", Quantity.SUN, text="global irradiance on the level", world="sun"),) if sun else ()),
        *(
            LogColumn(f"{pump.name}_kw", Quantity.POWER, 3 * pump.max_power_kw, text="electric power", bus=1)
            for pump in heating_feeders(house)
        ),
    )


def _learn(house: House, zones: tuple[Zone, ...], log: Log) -> tuple[Lesson, ...]:
    from systems.assets.zone.fit import learn_zones

    # One model of all zones: with one of them unknown there is none.
    return (learn_zones(house, log),) if len(zones) == len(house.of("zone")) else ()


def _read(text: str) -> Any:
    from systems.arx import ArxModel

    return ArxModel.from_json(text)


KINDS = (
    AssetKind("building", Building, 49, many=False),
    AssetKind(
        "zone",
        Zone,
        50,
        _blocks,
        _portrait,
        _mistakes,
        _plants,
        columns=_columns,
        learn=_learn,
        together=True,
        read=_read,
    ),
)
