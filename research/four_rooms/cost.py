"""What an hour in the house costs: electricity, distance from the set-point, and the comfort band left.

    l = alpha * price * sum(P) + sum_i [ beta (T_s - T_i)^2 + linear v_i + quadratic / 2 v_i^2 ],   per hour

with v_i the distance of room i to the band [18, 23] °C. Source: "All AI Models are Wrong, but Some are Optimal",
eq. (40) with the sign of a cost, and the band of eq. (39c) made soft so that no measured state is infeasible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class HouseCost:
    """Weights per hour; the cost is in EUR where alpha is 1."""

    alpha: float = 1.0
    """On the electricity bill, 1."""
    beta: float = 0.002
    """On the squared distance of each room from the set-point, EUR/(K^2 h)."""
    setpoint_c: float = 21.0
    lower_c: float = 18.0
    upper_c: float = 23.0
    violation_linear: float = 0.0
    """EUR/(K h) per room outside the band."""
    violation_quadratic: float = 0.5
    """EUR/(K^2 h) per room outside the band."""

    def outside_band_k(self, temperature_c: ArrayLike) -> Array:
        """(..., rooms) distance to the comfort band, K, >= 0."""
        t = np.asarray(temperature_c, dtype=float)
        return np.maximum(np.maximum(self.lower_c - t, t - self.upper_c), 0.0)

    def price_rate(self, power_kw: ArrayLike, price_eur_kwh: ArrayLike) -> Array:
        """(...) cost of electricity per hour, from powers (..., rooms) and prices (...)."""
        return np.asarray(self.alpha * np.asarray(price_eur_kwh) * np.asarray(power_kw, dtype=float).sum(-1))

    def comfort_rate(self, temperature_c: ArrayLike) -> Array:
        """(...) cost of discomfort per hour, from temperatures (..., rooms)."""
        t = np.asarray(temperature_c, dtype=float)
        v = self.outside_band_k(t)
        per_room = (
            self.beta * (self.setpoint_c - t) ** 2 + self.violation_linear * v + self.violation_quadratic / 2 * v**2
        )
        return np.asarray(per_room.sum(-1))
