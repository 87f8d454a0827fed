"""The page of `nisse experiment performative`: when retraining is stable, and what the gradient through it adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pages.chart import Chart, Limit, Line, NumberAxis, Panel
from pages.page import Page
from pages.palette import LINES, Role
from research.experiments.output import Statement, result_page

Array = NDArray[np.float64]
SOURCE = "Safety and data-driven control (Dean, lecture)"
NAMES = {"retraining": "retraining", "damped": "damped", "through": "through the response"}
LAST = 8
"""Rounds at the end, over which results are means."""


class GrowthLike(Protocol):
    """A point of the stability curve."""

    @property
    def strength(self) -> float: ...

    @property
    def expected(self) -> float: ...

    @property
    def measured(self) -> float: ...


@dataclass(frozen=True, eq=False)
class SlopeResult:
    """One slope of the price, by seed. Gaps are L*(theta) over the optimum's, minus 1: (seeds, rounds) a learner."""

    slope: float
    strength: list[float]
    stable: list[float]
    """The gap of the fixed point of retraining."""
    gaps: Mapping[str, Array]
    exploring: list[float]
    """What exploring costs while it lasts, as a share of the optimum."""
    days: Mapping[str, Array]
    """(24,) loads, kW a house, and prices, EUR/kWh, at the fixed point and the optimum of the first seed."""

    def last(self, learner: str) -> Array:
        """(seeds,) mean gap of the last rounds."""
        return np.asarray(self.gaps[learner][:, -LAST:].mean(axis=1))


def span(values: Sequence[float] | Array, scale: float = 1.0, digits: int = 3) -> str:
    low, high = scale * np.min(values), scale * np.max(values)
    return f"{low:.{digits}f} to {high:.{digits}f}"


def make_page(
    growths: Sequence[GrowthLike], limit: float, cases: Sequence[SlopeResult], memory: float, explored: int
) -> Page:
    """limit: the strength from which retraining is unstable."""
    off = max(abs(g.measured / g.expected - 1.0) for g in growths)
    strongest = cases[-1]
    rows = [
        [
            f"{case.slope:g}",
            span(case.strength, digits=2),
            *(span(case.last(name), 100.0) for name in NAMES),
            span(case.stable, 100.0),
            span(case.exploring, 100.0, 2),
        ]
        for case in cases
    ]
    unstable = [case for case in cases if min(case.last("retraining")) > 0.05]
    return result_page(
        title="A fleet whose load moves the price that it learns from",
        summary=f"At {strongest.slope:g} EUR/kWh for each kW, retraining ends "
        f"{span(strongest.last('retraining'), 100, 1)} % above the cost of the optimum, with a shorter step "
        f"{span(strongest.last('damped'), 100, 2)} %, and with the gradient through the response "
        f"{span(strongest.last('through'), 100, 2)} %.",
        statements=(
            Statement(
                "The population reacts as ρ_t = D(θ_t, ρ_t−1), with a limit ρ*(θ).",
                f"θ is the price of a day that the houses plan by, ρ the price that comes; {100 * memory:g} % of a "
                "day's price is that of the day before.",
                "The houses answer by convex programs of their own, so ρ*(θ) is computed and not simulated.",
            ),
            Statement(
                "Retraining ends at a fixed point, if it is stable.",
                f"The factor by which an error grows with a round, from the strength alone and from simulated rounds, "
                f"differs by at most {off:.1e} (relative). {len(unstable)} of {len(cases)} slopes are unstable.",
                "A kW more makes an hour dearer by the slope, which moves `strength` kW away from it: from "
                f"{limit:.2f} on the fleet runs after its own price.",
            ),
            Statement(
                "The goal is to minimise L*(θ) under the limiting distribution, not the loss at a fixed point.",
                "The fixed point is "
                + "; ".join(f"{span(c.stable, 100)} % (slope {c.slope:g})" for c in cases)
                + " above the optimum.",
                "∇L* = J (p* + slope·U − θ): at the optimum θ is the price and what one's own kW adds to all others'.",
            ),
            Statement(
                "Estimate parameters of ρ_t and a parametric model of ∂D; use them for the gradient of L*.",
                f"Memory and slope by least squares from {explored} rounds with explored θ; exploring costs "
                f"{span([x for c in cases for x in c.exploring], 100, 2)} % of the optimum while it lasts.",
                "One number times a known shape is learned. What is left above the optimum is the noise of the price.",
            ),
        ),
        charts=[stability_chart(growths), learning_chart(cases), day_chart(strongest)],
        tables=(
            (
                f"Cost above the optimum, mean of the last {LAST} rounds, %",
                ["slope", "strength", *(f"{name}, %" for name in NAMES.values()), "fixed point, %", "exploring, %"],
                rows,
            ),
        ),
        notes=("Ranges are over the seeds, each another fleet. A round is seven days.",),
        source=SOURCE,
    )


def stability_chart(growths: Sequence[GrowthLike]) -> Chart:
    strength = np.array([g.strength for g in growths])
    return Chart(
        "performative-stability",
        "Factor by which an error grows with each round of retraining, over the strength of the fleet's response.",
        [
            Panel(
                "Error of a round over that of the round before",
                [Line("retraining", strength, np.array([g.measured for g in growths]), kind="line and dots")],
                limits=[Limit(1.0, "stable below")],
            )
        ],
        NumberAxis("strength of the response: kW moved away for each kW drawn"),
    )


def learning_chart(cases: Sequence[SlopeResult]) -> Chart:
    """Cost above the optimum over the rounds, median and range over the seeds."""
    panels = []
    for case in cases:
        lines = []
        for (name, label), role in zip(NAMES.items(), LINES, strict=True):
            gaps = 100.0 * case.gaps[name]
            x = np.arange(1.0, gaps.shape[1] + 1.0)
            lines.append(Line(label, x, np.median(gaps, axis=0), role, "line", gaps.min(axis=0), gaps.max(axis=0)))
        panels.append(Panel(f"Cost above the optimum, %; slope {case.slope:g}", lines, log=True))
    return Chart(
        "performative",
        f"Cost above the optimum over the rounds, for {len(cases)} slopes of the price and three learners.",
        panels,
        NumberAxis("round of seven days", whole=True),
    )


def day_chart(case: SlopeResult) -> Chart:
    """The day at the fixed point, and what the optimum changes of it."""
    hours = np.arange(25.0)

    def stairs(label: str, values: Array, role: Role = "first") -> list[Line]:
        return [Line(label, hours, np.append(values, values[-1]), role, "stairs")]

    days = case.days
    return Chart(
        "performative-day",
        "What a house of the fleet draws and the price at the fixed point, and what the optimum changes, over the day.",
        [
            Panel("Drawn, kW", stairs("fixed point", days["stable"], "second")),
            Panel("Drawn more at the optimum, kW", stairs("optimum", days["optimum"] - days["stable"])),
            Panel("Price, EUR/kWh", stairs("fixed point", days["stable price"], "second")),
            Panel("Dearer at the optimum, EUR/kWh", stairs("optimum", days["optimum price"] - days["stable price"])),
        ],
        NumberAxis("hour", whole=True),
        columns=2,
    )


def report(cases: Sequence[SlopeResult], path: Path) -> None:
    for case in cases:
        print(f"slope {case.slope:g} EUR/kWh per kW, strength {span(case.strength, digits=2)}; cost above the optimum:")
        for name, label in NAMES.items():
            print(f"  {label:<22}{span(case.last(name), 100)} %")
        print(f"  {'its fixed point':<22}{span(case.stable, 100)} %; exploring costs {span(case.exploring, 100, 2)} %")
    print(f"page: {path}")
