"""The report of a run: one self-contained HTML page with verdict, indicators, faults and a timeline."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import matplotlib as mpl
import matplotlib.dates as mdates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hil.kpi import LEVELS
from hil.plant import Panel
from hil.record import Record, Timing

if TYPE_CHECKING:
    from hil.bench import Result

WIDTH_IN = 9.6
LEFT = 0.13
"""The same left edge in every plot, so that the days stand below one another."""
LINES = ("#1f6f8b", "#d1495b", "#7a8b99", "#edae49", "#4c956c", "#8e6c8a", "#343a40", "#b08968")
PLAN_COLOUR = "#93a7b5"
FAULT_COLOUR = "#d1495b"
LEVEL_COLOURS = dict(zip(LEVELS, ("#4c956c", "#a3b18a", "#edae49", "#d1495b", "#343a40"), strict=True))
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nisse",  # stable ids: equal runs, equal pages
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa5ad",
    "axes.grid": True,
    "grid.color": "#e8ecef",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "path.simplify": True,
}
SPELLED = {"degC": "°C", "1": ""}
UNITS = {
    "ener_tot": "kWh", "cost_tot": "EUR", "pele_tot": "kW", "tdis_tot": "K h", "time_rat": "", "recovery_s": "s",
    "actuator_travel": "kW", "cycle": "s",
}  # fmt: skip


def write_report(path: Path, result: Result, panels: Sequence[Panel], plan_state: str | None) -> None:
    """Render `result` to `path`; `panels` and `plan_state` are the plant's wishes for the timeline."""
    record, zone = result.record, result.scenario.head.start.tzinfo
    with mpl.rc_context(STYLE):
        figures = [(panel.title, _panel_svg(record, panel, plan_state, zone)) for panel in panels]
        figures.append(("Level and faults", _levels_svg(record, zone)))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True
    )
    environment.filters["number"] = number
    page = environment.get_template("report.html").render(
        result=result,
        head=result.scenario.head,
        checks=result.verdict.checks,
        figures=figures,
        kpis=[(name, value, unit(name)) for name, value in result.kpis.items() if math.isfinite(value)],
        recoveries=result.recoveries_s,
        faults=record.header["faults"],
        timing=timing_rows(result.timing),
        levels=[(level, result.kpis[f"level_seconds.{level}"], LEVEL_COLOURS[level]) for level in LEVELS],
        days=len(record.cycles) * record.step_s / 86400.0,
        sha256=record.sha256(),
    )
    path.write_text(page, encoding="utf-8")


def number(value: float) -> str:
    """Four significant digits, thousands apart, infinity in words."""
    if math.isinf(value):
        return "never"
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def unit(indicator: str) -> str:
    """Unit of an indicator, empty for counts and ratios."""
    return "s" if indicator.startswith("level_seconds.") else UNITS.get(indicator, "")


def timing_rows(timing: Sequence[Timing]) -> list[tuple[str, float, float, float]]:
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


def _panel_svg(record: Record, panel: Panel, plan_state: str | None, zone: tzinfo | None) -> str:
    figure = Figure(figsize=(WIDTH_IN, 2.3))
    axes = figure.subplots()
    figure.subplots_adjust(left=LEFT, right=0.97, top=0.86, bottom=0.13)
    times = _times(record, zone)
    for limit in panel.limits:
        axes.axhline(limit, color="#9aa5ad", linewidth=0.8, linestyle=(0, (4, 3)))
    if plan_state is not None and plan_state in panel.quantities:
        _plans(axes, record, plan_state, zone)
    below = np.zeros(len(times))
    for name, colour in zip(panel.quantities, LINES, strict=False):
        values = np.array([c.plant[name] for c in record.cycles])
        if panel.stacked:
            axes.fill_between(
                times, below, below + values, step="post", color=colour, alpha=0.85, linewidth=0, label=_words(name)
            )
            below = below + values
        elif panel.stairs:
            axes.step(times, values, where="post", color=colour, linewidth=1.1, label=_words(name))
        else:
            axes.plot(times, values, color=colour, linewidth=1.4, label=_words(name))
    _mark_faults(axes, record, zone)
    axes.set_ylabel(SPELLED.get(panel.unit, panel.unit))
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderaxespad=0.1, handlelength=1.4)
    _time_axis(axes, record, zone)
    return _svg(figure)


