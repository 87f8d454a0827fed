"""What a battery and its inverter really do, in each way that the model of `block` leaves out.

  losses   an active inverter loses idle + linear * p + quadratic * p**2, so efficiency is poor at part load;
           standby power drains the cells all the time
  limits   charging tapers near full, discharging near empty
  sensing  the state of charge is reported in steps of `soc_resolution`
Power is positive into the battery.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BatteryPhysics:
    """The nameplate, and what no nameplate says."""

    capacity_kwh: float
    max_charge_kw: float
    max_discharge_kw: float
    idle_loss_kw: float = 0.05
    """Lost while the inverter is active, at any power."""
    linear_loss: float = 0.02
    quadratic_loss_per_kw: float = 0.004
    standby_kw: float = 0.015
    """Drained from the cells all the time."""
    active_above_kw: float = 0.02
    """Set-points below this leave the inverter asleep."""
    taper_soc: float = 0.20
    """Width of the soc bands at both ends in which the power limit falls linearly ..."""
    taper_floor: float = 0.10
    """... to this fraction of the nameplate."""
    soc_resolution: float = 0.01


def _taper(spec: BatteryPhysics, distance: float) -> float:
    """Fraction of the nameplate power at a soc distance from the end that is being approached."""
    if distance >= spec.taper_soc:
        return 1.0
    return spec.taper_floor + (1.0 - spec.taper_floor) * max(0.0, distance) / spec.taper_soc


def reported_soc(spec: BatteryPhysics, soc: float) -> float:
    """As the battery's own display rounds it."""
    resolution = spec.soc_resolution
    return min(1.0, max(0.0, round(soc / resolution) * resolution)) if resolution > 0 else soc


def limited_power(spec: BatteryPhysics, soc: float, power_kw: float, hours: float) -> float:
    """AC power after nameplate, taper and what the cells can take or give within a step of so many hours."""
    if abs(power_kw) < spec.active_above_kw:
        return 0.0
    if power_kw > 0.0:
        limit = spec.max_charge_kw * _taper(spec, 1.0 - soc)
        return min(power_kw, limit, (1.0 - soc) * spec.capacity_kwh / hours)
    limit = spec.max_discharge_kw * _taper(spec, soc)
    stored_kw = soc * spec.capacity_kwh / hours
    return -min(-power_kw, limit, max(0.0, stored_kw - inverter_loss(spec, min(-power_kw, stored_kw))))


def inverter_loss(spec: BatteryPhysics, ac_kw: float) -> float:
    """kW lost in the active inverter at an AC power >= 0."""
    return spec.idle_loss_kw + spec.linear_loss * ac_kw + spec.quadratic_loss_per_kw * ac_kw * ac_kw


def cell_power(spec: BatteryPhysics, ac_kw: float) -> float:
    """kW into the cells (negative: out of them) at an AC power into the battery."""
    active = inverter_loss(spec, abs(ac_kw)) if ac_kw != 0.0 else 0.0
    return ac_kw - active - spec.standby_kw
