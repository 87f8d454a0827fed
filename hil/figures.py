"""The charts of a run, as data: pure functions of the record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.plant import ReportPanel as Wish
from hil.record import RunRecord
from hil.words import LEVEL_TERMS, quantity
from pages.chart import Chart, Limit, Line, Panel, Row, Rows, TimeAxis
from pages.palette import LINES, Role

SPELLED = {"degC": "°C", "1": ""}
LEVEL_ROLES: dict[str, Role] = {
    "mpc": "first",
    "shifted_plan": "second",
    "rule": "second",
    "safe": "bad",
    "off": "quiet",
}
MOST_TOGETHER = 2
"""Quantities in one panel; powers that follow one another hide one another."""
Array = NDArray[np.float64]


def axis_of(record: RunRecord, zone: tzinfo | None) -> TimeAxis:
    """From the first cycle to the end of the last."""
    return TimeAxis(zone, record.cycles[0].time_s, record.cycles[-1].time_s + record.step_s)


def panel_chart(record: RunRecord, wish: Wish, plan_state: str | None, zone: tzinfo | None) -> Chart:
    """What the plant wants shown; more than two quantities in a panel each, parts of a sum after the sum."""
    x = np.array([c.time_s for c in record.cycles])
    values = {name: np.array([c.plant[name] for c in record.cycles], float) for name in wish.quantities}
    spans = [(a, max(b, a + record.step_s)) for _, a, b in faults_of(record)]
    spelled = SPELLED.get(wish.unit, wish.unit)
    told = f", {spelled}" if spelled else ""
    limits = [Limit(limit) for limit in wish.limits]
    plan = _plan_line(record, plan_state) if plan_state in wish.quantities else None
    each = len(wish.quantities) > (1 if wish.stacked else MOST_TOGETHER)

    def line(name: str, role: Role, label: str) -> Line:
        return Line(label, x, values[name], role, "stairs" if wish.stairs or wish.stacked else "line")

    if each:
        panels = [Panel(quantity(name) + told, [line(name, "first", "")], limits, spans=spans) for name in values]
        if wish.stacked:
            total = np.sum([values[name] for name in values], axis=0)
            panels.insert(0, Panel("all together" + told, [Line("", x, total, "first", "stairs")], spans=spans))
    else:
        lines = [line(name, role, quantity(name)) for name, role in zip(values, LINES, strict=False)]
        if plan is not None:
            lines = [plan, *lines]
        panels = [Panel(spelled or "from 0 to 1", lines, limits, spans=spans)]
    extent = "; ".join(f"{quantity(name)} from {v.min():.3g} to {v.max():.3g}" for name, v in values.items())
    caption = "What the controller planned is drawn from time to time." if plan else ""
    return Chart(
        "panel-" + "-".join("".join(c if c.isalnum() else " " for c in wish.title.lower()).split()),
        f"{wish.title} over the run{told}: {extent}.",
        panels,
        axis_of(record, zone),
        caption=caption,
        columns=2 if len(panels) > 3 else 1,
    )


def _plan_line(record: RunRecord, state: str | None) -> Line | None:
    """What the controller expected of a state, from time to time; one line with gaps."""
    xs: list[Array] = []
    ys: list[Array] = []
    step_s = float(record.header.get("plan_step_s", record.step_s))
    for cycle in record.cycles:
        values: Any = cycle.plan.get(state or "")
        if values is not None:
            xs.append(cycle.time_s + step_s * np.arange(len(values) + 1, dtype=np.float64))
            ys.append(np.array([*values, np.nan], float))
    if not xs:
        return None
    return Line("plan", np.concatenate(xs), np.concatenate(ys), "second", "dashes")


def levels_chart(record: RunRecord, zone: tzinfo | None) -> Chart:
    """When the daemon stood on which step of its ladder, and when which fault acted."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for cycle in record.cycles:
        of_level = spans.setdefault(cycle.level, [])
        end = cycle.time_s + record.step_s
        if of_level and of_level[-1][1] >= cycle.time_s:
            of_level[-1] = (of_level[-1][0], end)
        else:
            of_level.append((cycle.time_s, end))
    rows = [Row(LEVEL_TERMS[name].title, spans[name], LEVEL_ROLES[name]) for name in LEVEL_TERMS if name in spans]
    rows += [Row(label, [(a, max(b, a + record.step_s))], "bad") for label, a, b in faults_of(record)]
    told = ", ".join(LEVEL_TERMS[name].title for name in LEVEL_TERMS if name in spans)
    return Chart(
        "levels",
        f"Levels of the daemon over the run ({told}) and {len(faults_of(record))} faults.",
        [Rows("", rows)],
        axis_of(record, zone),
        caption="Where a fault acts, it is shaded in the plots above." if faults_of(record) else "",
    )


def faults_of(record: RunRecord) -> Sequence[tuple[str, float, float]]:
    """(label, from, to) in unix seconds."""
    start = record.cycles[0].time_s
    return [(f["label"], start + f["at_s"], start + f["end_s"]) for f in record.header["faults"]]
