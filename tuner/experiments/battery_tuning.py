"""`nisse experiment battery-tuning`: optimal decisions from a wrong model, by learning, judged exactly.

The expected-value MPC (the compiled solver) of Example V-A is tuned in the real world by three methods. Every theta is
judged by exact policy evaluation on the grid, and against two marks: the optimum of dynamic programming, and the best
that this parameterisation can do, found by direct search. Their difference is what the parameterisation costs; what is
left of a method's gap is learning.
Source: "All AI Models are Wrong, but Some are Optimal", Sections IV and V-A.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize

from tuner.experiments.output import ACCENT, MODEL, WORLD, Page, add_output_arguments, new_figure, write_outputs
from tuner.experiments.progress import steps
from tuner.methods import METHODS
from tuner.policy import Array
from tuner.tabular.scalar import ScalarProblem, Solution, scalar_world
from tuner.trainer import Progress, TrainingSpec, TuningResult, bounds_of, train
from tuner.tunable.scalar_battery import TABLE, ScalarBatterySystem

LABELS = {
    "dpg": "LSTDQ + deterministic policy gradient",
    "q": "Q-learning over MPC",
    "spg": "stochastic policy gradient",
}
COLOURS = {"dpg": WORLD, "q": ACCENT, "spg": "#2f8f4e"}
PENALTY = 10.0
"""Per unit outside [0, 1]: the loss of the data-fitted policy is finite and huge."""
INTERVALS = 400
START_MARGIN = 0.01
"""Distance from its bounds at which what learns starts, as a fraction of the width."""
SEARCHED = ("backoff_low", "reserve", "deviation_band", "price_spread")
"""What direct search varies."""
CASE_SPECS: dict[int, TrainingSpec] = {
    1: TrainingSpec(
        iterations=45,
        episodes=100,
        steps=100,
        exploration=0.12,
        radius=0.08,
        decay=0.965,
        backtracks=0,
        gradient_points=3,
        learn=("backoff_low", "backoff_high", "reserve"),
    ),
    2: TrainingSpec(
        iterations=20,
        episodes=40,
        steps=100,
        exploration=0.2,
        radius=0.08,
        decay=0.9,
        backtracks=0,
        gradient_points=3,
        learn=("backoff_low", "backoff_high", "deviation_band"),
    ),
}
"""Backtracking is off: judging steps by simulated returns would hide what the gradients alone achieve. What learns are
the ends of the resting band: the other entries shape it less directly, and would only follow noise."""
Q_SHARE = 5
"""Q-learning asks the solver for every Q_theta(s, a), so it gets a fifth of the episodes."""


def spec_for(number: int, method: str, seed: int, iterations: int | None) -> TrainingSpec:
    base = CASE_SPECS[number]
    episodes = base.episodes // Q_SHARE if method == "q" else base.episodes
    return replace(base, method=method, seed=seed, episodes=episodes, iterations=iterations or base.iterations)


@dataclass(frozen=True)
class Learned:
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
    penalty: float
    solution: Solution
    j_star: float
    j_data_fitted: float
    policy_data_fitted: Array
    j_best: float
    theta_best: Array
    learned: dict[str, Learned]
    names: tuple[str, ...]

    def gap_closed(self, j: float) -> float:
        """1 at the optimum, 0 at the data-fitted MPC."""
        return (j - self.j_data_fitted) / (self.j_star - self.j_data_fitted)

    def loss(self, j: float) -> float:
        """Remaining loss as a fraction of |J*|."""
        return (self.j_star - j) / abs(self.j_star)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: nisse experiment battery-tuning --case 2 --methods dpg --output out/battery-tuning"
    parser.add_argument("--case", type=int, choices=(1, 2), action="append", help="(default: both)")
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=["dpg", "q", "spg"])
    parser.add_argument("--penalty", type=float, default=PENALTY, help="for leaving [0, 1] (default: %(default)g)")
    parser.add_argument("--iterations", type=int, help="of each method (default: 45 in case 1, 20 in case 2)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    numbers = args.case or [1, 2]
    specs = {n: {name: spec_for(n, name, args.seed, args.iterations) for name in args.methods} for n in numbers}
    total = sum(2 + sum(spec.iterations for spec in of_case.values()) for of_case in specs.values())
    with steps("battery tuning", total) as step:
        studies = [study_case(number, args.penalty, specs[number], step) for number in numbers]
    result = {"seed": args.seed, "cases": {str(study.number): as_json(study) for study in studies}}
    path = write_outputs("battery-tuning", make_page(studies), result, args.output, args.json)
    for study in studies:
        print(f"case {study.number}: J* {study.j_star:.5f}, data-fitted MPC {study.j_data_fitted:.5f}", end=", ")
        print(f"best of the parameterisation {study.j_best:.5f}")
        for name, learned in study.learned.items():
            print(
                f"  {LABELS[name]:38s} J {learned.j:9.5f}  gap closed {100 * study.gap_closed(learned.j):7.3f} %",
                end="",
            )
            print(f"  remaining loss {100 * study.loss(learned.j):6.2f} % of |J*|")
    print(f"page: {path}")
    return 0


def study_case(number: int, penalty: float, specs: dict[str, TrainingSpec], step: Any) -> CaseStudy:
    system = ScalarBatterySystem(number, penalty)
    world = scalar_world(system.case, penalty=penalty, intervals=INTERVALS)
    start = np.array([p.default for p in system.parameters])
    step(f"case {number}: dynamic programming")
    solution = world.solve()
    learned = {}
    for name, spec in specs.items():
        learned[name] = learn(
            system, world, spec, off_kinks(system, spec.learn), lambda text: step(f"case {number}: {text}")
        )
    step(f"case {number}: direct search")
    candidates = [start, *(method.theta for method in learned.values())]
    theta_best, j_best = direct_search(system, world, candidates)
    return CaseStudy(
        number=number,
        penalty=penalty,
        solution=solution,
        j_star=solution.mean_return,
        j_data_fitted=exact_return(system, world, start),
        policy_data_fitted=system.policy(start),
        j_best=j_best,
        theta_best=theta_best,
        learned=learned,
        names=tuple(p.name for p in system.parameters),
    )


def exact_return(system: ScalarBatterySystem, world: ScalarProblem, theta: Array) -> float:
    """J(pi_theta), by exact policy evaluation of the tabulated MPC."""
    return world.evaluate(system.policy(theta), TABLE)


def learn(system: ScalarBatterySystem, world: ScalarProblem, spec: TrainingSpec, start: Array, step: Any) -> Learned:
    """Tune by one method. The held-in simulation picks the theta; the exact return only judges it."""
    path = [exact_return(system, world, start)]

    def report(progress: Progress) -> None:
        path.append(exact_return(system, world, np.array(progress.record.theta)))
        step(f"{spec.method} {progress.record.iteration}/{spec.iterations}")

    result = train(system, spec, theta_start=start, report=report)
    theta = result.theta
    return Learned(result, theta, exact_return(system, world, theta), np.array(path), system.policy(theta))


def off_kinks(system: ScalarBatterySystem, learn: tuple[str, ...]) -> Array:
    """The defaults, with what learns a little inside its bounds.

    At a bound of its own a band has width zero: the policy has a kink there, and no derivative to learn from.
    """
    lower, upper = bounds_of(system)
    margin = START_MARGIN * (upper - lower) * np.array([p.name in learn for p in system.parameters])
    return np.clip([p.default for p in system.parameters], lower + margin, upper - margin)


def direct_search(
    system: ScalarBatterySystem, world: ScalarProblem, candidates: list[Array], evaluations: int = 120
) -> tuple[Array, float]:
    """(theta, J) of the best that the MPC can do: Nelder-Mead on the exact return over SEARCHED.

    Two starts of `evaluations` each: the best candidate, and a resting band in the middle of the bounds, to which the
    flat surroundings of the default do not lead.
    """
    lower, upper = bounds_of(system)
    index = [k for k, p in enumerate(system.parameters) if p.name in SEARCHED]
    best = max(candidates, key=lambda theta: exact_return(system, world, theta))

    def filled(base: Array, x: Array) -> Array:
        theta = base.copy()
        theta[index] = np.clip(lower[index] + x * (upper - lower)[index], lower[index], upper[index])
        return theta

    found = []
    default = np.array([p.default for p in system.parameters])
    middle = default.copy()
    middle[index] = lower[index] + 0.2 * (upper - lower)[index]
    for base in (best, middle):
        x0 = (base[index] - lower[index]) / (upper - lower)[index]
        simplex = np.vstack([x0, x0 + 0.05 * np.eye(len(index))])
        outcome = minimize(
            lambda x, base=base: -exact_return(system, world, filled(base, x)),
            x0,
            method="Nelder-Mead",
            options={"initial_simplex": simplex, "maxfev": evaluations, "xatol": 2e-4, "fatol": 1e-6},
        )
        found.append((filled(base, outcome.x), -float(outcome.fun)))
    return max(found, key=lambda pair: pair[1])


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


def as_json(study: CaseStudy) -> dict[str, Any]:
    return {
        "penalty": study.penalty,
        "J_star": study.j_star,
        "J_data_fitted": study.j_data_fitted,
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
        "states": TABLE,
        "policy_star": np.interp(TABLE, study.solution.nodes, study.solution.policy),
        "policy_data_fitted": study.policy_data_fitted,
        "policies": {name: learned.policy for name, learned in study.learned.items()},
    }


def make_page(studies: list[CaseStudy]) -> Page:
    tables = [
        (
            f"Case {study.number}, leaving [0, 1] charged at {study.penalty:g} per unit",
            ("policy", "J", "gap closed", "remaining loss, % of |J*|"),
            [
                ["optimum (dynamic programming)", f"{study.j_star:.5f}", "100 %", "0"],
                ["best of the parameterisation (direct search)", *_cells(study, study.j_best)],
                *([LABELS[name], *_cells(study, learned.j)] for name, learned in study.learned.items()),
                ["data-fitted (expected-value) MPC", *_cells(study, study.j_data_fitted)],
            ],
        )
        for study in studies
    ]
    figures = {f"case{study.number}": case_figure(study) for study in studies}
    return Page(
        title="Tuning a wrong model for decisions",
        summary=(
            "The MPC plans with the expected value s + a of the next state: the best fit, and bad decisions. "
            "Tuned in the real world it decides almost optimally, with a model that still knows nothing of the noise. "
            "J is the exact expected discounted return from uniform initial states."
        ),
        figures=figures,
        tables=tables,
        notes=[f"Case {study.number}: {limits(study)}" for study in studies],
    )


def _cells(study: CaseStudy, j: float) -> list[str]:
    return [f"{j:.5f}", f"{100 * study.gap_closed(j):.3f} %", f"{100 * study.loss(j):.2f}"]


def case_figure(study: CaseStudy) -> Figure:
    """Left: remaining loss by iteration, log scale. Right: the policies."""
    figure, axes = new_figure(2)
    curve, policy = axes[0]
    scale = 100 / abs(study.j_star)
    for name, learned in study.learned.items():
        loss = np.maximum(scale * (study.j_star - learned.path), 1e-4)
        curve.semilogy(np.arange(len(loss)), loss, color=COLOURS[name], label=LABELS[name])
        policy.plot(TABLE, learned.policy, color=COLOURS[name], label=f"tuned: {name}")
    floor = max(scale * (study.j_star - study.j_best), 1e-4)
    curve.axhline(floor, color="#888888", linestyle=":", label="best of the parameterisation")
    policy.plot(study.solution.nodes, study.solution.policy, color="#222222", linestyle="--", label="optimal")
    policy.plot(TABLE, study.policy_data_fitted, color=MODEL, linestyle="--", label="data-fitted MPC")
    curve.set(xlabel="iteration", ylabel="remaining loss, % of |J*|", title=f"Case {study.number}: learning")
    policy.set(xlabel="s", ylabel="action a", title=f"Case {study.number}: policies")
    for panel in (curve, policy):
        panel.legend(fontsize=7)
    return figure
