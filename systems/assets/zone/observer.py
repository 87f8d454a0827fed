"""What a bundle tells the daemon of the zones' observer: what is measured and driven, and the ARX itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from systems.arx import ArxModel
from systems.assets.heat_pump import heating_feeders
from systems.assets.zone.model import inputs_of
from systems.house_file import House

SENSOR_STD_K = 0.02
"""Thermometers that round to a tenth or finer."""
THERMOMETER_RANGE_C = (-50.0, 80.0)
UNKNOWN_OUTDOOR_STD_K = 5.0
UNKNOWN_SUN_STD_KW_M2 = 0.2
UNKNOWN_POWER_SHARE = 1 / 3
"""Of a feeder's largest power, while nobody knows what it draws."""


def coefficient_names(house: House, lags: int) -> tuple[list[str], list[str]]:
    """The entries of theta that are A and B, in the order of the model's arrays."""
    zones = [zone.name for zone in house.of("zone")]
    every = [(lag, zone) for lag in range(1, lags + 1) for zone in zones]
    a = [f"{zone}_a{lag}_{other}" for lag, zone in every for other in zones]
    return a, [f"{zone}_b{lag}_{source}" for lag, zone in every for source in inputs_of(house)]


def zones_observer(house: House, model: ArxModel, theta: Mapping[str, float]) -> dict[str, Any]:
    """The observer as plain data.

    Its ARX is that of theta, since the controller's state is; the innovations are those of the data-fitted `model`:
    what tuning adds to the prediction to decide better is not a belief about the house.
    """
    names_a, names_b = coefficient_names(house, model.lags)
    pumps = heating_feeders(house)
    sun = "sun" in inputs_of(house)
    gains: list[dict[str, Any]] = [{"input": "sun", "points": [[0.0, 1e-3]]}] if sun else []
    for pump in pumps:
        cop = pump.zone_cop()
        if cop is not None:
            gains.append({"input": f"{pump.name}_power", "by": "outdoor", "points": [list(point) for point in cop]})
    weather_std = [UNKNOWN_OUTDOOR_STD_K, *([UNKNOWN_SUN_STD_KW_M2] if sun else [])]
    low, high = THERMOMETER_RANGE_C
    return {
        "type": "arx",
        "dt_s": model.dt_s,
        "outputs": [
            {"name": f"{zone.name}_temperature", "unit": "degC", "lower": low, "upper": high, "description": zone.name}
            for zone in house.of("zone")
        ],
        "inputs": ["outdoor", *(["sun"] if sun else []), *(f"{pump.name}_power" for pump in pumps)],
        "output_coefficients": _reshaped(names_a, theta, model.output_coefficients.shape),
        "input_coefficients": _reshaped(names_b, theta, model.input_coefficients.shape),
        "innovation_mean": model.innovation_mean.tolist(),
        "innovation_covariance": model.innovation_covariance.tolist(),
        "measurement_std": [SENSOR_STD_K] * model.ny,
        "input_std": weather_std + [pump.max_power_kw * UNKNOWN_POWER_SHARE for pump in pumps],
        "parameters": [*names_a, *names_b],
        "input_gains": gains,
    }


def _reshaped(names: list[str], theta: Mapping[str, float], shape: tuple[int, ...]) -> Any:
    return np.array([theta[name] for name in names]).reshape(shape).tolist()
