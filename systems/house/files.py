"""Weather and prices of a season from CSV files; the format and its errors are those of `systems.series`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from systems.csv_rows import SeriesError
from systems.house.weather import Conditions, on_grid
from systems.prices import PRICE, PriceOptions, load_prices
from systems.series import TimeSeries, held_at, load_csv

WEATHER_MAX_GAP_S = 12 * 3600.0
"""Weather is smoother than prices: gaps of up to half a day are filled."""
OUTDOOR, IRRADIANCE = "outdoor_temperature_celsius", "global_irradiance_w_per_m2"


def load_conditions(
    weather: Path,
    prices: Path,
    *,
    dt_s: float = 300.0,
    weather_max_gap_s: float = WEATHER_MAX_GAP_S,
    options: PriceOptions | None = None,
) -> tuple[Conditions, tuple[TimeSeries, ...]]:
    """The stretch that both files cover, and the two series with the gaps that were filled in them.

    Raises SeriesError for a bad file, or for files that have less than a day in common.
    """
    w = load_csv(weather, [OUTDOOR, IRRADIANCE], max_gap_s=weather_max_gap_s)
    p = load_prices(prices, options)
    w_times = w.start.timestamp() + w.dt_s * np.arange(len(w))
    p_times = p.start.timestamp() + p.dt_s * np.arange(len(p))
    begin, end = max(w_times[0], p_times[0]), min(w_times[-1], p_times[-1])
    if end - begin < 86400.0:
        both = (
            f"{weather} covers {w.start:%Y-%m-%d} to {w.end:%Y-%m-%d}, {prices} {p.start:%Y-%m-%d} to {p.end:%Y-%m-%d}"
        )
        raise SeriesError(
            weather, f"less than a day in common with the prices ({both})", "give files of the same season"
        )
    step = min(w.dt_s, p.dt_s)
    grid = np.arange(begin, end + 1e-6, step)
    conditions = on_grid(
        grid,
        np.interp(grid, w_times, w[OUTDOOR]),
        np.maximum(np.interp(grid, w_times, w[IRRADIANCE]), 0.0),
        held_at(p, PRICE, grid),
        dt_s=dt_s,
    )
    return conditions, (w, p)
