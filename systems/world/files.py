"""Columns of a world from a CSV file: measured weather, load or draws in place of generated ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from systems.csv_rows import SeriesError, read_header
from systems.series import load_csv
from systems.world import Array, Exogenous

STEP_FUNCTIONS = ("buy", "sell")
"""Held between rows; what is measured is joined by straight lines."""


def with_file(world: Exogenous, path: Path | str) -> Exogenous:
    """The world with every column that the file has by name, beside `time`; the units are those of the forecasts.

    How much of a column is known ahead stays as it was: prices as published, weather with an error, habits as usual.
    Raises SeriesError for a file that is not in the format, has none of the columns, or does not cover the world.
    """
    path = Path(path)
    names = [name for name in read_header(path) if name in world.columns]
    if not names:
        known = ", ".join(world.columns)
        raise SeriesError(path, "none of the columns is one of the world", f"name them as in: {known}", row=1)
    time_s: Array = world.start.timestamp() + world.dt_s * np.arange(len(world), dtype=np.float64)
    return world.with_columns({name: _on_grid(world, path, name, time_s) for name in names}, path.name)


def _on_grid(world: Exogenous, path: Path, name: str, time_s: Array) -> Array:
    hold = name in STEP_FUNCTIONS
    series = load_csv(path, [name], hold=hold, zone=world.zone)
    own_s = series.start.timestamp() + series.dt_s * np.arange(len(series))
    if time_s[0] < own_s[0] - 1e-6 or time_s[-1] >= own_s[-1] + series.dt_s:
        problem = f"it has {series.start:%Y-%m-%d %H:%M} to {series.end:%Y-%m-%d %H:%M}, and the run needs more"
        raise SeriesError(path, problem, "bring a file that begins a day before the run and ends some days after it")
    if not hold:
        return np.interp(time_s, own_s, series[name])
    values: Array = series[name][np.searchsorted(own_s, time_s + 1e-6, side="right") - 1]
    return values
