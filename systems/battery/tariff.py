"""From a spot price to what a household pays for a kWh and what it gets for one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DAY_HOURS = (6, 22)


@dataclass(frozen=True)
class Tariff:
    """Norwegian-like defaults, EUR/kWh. Fees and tax are given with VAT; the day fee holds on working days 6-22 h."""

    vat: float = 0.25
    """On the spot price, as a fraction."""
    grid_fee_day: float = 0.045
    grid_fee_night: float = 0.030
    """Nights and weekends."""
    tax: float = 0.016
    supplier_fee: float = 0.005
    sell_fee: float = 0.003
    """What the buyer of surplus keeps; surplus earns spot without VAT."""

    def buy_price(
        self, spot: NDArray[np.float64], hour: NDArray[np.float64], weekday: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """EUR/kWh (n,) from spot (n,), local hour of day (n,) and weekday (n,), Monday = 0."""
        day = (hour >= DAY_HOURS[0]) & (hour < DAY_HOURS[1]) & (weekday < 5)
        grid_fee = np.where(day, self.grid_fee_day, self.grid_fee_night)
        return spot * (1 + self.vat) + grid_fee + self.tax + self.supplier_fee

    def sell_price(self, spot: NDArray[np.float64], buy: NDArray[np.float64]) -> NDArray[np.float64]:
        """EUR/kWh (n,). Never above the buy price: the MPC would be unbounded, and a meter would be a money pump."""
        return np.minimum(spot - self.sell_fee, buy)
