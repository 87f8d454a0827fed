"""Finds what in a log cannot be true, so that no fit ever sees it: by signal, by row, and with the share lost.

Detected: dropouts (empty cells, missing rows, sentinel values), stuck sensors, spikes, values out of range, Fahrenheit
among Celsius, watts among kilowatts. Nothing is repaired: a converted value would be a guess, and a log is long. Clock
jumps and daylight saving are found where the times are read, in `tuner.identify.log_grid`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from systems.logs.cleaning import (
    Suspects,
    by_row,
    cleaned,
    fahrenheit_rows,
    power_suspects,
    refuse_whole_signal,
    share_missing,
    spike_rows,
    stuck_rows,
)
from systems.logs.log import Array, LogError
from tuner.identify.house_log import HouseLog, from_table


@dataclass(frozen=True)
class CleaningLimits:
    """What a house can do; outside it the sensor is wrong. Durations are in samples of five minutes."""

    room_c: tuple[float, float] = (2.0, 45.0)
    outdoor_c: tuple[float, float] = (-50.0, 45.0)
    max_power_kw: float = 4.0
    """No room's heat pump draws more; a larger number is in watts."""
    room_jump_k: float = 4.0
    """Between two samples."""
    outdoor_jump_k: float = 8.0
    stuck_temperature: int = 36
    stuck_power: int = 288
    """A power other than zero that stays the same to the last digit."""


@dataclass(frozen=True, eq=False)
class CleanLog:
    """The log with every doubtful value replaced by NaN, and an account of it."""

    log: HouseLog
    share_excluded: dict[str, float]
    """Per signal, share of its samples, and `rows`: share of the samples of which any signal is missing."""


def clean_house_log(log: HouseLog, limits: CleaningLimits | None = None) -> CleanLog:
    """Raises LogError where a whole signal is in the wrong unit: then the file is wrong, not a stretch of it."""
    limits = limits or CleaningLimits()
    table, faults = cleaned(
        log.table, log.signals, log.row, lambda values, signal: _suspects(values, signal, limits, log.source)
    )
    _refuse_warm_outside(table, log)
    clean = from_table(table, log.start_s, log.row, by_row([*log.faults, *faults]), log.source)
    return CleanLog(replace(clean, dt_s=log.dt_s), share_missing(table, log.signals))


def _suspects(values: Array, signal: str, limits: CleaningLimits, source: str) -> Suspects:
    if signal.endswith("_kw"):
        return power_suspects(values, signal, source, limits.max_power_kw, stuck=limits.stuck_power)
    found: Suspects = []
    indoor = signal.startswith("room")
    low, high = limits.room_c if indoor else limits.outdoor_c
    fahrenheit = fahrenheit_rows(values, high, limits.room_jump_k if indoor else limits.outdoor_jump_k)
    refuse_whole_signal(fahrenheit, values, source, signal, "degrees Fahrenheit", "convert the column to °C")
    found.append(("fahrenheit", fahrenheit, "reads as degrees Fahrenheit"))
    with np.errstate(invalid="ignore"):
        outside = ((values < low) | (values > high)) & ~fahrenheit
    found.append(("range", outside, f"outside {low:g}..{high:g} °C"))
    rest = np.where(fahrenheit | outside, np.nan, values)
    found.append(("spike", spike_rows(rest, limits.room_jump_k if indoor else limits.outdoor_jump_k), "a spike"))
    found.append(("stuck", stuck_rows(rest, limits.stuck_temperature), "stuck at one value for hours"))
    return found


def _refuse_warm_outside(table: Array, log: HouseLog) -> None:
    """Outdoor Fahrenheit in winter looks like a Celsius summer; but nobody heats a house that is warmer outside."""
    rooms = log.rooms
    heating = np.nan_to_num(table[:, 1 + rooms :]).sum(1) > 0.1 * rooms
    with np.errstate(invalid="ignore"):
        warmer = table[:, 0] > table[:, 1 : 1 + rooms].min(1) + 2.0
    if heating.sum() > 288 and warmer[heating].mean() > 0.3:
        raise LogError(
            f"{log.source}: column 'outdoor_c' is above the rooms in {warmer[heating].mean():.0%} of the heating "
            "hours; it looks like degrees Fahrenheit: convert the column to °C"
        )
