"""Key performance indicators of a run: BOPTEST's, by its names and definitions, and those of a controller runtime.

Pure functions of the record (and of the timing, for what depends on the computer): computed once, from the log, so they
cannot be counted twice. BOPTEST ("Building optimization testing framework", Blum et al. 2021) divides energy, cost and
peak by the floor area; so do we when `floor_area_m2` is given, and else the figures are those of the whole site.

    ener_tot  kWh[/m2]   electricity taken from the grid       cost_tot  money[/m2] what it cost, sales deducted
    pele_tot  kW[/m2]    highest mean draw of a step           tdis_tot  K h/zone  temperature outside comfort
    time_rat  1          controller time over the step, mean
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.explanation import RESPITE_CYCLES, under_fault
from hil.record import BenchTiming, RunRecord

LEVELS = ("mpc", "shifted_plan", "rule", "safe", "off")
"""The ladder, best first; "off" is a daemon that does not run."""
INDICATORS = (
    "ener_tot", "cost_tot", "pele_tot", "tdis_tot", "time_rat",
    *(f"level_seconds.{level}" for level in LEVELS),
    "level_changes", "missed_cycles", "deadline_misses", "unexplained_cycles", "recovery_s", "actuator_travel",
    "memory_mb", "memory_growth_mb", "cycles", "cycle",
)  # fmt: skip


TRACKED = ("tracking.on", "tracking.grid_kw")
"""Where minutes are told apart: the share of looks at which the meter was tracked, and the mean size of what it showed
in a minute, either way."""


def signals(record: RunRecord) -> dict[str, NDArray[np.float64]]:
    """Every quantity of the plant, the set-points as `set_point.NAME`, and TRACKED, as arrays over the cycles."""
    first = record.cycles[0]
    arrays = {name: np.array([c.plant[name] for c in record.cycles], float) for name in first.plant}
    for name in first.set_point:
        arrays[f"set_point.{name}"] = np.array([c.set_point[name] for c in record.cycles], float)
    if first.inside:
        arrays["tracking.on"] = np.array([c.inside["on"] for c in record.cycles], float)
        arrays["tracking.grid_kw"] = np.array([np.mean(np.abs(c.inside["grid_kw"])) for c in record.cycles], float)
    return arrays


def indicators(
    record: RunRecord, timing: Sequence[BenchTiming] = (), *, floor_area_m2: float | None = None
) -> dict[str, float]:
    """All of INDICATORS; NaN where the plant has no such quantity or no timing is given."""
    of = signals(record)
    step_h, area = record.step_s / 3600.0, floor_area_m2 or 1.0
    drawn = np.maximum(of["grid_kw"], 0.0) if "grid_kw" in of else np.array([math.nan])
    levels = [c.level for c in record.cycles]
    spent = [t.cycle_s for t in timing if t.cycle_s is not None]
    return {
        "ener_tot": float(drawn.sum()) * step_h / area,
        "cost_tot": _cost(of) / area,
        "pele_tot": float(drawn.max()) / area,
        "tdis_tot": discomfort(of, step_h),
        "time_rat": float(np.mean(spent)) / record.step_s if spent else math.nan,
        **{f"level_seconds.{level}": levels.count(level) * record.step_s for level in LEVELS},
        "level_changes": float(sum(a != b for a, b in pairwise(levels))),
        "missed_cycles": float(levels.count("off")),
        "deadline_misses": float(sum(s > record.step_s for s in spent)) if timing else math.nan,
        "unexplained_cycles": float(np.sum((np.array(levels) != LEVELS[0]) & ~under_fault(record))),
        "recovery_s": max((r for r in recoveries(record).values()), default=0.0),
        "actuator_travel": float(
            sum(np.abs(np.diff(values)).sum() for name, values in of.items() if name.startswith("set_point."))
        ),
        "memory_mb": max((t.memory_mb for t in timing if t.memory_mb is not None), default=math.nan),
        "memory_growth_mb": memory_growth_mb(timing),
        "cycles": float(len(levels)),
        "cycle": record.step_s,
    }


def _cost(of: Mapping[str, NDArray[np.float64]]) -> float:
    """Of energy and of what a capacity charge has risen by."""
    parts = [of[name] for name in ("energy_cost", "capacity_cost") if name in of]
    return float(sum(part.sum() for part in parts)) if parts else math.nan


def recoveries(record: RunRecord) -> dict[str, float]:
    """Per fault (label and begin), seconds until the first cycle back at level `mpc`; inf when never.

    Counted from the end of the fault, or of the last one that overlaps with it or follows within RESPITE_CYCLES: nobody
    recovers under fire.
    """
    found: dict[str, float] = {}
    faults = record.header.get("faults", ())
    end_of_run = len(record.cycles) * record.step_s
    for fault in faults:
        end_s = _end_of_episode(fault["end_s"], faults, RESPITE_CYCLES * record.step_s)
        if end_s >= end_of_run:
            continue  # lasts to the end: there is nothing to recover in
        back = (c.elapsed_s for c in record.cycles if c.elapsed_s >= end_s and c.level == LEVELS[0])
        found[f"{fault['label']} at {fault['at_s']:g} s"] = next(back, math.inf) - end_s
    return found


def _end_of_episode(end_s: float, faults: Sequence[Mapping[str, Any]], respite_s: float) -> float:
    """When the last of the faults ends that is linked to this end without a respite."""
    later = max((f["end_s"] for f in faults if f["at_s"] <= end_s + respite_s and f["end_s"] > end_s), default=end_s)
    return end_s if later == end_s else _end_of_episode(later, faults, respite_s)


def memory_growth_mb(timing: Sequence[BenchTiming]) -> float:
    """Over the longest life of the daemon: median of its last quarter minus that of its second.

    The first is left out: caches fill. NaN where the memory is not known or no life has four cycles.
    """
    lives: dict[int, list[float]] = {}
    for t in timing:
        if t.memory_mb is not None:
            lives.setdefault(t.life, []).append(t.memory_mb)
    longest = max(lives.values(), key=len, default=[])
    quarter = len(longest) // 4
    if quarter == 0:
        return math.nan
    return float(np.median(longest[-quarter:]) - np.median(longest[quarter : 2 * quarter]))


def discomfort(of: Mapping[str, NDArray[np.float64]], step_h: float) -> float:
    """K h per zone outside the comfort band; the plant names a zone's excess `discomfort_k.ZONE`. NaN without zones."""
    zones = [values for name, values in of.items() if name.startswith("discomfort_k.")]
    return float(np.mean([z.sum() for z in zones])) * step_h if zones else math.nan
