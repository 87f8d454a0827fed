"""Outdoor temperature, irradiance and electricity price of a heating season: generated from a seed, or handed in.

The generator has the statistics of the Trondheim region (63.4° N) in round numbers: mean temperature 6 °C with a yearly
swing of 8 K (climate normals 1991-2020: January about -2 °C, July about 15 °C), weather systems that last days and move
the temperature by 4.5 K in winter and 3 K in summer, a daily swing that follows the sun, and spot prices with two daily
peaks, cheaper nights and weekends, dearer cold spells, and a level that wanders from week to week.
Clear-sky irradiance: Haurwitz, "Insolation in relation to cloudiness and cloud density" (1945).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
HOUR_S, DAY_S, YEAR_S = 3600.0, 86400.0, 365.2425 * 86400.0
EPOCH_YEAR_START_S = datetime(2017, 1, 1, tzinfo=UTC).timestamp()
MARKET_OFFSET_S = 3600.0
"""The day-ahead market's day is that of Central European Time; daylight saving is ignored here."""


@dataclass(frozen=True, eq=False)
class Conditions:
    """What the world outside does, on one grid; sample k holds over [k, k+1) steps after `start_s`."""

    start_s: float
    """Unix time of sample 0, UTC."""
    dt_s: float
    outdoor_c: Array
    """(T,) °C"""
    irradiance_w_m2: Array
    """(T,) global horizontal, W/m2"""
    price_eur_kwh: Array
    """(T,) EUR/kWh"""

    def __post_init__(self) -> None:
        lengths = {len(self.outdoor_c), len(self.irradiance_w_m2), len(self.price_eur_kwh)}
        if len(lengths) != 1:
            raise ValueError(
                f"outdoor_c, irradiance_w_m2 and price_eur_kwh have lengths {sorted(lengths)}; make them equal"
            )

    def __len__(self) -> int:
        return len(self.outdoor_c)

    @property
    def time_s(self) -> Array:
        """(T,) Unix times of the samples."""
        return np.asarray(self.start_s + self.dt_s * np.arange(len(self)), dtype=np.float64)

    def window(self, first: int, count: int) -> Conditions:
        """Samples first .. first + count - 1; raises IndexError where the season does not hold them."""
        if first < 0 or first + count > len(self):
            raise IndexError(
                f"samples {first}..{first + count - 1} asked of a season of {len(self)}; make the season longer"
            )
        part = slice(first, first + count)
        return Conditions(
            self.start_s + first * self.dt_s,
            self.dt_s,
            self.outdoor_c[part],
            self.irradiance_w_m2[part],
            self.price_eur_kwh[part],
        )


@dataclass(frozen=True)
class ClimateSpec:
    """Statistics of the generator; the defaults are Trondheim-like."""

    latitude_deg: float = 63.4
    longitude_deg: float = 10.4
    mean_c: float = 6.0
    yearly_swing_k: float = 8.0
    daily_swing_k: float = 4.0
    """Half range on a clear summer day; clouds and the low winter sun take most of it away."""
    front_std_k: tuple[float, float] = (4.5, 3.0)
    """Standard deviation of the weather systems in January and July."""
    front_time_h: float = 60.0
    mean_price_eur_kwh: float = 0.06
    price_daily_std: float = 0.18
    """Standard deviation of the logarithm of the price level from day to day."""
    price_hourly_std: float = 0.06
    price_per_cold_k: float = 0.015
    """Relative price increase per K below the season's normal."""


def _autoregressive(rng: np.random.Generator, count: int, time_steps: float) -> Array:
    """(count,) first-order Gauss-Markov path of unit variance with the given time constant in steps."""
    memory = float(np.exp(-1.0 / time_steps))
    shocks = (rng.standard_normal(count) * np.sqrt(1.0 - memory**2)).tolist()
    path, value = [], float(rng.standard_normal())
    for shock in shocks:
        value = memory * value + shock
        path.append(value)
    return np.array(path)


def sun_position(time_s: ArrayLike, latitude_deg: float, longitude_deg: float) -> tuple[Array, Array]:
    """(sine of the elevation, azimuth in rad from north over east); good to a few minutes of time."""
    t = np.asarray(time_s, dtype=float)
    year = 2 * np.pi * (t - EPOCH_YEAR_START_S) / YEAR_S
    # Ecliptic longitude from the winter solstice, with the first term of the orbit's eccentricity.
    longitude = year + 2 * np.pi * 10.0 / 365.24 + 2 * 0.0167 * np.sin(year - 2 * np.pi * 2.0 / 365.24)
    declination = -np.arcsin(np.sin(np.deg2rad(23.44)) * np.cos(longitude))
    hour_angle = 2 * np.pi * ((t % DAY_S) / DAY_S - 0.5 + longitude_deg / 360.0)
    latitude = np.deg2rad(latitude_deg)
    sine = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    azimuth = np.pi + np.arctan2(
        np.sin(hour_angle), np.cos(hour_angle) * np.sin(latitude) - np.tan(declination) * np.cos(latitude)
    )
    return sine, azimuth


def clear_sky_w_m2(sine_elevation: ArrayLike) -> Array:
    """Haurwitz' clear-sky global irradiance, W/m2."""
    sine = np.maximum(np.asarray(sine_elevation, dtype=float), 1e-6)
    return np.where(sine > 1e-6, 1098.0 * sine * np.exp(-0.057 / sine), 0.0)


