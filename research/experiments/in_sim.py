"""`nisse experiment in-sim`: a simulator tuned so that the policy trained inside it does better in the real plant.

"AI for Operational Decisions" (Gros, slides). The simulator has too little noise and a drift that is not there; its
noise, its drift and its cost weight are theta. Each iteration trains the policy in simulation, runs it in the real
plant, and moves theta by the policy gradient through dnu*/dtheta. The return of every iterate is evaluated exactly.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from pages.chart import Chart, Limit, Line, NumberAxis, Panel
from pages.page import Page
from research.experiments.output import (
    Statement,
    add_output_arguments,
    result_page,
    write_outputs,
)
from research.experiments.progress import steps
from research.in_sim import (
    MODEL_PARAMETERS,
    POLICY_PARAMETERS,
    Simulator,
    Trained,
    policy_gradient,
    policy_mean,
    real_rollouts,
)
from research.scalar_battery import CASE_2
from research.tabular.noise import TruncatedGaussian
from research.tabular.scalar import ScalarProblem, scalar_world
from systems.commands.numbers import seed_number, whole

Array = NDArray[np.float64]
SOURCE = "AI for Operational Decisions (Gros, slides)"
DISCOUNT = 0.95
PENALTY = 10.0
THETA_START = np.array([0.03, 1.0, 0.02])
THETA_LOW, THETA_HIGH = np.array([0.01, 0.3, -0.1]), np.array([0.2, 3.0, 0.1])
NU_START = np.array([1.2, 0.05, 0.5])
TRUST = 0.04
"""Largest step of any theta, as a share of its range."""
EXPLORATION_STD = 0.04
DIFFERENCE = 1e-4


@dataclass(frozen=True)
class Iterate:
    theta: Array
    nu: Array
    real_return: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: nisse experiment in-sim --iterations 20 --json in-sim.json"
    parser.add_argument("--iterations", type=whole(1), default=20, metavar="N")
    parser.add_argument(
        "--rollouts", type=whole(2), default=400, metavar="N", help="real episodes of 40 steps per iteration"
    )
    parser.add_argument("--seed", type=seed_number, default=0)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    simulator = Simulator(seed=args.seed, discount=DISCOUNT)
    world = scalar_world(CASE_2, penalty=PENALTY, intervals=160, discount=DISCOUNT)
    with steps("in-sim", args.iterations + 2) as step:
        step("check of dnu*/dtheta")
        first = simulator.train(THETA_START, NU_START)
        mismatch = sensitivity_mismatch(simulator, THETA_START, first)
        history = tune(simulator, world, first, args, step)
        step("best of the policy class")
        best = best_in_class(world, history[-1].nu)
        optimum = world.solve().mean_return
    result = {
        "experiment": "in-sim",
        "source": SOURCE,
        "theta_names": MODEL_PARAMETERS,
        "nu_names": POLICY_PARAMETERS,
        "theta": np.array([h.theta for h in history]),
        "nu": np.array([h.nu for h in history]),
        "real_return": [h.real_return for h in history],
        "best_of_policy_class": best,
        "optimal_return": optimum,
        "gap_closed": gap_closed(history, best),
        "sensitivity_relative_mismatch": mismatch,
        "seed": args.seed,
    }
    path = write_outputs("in-sim", make_page(history, best, optimum, mismatch), result, args.output, args.json)
    report(history, best, optimum, mismatch, path)
    return 0


def sensitivity_mismatch(simulator: Simulator, theta: Array, trained: Trained) -> float:
    """Largest difference of dnu*/dtheta from retraining at theta +- h, relative to its largest entry."""
    columns = []
    for direction in DIFFERENCE * np.diag(THETA_HIGH - THETA_LOW):
        up = simulator.train(theta + direction, trained.nu + trained.sensitivity @ direction)
        down = simulator.train(theta - direction, trained.nu - trained.sensitivity @ direction)
        columns.append((up.nu - down.nu) / (2.0 * direction.max()))
    return float(np.max(np.abs(np.stack(columns, axis=1) - trained.sensitivity)) / np.max(np.abs(trained.sensitivity)))


def tune(
    simulator: Simulator, world: ScalarProblem, trained: Trained, args: argparse.Namespace, step: Callable[[str], None]
) -> list[Iterate]:
    """theta <- theta - step (dnu*/dtheta)' grad_nu J, within bounds and a shrinking trust region."""
    generator = np.random.default_rng(args.seed)
    scale = THETA_HIGH - THETA_LOW
    theta, history = THETA_START, []
    for k in range(args.iterations):
        step(f"iteration {k + 1}")
        history.append(Iterate(theta, trained.nu, real_return(world, trained.nu)))
        data = real_rollouts(
            trained.nu,
            real_plant,
            rollouts=args.rollouts,
            steps=40,
            exploration_std=EXPLORATION_STD,
            generator=generator,
        )
        gradient = trained.sensitivity.T @ policy_gradient(data, trained.nu, DISCOUNT, EXPLORATION_STD)
        direction = scale**2 * gradient
        longest = float(np.max(np.abs(direction / scale)))
        trust = TRUST / (1.0 + k / 10.0)
        theta = np.clip(theta - direction * trust / max(longest, 1e-12), THETA_LOW, THETA_HIGH)
        trained = simulator.train(theta, trained.nu)
    return [*history, Iterate(theta, trained.nu, real_return(world, trained.nu))]


