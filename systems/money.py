"""The prices of a house: forecasts that its assets share, in the currency of the house."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from systems.block import Forecast, Symbols

if TYPE_CHECKING:
    from systems.house_file import House

PRICE_RANGE = (-50.0, 100.0)
"""Per kWh in any currency: what lies beyond is a price in another unit."""


def buy_forecast(house: House) -> Forecast:
    return Forecast("buy", f"{house.currency}/kWh", *PRICE_RANGE, "what a kWh from the grid costs, all included")


def sell_forecast(house: House) -> Forecast:
    return Forecast("sell", f"{house.currency}/kWh", *PRICE_RANGE, "what a kWh to the grid earns")


def mean_buy_price(forecasts: Mapping[str, Symbols]) -> Symbols:
    """(1,) over the whole horizon: the scale of what is worth keeping at its end."""
    import casadi as ca

    buy = forecasts["buy"]
    return ca.sum1(buy) / buy.shape[0]
