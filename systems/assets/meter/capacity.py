"""[meter.capacity]: a charge for the highest import of the month, or the mean of the highest of several days.

The fee is a price for each kW, or goes by tiers: a staircase. A plan cannot climb stairs; it pays by the lower convex
hull through their edges, so that a whole tier costs what it does, and up to the end of the tier where the month is
anyway it pays nothing, since its peak counts from there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, model_validator

from runtime.formats.duration import parse_duration
from systems.section import TableSection

Tiers = tuple[tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(ge=0)]], ...]
"""((up to kW, money a month), ...), both ascending."""


class Capacity(TableSection):
    """[meter.capacity]; money in the currency of the house."""

    price_per_kw: Annotated[float, Field(gt=0)] | None = None
    """For each kW that is charged."""
    tiers: Tiers = ()
    """In place of a price for each kW."""
    interval: Literal["15 min", "1 h"] = "15 min"
    """Over which import is averaged."""
    days: Annotated[int, Field(ge=1, le=31)] = 1
    """The mean of the highest intervals of so many days is charged."""
    free_kw: Annotated[float, Field(ge=0)] = 0.0
    """Charged in any case."""
    measured: StrictBool = False
    """Somebody else counts: `month_peak` is an input, and not counted from the meter."""

    @model_validator(mode="after")
    def _one_fee(self) -> Capacity:
        if (self.price_per_kw is None) == (not self.tiers):
            raise ValueError("give price_per_kw, or tiers = [[2, 120], [5, 200]]: up to so many kW, so much a month")
        if any(a[0] >= b[0] or a[1] > b[1] for a, b in pairwise(self.tiers)):
            raise ValueError("the tiers do not ascend; order them by kW")
        return self

    @property
    def interval_s(self) -> float:
        return float(parse_duration(self.interval))

    @property
    def edges(self) -> tuple[float, ...]:
        return tuple(edge for edge, _ in self.tiers)

    def fee(self, kw: float) -> float:
        """Of a month that is charged for so many kW; beyond the last tier that of the last."""
        kw = max(kw, self.free_kw)
        if self.price_per_kw is not None:
            return self.price_per_kw * kw
        return self.tiers[min(bisect_left(self.edges, kw - 1e-9), len(self.tiers) - 1)][1]

    def slopes(self) -> tuple[tuple[float, float], ...]:
        """((from kW, money for each kW), ...), both ascending, of the fee's lower convex hull."""
        if self.price_per_kw is not None:
            return ((0.0, self.price_per_kw),)
        hull: list[tuple[float, float]] = []
        for point in ((0.0, self.tiers[0][1]), *self.tiers):
            while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], point):
                hull.pop()
            hull.append(point)
        found = [(a[0], _slope(a, b)) for a, b in pairwise(hull)]
        return tuple(found)

    def most_per_kw(self) -> float:
        """What one kW more in an interval can cost a month at most; of the days that count together one rises."""
        return max(price for _, price in self.slopes()) / self.days

    def charged_kw(self, daily_peaks_kw: Sequence[float]) -> float:
        """Of the highest interval of each day; days that a young month has not had yet count as 0."""
        return sum(sorted(daily_peaks_kw, reverse=True)[: self.days]) / self.days

    def observer(self, meter: dict[str, Any]) -> dict[str, Any]:
        """The manifest's estimator of what the charge counts from, as plain data."""
        interval = {"interval_s": self.interval_s, "days": self.days}
        return {"type": "peak", "meter": meter, **interval, "free": self.free_kw, "edges": list(self.edges)}


def _slope(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])
