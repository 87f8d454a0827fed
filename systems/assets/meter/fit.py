"""What a log teaches of the meter: whether the house adds up, and what peaks there were."""

from __future__ import annotations

import numpy as np

from systems.assets.meter import Meter
from systems.house_file import House
from systems.logs.lesson import Curve, Fitted, Lesson, LessonPlot
from systems.logs.log import Array, Log, LogError
from systems.portrait import log_columns

UNEXPLAINED_KW = 0.3
"""Mean mismatch between the meter and the sum of what is described that is worth a word."""


def learn_meter(house: House, meter: Meter, log: Log) -> Lesson:
    bought = log["import_kw"]
    sold = log["export_kw"] if "export_kw" in log else np.zeros(len(log))
    for name, values in (("import_kw", bought), ("export_kw", sold)):
        if not np.isfinite(values).any():
            raise LogError(f"{log.source}: no value of {name} is left that can be true; see what was left out")
    findings = [
        Fitted("bought", "kWh/day", float(np.nanmean(bought)) * 24.0),
        Fitted("highest import", "kW", float(np.nanmax(bought)), text=f"the limit is {meter.import_limit_kw:g}"),
    ]
    if "export_kw" in log:
        findings.insert(1, Fitted("sold", "kWh/day", float(np.nanmean(sold)) * 24.0))
    notes = []
    columns = [column for column in log_columns(house) if column.bus and column.name != "export_kw"]
    whole = all(column.name in log for column in columns)
    sum_kw = sum((column.bus * log[column.name] for column in columns), sold) if whole else np.full(len(log), np.nan)
    compared = _comparable(sum_kw, "export_kw" in log, bought)
    if np.isfinite(compared).any():
        miss = -float(np.nanmean(compared))
        findings.append(Fitted("not explained", "kW", miss, text="meter less the sum of all that is logged, mean"))
        if abs(miss) > UNEXPLAINED_KW:
            notes.append(
                f"the meter shows {miss:+.2f} kW beside what is logged of the assets; something is missing, or a sign "
                "is turned"
            )
    summary = f"{np.nanmean(bought) * 24:.1f} kWh a day bought, at most {np.nanmax(bought):.1f} kW"
    return Lesson(meter.name, summary, findings=tuple(findings), notes=tuple(notes), panels=(_panel(log, bought),))


def _comparable(difference: Array, exports_known: bool, bought: Array) -> Array:
    """Without a column for exports only hours of import can be compared."""
    return difference if exports_known else np.where(bought > 0.0, difference, np.nan)


def _panel(log: Log, bought: Array) -> LessonPlot:
    share = np.sort(bought[np.isfinite(bought)])[::-1]
    percent = 100.0 * np.arange(1, len(share) + 1) / max(len(share), 1)
    every = max(1, len(share) // 400)
    return LessonPlot(
        "Import, from the highest to the lowest",
        "share of the time (%)",
        "kW",
        (Curve("import", percent[::every], share[::every]),),
    )
