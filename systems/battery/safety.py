"""What the run-time safety filter must know of a home battery: one linear step, its error, and the limits to keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from systems.assets.battery import soc_limit
from systems.battery.spec import BatterySpec


def battery_safety(spec: BatterySpec, theta: Mapping[str, float], dt_s: float) -> dict[str, Any]:
    """The safety set as plain data: soc+ = soc + dt / capacity (eta_c charge - discharge / eta_d) + w."""
    step = dt_s / 3600.0 / spec.capacity_kwh
    largest = step * max(spec.max_charge_kw, spec.max_discharge_kw)
    return {
        "gamma": 0.0,
        "limits": [soc_limit("soc", spec.soc_min, spec.soc_max, largest)],
        "state_matrix": [[1.0]],
        "action_matrix": [[step * theta["charge_efficiency"], -step / theta["discharge_efficiency"]]],
    }
