"""The page of what a log taught: for each asset a sentence, its numbers, and its plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

import pages.page as kit
from pages.chart import MOST_LINES, Chart, Line, NumberAxis, Panel
from pages.palette import LINES
from systems.house_file import House
from systems.logs.lesson import Curve, Fitted, Lesson, LessonPlot
from tuner.identify.assemble import HouseLog
from tuner.identify.model import HouseModel

KINDS: dict[str, Literal["line", "dashes", "dots"]] = {"line": "line", "dotted": "dashes", "points": "dots"}
MOST_POINTS = 2000


def write_page(path: Path, house: House, found: HouseLog, model: HouseModel) -> None:
    """Whole or not at all."""
    kit.write_page(path, model_page(house, found, model))


def model_page(house: House, found: HouseLog, model: HouseModel) -> kit.Page:
    """What the log taught of every asset, and of which it taught nothing."""
    log, problems = found.log, model.problems
    missing = [
        f"Nothing is learned of {asset}: the log lacks {', '.join(column.name for column in columns)}."
        for asset, columns in found.missing.items()
        if columns
    ] + [f"Nothing is learned of {asset}: {reason}." for asset, reason in model.unlearned.items()]
    share = 100.0 * (1.0 - model.share_excluded["rows"])
    return kit.Page(
        title=f"{house.name}: what the log taught",
        lead="This model should not be used yet." if problems else "This model may be used.",
        mood="bad" if problems else "good",
        about=f"{log.days:.0f} days of {log.source}; {share:.1f} % of the steps are complete",
        blocks=[
            *([kit.Items(problems)] if problems else []),
            *(block for lesson in model.lessons for block in _section(lesson)),
            *(kit.quiet(text) for text in missing),
        ],
    )


def _section(lesson: Lesson) -> list[kit.Block]:
    rows = [(kit.Cell(f.name, small=f.text), *_value(f)) for f in lesson.findings]
    columns = [kit.Column("what"), kit.Column("value", number=True), kit.Column("95 % interval", number=True)]
    if not any(interval for _, _, interval in rows):
        columns, rows = columns[:2], [row[:2] for row in rows]  # type: ignore[misc]
    return [
        kit.Heading(lesson.asset),
        kit.text(lesson.summary),
        *([kit.Table(f"What was learned of {lesson.asset}", columns, rows)] if rows else []),
        *(chart_of(wish, f"{lesson.asset}-{number}") for number, wish in enumerate(lesson.panels)),
        *(kit.quiet(note) for note in lesson.notes),
    ]


def _value(finding: Fitted) -> tuple[str, str]:
    unit = "" if finding.unit == "1" else f" {finding.unit}"
    if finding.low is None or finding.high is None:
        return f"{finding.value:z.3f}{unit}", ""
    return f"{finding.value:z.3f}{unit}", f"{finding.low:z.3f} to {finding.high:z.3f}"


def chart_of(wish: LessonPlot, name: str) -> Chart:
    """One panel of at most three lines, or one for each that has curves of its own ("NAME, ...")."""
    lines = [curve for curve in wish.curves if curve.style != "band"]
    groups: list[list[Curve]] = [lines]
    if len(lines) > MOST_LINES:
        names = dict.fromkeys(curve.label.partition(",")[0] for curve in lines)
        groups = [[curve for curve in lines if curve.label.partition(",")[0] == group] for group in names]
    bands = [curve for curve in wish.curves if curve.style == "band"]
    panels = [_panel(wish, group, bands, alone=len(groups) == 1) for group in groups]
    return Chart(
        "".join(c if c.isalnum() else "-" for c in name),
        f"{wish.title}: {', '.join(curve.label for curve in wish.curves)}.",
        panels,
        NumberAxis(wish.x_label),
        caption=f"{wish.title}.",
        columns=1 if len(groups) == 1 else 2,
    )


def _panel(wish: LessonPlot, curves: Sequence[Curve], bands: Sequence[Curve], *, alone: bool) -> Panel:
    """A band is drawn around the first line that stands over the same x."""
    lines = []
    for curve, role in zip(curves, LINES, strict=False):
        around = next((b for b in bands if np.array_equal(b.x, curve.x)), None)
        every = max(1, len(curve.x) // MOST_POINTS) if curve.style == "points" else 1
        group, _, rest = curve.label.partition(", ")
        label = curve.label if alone else rest or "model"
        ends = {} if around is None else {"low": around.y[0], "high": around.y[1]}
        if around is not None:
            label, bands = around.label, [b for b in bands if b is not around]
        lines.append(Line(label, curve.x[::every], curve.y[::every], role, KINDS[curve.style], **ends))
    group = curves[0].label.partition(",")[0]
    return Panel(wish.y_label if alone else f"{group}: {wish.y_label}", lines)
