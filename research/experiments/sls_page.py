"""The page of `nisse experiment sls`: responses against the optimal gain, under bounds, and from data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pages.chart import Chart, Limit, Line, Panel
from pages.page import Page
from pages.palette import LINES, Role
from research.experiments.lqr import ROUTES
from research.experiments.output import Statement, result_page
from research.linear_file import LinearProblem
from research.sls import Certified, SystemResponse
from systems.polytope import vertices

Array = NDArray[np.float64]
SOURCE = "Safety and data-driven control (Dean, lecture)"
DESIGNS = {
    "unconstrained": "no bounds",
    "nominal": "bounds, no disturbance",
    "robust": "bounds for all w in W",
}


@dataclass(frozen=True, eq=False)
class Design:
    """A response, and how it fares against the bounds from problem.start."""

    response: SystemResponse
    relative_cost: float
    """Average cost over that of the optimal gain, minus 1."""
    sampled_violations: list[int]
    """Of each seed, trajectories that leave a set at some time."""
    extreme_violations: int
    """Of all sequences of corners of W over the first steps."""
    extreme_sequences: int
    worst_row: float
    """Largest F s - b or F a - b under the corners that are worst for it, over all rows and times; <= 0 is safe."""


@dataclass(frozen=True, eq=False)
class Learned:
    """Relative cost gaps by route (seeds, budgets); NaN where a route gives no controller."""

    gaps: dict[str, Array]
    certified: list[list[Certified | None]]
    covered: int
    """Estimates whose true errors are both within their bounds, of all."""


def middle(gaps: Array) -> str:
    """Median and range over the seeds that have a controller."""
    held = gaps[~np.isnan(gaps)]
    if not len(held):
        return "none"
    share = "" if len(held) == len(gaps) else f", {len(held)} of {len(gaps)} seeds"
    ends = f"{held.min():.2g} to {held.max():.2g}" if np.isfinite(held).all() else f"{held.min():.2g} to unstable"
    return f"{np.median(held):.2g} ({ends}{share})"


def make_page(
    problem: LinearProblem,
    horizon: int,
    against_horizon: list[tuple[int, float, float]],
    designs: dict[str, Design],
    learned: Learned,
    budgets: list[int],
) -> Page:
    labels = {**ROUTES, "robust": "robust synthesis"}
    robust = designs["robust"]
    total = sum(len(row) for row in learned.certified)
    return result_page(
        title="System level synthesis",
        summary=f"Of all sampled and all extreme disturbances {sum(robust.sampled_violations)} and "
        f"{robust.extreme_violations} take the robust response of {horizon} steps out of its bounds; it costs "
        f"{100 * robust.relative_cost:.1f} % more than the optimal gain, which knows no bounds.",
        statements=(
            Statement(
                "LQR by convex optimization over the responses.",
                f"With {against_horizon[-1][0]} steps the cost is {against_horizon[-1][1]:.1e} above the optimum, "
                f"relative, and Φ_a[1] is {against_horizon[-1][2]:.1e} from K*.",
                "The response must be over after T steps; what that costs falls geometrically.",
            ),
            Statement(
                "Bounds on states and actions are convex in Φ, for all w ∈ W.",
                f"Worst row under its worst corners: {robust.worst_row:.1e} beyond its bound.",
                "The program of the lecture bounds from the second step on; here the first action is bounded too.",
            ),
            Statement(
                "Robust from (Â, B̂, ε): J − J* ≤ ε for N ≳ 1/ε²; certainty equivalence: ≲ ε², for small enough ε.",
                f"At N = {budgets[-1]}: robust {middle(learned.gaps['robust'][:, -1])}, certainty equivalence "
                f"{middle(learned.gaps['certainty_equivalence'][:, -1])}.",
                f"ε from the data held in {learned.covered} of {total} estimates. Where ε is too large no response is "
                "certified, and the table says none.",
            ),
        ),
        charts=[chart(problem, against_horizon, designs, learned, budgets)],
        tables=(
            (
                "Without bounds, against the optimal gain",
                ["T", "J / J* − 1", "‖Φ_a[1] − K*‖"],
                [[str(t), f"{cost:.2e}", f"{gain:.2e}"] for t, cost, gain in against_horizon],
            ),
            (
                f"With bounds, T = {horizon}",
                ["design", "J / J* − 1", "sampled that leave, by seed", "extreme that leave", "worst row"],
                [
                    [
                        DESIGNS[name],
                        f"{d.relative_cost:.4f}",
                        ", ".join(map(str, d.sampled_violations)),
                        f"{d.extreme_violations} of {d.extreme_sequences}",
                        f"{d.worst_row:+.1e}",
                    ]
                    for name, d in designs.items()
                ],
            ),
            (
                "From data: J / J* − 1, median (range over the seeds)",
                ["transitions", *labels.values()],
                [
                    [str(n), *(middle(learned.gaps[name][:, column]) for name in labels)]
                    for column, n in enumerate(budgets)
                ],
            ),
        ),
        notes=("Costs are averages under Gaussian w in the true system, exact by the Lyapunov equation.",),
        source=SOURCE,
    )


def chart(
    problem: LinearProblem,
    against_horizon: list[tuple[int, float, float]],
    designs: dict[str, Design],
    learned: Learned,
    budgets: list[int],
) -> Chart:
    """Over the horizon, over time under random corners of W (range), and over the data (range over the seeds)."""
    horizons, costs, gains = (np.array(column, dtype=float) for column in zip(*against_horizon, strict=True))
    corners, generator = vertices(problem.disturbance), np.random.default_rng(0)
    length = designs["robust"].response.horizon
    disturbances = corners[generator.integers(len(corners), size=(300, length))]
    time, acting = np.arange(length + 1, dtype=float), []
    for (name, label), role in zip(DESIGNS.items(), LINES, strict=True):
        _, actions = designs[name].response.simulate(problem.a, problem.b, problem.start, disturbances)
        first = actions @ problem.action.normals[0]
        acting.append(Line(label, time, np.median(first, axis=0), role, "line", first.min(axis=0), first.max(axis=0)))

    def learning(name: str, label: str, role: Role) -> list[Line]:
        gaps = np.where(np.isfinite(learned.gaps[name]), learned.gaps[name], np.nan)
        held = ~np.isnan(gaps).all(axis=0)
        if not held.any():
            return []
        gaps = gaps[:, held]
        ends = np.nanmin(gaps, axis=0), np.nanmax(gaps, axis=0)
        return [Line(label, np.array(budgets, float)[held], np.nanmedian(gaps, axis=0), role, "line and dots", *ends)]

    routes = [learning(name, label, role) for (name, label), role in zip(ROUTES.items(), LINES, strict=True)]
    pair = [routes[0], learning("robust", "robust synthesis", "second")]
    return Chart(
        "sls",
        "Finite responses: cost over the horizon, actions under bounds, and cost over the data that the model is from.",
        [
            Panel(
                "Without bounds, against the optimal gain",
                [
                    Line("J / J* − 1", horizons, costs, "first", "line and dots"),
                    Line("‖Φ_a[1] − K*‖", horizons, gains, "second", "line and dots"),
                ],
                log=True,
                x_title="horizon T",
            ),
            Panel(
                "First row of the action set",
                acting,
                limits=[Limit(float(problem.action.offsets[0]), "bound"), *lower_bound(problem)],
                x_title="step",
            ),
            Panel(
                "From data, J / J* − 1",
                [line for lines in pair for line in lines],
                log=True,
                log_x=True,
                x_title="transitions",
            ),
            Panel(
                "The three routes, J / J* − 1",
                [line for lines in routes for line in lines],
                log=True,
                log_x=True,
                x_title="transitions",
            ),
        ],
        columns=2,
    )


def lower_bound(problem: LinearProblem) -> list[Limit]:
    """Of the first row of the action set, where another row bounds it from below."""
    opposite = (problem.action.normals == -problem.action.normals[0]).all(axis=1)
    return [Limit(-float(offset), "bound") for offset in problem.action.offsets[opposite]]


def report(
    against_horizon: list[tuple[int, float, float]],
    designs: dict[str, Design],
    learned: Learned,
    budgets: list[int],
    sampled: int,
    path: Path,
) -> None:
    t, cost, gain = against_horizon[-1]
    print(f"without bounds, {t} steps: cost {cost:.1e} above the optimum, first gain {gain:.1e} from the optimal one")
    for name, label in DESIGNS.items():
        d = designs[name]
        print(
            f"{label}: cost {100 * d.relative_cost:.1f} % above the optimum; {sum(d.sampled_violations)} of {sampled} "
            f"sampled and {d.extreme_violations} of {d.extreme_sequences} extreme disturbances lead out of bounds"
        )
    for column, n in enumerate(budgets):
        print(
            f"{n} transitions: robust {middle(learned.gaps['robust'][:, column])}, certainty equivalence "
            f"{middle(learned.gaps['certainty_equivalence'][:, column])}"
        )
    print(f"page: {path}")
