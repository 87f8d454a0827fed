"""Charts drawn by matplotlib, for a wide and for a narrow screen; a pure function of the chart and the size."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, NullLocator

from pages.chart import Bars, Chart, Line, NumberAxis, Panel, Rows, TimeAxis, thinned
from pages.palette import MARKS
from pages.svg import inline_svg
from pages.ticks import time_ticks


@dataclass(frozen=True)
class Size:
    """Of the column that a chart fills, in CSS pixels."""

    name: str
    width: int
    panel: int
    """Height of the plotted area of a panel of lines."""
    font: float
    beside: bool
    """Labels beside the ends of their lines; else above the panel."""


WIDE = Size("wide", 800, 150, 13.0, True)
NARROW = Size("narrow", 358, 130, 12.5, False)
DOTS_PER_INCH = 72
"""One point of matplotlib is one pixel of the page."""
ROW = 24
"""Height of one bar or row."""
STYLE: dict[str, Any] = {
    "text.parse_math": False,
    "text.color": MARKS["ink"],
    "axes.labelcolor": MARKS["quiet"],
    "axes.titlecolor": MARKS["ink"],
    "axes.edgecolor": MARKS["rule"],
    "xtick.color": MARKS["quiet"],
    "ytick.color": MARKS["quiet"],
    "grid.color": MARKS["rule"],
    "grid.linewidth": 1.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
    "axes.unicode_minus": True,
    "font.family": ["DejaVu Sans"],
    "lines.solid_capstyle": "round",
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
}


def both_sizes(chart: Chart) -> tuple[str, str]:
    """(wide, narrow) as inline SVG."""
    wide, narrow = (inline_svg(draw(chart, size), f"{chart.name}-{size.name}", chart.says) for size in (WIDE, NARROW))
    return wide, narrow


def png(chart: Chart, size: Size = WIDE, *, scale: float = 2.0) -> bytes:
    """The chart as a picture on white paper, for where a page cannot go."""
    target = io.BytesIO()
    figure = draw(chart, size)
    figure.savefig(target, format="png", dpi=scale * DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
    return target.getvalue()


def write_picture(path: Path, charts: Sequence[Chart], size: Size = WIDE, *, scale: float = 2.0) -> None:
    """The charts one below the other, each panel with its own axis, as .png, .svg or .pdf by the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    panels = [
        replace(panel, x_title=panel.x_title or chart.axis.title) if isinstance(panel, Panel) else panel
        for chart in charts
        for panel in chart.panels
    ]
    figure = draw(replace(charts[0], panels=panels), size)
    figure.savefig(path, dpi=scale * DOTS_PER_INCH, facecolor="white")


def draw(chart: Chart, size: Size) -> Figure:
    """The figure; every text of it is `size.font` pixels high."""
    columns = _columns(chart, size)
    panels = list(chart.panels)
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    beside = size.beside and columns == 1
    heights = [max(_height(panel, size, beside, columns) for panel in row) for row in rows]
    pixels = sum(heights) + (_foot(chart, size) if _shares_axis(chart) else _foot(chart, size) * len(rows))
    style: Any = {
        **STYLE,
        **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize", "legend.fontsize"), size.font),
    }
    style |= dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), size.font)
    with mpl.rc_context(style):
        layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.05, hspace=0.0, wspace=0.04)
        inches = (size.width / DOTS_PER_INCH, pixels / DOTS_PER_INCH)
        figure = Figure(figsize=inches, dpi=DOTS_PER_INCH, layout=layout)
        axes = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
        for number, axis in enumerate(axes.ravel()):
            if number >= len(panels):
                axis.set_visible(False)
                continue
            last = number + columns >= len(panels)
            _draw_panel(axis, chart, panels[number], size, beside, titled=last or not _shares_axis(chart))
        return figure


def _columns(chart: Chart, size: Size) -> int:
    return chart.columns if size.beside else 1


def _shares_axis(chart: Chart) -> bool:
    """Only the lowest panels show the ticks where all panels stand over the same axis."""
    return not any(isinstance(p, Panel) and p.x_title for p in chart.panels)


def _foot(chart: Chart, size: Size) -> int:
    titled = chart.axis.title or any(isinstance(p, Panel) and p.x_title for p in chart.panels)
    return round(size.font * (3.2 if titled else 1.6))


def _height(panel: Panel | Bars | Rows, size: Size, beside: bool, columns: int) -> int:
    title = round(size.font * (1.1 + 1.3 * len(_wrapped(panel, size, columns).splitlines())))
    if isinstance(panel, Bars):
        return title + round(ROW * (1 if size.beside else 1.6)) * len(panel.bars) + 8
    if isinstance(panel, Rows):
        return title + round(ROW * (1 if size.beside else 1.6)) * len(panel.rows) + 8
    return title + size.panel + (0 if beside else round(1.5 * size.font) * len(_legend_rows(panel.lines)))