def _price_shape(time_s: Array) -> Array:
    """Relative price by local hour and weekday: peaks at 8 and 18 h, a valley at 3 h, weekends flatter and lower."""
    local = time_s + MARKET_OFFSET_S
    hour = (local % DAY_S) / HOUR_S
    peaks = 0.22 * np.exp(-(((hour - 8.5) / 2.0) ** 2)) + 0.28 * np.exp(-(((hour - 18.0) / 2.5) ** 2))
    valley = -0.25 * np.exp(-(((hour - 3.0) / 3.0) ** 2))
    weekend = (np.floor(local / DAY_S) + 3) % 7 >= 5  # 1970-01-01 was a Thursday
    return np.where(weekend, 0.93 + 0.5 * (peaks + valley), 1.0 + peaks + valley)


def generate_conditions(
    seed: int,
    *,
    start: datetime = datetime(2017, 9, 1, tzinfo=UTC),
    days: float = 242.0,
    dt_s: float = 300.0,
    climate: ClimateSpec | None = None,
) -> Conditions:
    """A season of weather and prices; the default is the paper's, 1 September to 30 April. Same seed, same season.

    Raises ValueError for a start without time zone or a step that does not divide an hour.
    """
    climate = climate or ClimateSpec()
    if start.tzinfo is None:
        raise ValueError("the start of the season has no time zone; pass e.g. datetime(2017, 9, 1, tzinfo=UTC)")
    per_hour = round(HOUR_S / dt_s)
    if abs(per_hour * dt_s - HOUR_S) > 1e-9:
        raise ValueError(f"a step of {dt_s} s does not divide an hour; use 60, 300, 900, 1800 or 3600 s")
    rng_weather, rng_cloud, rng_price = np.random.default_rng(seed).spawn(3)
    start_s = start.timestamp()
    hours = int(np.ceil(days * 24)) + 1
    time_s = start_s + HOUR_S * np.arange(hours)
    # Coldest in mid January, warmest in mid July.
    season = -np.cos(2 * np.pi * ((time_s - EPOCH_YEAR_START_S) / YEAR_S - 17.0 / 365.0))
    winter = (1.0 - season) / 2.0
    cloud = _autoregressive(rng_cloud, hours, 14.0)
    clearness = 0.2 + 0.75 / (1.0 + np.exp(-1.6 * (cloud - 0.2)))
    sine, _ = sun_position(time_s, climate.latitude_deg, climate.longitude_deg)
    irradiance = clear_sky_w_m2(sine) * clearness

    front_std = climate.front_std_k[0] * winter + climate.front_std_k[1] * (1 - winter)
    front = front_std * _autoregressive(rng_weather, hours, climate.front_time_h)
    local_hour = (time_s / HOUR_S + climate.longitude_deg / 15.0) % 24.0
    sun_strength = np.clip(1.15 - winter, 0.15, 1.0) * clearness
    daily = climate.daily_swing_k * sun_strength * np.cos(2 * np.pi * (local_hour - 15.0) / 24.0)
    # Clear winter nights radiate to the sky and are colder.
    radiative = -2.0 * winter * (clearness - 0.5)
    breeze = 0.4 * _autoregressive(rng_weather, hours, 3.0)
    outdoor = climate.mean_c + climate.yearly_swing_k * season + front + daily + radiative + breeze

    day_index = np.floor((time_s + MARKET_OFFSET_S) / DAY_S).astype(int)
    day_index -= day_index[0]
    level = _autoregressive(rng_price, int(day_index[-1]) + 1, 7.0)
    amplitude = np.exp(0.35 * _autoregressive(rng_price, int(day_index[-1]) + 1, 2.0))
    shape = 1.0 + (_price_shape(np.asarray(time_s, dtype=np.float64)) - 1.0) * amplitude[day_index]
    cold = 1.0 - climate.price_per_cold_k * np.clip(front + radiative, -12.0, 12.0)
    hourly = np.exp(climate.price_hourly_std * _autoregressive(rng_price, hours, 2.0))
    price = climate.mean_price_eur_kwh * np.exp(climate.price_daily_std * level[day_index]) * shape * cold * hourly
    return on_grid(time_s, outdoor, irradiance, price, dt_s=dt_s)


def on_grid(
    time_s: ArrayLike, outdoor_c: ArrayLike, irradiance_w_m2: ArrayLike, price_eur_kwh: ArrayLike, *, dt_s: float
) -> Conditions:
    """Hourly (or other evenly sampled) values on a finer grid: weather linear between samples, prices held.

    The last sample only closes the interpolation. Raises ValueError for fewer than two samples.
    """
    t = np.asarray(time_s, dtype=float)
    if len(t) < 2:
        raise ValueError("fewer than two samples of weather and price; give at least two")
    grid = np.arange(t[0], t[-1] - 1e-6, dt_s)
    held = np.searchsorted(t, grid + 1e-6, side="right") - 1
    return Conditions(
        float(t[0]),
        dt_s,
        np.interp(grid, t, np.asarray(outdoor_c, dtype=float)),
        np.interp(grid, t, np.asarray(irradiance_w_m2, dtype=float)),
        np.asarray(price_eur_kwh, dtype=float)[held],
    )
