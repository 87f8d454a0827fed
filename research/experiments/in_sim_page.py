"""The page of `nisse experiment in-sim`: what tuning the simulator won, and how noisy the likelihood form is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pages.chart import Chart, Limit, Line, NumberAxis, Panel
from pages.page import Page
from pages.palette import Role
from research.experiments.output import Statement, result_page

Array = NDArray[np.float64]
SOURCE = "AI for Operational Decisions (Gros, slides)"
TOLERABLE = 0.2
"""Relative error of dnu*/dtheta below which its direction is within about 11 degrees."""


@dataclass(frozen=True, eq=False)
class Iterate:
    """theta of the simulator, nu trained in it, and nu's exact return in the real plant."""

    theta: Array
    nu: Array
    real_return: float


@dataclass(frozen=True, eq=False)
class SimCourse:
    """Histories of all seeds, the best return of the policy class, and the optimum's where it is known."""

    histories: Sequence[Sequence[Iterate]]
    best: float
    optimum: float | None
    plant: str

    @property
    def returns(self) -> Array:
        """(seeds, iterations + 1)."""
        return np.array([[i.real_return for i in history] for history in self.histories])

    @property
    def closed(self) -> Array:
        """(seeds,) share of the gap to the best of the policy class."""
        start = self.returns[:, 0]
        return np.asarray((self.returns[:, -1] - start) / (self.best - start))


@dataclass(frozen=True, eq=False)
class GradientErrors:
    """Relative errors of dnu*/dtheta: (seeds, counts) of likelihood ratios, (seeds, scenarios) on fixed noise.

    mismatch: of the derivative of the fixed form, or the exact one, from retraining at theta +- h.
    """

    plant: str
    rollouts: tuple[int, ...]
    by_ratio: Array
    scenarios: tuple[int, ...]
    by_path: Array
    mismatch: float

    @property
    def enough_by_seed(self) -> Array:
        """(seeds,) rollouts from which on the error is TOLERABLE: it falls like n^(-1/2)."""
        counts = np.array(self.rollouts[1:], float)
        return np.asarray(np.mean(self.by_ratio[:, 1:] ** 2 * counts, axis=1) / TOLERABLE**2)

    @property
    def enough(self) -> float:
        """The same of the mean square over the seeds."""
        return float(self.enough_by_seed.mean())

    @property
    def enough_in_every_seed(self) -> int | None:
        """Of the numbers of rollouts that were tried, the first from which on every seed is within TOLERABLE."""
        held = np.asarray((self.by_ratio <= TOLERABLE).all(axis=0))
        later = np.logical_and.accumulate(held[::-1])[::-1]
        return self.rollouts[int(np.argmax(later))] if later.any() else None


def span(values: Sequence[float] | Array, scale: float = 1.0, digits: int = 1) -> str:
    return f"{scale * np.min(values):.{digits}f} to {scale * np.max(values):.{digits}f}"


def counted(values: Array) -> str:
    return f"{values.min():,.0f} to {values.max():,.0f}"


