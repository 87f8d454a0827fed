"""What the safety filter keeps of a tank: neither cold nor boiling, for draws that nobody has foreseen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from systems.assets import Mistake
from systems.assets.heat_pump import tank_feeders
from systems.grid import HOUR_S
from systems.house_file import House
from systems.profile import WeekProfile

if TYPE_CHECKING:
    from systems.assets.tank import Tank

LUKEWARM_C = 30.0
"""Whatever the plan says, water does not get colder than that where there is power."""
BELOW_BAND_K = 5.0
FREEZING_C = 5.0
UNFORESEEN_DRAW = 0.2
"""Of the largest draw, as a mean over a decision: a shower that no forecast knows of."""
DEVIATIONS = 3.0
"""Of the draws that a log taught: so many times their spread may come unforeseen."""
HEAT_ERROR = 0.1
"""Of the largest heat of a decision: what the COP map and the meter may be wrong by."""
SENSOR_ERROR_K = 0.5


def coldest_c(tank: Tank) -> float:
    """The limit: as said, else lukewarm, where the band leaves room for that; never ice."""
    if tank.never_below_c is not None:
        return tank.never_below_c
    return max(FREEZING_C, min(LUKEWARM_C, tank.lower.lowest - BELOW_BAND_K))


def unforeseen_kw(tank: Tank, draws: WeekProfile | None) -> float:
    """The most that is drawn beyond the forecast, as a mean over a decision."""
    if draws is None:
        return UNFORESEEN_DRAW * tank.draw_peak_kw
    spread = math.sqrt(sum(value * value for value in draws.spread) / len(draws.spread))
    return min(DEVIATIONS * spread, tank.draw_peak_kw)


def tank_limits(house: House, tank: Tank, draws: WeekProfile | None = None) -> tuple[dict[str, Any], ...]:
    """One limit, on the measured temperature."""
    per_kw = house.grid.hold_h / tank.capacity_kwh_per_k
    heat_kw = sum(
        pump.max_power_kw * max(cop for _, cop in pump.tank_cop_map()) for pump in tank_feeders(house, tank.name)
    )
    wrong = HEAT_ERROR * heat_kw * per_kw + SENSOR_ERROR_K
    # What a pulse of the compressor may bring before it can stop.
    wrong += sum(
        pump.min_power_kw * max(pump.min_run or 0.0, house.grid.step_s) / 2 * max(cop for _, cop in pump.tank_cop_map())
        for pump in tank_feeders(house, tank.name)
    ) / (HOUR_S * tank.capacity_kwh_per_k)
    drawn = unforeseen_kw(tank, draws) * per_kw
    return (
        {
            "name": f"{tank.name}_temperature",
            "lower": coldest_c(tank),
            "upper": tank.never_above_c,
            "disturbance": [-(wrong + drawn), wrong],
        },
    )


def limit_mistakes(i: int, tank: Tank) -> Iterator[Mistake]:
    """A band that reaches what must never be."""
    if coldest_c(tank) >= tank.lower.lowest:
        yield Mistake(
            ("tank", i, "never_below_c"),
            f"the lower bound goes down to {tank.lower.lowest:g} degC, and never_below_c is {coldest_c(tank):g}; "
            "lower it, or raise the bound",
        )
    if tank.never_above_c <= tank.upper.highest:
        yield Mistake(
            ("tank", i, "never_above_c"),
            f"the upper bound goes up to {tank.upper.highest:g} degC, and never_above_c is {tank.never_above_c:g}; "
            "raise it, or lower the bound",
        )
