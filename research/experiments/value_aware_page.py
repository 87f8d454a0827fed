"""The page of `nisse experiment value-aware`: what each way to a model saves on held-out days, over the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pages.chart import Bar, Bars, Chart
from pages.page import Page
from research.experiments.output import PAPER, Statement, result_page
from research.value_aware.study import (
    DECISION,
    DECISION_MORE,
    DECISION_WHOLE,
    LIKELIHOOD,
    NAMEPLATE,
    VALUE,
    Outcome,
)
from tuner.evaluate.comparison import PERFECT
from tuner.evaluate.statistics import LEAST, mean_interval

Array = NDArray[np.float64]
OURS = (DECISION, DECISION_WHOLE, DECISION_MORE)


@dataclass(frozen=True, eq=False)
class Compared:
    """A house, one outcome a seed."""

    currency: str
    outcomes: tuple[Outcome, ...]

    @property
    def ways(self) -> tuple[str, ...]:
        return tuple(self.outcomes[0].totals)

    def totals(self, way: str) -> Array:
        """(seeds,)"""
        return np.array([outcome.totals[way] for outcome in self.outcomes])

    def savings(self, way: str) -> Array:
        """(seeds,) % of the mean cost at the nameplate: so no seed counts more because its days are cheap."""
        base = self.totals(NAMEPLATE)
        return np.asarray(100.0 * (base - self.totals(way)) / base.mean())

    def moved(self, way: str) -> int:
        """Seeds in which the way changed anything."""
        return sum(o.thetas[way] != o.thetas[NAMEPLATE] for o in self.outcomes if way in o.thetas)


def interval(values: Array) -> str:
    if len(values) < LEAST:
        return "one seed"
    found = mean_interval(values)
    return f"{found.low:+.2f} to {found.high:+.2f}"


def told(values: Array) -> str:
    return f"{np.median(values):+.2f} ({values.min():+.2f} to {values.max():+.2f})"


def make_page(compared: Mapping[str, Compared], days: float, judged_days: float, grids: Sequence[str]) -> Page:
    first = next(iter(compared.values()))
    seeds = len(first.outcomes)
    best = {
        name: max((w for w in of.ways if w != PERFECT), key=lambda w: of.savings(w).mean())
        for name, of in compared.items()
    }
    return result_page(
        title="Ways to a model, on the same data",
        summary=" ".join(
            f"{name}: {best[name]} saves most, {told(compared[name].savings(best[name]))} % against the nameplate; "
            f"likelihood {told(compared[name].savings(LIKELIHOOD))} %."
            for name in compared
        ),
        statements=(
            Statement(
                "A model that predicts best need not decide best.",
                "; ".join(
                    f"{name}: likelihood predicts the meter {100 * better_prediction(of):.1f} % better than the "
                    f"nameplate and saves {told(of.savings(LIKELIHOOD))} %"
                    for name, of in compared.items()
                )
                + ".",
                "The table has both, for every way.",
            ),
            Statement(
                "Decision-oriented terms in the loss give models whose values are right.",
                "; ".join(f"{name}: value-aware {told(of.savings(VALUE))} %" for name, of in compared.items()) + ".",
                "One Gauss-Newton step from the nameplate, as every way that needs values.",
            ),
            Statement(
                "θ learned for the closed loop, from the same data.",
                "; ".join(
                    f"{name}: the whole step {told(of.savings(DECISION_WHOLE))} %; as far as sure it moved in "
                    f"{of.moved(DECISION)} of {seeds} seeds, {told(of.savings(DECISION))} %"
                    for name, of in compared.items()
                )
                + ".",
                "A direction counts as sure above one standard error by the jackknife; the steps of the other ways are "
                "whole.",
            ),
        ),
        charts=[chart(name, of) for name, of in compared.items()],
        tables=tuple(
            (
                f"{name}: saving against the nameplate, %",
                [
                    "way",
                    "median (range)",
                    "mean, 95 %",
                    f"{of.currency} a day",
                    "off at the meter, kW",
                    "seeds it moved",
                ],
                [
                    [
                        way,
                        told(of.savings(way)),
                        interval(of.savings(way)),
                        f"{of.totals(way).mean() / judged_days:.3f}",
                        off_at_the_meter(of, way),
                        str(of.moved(way)) if way in of.outcomes[0].thetas else "",
                    ]
                    for way in of.ways
                ],
            )
            for name, of in compared.items()
        ),
        notes=(
            f"{days:g} days of exploring data a seed, {judged_days:g} held-out days of another year, the same for all; "
            f"{seeds} seeds, each with its own weather, prices and use. The start is the nameplate.",
            *grids,
            *(
                f"{name}: of {of.outcomes[0].transitions} decisions a seed at most "
                f"{max(o.without_q for o in of.outcomes)} have no Q to the solver's tolerance; the implicit gradient "
                "leaves them out, and stays where too few are left."
                for name, of in compared.items()
            ),
        ),
        source=PAPER,
    )


def better_prediction(of: Compared) -> float:
    errors = np.array([[o.prediction_errors[way] for way in (NAMEPLATE, LIKELIHOOD)] for o in of.outcomes])
    return float(1.0 - (errors[:, 1] / errors[:, 0]).mean())


def off_at_the_meter(of: Compared, way: str) -> str:
    if way not in of.outcomes[0].prediction_errors:
        return ""
    return f"{np.mean([outcome.prediction_errors[way] for outcome in of.outcomes]):.4f}"


def chart(name: str, of: Compared) -> Chart:
    bars = []
    for way in of.ways:
        if way != NAMEPLATE:
            values = of.savings(way)
            role = "first" if way in OURS else "quiet"
            bars.append(Bar(way, float(np.median(values)), float(values.min()), float(values.max()), role))
    title = f"{name}: saving against the nameplate, %, median and range over the seeds"
    return Chart(name, f"What each way to a model saves in {name}.", [Bars(title, bars)])


def report(compared: Mapping[str, Compared]) -> None:
    for name, of in compared.items():
        print(f"{name}: saving against the nameplate, %, median (range over {len(of.outcomes)} seeds), mean 95 %")
        for way in of.ways:
            if way != NAMEPLATE:
                print(f"  {way:<48}{told(of.savings(way))}, {interval(of.savings(way))}")
