"""`nisse experiment battery-tuning`: optimal decisions from a wrong model, by learning, judged exactly.

The expected-value MPC (the compiled solver) of Example V-A is tuned in the real world by three methods. Every theta is
judged by exact policy evaluation on the grid, and against two marks: the optimum of dynamic programming, and the best
that this parameterisation can do, found by direct search. Their difference is what the parameterisation costs; what is
left of a method's gap is learning.
Source: "All AI Models are Wrong, but Some are Optimal", Sections IV and V-A.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy.optimize import minimize

from research.experiments.battery_tuning_page import CaseStudy, MethodCourse, as_json, make_page, summary
from research.experiments.output import add_output_arguments, write_outputs
from research.experiments.progress import steps
from research.experiments.settings import Settings
from research.scalar_system import TABLE, ScalarBatterySystem
from research.tabular.scalar import ScalarProblem, scalar_world
from research.training.methods import METHODS
from research.training.policy import Array
from research.training.trainer import Progress, TrainingSpec, bounds_of, train
from systems.commands.numbers import MOST_PROCESSES, number, seed_number, whole

SEEDS = (1, 2, 3, 4, 5)
"""Zero is not among them: CHOSEN_ON."""
CHOSEN_ON = (0,)
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: nisse experiment battery-tuning --case 2 --methods dpg --seeds 1 2 --output out/tuning"
    parser.add_argument("--case", type=int, choices=(1, 2), action="append", help="(default: both)")
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=["dpg", "q", "spg"])
    parser.add_argument(
        "--penalty",
        type=number(0.0, 1e9, above=True),
        default=PENALTY,
        help="for leaving [0, 1] (default: %(default)g)",
    )
    parser.add_argument("--iterations", type=whole(1), help="of each method (default: 45 in case 1, 20 in case 2)")
    parser.add_argument(
        "--seeds",
        type=seed_number,
        nargs="+",
        default=SEEDS,
        metavar="N",
        help=f"one tuning each (default: {' '.join(map(str, SEEDS))}; settings were chosen with seed 0)",
    )
    parser.add_argument(
        "--jobs", type=whole(1, MOST_PROCESSES), default=2, metavar="N", help="processes (default: %(default)s)"
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    numbers, seeds = sorted(set(args.case or [1, 2])), sorted(set(args.seeds))
    cases = {
        number: [{name: spec_for(number, name, n, args.iterations) for name in args.methods} for n in seeds]
        for number in numbers
    }
    studies = study_cases(cases, args.penalty, args.jobs)
    result = {"cases": {str(number): as_json(of_case) for number, of_case in studies.items()}}
    path = write_outputs("battery-tuning", make_page(studies), result, settings_of(seeds), args.output, args.json)
    for line in summary(studies):
        print(line)
    print(f"page: {path}")
    return 0


def settings_of(seeds: Sequence[int]) -> Settings:
    return Settings(
        "Exploration, decay and what learns were chosen by hand for case 1 and serve both cases; each theta was picked "
        "by simulated returns, never by J.",
        shown=seeds,
        chosen_on=CHOSEN_ON,
    )


def study_cases(
    cases: dict[int, list[dict[str, TrainingSpec]]], penalty: float, jobs: int
) -> dict[int, list[CaseStudy]]:
    """case -> its studies, one per seed. With more than one process, whole studies go side by side."""
    work = [(number, specs) for number, of_case in cases.items() for specs in of_case]
    if jobs == 1 or len(work) == 1:
        total = sum(2 + sum(spec.iterations for spec in specs.values()) for _, specs in work)
        with steps("battery tuning", total) as step:
            found = [study_case(number, penalty, specs, step) for number, specs in work]
    else:
        with steps("battery tuning", len(work)) as step:
            step(f"{len(work)} studies")
            finished = Parallel(n_jobs=jobs, return_as="generator")(
                delayed(study_case)(number, penalty, specs, _say_nothing) for number, specs in work
            )
            found = []
            for study in finished:
                found.append(study)
                step(f"case {study.number}, seed {study.seed} done")
    return {number: [study for study in found if study.number == number] for number in cases}


def _say_nothing(description: str) -> None:
    """In a process of its own, there is no terminal to say it on."""


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
        seed=next(iter(specs.values())).seed,
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


def learn(
    system: ScalarBatterySystem, world: ScalarProblem, spec: TrainingSpec, start: Array, step: Any
) -> MethodCourse:
    """Tune by one method. The held-in simulation picks the theta; the exact return only judges it."""
    path = [exact_return(system, world, start)]

    def report(progress: Progress) -> None:
        path.append(exact_return(system, world, np.array(progress.record.theta)))
        step(f"{spec.method} {progress.record.iteration}/{spec.iterations}")

    result = train(system, spec, theta_start=start, report=report)
    theta = result.theta
    return MethodCourse(result, theta, exact_return(system, world, theta), np.array(path), system.policy(theta))


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
