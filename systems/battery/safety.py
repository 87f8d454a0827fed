"""What the run-time safety filter must know of a home battery: one linear step, its error, and the limits to keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from systems.battery.spec import BatterySpec

EFFICIENCY_ERROR = 0.10
"""How far the true efficiency of either direction may be from the model's."""
MEASUREMENT_ERROR = 0.005
"""Rounding of the measured state of charge."""
RESERVE = 0.5
"""The filter's limits lie this share of the way from the MPC's band to empty and full: the MPC may use all of its band
without being corrected, and its slack does not reach the cell limits."""


def battery_safety(spec: BatterySpec, theta: Mapping[str, float], dt_s: float) -> dict[str, Any]:
    """The safety set as plain data: soc+ = soc + dt / capacity (eta_c charge - discharge / eta_d) + w."""
    step = dt_s / 3600.0 / spec.capacity_kwh
    largest = step * max(spec.max_charge_kw, spec.max_discharge_kw) * EFFICIENCY_ERROR + MEASUREMENT_ERROR
    return {
        "gamma": 0.0,
        "limits": [
            {
                "name": "soc",
                "lower": spec.soc_min * (1 - RESERVE),
                "upper": spec.soc_max + (1.0 - spec.soc_max) * RESERVE,
                "disturbance": [-largest, largest],
            }
        ],
        "state_matrix": [[1.0]],
        "action_matrix": [[step * theta["charge_efficiency"], -step / theta["discharge_efficiency"]]],
    }
