"""A seeded generator of spot prices and household load, for the demo, tests and whoever has no files yet.

Shapes, not forecasts: each is a product of a daily profile, a season and a slow random level, so that weeks differ
as they do in published day-ahead prices, and the same seed always gives the same series.

  price  = level(day) * profile(hour, weekday) + noise(hour);  log level is AR(1) from day to day
  load   = base + morning and evening peaks, more in winter, later and flatter at the weekend
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systems.clock import LocalClock

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PriceShape:
    """One kind of day-ahead market; prices in EUR/kWh, hours local."""

    mean: float
    level_std: float
    """Standard deviation of the log of the daily level."""
    level_memory: float
    """AR(1) coefficient from day to day."""
    morning_peak: float
    evening_peak: float
    midday_dip: float
    """Depth of the solar dip in summer, as a fraction of the mean; above 1 it makes negative prices."""
    night_dip: float
    weekend_factor: float
    noise_std: float
    """Hourly noise, as a fraction of the day's level."""


PRICE_SHAPES: dict[str, PriceShape] = {
    # Hydro storage flattens the day; the level wanders over weeks.
    "nordic": PriceShape(0.060, 0.45, 0.93, 0.35, 0.40, 0.05, 0.25, 0.85, 0.06),
    # Solar and gas: deep middays, steep evenings, sometimes below zero.
    "continental": PriceShape(0.110, 0.30, 0.80, 0.30, 0.75, 0.90, 0.20, 0.75, 0.10),
}


@dataclass(frozen=True)
class Household:
    """How much a house draws."""

    base_load_kw: float = 0.45
    peak_load_kw: float = 1.6
    winter_factor: float = 0.7
    """Additional load in mid-winter, as a fraction."""


def _bump(hour: Floats, centre: float, width: float) -> Floats:
    distance = np.abs((hour - centre + 12.0) % 24.0 - 12.0)
    return np.exp(-0.5 * (distance / width) ** 2)


def _season(day_of_year: NDArray[np.int64]) -> Floats:
    """1 in mid-winter, -1 in mid-summer (northern half of the earth)."""
    return np.asarray(np.cos(2 * np.pi * (day_of_year - 15) / 365.0))


def _ar1(rng: np.random.Generator, n: int, memory: float) -> Floats:
    """A stationary AR(1) path (n,) of unit variance."""
    path = rng.standard_normal(n)
    innovation = np.sqrt(1 - memory**2)
    for k in range(1, n):
        path[k] = memory * path[k - 1] + innovation * path[k]
    return path


def spot_prices(kind: str, clock: LocalClock, seed: int) -> Floats:
    """EUR/kWh (n,), constant within an hour, on the local clock. Raises KeyError for an unknown kind."""
    shape = PRICE_SHAPES[kind]
    rng = np.random.default_rng([seed, 1])
    hour, weekday, day_of_year = clock.hour, clock.weekday, clock.day_of_year
    day = clock.day - clock.day[0]
    level = shape.mean * np.exp(shape.level_std * _ar1(rng, int(day[-1]) + 1, shape.level_memory))[day]
    hour_index = np.concatenate([[0], np.cumsum(np.diff(np.floor(hour)) != 0)])
    noise = rng.standard_normal(int(hour_index[-1]) + 1)[hour_index]
    h = np.floor(hour) + 0.5
    weekend = weekday >= 5
    season = _season(day_of_year)
    profile = (
        1.0
        + np.where(weekend, 0.4, 1.0) * shape.morning_peak * _bump(h, 8.5, 1.6)
        + shape.evening_peak * _bump(h, 18.5, 2.0)
        - shape.night_dip * _bump(h, 3.0, 2.5)
        - shape.midday_dip * (0.6 - 0.4 * season) * _bump(h, 13.0, 2.2)
    )
    return np.asarray(level * np.where(weekend, shape.weekend_factor, 1.0) * (profile + shape.noise_std * noise))


def household_load(house: Household, clock: LocalClock) -> Floats:
    """Typical consumption in kW (n,)."""
    hour, weekday, day_of_year = clock.hour, clock.weekday, clock.day_of_year
    weekend = weekday >= 5
    morning = np.where(weekend, 0.5 * _bump(hour, 10.0, 2.0), 0.7 * _bump(hour, 7.5, 1.0))
    evening = _bump(hour, 19.0, 2.2)
    midday = np.where(weekend, 0.35, 0.1) * _bump(hour, 13.0, 2.5)
    winter = 1 + house.winter_factor * (1 + _season(day_of_year)) / 2
    return winter * (house.base_load_kw + house.peak_load_kw * (morning + evening + midday))
