"""What a battery's theta says by the hour of the day: the charge to keep in reserve, the worth of what is left.

A deterministic program sees one future, and keeps nothing for the others. What the others ask for depends on the hour
(people cook in the evening, panels give at noon), and two convex terms can say it:

    stage      price usual_price hours capacity (reserve(h) - soc)+       a kWh that is missing to the reserve
    terminal   mean_buy capacity worth(h) soc                             added to the slope of the terminal value

reserve(h) and worth(h) are linear between the knots of the day, and come round at midnight. With reserves and worths of
0, the default, the program within the band is the one without them. Such terms make the decisions of a deterministic
model those of the best policy where they equal the difference of the value functions: "All AI Models are Wrong, but
Some are Optimal", the modified stage and terminal cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.formats.weekly import Span, Weekly
from systems.block import Forecast, Scope, Symbols
from systems.money import ROW_SCALE
from systems.problem import Parameter

if TYPE_CHECKING:
    from systems.assets.battery import Battery

DAY_H = 24
_HOURS = tuple(Span.model_validate({"from": 60 * h, "to": 60 * (h + 1), "value": h + 0.5}) for h in range(1, DAY_H))
HOUR_OF_DAY = Forecast(
    "hour_of_day", "h", 0.0, float(DAY_H), "middle of the clock's hour", schedule=Weekly(default=0.5, schedule=_HOURS)
)
"""Nobody publishes the clock: it is a schedule of the bundle."""
RESERVE_PRICE = 0.05
"""Of the usual price, for a kWh that is missing for an hour: within some hours it is worth a difference of prices."""


class ByHour:
    """Of one battery; `theta` are its parameters, in the order in which `p` holds them below."""

    def __init__(self, battery: Battery, hours: float, keeping: float) -> None:
        name, n = battery.name, battery.knots
        self._battery, self._hours, self._n = battery, hours, n
        at = [f"{DAY_H // n * i:02d}" for i in range(n)]
        self.theta = (
            *(
                Parameter(f"{name}_reserve_{h}", "1", 0.0, 0.0, 1.0, f"of its band, kept at {h}:00", "reserve")
                for h in at
            ),
            *(
                Parameter(f"{name}_worth_{h}", "1", 0.0, -1.0, 1.0, f"added to the terminal slope at {h}:00", "reserve")
                for h in at
            ),
            Parameter(
                f"{name}_reserve_price", "1/h", RESERVE_PRICE, 0.001, 1.0,
                "a kWh missing to the reserve for an hour, over the usual price", "reserve",
            ),
            Parameter(
                f"{name}_keeping", "1/h", keeping, -0.02, 0.05, "a kWh stored for an hour, over the usual price",
                "reserve",
            ),
        )  # fmt: skip

    def _at(self, scope: Scope, knots: Symbols) -> Symbols:
        """Linear between the knots of the day."""
        import casadi as ca

        width = DAY_H / self._n
        found = 0
        for i in range(self._n):
            away = ca.fabs(scope.forecast("hour_of_day") - i * width)
            found += knots[i] * ca.fmax(0.0, 1.0 - ca.fmin(away, DAY_H - away) / width)
        return found

    def keeping(self, p: Symbols) -> Symbols:
        """Of the usual price, for a kWh and an hour."""
        return p[2 * self._n + 1]

    def missing(self, scope: Scope, p: Symbols, usual_price: Symbols) -> tuple[Symbols, float]:
        """A row that is below 0 by what is missing, and the price of its slack."""
        b = self._battery
        reserve = b.soc_min + (b.soc_max - b.soc_min) * self._at(scope, p[: self._n])
        worth = p[2 * self._n] * usual_price * b.capacity_kwh / ROW_SCALE
        return worth * (scope.x - reserve), ROW_SCALE * self._hours

    def worth(self, scope: Scope, p: Symbols) -> Symbols:
        """Added to the slope of the terminal value."""
        return self._at(scope, p[self._n : 2 * self._n])
