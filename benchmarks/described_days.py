"""Ordinary days of a described house, made up: what a benchmark solves again and again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from systems.block import Forecast
from systems.design import HouseDesign
from systems.problem import Signal

Array = NDArray[np.float64]
DAY_H, WEEK_MIN = 24.0, 10080


def ordinary_days(design: HouseDesign, count: int, seed: int = 0) -> list[tuple[Array, Array]]:
    """(x0, forecast) of so many days: weather, people and prices with a morning and an evening, feed-in below the
    price."""
    problem, rng = design.problem, np.random.default_rng(seed)
    days = []
    for _ in range(count):
        row_h = rng.integers(0, 48) / 2.0 + np.arange(problem.horizon + 1) * design.house.grid.hold_h
        weather = {"cold": rng.uniform(-12.0, 10.0), "clear": rng.uniform(0.1, 1.0)}
        price = 0.15 - 0.08 * np.cos(row_h * 4.0 * np.pi / DAY_H) + 0.01 * rng.standard_normal(len(row_h)).cumsum()
        columns = [
            np.broadcast_to(
                _column(
                    forecast, row_h[:, None] + np.arange(forecast.steps) * design.house.grid.step_h, weather, price
                ),
                (len(row_h), forecast.steps),
            )
            for forecast in design.forecasts
        ]
        lower, upper = (np.array([getattr(s, end) for s in problem.forecasts]) for end in ("lower", "upper"))
        x0 = np.array([_start(state, rng) for state in problem.states])
        days.append((x0, np.clip(np.hstack(columns), lower, upper)))
    return days


def _column(forecast: Forecast, time_h: Array, weather: dict[str, float], price: Array) -> Array:
    hour = time_h % DAY_H
    sun = weather["clear"] * np.clip(np.sin((hour - 6.0) / 12.0 * np.pi), 0.0, None)
    name = forecast.name
    if forecast.schedule is not None:
        return np.vectorize(lambda at_h: forecast.schedule.at(int(at_h * 60.0) % WEEK_MIN))(time_h)  # type: ignore[union-attr]
    known = {
        "outdoor": weather["cold"] + 3.0 * np.sin((hour - 9.0) / 12.0 * np.pi),
        "sun": 600.0 * sun,
        "load": 0.4 + 1.5 * np.exp(-(((hour - 18.0) / 2.0) ** 2)),
        "buy": price[:, None],
        "sell": 0.4 * np.abs(price[:, None]),
    }
    if name in known:
        return known[name]
    if name.startswith("pv"):
        return 0.8 * forecast.upper * sun
    if name.endswith("_draw"):
        return 2.0 * np.exp(-((hour - 7.0) ** 2)) + 1.5 * np.exp(-((hour - 20.0) ** 2))
    return np.full_like(time_h, 0.5)


def _start(state: Signal, rng: np.random.Generator) -> float:
    """A zone's history is one at rest: what the past adds to its temperature is left out."""
    if state.unit == "1":
        return float(rng.uniform(0.1, 0.9))
    if state.unit == "kW":
        return float(rng.choice([0.0, 2.0, 4.0, 6.0]))
    if state.unit == "K":
        return 0.0
    return float(rng.uniform(46.0, 58.0) if state.upper > 50.0 else rng.uniform(18.5, 22.0))
