"""What a bundle tells the daemon of the house's observer: which signals are measured and driven, and the ARX itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from systems.house.arx import ArxModel
from systems.house.theta import ROOMS, house_theta, model_of_theta

SENSOR_STD_K = 0.02
"""Thermometers of the kind in the physical house; larger for coarse ones."""
UNKNOWN_OUTDOOR_STD_K = 5.0
UNKNOWN_POWER_STD_KW = 0.5
OUTDOOR_NOW = "outdoor_0"
"""The forecast whose first value is the present outdoor temperature."""


def house_observer(
    model: ArxModel, theta: Mapping[str, float], *, sensor_std_k: float = SENSOR_STD_K
) -> dict[str, Any]:
    """The `estimator` section of a house bundle as plain data.

    Its ARX is that of theta, since the controller's state is; the innovations are those of the data-fitted `model`:
    what tuning adds to the prediction to decide better is not a belief about the house.
    """
    tuned, _ = model_of_theta(np.array([theta[p.name] for p in house_theta(model)]), model)
    return {
        "type": "arx",
        "dt_s": model.dt_s,
        "outputs": [
            {"name": f"room_{room + 1}", "unit": "degC", "lower": -50.0, "upper": 80.0, "description": "thermometer"}
            for room in range(ROOMS)
        ],
        "inputs": [OUTDOOR_NOW, *(f"power_{room + 1}" for room in range(ROOMS))],
        "output_coefficients": tuned.output_coefficients.tolist(),
        "input_coefficients": tuned.input_coefficients.tolist(),
        "innovation_mean": model.innovation_mean.tolist(),
        "innovation_covariance": model.innovation_covariance.tolist(),
        "measurement_std": [sensor_std_k] * ROOMS,
        "input_std": [UNKNOWN_OUTDOOR_STD_K, *[UNKNOWN_POWER_STD_KW] * ROOMS],
        "parameters": [p.name for p in house_theta(model) if p.group == "arx"],
    }