def _wrapped(panel: Panel | Bars | Rows, size: Size, columns: int) -> str:
    """Its title, broken into lines where a narrow screen or a neighbour asks for it."""
    # In a column, labels stand left of bars and rows, and the title begins where they end.
    share = 1.0 if columns == 1 else (0.9 if isinstance(panel, Panel) else 0.55) / columns
    return textwrap.fill(panel.title, width=round(share * size.width / (0.62 * size.font)))


def _draw_panel(
    axes: Axes, chart: Chart, panel: Panel | Bars | Rows, size: Size, beside: bool, *, titled: bool
) -> None:
    axes.tick_params(length=0, pad=4)
    columns = _columns(chart, size)
    if isinstance(panel, Bars):
        _draw_bars(axes, panel, size, columns)
        return
    if isinstance(panel, Rows):
        _draw_rows(axes, panel, size, columns)
    else:
        _draw_lines(axes, panel, size, beside, columns)
    most = 8 // columns if size.beside else 4
    _draw_axis(axes, chart.axis, panel.x_title if isinstance(panel, Panel) else "", most, titled)
    if isinstance(panel, Panel) and panel.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    if isinstance(panel, Panel):
        if beside:
            _label_ends(axes, panel)
        else:
            _label_above(axes, panel, size)


def _draw_lines(axes: Axes, panel: Panel, size: Size, beside: bool, columns: int) -> None:
    for begin, end in panel.spans:
        axes.axvspan(begin, end, color=MARKS["bad"], alpha=0.2, linewidth=0)
    if panel.band is not None:
        axes.axhspan(*panel.band, color=MARKS["quiet"], alpha=0.2, linewidth=0)
    for limit in panel.limits:
        axes.axhline(limit.at, color=MARKS["quiet"], linewidth=1.0, linestyle=(0, (5, 4)))
    for line in panel.lines:
        _draw_line(axes, line, size)
    if panel.log:
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_minor_locator(NullLocator())
    if panel.y_range is not None:
        axes.set_ylim(*panel.y_range)
    above = 0 if beside else 1.5 * size.font * len(_legend_rows(panel.lines))
    axes.set_title(_wrapped(panel, size, columns), loc="left", pad=4 + above)


