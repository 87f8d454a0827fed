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

from systems.assets.battery.soc import soc_suspects
from systems.battery.spec import BatterySpec
from systems.csv_rows import read_rows
from systems.logs.cleaning import (
    Suspects,
    by_row,
    cleaned,
    power_suspects,
    refuse_whole_signal,
    share_missing,
    stuck_rows,
    watt_rows,
)
from systems.logs.log import Array, Fault, LogError
from systems.series import TimeSeries
from tuner.identify.counters import powers_of
from tuner.identify.log_grid import LogTable, read_log

LOG_COLUMNS = ("soc", "charge_kw", "discharge_kw", "net_load_kw", "net_load_forecast_kw")
POWERS = LOG_COLUMNS[1:]
MAX_POWER_KW = 100.0
"""No home draws, charges or feeds in more; a log in watts does."""
DAY_S = 86_400.0


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
