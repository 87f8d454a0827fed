"""What a log teaches of a tank: standing loss, the COP of its heater, and the draws by hour of the week.

    C (T[k+1] - T[k]) / h = cop P - draw - scale loss (T - ambient)

Draws are never negative and most quarters of an hour have none: the standing loss is what a tank that is not heated
loses in quiet stretches, the median of windows among those that cool least. With it the rest of the balance is draws
where nothing heats, and the COP in windows that heat while, by the hour of the day, next to nothing is drawn.
"""

from __future__ import annotations

import json

import numpy as np

from systems.assets.heat_pump import tank_feeders
from systems.assets.load.fit import week_profile
from systems.assets.tank import Tank
from systems.grid import HOUR_S
from systems.house_file import House
from systems.logs.lesson import Curve, Fitted, Lesson, LessonPlot
from systems.logs.log import Array, Log, LogError
from systems.profile import WeekProfile

QUIET_H = 2.0
"""Length of a window of the standing loss."""
QUIET_SHARE = 0.3
"""Of the windows without heating, those that cool least: in them nothing is drawn."""
MIN_WINDOWS = 20
SCALE_BOUNDS = (0.2, 5.0)
ON_KW = 0.05
MILD_OUTDOOR_C = 7.0


def learn_tank(house: House, tank: Tank, log: Log) -> Lesson:
    """Raises LogError where the tank is hardly ever left alone."""
    every = max(1, round(log.step_s[f"{tank.name}_c"] / log.dt_s))
    dt_h = log.dt_s * every / HOUR_S
    water = log[f"{tank.name}_c"][::every]
    heating = {pump: _means(log[f"{pump.name}_{tank.name}_kw"], every) for pump in tank_feeders(house, tank.name)}
    heats = np.any([~(power <= ON_KW) for power in heating.values()], axis=0)
    capacity = tank.capacity_kwh_per_k
    scale, quiet = standing_loss(tank, water, heats, dt_h, log.source)
    loss_kw = scale * tank.loss_w_per_k / 1000.0 * (water[:-1] - tank.ambient_c)
    gained = capacity * np.diff(water) / dt_h + loss_kw
    minutes = log.minutes_of_week()[::every][:-1]
    unheated = ~heats[:-1] & ~heats[1:]
    raw = np.where(unheated, np.clip(-gained, 0.0, tank.draw_peak_kw), np.nan)
    known = np.isfinite(raw)
    draws = week_profile(raw, minutes, dt_h * HOUR_S, "workdays and weekends")
    spread = np.sqrt(week_profile((raw - draws[minutes // 60]) ** 2, minutes, dt_h * HOUR_S, "every day alike"))
    findings = [
        Fitted("standing loss", "W/K", scale * tank.loss_w_per_k, text=f"the house file says {tank.loss_w_per_k:g}"),
        Fitted("hot water", "kWh/day", float(draws.mean()) * 24.0, text="drawn"),
    ]
    outdoor = _means(log["outdoor_c"], every) if "outdoor_c" in log else np.full(len(water), MILD_OUTDOOR_C)
    notes = []
    for pump, power in heating.items():
        cop = measured_cop(power[:-1], gained + draws[minutes // 60])
        if cop is None:
            notes.append(f"{pump.name} heats {tank.name} too seldom for its COP to be seen")
            continue
        rated = float(np.interp(np.nanmean(outdoor), *np.transpose(pump.tank_cop_map())))
        findings.append(Fitted(f"COP of {pump.name}", "1", cop, text=f"the house file says {rated:.2f} there"))
        if abs(cop / rated - 1.0) > 0.25:
            notes.append(
                f"{pump.name} makes {cop:.1f} kWh of hot water from a kWh, and the house file says {rated:.1f}; set "
                "tank_cop, or check litres"
            )
    if known.mean() < 0.2:
        notes.append("the tank is heated nearly always, so little is known of the draws")
    profile = WeekProfile(tuple(draws.tolist()), tuple(spread.tolist()))
    return Lesson(
        asset=tank.name,
        summary=f"loses {scale * tank.loss_w_per_k:.1f} W/K, {draws.mean() * 24:.1f} kWh a day are drawn",
        theta={f"{tank.name}_loss_scale": float(np.clip(scale, *SCALE_BOUNDS))},
        findings=tuple(findings),
        notes=tuple(notes),
        panels=(_panel(draws, spread), _cooling_panel(tank, quiet, scale)),
        table="tank",
        model=json.dumps({tank.name: json.loads(profile.to_json())}),
    )


def standing_loss(
    tank: Tank, water: Array, heats: np.ndarray, dt_h: float, source: str
) -> tuple[float, tuple[Array, Array]]:
    """Factor on the nameplate's loss, and the quiet windows (K above ambient, K/h)."""
    steps = max(1, round(QUIET_H / dt_h))
    heated = np.concatenate([[0], np.cumsum(heats)])
    begin = np.arange(0, len(water) - steps, max(1, steps // 2))
    begin = begin[heated[begin + steps] == heated[begin]]
    above, change = water[begin] - tank.ambient_c, (water[begin + steps] - water[begin]) / (steps * dt_h)
    good = np.isfinite(above) & np.isfinite(change) & (above > 5.0)
    above, change = above[good], change[good]
    if len(above) < MIN_WINDOWS:
        raise LogError(
            f"{source}: {len(above)} windows of {QUIET_H:g} h in which {tank.name!r} is not heated; at least "
            f"{MIN_WINDOWS} are needed: log a week, and leave the heater off by night"
        )
    per_k = -change / above
    order = np.argsort(per_k)
    # A sensor of coarse steps shows no change at all in the quietest ones: the least and the most of them are left out.
    chosen = order[: max(MIN_WINDOWS // 2, round(QUIET_SHARE * len(order)))]
    nominal = tank.loss_w_per_k / 1000.0 / tank.capacity_kwh_per_k
    return max(float(np.mean(per_k[chosen])) / nominal, 1e-3), (above[chosen], change[chosen])


def measured_cop(power: Array, heat_kw: Array) -> float | None:
    """Heat over power where it heats, None below ten hours' worth of samples."""
    on = (power > ON_KW) & np.isfinite(heat_kw)
    if on.sum() < 20:
        return None
    return float(heat_kw[on].sum() / power[on].sum())


def _means(values: Array, every: int) -> Array:
    whole = len(values) // every * every
    means = values[:whole].reshape(-1, every).mean(1)
    return np.concatenate([means, values[whole:][:1]])


def _panel(draws: Array, spread: Array) -> LessonPlot:
    hours = np.arange(168) / 24.0
    band = np.vstack([np.maximum(draws - spread, 0.0), draws + spread])
    curves = (Curve("draws ± spread", hours, band, "band"), Curve("draws", hours, draws))
    return LessonPlot("Hot water drawn, by hour of the week", "days since Monday", "kW", curves)


def _cooling_panel(tank: Tank, quiet: tuple[Array, Array], scale: float) -> LessonPlot:
    above, change = quiet
    line = np.array([0.0, float(above.max())])
    per_k = scale * tank.loss_w_per_k / 1000.0 / tank.capacity_kwh_per_k
    return LessonPlot(
        "How the tank cools when nothing is drawn",
        "K above its surroundings",
        "K per hour",
        (Curve("quiet windows", above, change, "points"), Curve("model", line, -per_k * line)),
    )