def _plans(axes: Axes, record: Record, state: str, zone: tzinfo | None) -> None:
    """What the controller expected of a state, from time to time."""
    label: str | None = "plan"
    for cycle in record.cycles:
        values = cycle.plan.get(state)
        if values is not None:
            step_s = float(record.header.get("plan_step_s", record.step_s))
            times = [_time(cycle.time_s + k * step_s, zone) for k in range(len(values))]
            axes.plot(times, values, color=PLAN_COLOUR, linewidth=0.9, label=label)
            label = None


def _levels_svg(record: Record, zone: tzinfo | None) -> str:
    """One strip for the level of every cycle, one row for each fault."""
    faults = record.header["faults"]
    figure = Figure(figsize=(WIDTH_IN, 0.9 + 0.24 * len(faults)))
    axes = figure.subplots()
    height = figure.get_figheight()
    figure.subplots_adjust(left=LEFT, right=0.97, top=1 - 0.08 / height, bottom=0.28 / height)
    begin = 0
    for i in range(1, len(record.cycles) + 1):
        if i == len(record.cycles) or record.cycles[i].level != record.cycles[begin].level:
            first, last = record.cycles[begin], record.cycles[i - 1]
            left = _time(first.time_s, zone)
            width = (last.time_s + record.step_s - first.time_s) / 86400.0
            axes.barh(0, width, left=left, height=0.8, color=LEVEL_COLOURS.get(first.level, "#6c757d"))
            begin = i
    start_s = record.cycles[0].time_s
    for row, fault in enumerate(faults, start=1):
        left = _time(start_s + fault["at_s"], zone)
        width = max((fault["end_s"] - fault["at_s"]) / 86400.0, record.step_s / 86400.0)
        axes.barh(row, width, left=left, height=0.6, color=FAULT_COLOUR)
    axes.set_yticks(range(len(faults) + 1), ["level", *(f["label"] for f in faults)])
    axes.set_ylim(len(faults) + 0.6, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    _time_axis(axes, record, zone)
    return _svg(figure)


def _mark_faults(axes: Axes, record: Record, zone: tzinfo | None) -> None:
    start_s = record.cycles[0].time_s
    for fault in record.header["faults"]:
        end_s = max(fault["end_s"], fault["at_s"] + record.step_s)
        axes.axvspan(
            _time(start_s + fault["at_s"], zone), _time(start_s + end_s, zone), color=FAULT_COLOUR, alpha=0.10, lw=0
        )


def _time_axis(axes: Axes, record: Record, zone: tzinfo | None) -> None:
    end = record.cycles[-1].time_s + record.step_s
    axes.xaxis_date(zone)
    axes.set_xlim(_time(record.cycles[0].time_s, zone), _time(end, zone))
    locator = mdates.AutoDateLocator(minticks=4, maxticks=9, tz=zone)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, tz=zone, show_offset=False))


def _times(record: Record, zone: tzinfo | None) -> list[float]:
    return [_time(c.time_s, zone) for c in record.cycles]


def _time(unix_s: float, zone: tzinfo | None) -> float:
    """Matplotlib's days."""
    return float(mdates.date2num(datetime.fromtimestamp(unix_s, zone)))


def _words(name: str) -> str:
    return name.removesuffix("_kw").replace("_", " ")


def _svg(figure: Figure) -> str:
    """The figure as an inline element without XML prologue, scalable, without the day it was drawn on."""
    target = io.StringIO()
    figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = target.getvalue()
    text = text[text.index("<svg") :]
    return re.sub(r'<svg ([^>]*?)height="[^"]*"([^>]*?)width="[^"]*"', r"<svg \1\2", text, count=1)
