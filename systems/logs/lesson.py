"""What a log taught of an asset: fitted values with their errors, what forbids their use, and what to draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from systems.logs.log import LogFault


@dataclass(frozen=True)
class Fitted:
    """One number, with the ends of its 95 % interval where it has one."""

    name: str
    unit: str
    value: float
    low: float | None = None
    high: float | None = None
    text: str = ""


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a plot; `dotted` for what it is compared with, `points` for single values."""

    label: str
    x: NDArray[Any]
    y: NDArray[Any]
    style: str = "line"
    """line, dotted, points or band (y: (2, n))"""


@dataclass(frozen=True, eq=False)
class LessonPlot:
    """One plot: a sentence on top, two axes with units, a few curves."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True, eq=False)
class Lesson:
    """Of one asset, or of all zones together."""

    asset: str
    summary: str
    """The most important thing in a sentence."""
    theta: Mapping[str, float] = field(default_factory=dict)
    """Data-fitted values of parameters, within their bounds."""
    findings: tuple[Fitted, ...] = ()
    problems: tuple[str, ...] = ()
    """Each forbids the use of the model, and says what to do."""
    notes: tuple[str, ...] = ()
    panels: tuple[LessonPlot, ...] = ()
    faults: tuple[LogFault, ...] = ()
    """Found in the columns by what the asset can do."""
    table: str = ""
    """Of the house file; for assets with a fitted model beyond theta."""
    model: str = ""
    """Its text, as the kind's `read` takes it; empty where theta says it all."""
