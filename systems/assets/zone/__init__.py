"""Zones: rooms or floors whose temperature is measured, modelled together as one ARX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from runtime.weekly import WEEKDAYS
from systems.asset_plant import AssetPlant
from systems.assets import AssetKind, Mistake, Portrait
from systems.assets.heat_pump import heating_feeders
from systems.assets.zone.limits import limit_mistakes
from systems.assets.zone.nameplate import Building, Zone
from systems.block import Block
from systems.house_file import House


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
    if house.only("building") is not None and not house.of("zone"):
        yield Mistake(("building",), "[building] describes zones, and there is none; add a [[zone]]")


def _portrait(house: House, zone: Zone) -> Portrait:
    pumps = [pump.name for pump in heating_feeders(house) if zone.name in pump.feeds]
    wanted, low, high = zone.set_point, zone.lower, zone.upper
    span = f"{wanted.default:g}" if wanted.lowest == wanted.highest else f"{wanted.lowest:g} to {wanted.highest:g}"
    sun = house.only("building") is not None and house.only("building").sun
    return Portrait(
        f"{span} degC, within {low.lowest:g} to {high.highest:g}, heated by {', '.join(pumps)}",
        measured=(f"{zone.name}_temperature",),
        forecast=("outdoor", "sun") if sun else ("outdoor",),
        logged=(f"{zone.name}_c", "outdoor_c"),
    )


def _blocks(house: House, fits: Mapping[str, Any]) -> tuple[Block, ...]:
    from systems.assets.zone.block import zones_block  # CasADi, which reading a house file does without

    return (zones_block(house, fits.get("zone")),) if house.of("zone") else ()


def _plants(house: House, fits: Mapping[str, Any]) -> tuple[AssetPlant, ...]:
    from systems.assets.zone.plant import ArxZones, PhysicalZones

    if not house.of("zone"):
        return ()
    return (ArxZones(house, fits["zone"]) if "zone" in fits else PhysicalZones(house),)


KINDS = (
    AssetKind("building", Building, 49, many=False),
    AssetKind("zone", Zone, 50, _blocks, _portrait, _mistakes, _plants),
)
