"""`nisse experiment lqr`: three routes from the same number of transitions to the optimal linear gain.

"Safety and data-driven control" (Dean, lecture): certainty equivalence, approximate policy iteration with LSTD, and
policy gradient by finite differences. The errors are exact, by the Lyapunov equation.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pages.chart import Chart, Line, NumberAxis, Panel
from pages.page import Page
from pages.palette import LINES
from research.experiments.output import (
    Statement,
    add_output_arguments,
    result_page,
    write_outputs,
)
from research.experiments.progress import steps
from research.experiments.settings import Settings
from research.lqr import (
    DIFFERENCE,
    STEP,
    LinearQuadratic,
    certainty_equivalence,
    explore,
    finite_difference_gradient_descent,
    lstd_policy_iteration,
)
from research.memory import free_memory, require_memory
from systems.commands.numbers import number, seed_number, whole

Array = NDArray[np.float64]
SYSTEM = LinearQuadratic(
    a=np.array([[0.95, 0.2], [0.0, 0.9]]),
    b=np.array([[0.0], [0.3]]),
    q=np.diag([2.0, 0.5]),
    r=np.array([[0.5]]),
    noise_std=0.1,
)
EXPLORATION_STD = 0.5
"""Part of the problem, as the noise is: a larger one would be more data."""
CHOSEN_ON = range(100, 105)
"""Seeds on which step and difference of the policy gradient were chosen."""
BYTES_PER_TRANSITION = 400
"""States, costs, and quadratic features of them in the regressions."""
ROUTES = {
    "certainty_equivalence": "certainty equivalence",
    "lstd_policy_iteration": "LSTD policy iteration",
    "policy_gradient": "policy gradient",
}
SOURCE = "Safety and data-driven control (Dean, lecture)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: nisse experiment lqr --transitions 30000 --seeds 10 --json lqr.json"
    parser.add_argument(
        "--transitions", type=whole(300, 10_000_000), default=30_000, metavar="N", help="largest data budget"
    )
    parser.add_argument("--seeds", type=whole(1), default=10, metavar="N")
    parser.add_argument(
        "--seed", type=seed_number, default=0, help="of the first repetition; settings were chosen with 100 to 104"
    )
    parser.add_argument(
        "--step",
        type=number(1e-4, 10.0),
        default=STEP,
        metavar="X",
        help="of the policy gradient (default: %(default)s)",
    )
    parser.add_argument(
        "--difference",
        type=number(1e-4, 10.0),
        default=DIFFERENCE,
        metavar="X",
        help="of its gains, at rollouts of 100 steps (default: %(default)s)",
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    require_memory(args.transitions, "transitions", BYTES_PER_TRANSITION, free_memory())
    budgets, seeds = budgets_up_to(args.transitions), range(args.seed, args.seed + args.seeds)
    gain_errors = {route: np.empty((args.seeds, len(budgets))) for route in ROUTES}
    cost_gaps = {route: np.empty((args.seeds, len(budgets))) for route in ROUTES}
    best = SYSTEM.optimal_gain()
    optimum = SYSTEM.average_cost(best)
    with steps("lqr", args.seeds) as step:
        for row in range(args.seeds):
            step(f"repetition {row + 1} of {args.seeds}")
            for column, gains in enumerate(learn(budgets, args.seed + row, args.step, args.difference)):
                for route, gain in gains.items():
                    gain_errors[route][row, column] = np.linalg.norm(gain - best)
                    cost_gaps[route][row, column] = SYSTEM.average_cost(gain) / optimum - 1.0
    result = {
        "experiment": "lqr",
        "source": SOURCE,
        "K_star": best,
        "J_star": optimum,
        "transitions": budgets,
        "seeds": list(seeds),
        "exploration_std": EXPLORATION_STD,
        "step": args.step,
        "difference": args.difference,
        "gain_error": gain_errors,
        "relative_cost_gap": cost_gaps,
        "log_log_slope_of_gain_error": {route: slope(budgets, gain_errors[route]) for route in ROUTES},
    }
    page = make_page(budgets, gain_errors, cost_gaps)
    path = write_outputs("lqr", page, result, settings_of(seeds), args.output, args.json)
    report(budgets, gain_errors, path)
    return 0


def settings_of(seeds: Sequence[int]) -> Settings:
    return Settings(
        "Certainty equivalence has no settings, and policy iteration is iterated until it stands. Step and difference "
        "of the policy gradient have the least median error of the gain at 30,000 transitions of eighteen pairs "
        "(`--seed 100 --seeds 5 --step X --difference Y`).",
        shown=seeds,
        chosen_on=CHOSEN_ON,
    )


def budgets_up_to(largest: int) -> list[int]:
    """300, 1000, 3000, ... and the largest."""
    ladder = [b * 10**k for k in range(1, 8) for b in (10, 30)]
    return [*(n for n in ladder if 300 <= n < largest), largest]


def learn(budgets: list[int], seed: int, step: float = STEP, difference: float = DIFFERENCE) -> list[dict[str, Array]]:
    """Gains of all routes per budget. The first two share one trajectory, the third makes its own rollouts."""
    start = np.zeros((SYSTEM.m, SYSTEM.n))
    data = explore(SYSTEM, start, budgets[-1], action_std=EXPLORATION_STD, seed=seed)
    return [
        {
            "certainty_equivalence": certainty_equivalence(data.first(n), SYSTEM.q, SYSTEM.r),
            "lstd_policy_iteration": lstd_policy_iteration(data.first(n), start),
            "policy_gradient": finite_difference_gradient_descent(
                SYSTEM, start, n, seed=seed, step=step, difference=difference
            ),
        }
        for n in budgets
    ]


def slope(budgets: list[int], errors: Array) -> float:
    """Of log(median error) over log(N): -1/2 is the rate of a mean."""
    return float(np.polyfit(np.log(budgets), np.log(np.median(errors, axis=0)), 1)[0])


def make_page(budgets: list[int], gain_errors: dict[str, Array], cost_gaps: dict[str, Array]) -> Page:
    rows = [
        [f"{n}", *(f"{np.median(gain_errors[route][:, k]):.3g}" for route in ROUTES)] for k, n in enumerate(budgets)
    ]
    slopes = "; ".join(f"{label}: {slope(budgets, gain_errors[route]):.2f}" for route, label in ROUTES.items())
    final = "; ".join(f"{label}: {np.median(cost_gaps[r][:, -1]):.1e}" for r, label in ROUTES.items())
    return result_page(
        title="The linear-quadratic regulator from data, three ways",
        summary="Error of the learned gain against the number of transitions that it was learned from.",
        statements=(
            Statement(
                "Model error falls like √((m + n)/N); LSTD needs N of (m + n)³/ε²; policy gradient is polynomial.",
                f"Slope of log error over log N: {slopes}.",
                "The bounds are upper bounds; −1/2 is the rate of a mean.",
            ),
            Statement(
                "The cost gap of certainty equivalence falls like the square of the model error.",
                f"Relative cost gap at N = {budgets[-1]}: {final}.",
                "J is flat at K*, so the gap is second order in the gain error for every route.",
            ),
            Statement(
                "K* = −(R + B'PB)⁻¹ B'QPA.",
                "K* = −(R + B'PB)⁻¹ B'PA.",
                "The Q in the printed gain is one too many; it does not show where Q = I.",
            ),
        ),
        charts=[learning_chart(budgets, gain_errors, cost_gaps)],
        tables=(("Median error of the gain", ["transitions", *ROUTES.values()], rows),),
        notes=("Band: quartiles over the repetitions.",),
        source=SOURCE,
    )


def learning_chart(budgets: list[int], gain_errors: dict[str, Array], cost_gaps: dict[str, Array]) -> Chart:
    """Median and quartiles over the repetitions, both axes logarithmic."""
    x = np.array(budgets, float)
    panels = []
    for errors, title in ((gain_errors, "Error of the gain, ‖K − K*‖"), (cost_gaps, "Cost gap, J / J* − 1")):
        lines = []
        for (route, name), role in zip(ROUTES.items(), LINES, strict=True):
            low, middle, high = np.percentile(errors[route], (25, 50, 75), axis=0)
            lines.append(Line(name, x, middle, role, "line and dots", low, high))
        panels.append(Panel(title, lines, log=True))
    return Chart(
        "lqr",
        f"Error of the gain and cost gap of {len(ROUTES)} routes over the number of transitions.",
        panels,
        NumberAxis("transitions", log=True),
    )


def report(budgets: list[int], gain_errors: dict[str, Array], path: Path) -> None:
    header: list[Any] = ["transitions", *ROUTES.values()]
    print("  ".join(f"{cell:>22}" for cell in header))
    for k, n in enumerate(budgets):
        cells = [str(n), *(f"{np.median(gain_errors[route][:, k]):.3g}" for route in ROUTES)]
        print("  ".join(f"{cell:>22}" for cell in cells))
    print(f"page: {path}")
