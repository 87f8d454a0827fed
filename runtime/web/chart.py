"""A panel as SVG: one chart, a few lines with their names beside them, drawn for a phone and for a screen reader."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape
from itertools import pairwise

from runtime.web.picture import Plot, Trace

WIDTH, HEIGHT = 360, 120
LEFT, RIGHT, TOP, BOTTOM = 36, 62, 8, 20
INSIDE = WIDTH - LEFT - RIGHT
TALL = HEIGHT - TOP - BOTTOM


def chart(panel: Plot, start: datetime, hours: float) -> str:
    """The `<svg>` of a panel over `hours` from `start` on."""
    low, high = _range(panel)
    x = _Scale(0.0, hours, LEFT, LEFT + INSIDE)
    y = _Scale(low, high, TOP + TALL, TOP)
    parts = [f"<title>{escape(panel.title)}</title><desc>{escape(description(panel, start))}</desc>"]
    for value in _ticks(low, high):
        height = y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + INSIDE}" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 4}" y="{height + 3:.1f}" text-anchor="end">{_number(value)}</text>'
        )
    for hour in _hours(start, hours):
        moment = start + timedelta(hours=hour)
        parts.append(f'<line class="grid" x1="{x(hour):.1f}" x2="{x(hour):.1f}" y1="{TOP}" y2="{TOP + TALL}"/>')
        parts.append(
            f'<text class="tick" x="{x(hour):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{moment:%H:%M}</text>'
        )
    if panel.band is not None:
        lower, upper = (_points(line, hours) for line in panel.band)
        outline = [*lower, *reversed(upper)]
        parts.append(f'<polygon class="band" points="{_path(outline, x, y)}"/>')
    labels = _spread([y(line.values[min(len(line.values), _count(line, hours)) - 1]) for line in panel.lines])
    for k, (line, height) in enumerate(zip(panel.lines, labels, strict=True)):
        parts.append(f'<polyline class="line l{k % 3}" points="{_path(_points(line, hours), x, y)}"/>')
        parts.append(
            f'<text class="name l{k % 3}" x="{LEFT + INSIDE + 4}" y="{height + 3:.1f}">{escape(line.name)}</text>'
        )
    label = escape(f"{panel.title}, {panel.unit}" if panel.unit else panel.title)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def description(panel: Plot, start: datetime) -> str:
    """What somebody who does not see it wants to know: the range of each line, and when it is reached."""
    told = []
    for line in panel.lines:
        least, most = min(line.values), max(line.values)
        if most - least < 1e-9:
            told.append(f"{line.name}: {_number(least)} {panel.unit} all the time")
            continue
        when = [start + timedelta(seconds=line.values.index(v) * line.step_s) for v in (least, most)]
        told.append(
            f"{line.name}: lowest {_number(least)} {panel.unit} at {when[0]:%H:%M}, "
            f"highest {_number(most)} {panel.unit} at {when[1]:%H:%M}"
        )
    return "; ".join(told)


def _range(panel: Plot) -> tuple[float, float]:
    lines = [*panel.lines, *(panel.band or ())]
    low, high = min(min(line.values) for line in lines), max(max(line.values) for line in lines)
    if panel.unit == "%":
        return 0.0, 100.0
    if panel.unit == "kW" or (panel.unit.endswith("/kWh") and low > 0.0):
        low = min(low, 0.0)
    margin = 0.05 * (high - low) or 0.5
    return (low if low == 0.0 else low - margin), high + margin


class _Scale:
    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self._low, self._factor, self._begin = low, (end - begin) / (high - low or 1.0), begin

    def __call__(self, value: float) -> float:
        return self._begin + (value - self._low) * self._factor


def _count(line: Trace, hours: float) -> int:
    return max(1, min(len(line.values), round(hours * 3600.0 / line.step_s) + (0 if line.held else 1)))


def _points(line: Trace, hours: float) -> list[tuple[float, float]]:
    """(hour, value); a held value is a step."""
    values = line.values[: _count(line, hours)]
    step_h = line.step_s / 3600.0
    if not line.held:
        return [(k * step_h, v) for k, v in enumerate(values)]
    return [point for k, v in enumerate(values) for point in ((k * step_h, v), ((k + 1) * step_h, v))]


def _path(points: Sequence[tuple[float, float]], x: _Scale, y: _Scale) -> str:
    return " ".join(f"{min(x(h), LEFT + INSIDE):.1f},{y(v):.1f}" for h, v in points)


def _ticks(low: float, high: float) -> list[float]:
    """Three or so round values."""
    step = 10.0 ** math.floor(math.log10((high - low) / 2.0))
    step *= next(m for m in (1.0, 2.0, 5.0, 10.0) if (high - low) / (m * step) <= 4.0)
    first = math.ceil(low / step)
    return [k * step for k in range(first, math.floor(high / step) + 1)]


def _hours(start: datetime, hours: float) -> list[float]:
    """Full hours of the clock, every three to six of them."""
    apart = 6 if hours > 12.0 else 3 if hours > 5.0 else 1
    first = (-start.hour - start.minute / 60.0 - start.second / 3600.0) % apart
    return [first + k * apart for k in range(int((hours - first) // apart) + 1)] if first <= hours else []


def _spread(heights: Sequence[float], apart: float = 11.0) -> list[float]:
    """Heights of labels, moved down where they would cover each other, and up again where that leaves the chart."""
    order = sorted(range(len(heights)), key=lambda k: heights[k])
    placed = list(heights)
    for before, k in pairwise(order):
        placed[k] = max(placed[k], placed[before] + apart)
    over = max((placed[k] for k in order), default=0.0) - (TOP + TALL)
    return [height - max(0.0, over) for height in placed]


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) >= 1e-9 else "0"
