"""Energy counters where powers are due: recognised by how they rise, and turned into powers where that is asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from systems.logs.log import Array, Fault, LogError, faults_of
from tuner.identify.log_grid import LogTable

DAY_S = 86_400.0
FALLS_PER_DAY = 2.0
"""As often a daily counter is reset at most; a power falls at every other step."""


def powers_of(
    log: LogTable, columns: Sequence[str], powers: Sequence[str], counters: Sequence[str] | None, source: str
) -> tuple[Array, list[Fault]]:
    """The table of `log` with powers in the place of `counters` (energies in kWh, for life or for the day), and faults.

    `columns` are those of the table; None for `counters` where nothing can be asked for. Raises LogError for a power
    that is an energy, and for a counter that is none of `powers`.
    """
    asked = counters or ()
    unknown = [name for name in asked if name not in powers]
    if unknown:
        raise LogError(f"{source}: {unknown[0]!r} is no power of this log; counters may be {', '.join(powers)}")
    _refuse(log, columns, [name for name in powers if name not in asked], counters, source)
    table, faults = log.table.copy(), list[Fault]()
    for name in asked:
        column = columns.index(name)
        change = np.append(np.diff(table[:, column]), np.nan)
        with np.errstate(invalid="ignore"):
            reset = change < 0.0
        table[:, column] = np.where(reset, np.nan, change) * 3600.0 / log.dt_s
        faults += faults_of("counter", name, reset, log.row, "the counter went back, or was not read")
    return table, faults


def _refuse(
    log: LogTable, columns: Sequence[str], powers: Sequence[str], counters: Sequence[str] | None, source: str
) -> None:
    """All powers that are energies at once, so that one answer mends them all."""
    found = {name: counted_up(log.table[:, columns.index(name)], log.dt_s) for name in powers}
    counted = {name: up for name, up in found.items() if up is not None}
    if not counted:
        return
    names = ", ".join(f"{name!r} (counted up for {up})" for name, up in counted.items())
    remedy = "log powers in kW"
    if counters is not None:
        remedy = f"take the differences with --counters {' '.join([*counters, *counted])} (in kWh), or {remedy}"
    raise LogError(f"{source}: hardly ever falling, so an energy and not a power: column {names}; {remedy}")


def counted_up(values: Array, dt_s: float) -> str | None:
    """`life` or `the day` of a column that hardly ever falls, over days: it falls once a day, or not at all."""
    present = values[np.isfinite(values)]
    changes = np.diff(present)
    days = len(present) * dt_s / DAY_S
    rises, falls = int((changes > 0).sum()), int((changes < 0).sum())
    # Many small steps up make the whole height: a counter. A power that rises to a peak and falls at once is none.
    if days < 1.0 or rises < 10 * max(falls, 1) or falls > FALLS_PER_DAY * days:
        return None
    return "life" if falls == 0 else "the day"
