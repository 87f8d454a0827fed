"""What a log teaches of the load: its profile by hour and weekday, with its spread, and how well it foretells.

Of several groupings of days the one is taken whose mean profile foretells blocks that it has not seen best; each
profile is shrunk towards the one with fewer groups, by how many days it has seen.
"""

from __future__ import annotations

import numpy as np

from runtime.inputs.correction import Carries
from systems.assets.load import Load
from systems.logs.lesson import Curve, Fitted, Lesson, LessonPlot
from systems.logs.log import DAY_S, Array, Index, Log, LogError
from systems.profile import WeekProfile

GROUPINGS: dict[str, tuple[int, ...]] = {
    "every day alike": (0,) * 7,
    "workdays and weekends": (0, 0, 0, 0, 0, 1, 1),
    "every weekday": (0, 1, 2, 3, 4, 5, 6),
}
BLOCKS = 5
SHRINK_DAYS = 4.0
"""Days that count for the coarser profile in a finer one."""
MIN_DAYS = 7.0
CARRY_LAGS_H = (1.0, 2.0, 3.0, 4.0)
LEAST_CORRELATION = 0.03
MEMORY_H = (0.25, 48.0)
SLOT_MIN = 60


def learn_load(load: Load, log: Log) -> Lesson:
    """Raises LogError for a log that is shorter than a week."""
    name, values = "load_kw", log["load_kw"]
    days = float(np.isfinite(values).sum()) * log.dt_s / DAY_S
    if days < MIN_DAYS:
        raise LogError(f"{log.source}: {days:.1f} days of {name}; at least {MIN_DAYS:g} are needed for its profile")
    minutes = log.minutes_of_week()
    block = np.arange(len(values)) * BLOCKS // len(values)
    foretold = {grouping: np.full(len(values), np.nan) for grouping in GROUPINGS}
    for k in range(BLOCKS):
        for grouping, made in foretold.items():
            profile = week_profile(values[block != k], minutes[block != k], log.dt_s, grouping)
            made[block == k] = profile[minutes[block == k] // SLOT_MIN]
    error = {grouping: rmse(values - made) for grouping, made in foretold.items()}
    best = min(error, key=lambda grouping: error[grouping])
    profile = week_profile(values, minutes, log.dt_s, best)
    slots = minutes // SLOT_MIN
    left = values - foretold[best]
    spread = week_profile(left**2, minutes, log.dt_s, "every day alike") ** 0.5
    a_day = round(DAY_S / log.dt_s)
    rivals = {"as yesterday": _back(values, a_day), "as a week ago": _back(values, 7 * a_day)}
    problems = []
    most = float(np.nanmax(values))
    if most > load.peak_kw:
        problems.append(
            f"load: the log shows {most:.1f} kW, and peak_kw = {load.peak_kw:g}; set peak_kw = {np.ceil(most):g}"
        )
    findings = [
        Fitted("mean", "kW", float(np.nanmean(values))),
        Fitted("error of the profile", "kW", error[best], text=f"root mean square, held out; {best}"),
        *(Fitted(f"the same {rival}", "kW", rmse(values - made)) for rival, made in rivals.items()),
        Fitted("mean error of the profile", "kW", float(np.nanmean(left)), text="held out"),
    ]
    carries = carried_on(left, log.dt_s)
    if carries is not None:
        findings.append(Fitted("deviation that goes on", "1", carries.share, text=f"fades in {carries.memory_h:.1f} h"))
    theta, model = {}, WeekProfile(tuple(profile.tolist()), tuple(spread.tolist()), carries).to_json()
    if "load_forecast_kw" in log:
        # A forecast that somebody publishes is corrected; without one the profile is the forecast.
        error_kw = values - log["load_forecast_kw"]
        miss, model = float(np.nanmean(error_kw)), ""
        theta["load_bias"] = float(np.clip(miss, -1.0, 1.0))
        findings.append(Fitted("mean error of the forecast in the log", "kW", miss))
        findings.append(Fitted("error of the forecast in the log", "kW", rmse(error_kw), text="root mean square"))
    return Lesson(
        asset=load.name,
        summary=f"{np.nanmean(values):.2f} kW on average, foretold to {error[best]:.2f} kW by a profile ({best})",
        theta=theta,
        findings=tuple(findings),
        problems=tuple(problems),
        panels=(_panel(values, slots, profile, spread),),
        table="load",
        model=model,
    )


def week_profile(values: Array, minutes: Index, dt_s: float, grouping: str) -> Array:
    """(168,) mean by hour of the week; a finer grouping leans on the coarser ones."""
    slots, days = minutes // SLOT_MIN, len(values) * dt_s / DAY_S
    good = np.isfinite(values)
    profile = np.full(168, float(values[good].mean()))
    a_slot = max(1.0, SLOT_MIN * 60.0 / dt_s)
    for name, group in GROUPINGS.items():
        key = np.array([group[slot // 24] * 24 + slot % 24 for slot in range(168)])
        total = np.bincount(key[slots[good]], values[good], minlength=168)
        count = np.bincount(key[slots[good]], minlength=168) / a_slot
        prior = np.bincount(key, profile, minlength=168) / np.maximum(np.bincount(key, minlength=168), 1)
        lean = SHRINK_DAYS if name != "every day alike" else min(1.0, SHRINK_DAYS / max(days, 1.0))
        shrunk = (total / a_slot + lean * prior) / (count + lean)
        profile = shrunk[key]
        if name == grouping:
            return np.asarray(profile)
    raise KeyError(grouping)


def carried_on(errors: Array, dt_s: float) -> Carries | None:
    """How errors (T,), NaN where nothing is known, go on; None where they tell nothing of the next hours.

    A line through the logarithms of their correlations over lags of CARRY_LAGS_H.
    """
    errors = errors - np.nanmean(errors)
    lags, seen = [], []
    for lag_h in CARRY_LAGS_H:
        steps = round(lag_h * 3600.0 / dt_s)
        both = np.isfinite(errors[:-steps]) & np.isfinite(errors[steps:])
        found = float(np.corrcoef(errors[:-steps][both], errors[steps:][both])[0, 1]) if both.sum() > 2 else 0.0
        if not found > LEAST_CORRELATION:
            break
        lags.append(lag_h)
        seen.append(np.log(found))
    if len(lags) < 2:
        return None
    slope, level = np.polyfit(lags, seen, 1)
    memory_h = float(np.clip(-1.0 / min(slope, -1e-6), *MEMORY_H))
    return Carries(share=float(np.clip(np.exp(level), 0.0, 1.0)), memory_h=memory_h)


def rmse(errors: Array) -> float:
    return float(np.sqrt(np.nanmean(errors**2)))


def _back(values: Array, steps: int) -> Array:
    return np.concatenate([np.full(min(steps, len(values)), np.nan), values[:-steps]])[: len(values)]


def _panel(values: Array, slots: Index, profile: Array, spread: Array) -> LessonPlot:
    hours = np.arange(168) / 24.0
    seen = np.array([np.nanmean(values[slots == slot]) if (slots == slot).any() else np.nan for slot in range(168)])
    return LessonPlot(
        "A week of load: what the forecast says, and the mean of what was",
        "days since Monday",
        "kW",
        (
            Curve("forecast ± spread", hours, np.vstack([profile - spread, profile + spread]), "band"),
            Curve("forecast", hours, profile),
            Curve("log, mean", hours, seen, "dotted"),
        ),
    )
