"""A battery log from CSV as it comes: gridded and cleaned as a house log is, energy counters turned into powers.

Columns: time and those of LOG_COLUMNS; powers are means over the step, soc is the reading at its begin. What cannot be
trusted becomes NaN and is reported; a column that is wrong as a whole (in per cent, in watts, signed, an energy
counter) is refused with what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path

import numpy as np

from systems.battery.spec import BatterySpec
from systems.csv_rows import read_rows
from systems.series import TimeSeries
from tuner.identify.cleaning import (
    Suspects,
    by_row,
    cleaned,
    power_suspects,
    refuse_whole_signal,
    share_missing,
    stuck_rows,
    watt_rows,
)
from tuner.identify.counters import powers_of
from tuner.identify.log_grid import Array, Fault, LogError, LogTable, Mask, read_log, runs

LOG_COLUMNS = ("soc", "charge_kw", "discharge_kw", "net_load_kw", "net_load_forecast_kw")
POWERS = LOG_COLUMNS[1:]
MAX_POWER_KW = 100.0
"""No home draws, charges or feeds in more; a log in watts does."""
SOC_TOLERANCE = 0.02
"""By which a state of charge may lie outside 0..1 and still be the sensor's way of saying full or empty."""
DAY_S = 86_400.0
LEAST_LEAP = 0.1
"""Of the state of charge, beyond twice what the powers explain: no battery, a sensor."""
LONGEST_LEAP_S = DAY_S
"""A leap away that does not come back within a day is a new reckoning of the state of charge, not a dropout."""
MANY_LEAPS = 0.2
"""Of the samples."""
STUCK_ENERGY = 0.15
"""Of the capacity, through the battery while its state of charge stands still."""


@dataclass(frozen=True, eq=False)
class BatteryLog:
    """The cleaned series, NaN where a value is missing or doubtful, and an account of it."""

    series: TimeSeries
    faults: tuple[Fault, ...]
    share_excluded: dict[str, float]
    """Per signal, share of its samples, and `rows`: share of the samples of which any signal is missing."""


def load_battery_log(
    path: Path | str,
    spec: BatterySpec | None = None,
    *,
    counters: Sequence[str] = (),
    zone: tzinfo | None = None,
) -> BatteryLog:
    """Raises SeriesError for a file that is not the format, LogError for columns that are wrong as a whole.

    `counters` are columns that hold energies in kWh, counted up for life or for the day.
    """
    path, spec = Path(path), spec or BatterySpec()
    log = read_log(path, LOG_COLUMNS, ("soc", *counters), zone=zone)
    table, counted = powers_of(log, LOG_COLUMNS, POWERS, counters, str(path))
    table, found = cleaned(
        table, LOG_COLUMNS, log.row, lambda values, signal: _suspects(values, signal, table, log, spec, str(path))
    )
    start = datetime.fromtimestamp(log.start_s, zone or _written_offset(path))
    start = start.astimezone(timezone(start.utcoffset() or timedelta()))
    series = TimeSeries(start, log.dt_s, dict(zip(LOG_COLUMNS, table.T, strict=True)), (), str(path), log.row)
    return BatteryLog(series, by_row([*log.faults, *counted, *found]), share_missing(table, LOG_COLUMNS))


def _written_offset(path: Path) -> tzinfo:
    """The UTC offset of the first row; UTC for times without one."""
    return read_rows(path, (), least=1).times[0].tzinfo or UTC


def _suspects(values: Array, signal: str, table: Array, log: LogTable, spec: BatterySpec, source: str) -> Suspects:
    a_day = max(2, round(DAY_S / log.dt_s))
    if signal == "soc":
        return soc_suspects(values, table[:, 1], table[:, 2], log.dt_s, spec, source)
    if signal in ("charge_kw", "discharge_kw"):
        negative = values < -0.05
        if negative.sum() > 10 and negative.mean() > 0.02:
            remedy = "split signed power into a charge and a discharge column, both >= 0"
            raise LogError(f"{source}: column {signal!r} is negative in {negative.sum()} samples; {remedy}")
        return power_suspects(values, signal, source, MAX_POWER_KW, stuck=a_day)
    watts = watt_rows(np.abs(values), MAX_POWER_KW)
    refuse_whole_signal(watts, values, source, signal, "watts", "divide the column by 1000")
    found: Suspects = [("watt", watts, f"beyond {MAX_POWER_KW:g} kW, so in watts")]
    if signal == "net_load_kw":
        constant = stuck_rows(np.where(watts, np.nan, values), a_day) & (np.abs(values) > 1e-9)
        found.append(("stuck", constant, "the same value to the last digit for over a day"))
    return found


