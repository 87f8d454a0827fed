"""What an hour in the house costs: electricity, distance from the set-point, and the comfort band left.

    l = alpha * price * sum(P) + sum_i [ beta (T_s - T_i)^2 + linear v_i + quadratic / 2 v_i^2 ],   per hour

with v_i the distance of room i to the band [18, 23] °C. Source: "All AI Models are Wrong, but Some are Optimal",
eq. (40) with the sign of a cost, and the band of eq. (39c) made soft so that no measured state is infeasible.
"""

from __future__ import annotations

from dataclasses import dataclass


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
