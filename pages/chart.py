"""A chart as data: panels with lines, bars or rows over one axis. What it looks like is `pages.drawing`'s business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pages.palette import Role

Array = NDArray[np.float64]
MOST_LINES = 3


class ChartError(ValueError):
    """A chart that nobody could read."""


@dataclass(frozen=True, eq=False)
class Line:
    """y (n,) over x (n,): numbers, or unix seconds under a TimeAxis. `low`, `high` (n,) are shaded."""

    label: str
    x: Array
    y: Array
    role: Role = "first"
    kind: Literal["line", "dashes", "stairs", "dashed stairs", "dots", "columns", "line and dots"] = "line"
    low: Array | None = None
    high: Array | None = None


@dataclass(frozen=True)
class Limit:
    """A level that is not to be crossed, or that one compares with."""

    at: float
    label: str = ""


@dataclass(frozen=True, eq=False)
class Panel:
    """Lines that share a unit. `band` is shaded from side to side, `spans` (x from, x to) from top to bottom.

    Raises:
        ChartError: more than three lines.
    """

    title: str
    """With the unit: "State of charge, %"."""
    lines: Sequence[Line] = ()
    limits: Sequence[Limit] = ()
    band: tuple[float, float] | None = None
    spans: Sequence[tuple[float, float]] = ()
    y_range: tuple[float, float] | None = None
    log: bool = False
    x_title: str = ""
    """Where it differs from that of the chart."""
    log_x: bool = False
    """Whatever the axis of the chart is."""

    def __post_init__(self) -> None:
        if len(self.lines) > MOST_LINES:
            raise ChartError(f"{self.title}: {len(self.lines)} lines in one panel; at most {MOST_LINES}, so split it")


@dataclass(frozen=True)
class Bar:
    """One bar with its interval."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    role: Role = "quiet"


@dataclass(frozen=True)
class Bars:
    """Bars below one another, each with its value in figures."""

    title: str
    bars: Sequence[Bar]
    digits: int = 2


@dataclass(frozen=True)
class Row:
    """When something was so: (from, to) each."""

    label: str
    spans: Sequence[tuple[float, float]]
    role: Role = "first"


@dataclass(frozen=True)
class Rows:
    """Rows below one another over the axis of the chart."""

    title: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class NumberAxis:
    """An axis of plain numbers."""

    title: str = ""
    log: bool = False
    whole: bool = False
    """Ticks at whole numbers only."""


@dataclass(frozen=True)
class TimeAxis:
    """Unix seconds, shown on the clock of a place. None: UTC."""

    zone: tzinfo | None
    begin: float
    end: float

    @property
    def title(self) -> str:
        return f"local time, {zone_name(self.zone, self.begin)}"


@dataclass(frozen=True, eq=False)
class Chart:
    """What one figure of a page shows.

    Attributes:
        name: Unique on its page; letters, digits, hyphens.
        says: What a reader sees who cannot see: the text alternative.
        caption: Below the figure; empty where the heading says it all.
        columns: Panels beside one another on a wide screen.
    """

    name: str
    says: str
    panels: Sequence[Panel | Bars | Rows]
    axis: NumberAxis | TimeAxis = NumberAxis()
    caption: str = ""
    columns: int = 1


def zone_name(zone: tzinfo | None, at_s: float) -> str:
    """ "Europe/Oslo", or "UTC+01:00" for a clock that is an offset alone."""
    key = getattr(zone, "key", None)
    if key is not None:
        return str(key)
    offset = datetime.fromtimestamp(at_s, zone or UTC).strftime("%z")
    return "UTC" if offset in ("", "+0000") else f"UTC{offset[:3]}:{offset[3:5]}"


def thinned(x: Array, y: Array, columns: int) -> tuple[Array, Array]:
    """At most two points a column of pixels, the least and the greatest, in their order; short lines as they are."""
    if len(x) <= 4 * columns or not np.isfinite(y).all():
        return x, y
    kept = [0, len(x) - 1]
    for part in np.array_split(np.arange(len(x)), columns):
        kept += [int(part[np.argmin(y[part])]), int(part[np.argmax(y[part])])]
    index = np.unique(kept)
    return x[index], y[index]
