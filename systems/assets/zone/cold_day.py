"""Whether what heats the zones is enough on a cold day, by the nameplates alone."""

from __future__ import annotations

import numpy as np

from systems.assets.heat_pump import HeatPump, heating_feeders
from systems.assets.zone.nameplate import Zone
from systems.house_file import House

COLD_C = -7.0
"""Where heat pumps are rated under EN 14511."""


def short_of_heat(house: House, zone: Zone) -> str | None:
    """One sentence where the zones that share heaters with this one lose more than those can give; it stands with the
    first of them. None where it is enough, or where the log has to say what a kW does."""
    zones, pumps = _together(house, zone)
    if zones[0] != zone or any(pump.zone_cop() is None for pump in pumps):
        return None
    lost_kw = sum(each.heat_loss_kw_per_k * (each.set_point.highest - COLD_C) for each in zones)
    given_kw = sum(_heat_kw(pump) for pump in pumps)
    if given_kw >= lost_kw:
        return None
    names, heaters = (", ".join(each.name for each in group) for group in (zones, pumps))
    return (
        f"{names} will be colder than wanted: at {COLD_C:g} degC outside {lost_kw:.1f} kW of heat are lost and "
        f"{heaters} can give {given_kw:.1f}; correct heat_loss_kw_per_k or max_power_kw if that is not so"
    )


def _heat_kw(pump: HeatPump) -> float:
    cop = np.array(pump.zone_cop())
    return pump.max_power_kw * float(np.interp(COLD_C, cop[:, 0], cop[:, 1]))


def _together(house: House, zone: Zone) -> tuple[tuple[Zone, ...], tuple[HeatPump, ...]]:
    """All zones that are joined to this one by what heats them, in the order of the house, and what heats them."""
    names = {zone.name}
    while True:
        pumps = tuple(pump for pump in heating_feeders(house) if names & set(pump.zones(house)))
        reached = {name for pump in pumps for name in pump.zones(house)} | names
        if reached == names:
            return tuple(each for each in house.of("zone") if each.name in names), pumps
        names = reached