def make_page(store: SimCourse, room: SimCourse, noises: Sequence[GradientErrors], gaps: Sequence[float]) -> Page:
    on_store, on_levels = noises
    rows = [
        [noise.plant, f"{n}", span(noise.by_ratio[:, k], 100.0), ""]
        for noise in noises
        for k, n in enumerate(noise.rollouts)
    ]
    rows += [
        [on_store.plant, f"{n}", "", span(on_store.by_path[:, k], 100.0)] for k, n in enumerate(on_store.scenarios)
    ]
    return result_page(
        title="A simulator tuned for the decisions that it teaches",
        summary=f"Of the gap to the best of the policy class, tuning the simulator closes {span(store.closed, 100)} % "
        f"of the store's and {span(room.closed, 100)} % of the heat pump's with three levels. Likelihood ratios give "
        f"dν*/dθ within {100 * TOLERABLE:g} % from {on_store.enough:,.0f} ({counted(on_store.enough_by_seed)} by seed) "
        f"and {on_levels.enough:,.0f} ({counted(on_levels.enough_by_seed)}) rollouts on.",
        statements=(
            Statement(
                "J_νν dν*/dθ + J_νθ = 0 where the policy is optimal in simulation.",
                f"Differs from retraining at θ ± h by {on_store.mismatch:.1e} (store, fixed noise) and "
                f"{on_levels.mismatch:.1e} (three levels, exact), relative.",
            ),
            Statement(
                "The likelihood form can be evaluated from simulated data, through discrete sets, and is very noisy.",
                f"At {on_levels.rollouts[0]} rollouts the error is {span(on_levels.by_ratio[:, 0], 100)} % (three "
                f"levels), at {on_levels.rollouts[-1]} it is {span(on_levels.by_ratio[:, -1], 100)} %.",
                "Costs before an event are left out, and a baseline is taken from those after it; both leave the mean.",
            ),
            Statement(
                "Differentiating the simulation needs far fewer.",
                f"The store with {on_store.scenarios[0]} fixed scenarios: "
                f"{span(on_store.by_path[:, 0], 100)} %. It does not exist for three levels.",
            ),
            Statement(
                "In-sim training by policy gradient, in-real by ∇_θ J = (dν*/dθ)' ∇_ν J.",
                f"Three levels, by rollouts alone: Ĵ of the trained policy is at most {max(gaps):.3f} above that of "
                f"ν*, and the real return rises from {span(room.returns[:, 0])} to {span(room.returns[:, -1])}; the "
                f"best of the class is {room.best:.1f}.",
            ),
            Statement(
                "θ may include the cost L_θ: the model is the whole decision-making box.",
                f"Of the store, noise ends at {_ends(store, 0)}, the cost weight at {_ends(store, 1)} (real: 1), the "
                f"drift at {_ends(store, 2)} (real: 0).",
                "Only the policy counts: noise and cost weight both widen the band without action.",
            ),
        ),
        charts=[learning_chart(store, room), noise_chart(noises)],
        tables=(
            ("Error of dν*/dθ, %", ["plant", "rollouts", "likelihood ratios, %", "fixed noise, %"], rows),
        ),
        notes=(
            "Ranges are over the seeds. The error is relative, θ in units of its range, ν in the metric of J_νν.",
        ),
        source=SOURCE,
    )  # fmt: skip


def _ends(found: SimCourse, index: int) -> str:
    return span([history[-1].theta[index] for history in found.histories], digits=2)


def learning_chart(store: SimCourse, room: SimCourse) -> Chart:
    """Return in the real plants over the iterations, median and range over the seeds."""
    panels = []
    for found in (store, room):
        x = np.arange(found.returns.shape[1], dtype=float)
        low, middle, high = found.returns.min(axis=0), np.median(found.returns, axis=0), found.returns.max(axis=0)
        limits = [Limit(found.best, "best of the class")]
        panels.append(
            Panel(
                f"Return in the real plant: {found.plant}",
                [Line("trained in simulation", x, middle, low=low, high=high)],
                limits=limits,
            )
        )
    return Chart(
        "in-sim",
        "Return in the real plants of the policies trained in simulation, over the iterations that tune it.",
        panels,
        NumberAxis("iteration", whole=True),
    )


def noise_chart(noises: Sequence[GradientErrors]) -> Chart:
    """Error over the number of rollouts, both axes logarithmic."""
    panels = []
    for noise in noises:
        lines = [_errors("likelihood ratios", noise.rollouts, noise.by_ratio, "second")]
        if noise.scenarios:
            lines.append(_errors("fixed noise", noise.scenarios, noise.by_path, "first"))
        limits = [Limit(100.0 * TOLERABLE, f"{100 * TOLERABLE:g} %")]
        title = f"Error of dν*/dθ, %: {noise.plant}"
        panels.append(Panel(title, lines, limits=limits, log=True, log_x=True, x_title="rollouts"))
    return Chart(
        "in-sim-noise",
        "Error of the derivative of the trained policy over the number of rollouts, by both forms.",
        panels,
        caption=f"Dashed: {100 * TOLERABLE:g} %.",
        columns=2,
    )


def _errors(label: str, counts: Sequence[int], errors: Array, role: Role) -> Line:
    low, middle, high = (100.0 * f(errors, axis=0) for f in (np.min, np.median, np.max))
    return Line(label, np.array(counts, float), middle, role, "line and dots", low, high)


def report(store: SimCourse, room: SimCourse, noises: Sequence[GradientErrors], path: Path) -> None:
    for found in (store, room):
        print(
            f"{found.plant}: return in the real plant {span(found.returns[:, 0], digits=3)} -> "
            f"{span(found.returns[:, -1], digits=3)}, best of the policy class {found.best:.3f}; "
            f"{span(found.closed, 100)} % of the gap closed"
        )
    for noise in noises:
        print(
            f"{noise.plant}: dnu*/dtheta by likelihood ratios within {100 * TOLERABLE:g} % from {noise.enough:,.0f} "
            f"({counted(noise.enough_by_seed)} by seed) rollouts on; against retraining {noise.mismatch:.1e}"
        )
    print(f"page: {path}")
