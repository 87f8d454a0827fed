"""The nameplate of a home battery: what model and plant agree on, and what needs no CasADi to read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BatterySpec:
    """Nameplate of a battery and its inverter, AC side."""

    capacity_kwh: float = 10.0
    max_charge_kw: float = 5.0
    max_discharge_kw: float = 5.0
    max_grid_kw: float = 25.0
    soc_min: float = 0.05
    soc_max: float = 0.95
