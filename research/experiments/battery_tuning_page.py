"""What battery-tuning found, over seeds: ranges for the terminal, the JSON, tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pages.chart import Chart, Limit, Line, Panel
from pages.page import Page
from pages.palette import LINES
from research.experiments.output import result_page
from research.scalar_system import TABLE
from research.tabular.scalar import BellmanSolution
from research.training.policy import Array
from research.training.trainer import TuningResult

LABELS = {
    "dpg": "LSTDQ + deterministic policy gradient",
    "q": "Q-learning over MPC",
    "spg": "stochastic policy gradient",
}
SHORT = {"dpg": "policy gradient", "q": "Q-learning", "spg": "stochastic gradient"}


@dataclass(frozen=True)
class MethodCourse:
    """What one method reached, and on which way: J (exact) after each iteration, the start included."""

    result: TuningResult
    theta: Array
    j: float
    path: Array
    policy: Array


@dataclass(frozen=True)
class CaseStudy:
    """One case: exact returns of all that is compared. J is the expected discounted return from uniform s."""

    number: int
    seed: int
    penalty: float
    solution: BellmanSolution
    j_star: float
    j_data_fitted: float
    policy_data_fitted: Array
    j_best: float
    theta_best: Array
    learned: dict[str, MethodCourse]
    names: tuple[str, ...]

    def gap_closed(self, j: float) -> float:
        """1 at the optimum, 0 at the data-fitted MPC."""
        return (j - self.j_data_fitted) / (self.j_star - self.j_data_fitted)

    def loss(self, j: float) -> float:
        """Remaining loss as a fraction of |J*|."""
        return (self.j_star - j) / abs(self.j_star)


def across(studies: Sequence[CaseStudy], of: Callable[[CaseStudy], float]) -> tuple[float, float]:
    """(least, most) over the seeds."""
    values = [of(study) for study in studies]
    return min(values), max(values)


def span(ends: tuple[float, float], digits: int) -> str:
    """ "99.83 to 99.95", or one number where both ends print alike."""
    low, high = (f"{end:.{digits}f}" for end in ends)
    return low if low == high else f"{low} to {high}"


def summary(studies: Mapping[int, Sequence[CaseStudy]]) -> list[str]:
    """Lines for the terminal."""
    lines = []
    for number, of_case in studies.items():
        best = span(across(of_case, lambda s: s.j_best), 5)
        first = of_case[0]
        lines.append(
            f"case {number}, seeds {_seeds(of_case)}: J* {first.j_star:.5f}, "
            f"data-fitted MPC {first.j_data_fitted:.5f}, best of the parameterisation {best}"
        )
        lines += [
            f"  {LABELS[name]:38s} gap closed {gap} %  remaining loss {loss} % of |J*|"
            for name, (_, gap, loss) in _rows(of_case).items()
        ]
    return lines


def _rows(of_case: Sequence[CaseStudy]) -> dict[str, tuple[str, str, str]]:
    """method -> (J, gap closed in %, remaining loss in % of |J*|), over the seeds."""
    return {
        name: _cells(of_case, lambda s, name=name: s.learned[name].j)  # type: ignore[misc]
        for name in of_case[0].learned
    }


def _cells(of_case: Sequence[CaseStudy], j: Callable[[CaseStudy], float]) -> tuple[str, str, str]:
    return (
        span(across(of_case, j), 5),
        span(across(of_case, lambda s: 100 * s.gap_closed(j(s))), 3),
        span(across(of_case, lambda s: 100 * s.loss(j(s))), 2),
    )


def _seeds(of_case: Sequence[CaseStudy]) -> str:
    return ", ".join(str(study.seed) for study in of_case)


def limits(study: CaseStudy) -> str:
    """What keeps the best method from J*, in words and numbers."""
    name, best = max(study.learned.items(), key=lambda pair: pair[1].j)
    parameterisation = study.loss(study.j_best)
    learning = study.loss(best.j) - parameterisation
    larger = "learning" if learning > parameterisation else "the parameterisation"
    return (
        f"{LABELS[name]} loses {100 * study.loss(best.j):.2f} % of |J*|: {100 * parameterisation:.2f} % because no "
        f"theta does better, {100 * learning:.2f} % because learning stopped short of the best theta. "
        f"The larger part is {larger}."
    )


def _study_json(study: CaseStudy) -> dict[str, Any]:
    return {
        "J_best_of_parameterisation": study.j_best,
        "theta_best": dict(zip(study.names, study.theta_best, strict=True)),
        "what_limits": limits(study),
        "methods": {
            name: {
                "J": learned.j,
                "gap_closed": study.gap_closed(learned.j),
                "remaining_loss_of_abs_J_star": study.loss(learned.j),
                "theta": learned.result.theta_by_name(),
                "J_by_iteration": learned.path,
                "failures": sum(r.failures for r in learned.result.history),
                "transitions": sum(r.transitions for r in learned.result.history),
            }
            for name, learned in study.learned.items()
        },
        "policies": {name: learned.policy for name, learned in study.learned.items()},
    }


def as_json(of_case: Sequence[CaseStudy]) -> dict[str, Any]:
    first = of_case[0]
    return {
        "penalty": first.penalty,
        "J_star": first.j_star,
        "J_data_fitted": first.j_data_fitted,
        "over_seeds": {
            name: {
                "gap_closed": across(of_case, lambda s, name=name: s.gap_closed(s.learned[name].j)),
                "remaining_loss_of_abs_J_star": across(of_case, lambda s, name=name: s.loss(s.learned[name].j)),
            }
            for name in first.learned
        },
        "states": TABLE,
        "policy_star": np.interp(TABLE, first.solution.nodes, first.solution.policy),
        "policy_data_fitted": first.policy_data_fitted,
        "seeds": {str(study.seed): _study_json(study) for study in of_case},
    }


def make_page(studies: Mapping[int, Sequence[CaseStudy]]) -> Page:
    tables = []
    for number, of_case in studies.items():
        rows = [
            ["optimum (dynamic programming)", f"{of_case[0].j_star:.5f}", "100", "0"],
            ["best of the parameterisation (direct search)", *_cells(of_case, lambda s: s.j_best)],
            *([LABELS[name], *cells] for name, cells in _rows(of_case).items()),
            ["data-fitted (expected-value) MPC", *_cells(of_case, lambda s: s.j_data_fitted)],
        ]
        title = f"Case {number}, leaving [0, 1] charged at {of_case[0].penalty:g} per unit, seeds {_seeds(of_case)}"
        tables.append((title, ("policy", "J", "gap closed, %", "remaining loss, % of |J*|"), rows))
    return result_page(
        title="Tuning a wrong model for decisions",
        summary=(
            "The MPC plans with the expected value s + a of the next state: the best fit, and bad decisions. "
            "Tuned in the real world it decides almost optimally, with a model that still knows nothing of the noise. "
            "J is the exact expected discounted return from uniform initial states. Ranges are over the seeds."
        ),
        charts=[case_chart(of_case) for of_case in studies.values()],
        tables=tables,
        notes=[
            f"Case {number}, seed {study.seed}: {limits(study)}"
            for number, of_case in studies.items()
            for study in of_case
        ],
    )


def case_chart(of_case: Sequence[CaseStudy]) -> Chart:
    """Remaining loss by iteration, mean and range over the seeds; and of each method the policy of the first seed."""
    first = of_case[0]
    scale = 100 / abs(first.j_star)
    lines = []
    for name, role in zip(first.learned, LINES, strict=False):
        losses = [np.maximum(scale * (study.j_star - study.learned[name].path), 1e-4) for study in of_case]
        count = min(len(loss) for loss in losses)
        table = np.array([loss[:count] for loss in losses])
        x = np.arange(count, dtype=float)
        lines.append(Line(SHORT[name], x, table.mean(0), role, low=table.min(0), high=table.max(0)))
    floor = max(scale * (first.j_star - max(study.j_best for study in of_case)), 1e-4)
    panels = [
        Panel(
            "Remaining loss, % of |J*|",
            lines,
            limits=[Limit(floor, "best θ")],
            log=True,
            x_title="iteration",
        ),
        *(
            Panel(
                f"Action, {SHORT[name]}",
                [
                    Line("data-fitted", TABLE, first.policy_data_fitted, "second", "dashes"),
                    Line("optimal", first.solution.nodes, first.solution.policy, "third", "dashes"),
                    Line("tuned", TABLE, learned.policy, "first"),
                ],
                x_title="state s",
            )
            for name, learned in first.learned.items()
        ),
    ]
    return Chart(
        f"case{first.number}",
        f"Case {first.number}: remaining loss of every method over the iterations, and the policies that were learned.",
        panels,
        caption=f"Case {first.number}. Loss: mean over the seeds, their range shaded; dashed: no θ does better. "
        f"Policies: seed {first.seed}.",
        columns=2,
    )
