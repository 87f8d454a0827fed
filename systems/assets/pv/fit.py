"""What a log teaches of panels: whether the nameplate is right, and what the forecast has to be multiplied with."""

from __future__ import annotations

import numpy as np

from systems.assets.pv import Pv
from systems.logs.lesson import Curve, Fitted, Lesson, LessonPlot
from systems.logs.log import DAY_S, Log, LogError

MIN_DAYS = 3.0
SCALE_BOUNDS = (0.0, 1.5)
"""Those of theta."""
OVER_NAMEPLATE = 1.1
"""Cold panels in clear air give a little more than they are rated at."""
MIN_KWH = 1.0


def learn_pv(pv: Pv, log: Log) -> Lesson:
    """Raises LogError for a log in which the panels hardly ever give power."""
    name = f"{pv.name}_kw"
    power = log[name]
    days = float(np.isfinite(power).sum()) * log.dt_s / DAY_S
    energy = float(np.nansum(power)) * log.dt_s / 3600.0
    if days < MIN_DAYS or energy < MIN_KWH:
        raise LogError(
            f"{log.source}: {days:.1f} days and {energy:.1f} kWh of {name}; at least {MIN_DAYS:g} days with sun are "
            "needed"
        )
    largest = float(np.nanmax(power))
    findings = [
        Fitted("yield", "kWh/day", energy / days),
        Fitted("highest power", "kW", largest, text=f"the house file says {pv.peak_kw:g}"),
    ]
    problems, theta = [], {}
    if largest > OVER_NAMEPLATE * pv.peak_kw:
        problems.append(
            f"{pv.name}: the log shows {largest:.1f} kW, and peak_kw = {pv.peak_kw:g}; set peak_kw = {largest:.1f}, or "
            f"check that {name} is in kW"
        )
    forecast = f"{pv.name}_forecast_kw"
    if forecast in log:
        known = np.isfinite(power) & np.isfinite(log[forecast])
        made, said = power[known], log[forecast][known]
        if float(said @ said) > 0.0:
            scale = float(made @ said / (said @ said))
            theta[f"{pv.name}_scale"] = float(np.clip(scale, *SCALE_BOUNDS))
            error = float(np.sqrt(np.mean((made - scale * said) ** 2)))
            findings += [
                Fitted("factor on the forecast", "1", scale),
                Fitted("error of the forecast", "kW", error, text="root mean square, with that factor"),
            ]
    summary = f"{energy / days:.1f} kWh a day, at most {largest:.1f} of {pv.peak_kw:g} kW"
    return Lesson(pv.name, summary, theta, tuple(findings), tuple(problems), panels=(_panel(pv, log),))


def _panel(pv: Pv, log: Log) -> LessonPlot:
    """Power by the hour of the day: the mean, and what one hour in twenty exceeds."""
    power, hour = log[f"{pv.name}_kw"], log.minutes_of_week() % 1440 // 60
    seen = [hour_values[np.isfinite(hour_values)] for hour_values in (power[hour == h] for h in range(24))]
    mean = np.array([values.mean() if len(values) else np.nan for values in seen])
    high = np.array([np.quantile(values, 0.95) if len(values) else np.nan for values in seen])
    return LessonPlot(
        "Power of the panels over the day",
        "hour of the day",
        "kW",
        (Curve("mean", np.arange(24.0), mean), Curve("one hour in twenty is above", np.arange(24.0), high, "dotted")),
    )