def real_plant(s: Array, a: Array, generator: np.random.Generator) -> tuple[Array, Array]:
    """Case 2 of the scalar battery: the move is limited, what does not fit costs PENALTY per unit."""
    moved = np.clip(a, -0.25, 0.25)
    reached = s + moved + TruncatedGaussian(CASE_2.noise_std, CASE_2.noise_limit).sample(generator, len(s))
    outside = np.maximum(-reached, 0.0) + np.maximum(reached - 1.0, 0.0)
    return np.clip(reached, 0.0, 1.0), np.abs(s - 0.5) + np.abs(moved) + PENALTY * outside


def real_return(world: ScalarProblem, nu: Array) -> float:
    """Exact expected discounted return of the policy in the real plant, without exploration."""
    return world.evaluate(np.asarray(policy_mean(world.nodes, nu)), world.nodes)


def best_in_class(world: ScalarProblem, start: Array) -> float:
    """The best that the policy parameters can do in the real plant, by direct search over the exact return."""
    found = minimize(lambda nu: -real_return(world, nu), start, method="Nelder-Mead", options={"xatol": 1e-5})
    return -float(found.fun)


def gap_closed(history: list[Iterate], best: float) -> float:
    start, end = history[0].real_return, history[-1].real_return
    return (end - start) / (best - start)


def make_page(history: list[Iterate], best: float, optimum: float, mismatch: float) -> Page:
    rows = [
        [name, f"{first:.4f}", f"{last:.4f}"]
        for name, first, last in zip(
            (*MODEL_PARAMETERS, *POLICY_PARAMETERS),
            (*history[0].theta, *history[0].nu),
            (*history[-1].theta, *history[-1].nu),
            strict=True,
        )
    ]
    return result_page(
        title="A simulator tuned for the decisions that it teaches",
        summary=(
            f"Return in the real plant {history[0].real_return:.4f} → {history[-1].real_return:.4f}; the best of the "
            f"policy class {best:.4f}, the optimum {optimum:.4f}. "
            f"{100 * gap_closed(history, best):.1f} % of the gap is closed."
        ),
        statements=(
            Statement(
                "The policy sensitivity follows from the stationarity of in-sim training.",
                f"dν*/dθ by the implicit function theorem and by retraining differ by {mismatch:.1e} (relative).",
            ),
            Statement(
                "θ may include the cost L_θ: the model is the whole decision-making box.",
                f"Tuned noise {history[-1].theta[0]:.3f} (real: {CASE_2.noise_std} before truncation), cost weight "
                f"{history[-1].theta[1]:.2f} (real: 1), drift {history[-1].theta[2]:+.3f} (real: 0).",
                "Only the policy counts: noise and cost weight both widen the band without action.",
            ),
        ),
        charts=[learning_chart(history, best, optimum)],
        tables=(("Parameters", ["", "start", "end"], rows),),
        source=SOURCE,
    )


def learning_chart(history: list[Iterate], best: float, optimum: float) -> Chart:
    """Return in the real plant, and where θ stands within its bounds."""
    x = np.arange(len(history), dtype=float)
    panels = [
        Panel(
            "Return in the real plant",
            [Line("trained in the tuned simulator", x, np.array([h.real_return for h in history]))],
            limits=[Limit(best, "best of the class"), Limit(optimum, "optimum")],
        )
    ]
    for index, name in enumerate(MODEL_PARAMETERS):
        values = np.array([h.theta[index] for h in history])
        panels.append(Panel(f"θ: {name}", [Line("", x, values)]))
    return Chart(
        "in_sim",
        f"Return in the real plant over {len(history) - 1} iterations, and the parameters of the simulator.",
        panels,
        NumberAxis("iteration", whole=True),
    )


def report(history: list[Iterate], best: float, optimum: float, mismatch: float, path: Path) -> None:
    print(f"return in the real plant   {history[0].real_return:.4f} -> {history[-1].real_return:.4f}")
    print(f"best of the policy class   {best:.4f}   optimum {optimum:.4f}")
    print(f"gap closed                 {100 * gap_closed(history, best):.1f} %")
    print(f"dnu*/dtheta against retraining: relative difference {mismatch:.1e}")
    print(f"page: {path}")
