"""What the numbers of a run are called and mean, for pages and terminals; the raw names are BOPTEST's and ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hil.record import BenchTiming


@dataclass(frozen=True)
class Term:
    """A title, its unit (empty for counts and ratios) and a sentence's worth of explanation."""

    title: str
    unit: str = ""
    meaning: str = ""


INDICATORS: dict[str, Term] = {
    "cost_tot": Term("Cost of energy", "", "bought less sold, in the currency of the house"),
    "ener_tot": Term("Energy bought", "kWh", "taken from the grid"),
    "pele_tot": Term("Highest draw", "kW", "from the grid, mean of a step"),
    "tdis_tot": Term("Discomfort", "K h", "outside the comfort band, mean of the zones"),
    "time_rat": Term("Time to decide", "", "share of a cycle that the controller takes"),
    "level_changes": Term("Changes of level", "", "how often the daemon went up or down its ladder"),
    "missed_cycles": Term("Missed cycles", "", "the daemon did not run"),
    "deadline_misses": Term("Late cycles", "", "took longer than a step"),
    "unexplained_cycles": Term("Unexplained cycles", "", "below level mpc without a fault that explains it"),
    "recovery_s": Term("Longest recovery", "s", "from the end of a fault to level mpc"),
    "actuator_travel": Term("Travel of the set-points", "kW", "sum of all changes"),
    "memory_mb": Term("Memory", "MB", "most of the daemon and its solver"),
    "memory_growth_mb": Term("Growth of memory", "MB", "over the longest life of the daemon"),
    "cycles": Term("Cycles", "", "decisions taken"),
    "cycle": Term("Length of a cycle", "s", ""),
}
LEVEL_TERMS: dict[str, Term] = {
    "mpc": Term("mpc", meaning="the optimised plan"),
    "shifted_plan": Term("shifted plan", meaning="the last good plan, shifted on"),
    "rule": Term("rule", meaning="the fallback rule"),
    "safe": Term("safe", meaning="safe set-points"),
    "off": Term("off", meaning="the daemon does not run"),
}
"""The ladder of `hil.kpi.LEVELS`, best first."""


def unit(indicator: str) -> str:
    """Of an indicator, empty for counts and ratios."""
    return "s" if indicator.startswith("level_seconds.") else INDICATORS.get(indicator, Term("")).unit


def number(value: float) -> str:
    """Four significant digits, thousands apart, infinity in words."""
    if math.isinf(value):
        return "never"
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def quantity(name: str) -> str:
    """A quantity of the plant in words: "net load" for net_load_kw."""
    return name.removesuffix("_kw").replace("_", " ")


def timing_rows(timing: Sequence[BenchTiming]) -> list[tuple[str, float, float, float]]:
    """(what, median, 99th percentile, maximum) in milliseconds, of what was measured."""
    rows = []
    for title, name in (
        ("cycle, seen from the bench", "cycle_s"),
        ("solver", "solver_s"),
        ("serial line", "link_s"),
        ("daemon beside these", "overhead_s"),
        ("bench and plant", "bench_s"),
    ):
        values = np.array([v for t in timing if (v := getattr(t, name)) is not None]) * 1000.0
        if values.size:
            rows.append((title, float(np.median(values)), float(np.percentile(values, 99)), float(values.max())))
    return rows