def soc_suspects(
    soc: Array, charge_kw: Array, discharge_kw: Array, dt_s: float, spec: BatterySpec, source: str
) -> Suspects:
    """Of a state of charge (T,), judged by the energy that went through the battery. Raises LogError for per cent."""
    with np.errstate(invalid="ignore"):
        outside = (soc < -SOC_TOLERANCE) | (soc > 1.0 + SOC_TOLERANCE)
        refuse_whole_signal(soc > 1.0 + SOC_TOLERANCE, soc, source, "soc", "per cent", "divide the column by 100")
        slightly = ((soc < 0.0) | (soc > 1.0)) & ~outside
    rest = np.where(outside | slightly, np.nan, soc)
    per_kw = dt_s / 3600.0 / spec.capacity_kwh
    moved = per_kw * np.nan_to_num(charge_kw - discharge_kw)
    # Where powers are missing, the battery may have done what it can.
    through = np.where(
        np.isfinite(charge_kw - discharge_kw), np.abs(moved), per_kw * max(spec.max_charge_kw, spec.max_discharge_kw)
    )
    leapt, anew = _leaps(rest, moved, through, round(LONGEST_LEAP_S / dt_s))
    if (leapt | anew).sum() > MANY_LEAPS * np.isfinite(rest).sum():
        raise LogError(
            f"{source}: column 'soc' does not follow the powers (it leaps in {(leapt | anew).sum()} samples); "
            f"check --capacity-kwh ({spec.capacity_kwh:g}) and that powers are in kW, at the battery's terminals"
        )
    stuck = _stuck_soc(np.where(leapt | anew, np.nan, rest), np.abs(moved))
    return [
        ("range", outside, "not within 0..1"),
        ("range", slightly, f"outside 0..1 by less than {SOC_TOLERANCE:g}"),
        ("spike", leapt, "leaps away and back, as no battery can"),
        ("jump", anew, "leaps to a new level: the battery reckoned anew"),
        ("stuck", stuck, "stands still while the battery works"),
    ]


def _leaps(soc: Array, moved: Array, through: Array, longest: int) -> tuple[Mask, Mask]:
    """(samples of pieces that leap away and back within `longest` steps, first samples of a new level).

    moved, through (T,): what the powers say has changed, and at most can have changed, in each step.
    """
    leapt, anew = np.zeros(len(soc), dtype=bool), np.zeros(len(soc), dtype=bool)
    there = np.flatnonzero(np.isfinite(soc))
    level = (soc - np.concatenate([[0.0], np.cumsum(moved)[:-1]]))[there]
    most = np.concatenate([[0.0], np.cumsum(through)[:-1]])[there]
    leaps = (np.flatnonzero(np.abs(np.diff(level)) > LEAST_LEAP + np.diff(most)) + 1).tolist()
    done = 0
    for place, k in enumerate(leaps):
        if k < done:
            continue
        end = int(np.searchsorted(there, there[k] + longest, side="right"))
        away = np.abs(level[k:end] - level[k - 1])
        home = [j for j in leaps[place + 1 :] if j < end and away[j - k] <= LEAST_LEAP + most[j] - most[k - 1]]
        # Without a leap back, the true value has come to where the sensor waits.
        home = home or (k + np.flatnonzero(away <= LEAST_LEAP / 2)).tolist()
        if home:
            leapt[there[k : home[0]]] = True
            done = home[0] + 1
        else:
            anew[there[k]] = True
    return leapt, anew


def _stuck_soc(soc: Array, throughput: Array) -> Mask:
    """Stretches of one value, to the last digit, through which much more energy went than the sensor's step."""
    bad = np.zeros(len(soc), dtype=bool)
    same = np.concatenate([[False], np.diff(soc) == 0.0])
    for a, b in runs(same):
        if throughput[a - 1 : b - 1].sum() > STUCK_ENERGY:
            bad[a:b] = True
    return bad
