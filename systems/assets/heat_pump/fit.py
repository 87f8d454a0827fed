"""What a log teaches of a heat pump by itself: whether the nameplate is right, and how it is used.

What its power does to zones and tanks is theirs to learn.
"""

from __future__ import annotations

import numpy as np

from systems.assets.heat_pump import HeatPump, power_columns
from systems.house_file import House
from systems.logs.lesson import Curve, Fitted, Lesson, LessonPlot
from systems.logs.log import DAY_S, Log

ON_KW = 0.05
OVER_NAMEPLATE = 1.15


def learn_heat_pump(house: House, pump: HeatPump, log: Log) -> Lesson:
    power = log.table(list(power_columns(house, pump))).sum(1)
    known = power[np.isfinite(power)]
    days = len(known) * log.dt_s / DAY_S
    largest = float(known.max()) if len(known) else 0.0
    on = known > ON_KW
    starts = float((on[1:] & ~on[:-1]).sum()) / max(days, 1e-9)
    lowest = float(np.quantile(known[on], 0.05)) if on.any() else 0.0
    problems = []
    if largest > OVER_NAMEPLATE * pump.max_power_kw:
        problems.append(
            f"{pump.name}: the log shows {largest:.2f} kW, and max_power_kw = {pump.max_power_kw:g}; set it to "
            f"{largest:.1f}, or check that the column is in kW"
        )
    use = float(known.mean()) * 24.0 if len(known) else 0.0
    return Lesson(
        asset=pump.name,
        summary=f"{use:.1f} kWh a day, on for {on.mean() if len(known) else 0:.0%} of the time",
        findings=(
            Fitted("energy", "kWh/day", use),
            Fitted("highest power", "kW", largest, text=f"the house file says {pump.max_power_kw:g}"),
            Fitted("lowest while on", "kW", lowest, text=f"the house file says {pump.min_power_kw:g}"),
            Fitted("starts", "1/day", starts),
        ),
        problems=tuple(problems),
        panels=(_panel(log, power),),
    )


def _panel(log: Log, power: np.ndarray) -> LessonPlot:
    hour = log.minutes_of_week() % 1440 // 60
    parts = [power[hour == h] for h in range(24)]
    mean = [float(np.nanmean(part)) if np.isfinite(part).any() else np.nan for part in parts]
    return LessonPlot("Power over the day", "hour of the day", "kW", (Curve("mean", np.arange(24.0), np.array(mean)),))