def _draw_line(axes: Axes, line: Line, size: Size) -> None:
    x, y = np.asarray(line.x, float), np.asarray(line.y, float)
    colour = MARKS[line.role]
    if line.low is not None and line.high is not None:
        axes.fill_between(x, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
    if line.kind == "columns":
        width = 0.7 * float(np.diff(x).min()) if len(x) > 1 else 0.7
        axes.bar(x, y, width=width, color=colour, linewidth=0)
        axes.axhline(0.0, color=MARKS["quiet"], linewidth=1.0)
        return
    x, y = thinned(x, y, size.width)
    if line.kind == "dots":
        axes.plot(x, y, ".", color=colour, markersize=2.5)
        return
    dashed = line.kind in ("dashes", "dashed stairs")
    axes.plot(
        x,
        y,
        color=colour,
        linewidth=1.3 if dashed else 1.6,
        linestyle=(0, (4, 2)) if dashed else "-",
        drawstyle="steps-post" if "stairs" in line.kind else "default",
        marker="o" if line.kind == "line and dots" else None,
        markersize=4,
    )


def _draw_bars(axes: Axes, panel: Bars, size: Size, columns: int) -> None:
    lowest = min(0.0, *(b.value if b.low is None else b.low for b in panel.bars))
    highest = max(0.0, *(b.value if b.high is None else b.high for b in panel.bars))
    span = (highest - lowest) or 1.0
    for row, bar in enumerate(panel.bars):
        axes.barh(row, bar.value, height=0.62 if size.beside else 0.4, color=MARKS[bar.role], linewidth=0)
        end = max(bar.value, 0.0)
        if bar.low is not None and bar.high is not None:
            for colour, width in ((MARKS["paper"], 4.0), (MARKS["ink"], 1.4)):
                axes.plot((bar.low, bar.high), (row, row), color=colour, linewidth=width, solid_capstyle="butt")
            end = max(bar.high, 0.0)
        place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(f"{bar.value:z.{panel.digits}f}", (end, row), color=MARKS["ink"], **place)  # type: ignore[arg-type]
    axes.axvline(0.0, color=MARKS["quiet"], linewidth=1.0)
    axes.set_xlim(lowest - 0.02 * span, highest + (0.12 if size.beside else 0.2) * span)
    axes.set_ylim(len(panel.bars) - 0.4, -0.6 if size.beside else -0.9)
    if size.beside:
        axes.set_yticks(range(len(panel.bars)), [bar.label for bar in panel.bars], color=MARKS["ink"])
    else:
        axes.set_yticks([])
        for row, bar in enumerate(panel.bars):
            at = min(lowest, 0.0)
            axes.annotate(bar.label, (at, row - 0.26), xytext=(0, 0), textcoords="offset points", va="bottom")
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_title(_wrapped(panel, size, columns), loc="left", pad=6)


def _draw_rows(axes: Axes, panel: Rows, size: Size, columns: int) -> None:
    for number, row in enumerate(panel.rows):
        spans = [(begin, end - begin) for begin, end in row.spans]
        tall = 0.6 if size.beside else 0.36
        axes.broken_barh(spans, (number - tall / 2, tall), color=MARKS[row.role], linewidth=0)
    axes.set_ylim(len(panel.rows) - 0.4, -0.6 if size.beside else -0.9)
    labels = [row.label for row in panel.rows]
    if size.beside:
        axes.set_yticks(range(len(labels)), labels, color=MARKS["ink"])
    else:
        axes.set_yticks([])
        for number, label in enumerate(labels):
            axes.annotate(label, (0.0, number - 0.24), xycoords=("axes fraction", "data"), va="bottom")
    axes.grid(axis="y", visible=False)
    axes.set_title(_wrapped(panel, size, columns), loc="left", pad=6)


def _draw_axis(axes: Axes, axis: NumberAxis | TimeAxis, own_title: str, most: int, titled: bool) -> None:
    """most: labels that have room side by side."""
    if isinstance(axis, TimeAxis):
        axes.set_xlim(axis.begin, axis.end)
        ticks, labels = time_ticks(axis, most=most)
        axes.set_xticks(ticks, labels if titled else [""] * len(labels))
    else:
        axes.margins(x=0.02)
        if axis.log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            locator = MaxNLocator(max(most, 5), steps=[1, 2, 2.5, 5, 10], integer=axis.whole)
            axes.xaxis.set_major_locator(locator)
        if not titled:
            axes.tick_params(labelbottom=False)
    if titled and (own_title or axis.title):
        axes.set_xlabel(own_title or axis.title)


def _label_ends(axes: Axes, panel: Panel) -> None:
    """The name of every line beside its last point, moved apart where they would touch."""
    low, high = axes.get_ylim()
    gap = 16.0 / (WIDE.panel * 0.92)
    wanted: list[tuple[float, str, str]] = []
    for line in panel.lines:
        finite = np.flatnonzero(np.isfinite(line.y))
        if line.label and len(finite):
            wanted.append((_share(axes, float(line.y[finite[-1]]), low, high), line.label, MARKS[line.role]))
    wanted += [
        (_share(axes, limit.at, low, high), limit.label, MARKS["quiet"]) for limit in panel.limits if limit.label
    ]
    wanted.sort()
    placed = _apart([share for share, _, _ in wanted], gap)
    for at, (_, label, colour) in zip(placed, wanted, strict=True):
        place = {"xycoords": "axes fraction", "xytext": (8, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(label, (1.0, at), color=colour, annotation_clip=False, **place)  # type: ignore[arg-type]


def _share(axes: Axes, value: float, low: float, high: float) -> float:
    """How far up the panel a value is, from 0 to 1."""
    if axes.get_yscale() == "log":
        value, low, high = (float(np.log10(max(v, 1e-300))) for v in (value, low, high))
    return float(np.clip((value - low) / ((high - low) or 1.0), 0.0, 1.0))


def _apart(at: Sequence[float], gap: float) -> list[float]:
    """Ascending places at least `gap` from one another, near the wanted ones and within [0, 1] if that is possible."""
    placed: list[float] = []
    for value in at:
        placed.append(max(value, placed[-1] + gap) if placed else value)
    excess = placed[-1] - 1.0 if placed else 0.0
    for i in range(len(placed) - 1, -1, -1):
        top = 1.0 if i == len(placed) - 1 else placed[i + 1] - gap
        if excess > 0.0:
            placed[i] = min(placed[i], top)
    return placed


def _label_above(axes: Axes, panel: Panel, size: Size) -> None:
    """The names of the lines between title and panel, in their colours, a sample of the line before each."""
    for number, lines in enumerate(reversed(_legend_rows(panel.lines))):
        samples: list[Any] = [
            mpl.lines.Line2D(
                [], [], color=MARKS[line.role], linewidth=2.0, linestyle="--" if "dashe" in line.kind else "-"
            )
            for line in lines
        ]
        legend = axes.legend(
            samples,
            [line.label for line in lines],
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0 + number * 1.5 * size.font / size.panel),
            ncols=len(lines),
            borderaxespad=0.0,
            borderpad=0.1,
            handlelength=1.3,
            handletextpad=0.4,
            columnspacing=1.0,
            labelcolor="linecolor",
        )
        axes.add_artist(legend)


def _legend_rows(lines: Sequence[Line]) -> list[list[Line]]:
    """Labelled lines, as many in a row as a narrow screen holds."""
    rows: list[list[Line]] = []
    used = 0
    for line in (line for line in lines if line.label):
        if not rows or used + len(line.label) + 4 > 44:
            rows.append([])
            used = 0
        rows[-1].append(line)
        used += len(line.label) + 4
    return rows
