"""Prices and what they make of a bill: forecasts that assets share, the scale of costs, and a meter of any regime.

Money is in the currency of the house, so nothing here is a sum: costs that are not prices are shares of prices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from systems.block import Forecast, Symbols
from systems.currency import most_per_eur

if TYPE_CHECKING:
    from systems.house_file import House

MAX_PRICE_EUR = 5.0
"""Of a kWh, either sign: a price beyond it is one in another unit. Coupled markets end at 4 EUR/kWh."""
CURVATURE_PER_KW2 = 5e-4
"""Of the cost in power, over the mean price: it keeps the problem from being a linear program, whose solutions jump and
have no derivative."""
SMALLEST_PRICE = 0.02
"""Below it prices count as this where they set the scale of something."""
EXACT = 5.0
"""Price of a kWh beyond a limit over the largest price of the horizon: more than breaking the limit can earn. A kWh is
bought and sold again at the largest price at most, with efficiencies of at least 0.7, and is worth at most twice the
mean price at the end: 2 + 1 / 0.7."""
ROW_SCALE = 10.0
"""Rows are kWh beyond a limit at the largest price, over this."""
PRICE = EXACT * ROW_SCALE
RENT_PER_H = 0.02
"""Of a kWh that a battery lacks to its band, over the usual price. Without it any hour of the horizon would do as well
as now, and at the next decision again; meanwhile cells drain. It is so small that waiting some hours for a better price
is not dearer than to buy now and to sell again, which loses a tenth."""
KINK = 0.01
"""Of the larger price: how far the tangents' two slopes are apart, which makes import and export unique."""
SETTLED_AT_KW = 1e-9
PRICE_SCALES = 3
"""What `price_scales` gives: mean buy price, usual and largest size of a price."""


def buy_forecast(house: House) -> Forecast:
    """Either price may have either sign, and either may be above the other."""
    return _price(house, "buy", "what a kWh costs, all included")


def sell_forecast(house: House) -> Forecast:
    return _price(house, "sell", "what a kWh to the grid earns")


def _price(house: House, name: str, description: str) -> Forecast:
    most = MAX_PRICE_EUR * most_per_eur(house.currency)
    return Forecast(name, f"{house.currency}/kWh", -most, most, description)


def peak_price(house: House) -> float:
    """What a kWh at the month's peak is worth at most: a charge per kW, by a stage that makes the peak alone."""
    capacity = getattr(house.only("meter"), "capacity", None)
    return 0.0 if capacity is None else float(capacity.most_per_kw()) / house.grid.hold_h


def price_scales(forecasts: Mapping[str, Symbols], x: Symbols, least: float = SMALLEST_PRICE) -> Symbols:
    """(3,) [mean buy price, mean and largest size of a price], the sizes at least SMALLEST_PRICE.

    least: of the largest, where a kWh may be worth more than its price.
    """
    import casadi as ca

    buy = forecasts["buy"]
    largest = ca.mmax(ca.fabs(ca.horzcat(*(forecasts[name] for name in ("buy", "sell") if name in forecasts))))
    usual = ca.sum1(ca.fabs(buy)) / buy.shape[0]
    return ca.vertcat(
        ca.sum1(buy) / buy.shape[0], ca.fmax(usual, SMALLEST_PRICE), ca.fmax(largest, max(least, SMALLEST_PRICE))
    )


def bill(buy: Symbols, sell: Symbols, grid_kw: Symbols) -> Symbols:
    """Of an hour at a power from the grid, negative into it: what a meter bills."""
    import casadi as ca

    return buy * ca.fmax(grid_kw, 0.0) + sell * ca.fmin(grid_kw, 0.0)


def chord(buy: Symbols, sell: Symbols, lowest_kw: Symbols, highest_kw: Symbols) -> tuple[Symbols, Symbols]:
    """(buy, sell); where selling pays more than buying costs both are the chord of the bill between two powers."""
    import casadi as ca

    rise = bill(buy, sell, highest_kw) - bill(buy, sell, lowest_kw)
    slope = rise / ca.fmax(highest_kw - lowest_kw, 1e-3)
    concave = sell > buy
    return ca.if_else(concave, slope, buy), ca.if_else(concave, slope, sell)


def tangents(buy: Symbols, sell: Symbols, grid_kw: Symbols) -> tuple[Symbols, Symbols]:
    """(buy, sell); where selling pays more than buying costs both are about that of the side the power is on."""
    import casadi as ca

    kink = KINK * ca.fmax(ca.fabs(buy), ca.fabs(sell))
    importing = grid_kw > SETTLED_AT_KW
    concave = sell > buy
    return (
        ca.if_else(concave, ca.if_else(importing, buy, sell + kink), buy),
        ca.if_else(concave, ca.if_else(importing, buy - kink, sell), sell),
    )
