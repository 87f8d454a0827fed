"""`nisse experiment in-sim`: a simulator tuned so that the policy trained inside it does better in the real plant.

"AI for Operational Decisions" (Gros, slides). A scalar store, trained on fixed noise with exact derivatives, and a
heat pump with three levels, by rollouts and likelihood ratios alone: in each the simulator starts wrong, each iteration
trains the policy in simulation, runs it in the real plant, and moves theta by the policy gradient through dnu*/dtheta.
Then: from how many rollouts on the likelihood form of that derivative is not too noisy.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from research.experiments.in_sim_levels import LEVEL_PARAMETERS, LEVEL_POLICY, LevelIterate, tune_levels
from research.experiments.in_sim_levels import NU_START as LEVEL_NU_START
from research.experiments.in_sim_levels import THETA_HIGH as LEVEL_HIGH
from research.experiments.in_sim_levels import THETA_LOW as LEVEL_LOW
from research.experiments.in_sim_levels import THETA_START as LEVEL_START
from research.experiments.in_sim_levels import best_in_class as best_of_levels
from research.experiments.in_sim_page import SOURCE, GradientErrors, Iterate, SimCourse, make_page, report
from research.experiments.output import add_output_arguments, write_outputs
from research.experiments.progress import steps
from research.experiments.settings import Settings
from research.heat_pump_levels import LevelSimulator
from research.in_sim import (
    BYTES_PER_STEP,
    MODEL_PARAMETERS,
    POLICY_PARAMETERS,
    Simulator,
    Trained,
    policy_gradient,
    policy_mean,
    real_rollouts,
)
from research.likelihood import accumulate
from research.memory import free_memory, require_memory
from research.scalar_battery import CASE_2
from research.tabular.noise import TruncatedGaussian
from research.tabular.scalar import ScalarProblem, scalar_world
from systems.commands.numbers import number, seed_number, whole

Array = NDArray[np.float64]
DISCOUNT = 0.95
PENALTY = 10.0
THETA_START = np.array([0.03, 1.0, 0.02])
THETA_LOW, THETA_HIGH = np.array([0.01, 0.3, -0.1]), np.array([0.2, 3.0, 0.1])
THETA_NOISE = np.array([0.06, 1.0, 0.01])
"""Where the two forms of the derivative are compared."""
NU_START = np.array([1.2, 0.05, 0.5])
TRUST = 0.04
"""Largest step of any theta of the store, as a share of its range."""
EXPLORATION_STD = 0.04
"""Of the store's actions. Of steps up to 0.16 and stds up to 0.08 the least within one standard error of the best."""
DIFFERENCE = 1e-4
COUNTS = (1024, 4096, 8192, 32_768)
PILOT = 1024
"""Rollouts of which the baselines are made; they count."""
SCENARIOS = (100, 400, 1600)
REFERENCE = (1000, 8000)
"""Scenarios on which the reference policy is trained, and its derivatives are taken."""
REFERENCE_SEED = 1000
CHOSEN_ON = range(100, 105)
"""Seeds on which the settings were chosen."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: nisse experiment in-sim --iterations 12 --json in-sim.json"
    parser.add_argument("--iterations", type=whole(1), default=12, metavar="N")
    parser.add_argument(
        "--rollouts", type=whole(2), default=400, metavar="N", help="real episodes of the store per iteration"
    )
    parser.add_argument(
        "--scenarios", type=whole(2, 10**12), default=100, metavar="N", help="fixed noise of the store's simulator"
    )
    parser.add_argument(
        "--trust",
        type=number(1e-4, 1.0),
        default=TRUST,
        metavar="X",
        help="largest step of the store's theta, of range",
    )
    parser.add_argument(
        "--exploration", type=number(1e-4, 0.25), default=EXPLORATION_STD, metavar="X", help="added to its actions, std"
    )
    parser.add_argument("--seeds", type=whole(1, 1000), default=5, metavar="N")
    parser.add_argument("--seed", type=seed_number, default=0, help="the first; settings were chosen with 100 to 104")
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    each = BYTES_PER_STEP * Simulator.horizon
    require_memory(args.scenarios, f"scenarios of {Simulator.horizon} steps", each, free_memory())
    seeds = range(args.seed, args.seed + args.seeds)
    world = scalar_world(CASE_2, penalty=PENALTY, intervals=160, discount=DISCOUNT)
    levels = LevelSimulator()
    with steps("in-sim", args.seeds * (2 * args.iterations + 1) + 4) as step:
        stores = []
        for seed in seeds:
            simulator = Simulator(scenarios=args.scenarios, seed=seed, discount=DISCOUNT)
            stores.append(tune(simulator, world, simulator.train(THETA_START, NU_START), args, seed, step))
        rooms = [tune_levels(levels, args.iterations, np.random.default_rng([seed, 2]), step) for seed in seeds]
        step("best of the policy classes")
        store = SimCourse(
            stores, best_in_class(world, [h[-1].nu for h in stores]), world.solve().mean_return, PLANT_NAMES[0]
        )
        room = SimCourse([as_returns(h) for h in rooms], -best_of_levels(levels), None, PLANT_NAMES[1])
        step("noise of the store")
        noises = [noise_of_store(seeds)]
        step("noise of the three levels")
        noises.append(noise_of_levels(levels, seeds))
    gaps = [max(i.training_gap for i in history) for history in rooms]
    result = as_json(args, seeds, store, room, noises, gaps)
    path = write_outputs(
        "in-sim", make_page(store, room, noises, gaps), result, settings_of(seeds), args.output, args.json
    )
    report(store, room, noises, path)
    return 0


def settings_of(seeds: Sequence[int]) -> Settings:
    return Settings(
        "Largest step and exploration of the store by the mean real return after 12 iterations "
        "(`--seed 100 --trust X --exploration Y`), batches and steps of the three levels by hand.",
        shown=seeds,
        chosen_on=CHOSEN_ON,
    )


PLANT_NAMES = ("the store", "three levels")


def as_returns(history: Sequence[LevelIterate]) -> list[Iterate]:
    return [Iterate(i.theta, i.nu, -i.real_cost) for i in history]


def noise_of_store(seeds: Sequence[int]) -> GradientErrors:
    """Errors of dnu*/dtheta of both forms, on the same J_hat: a Gaussian policy and fresh or fixed numbers."""
    trained = Simulator(REFERENCE[0], discount=DISCOUNT, seed=REFERENCE_SEED, exploration_std=EXPLORATION_STD).train(
        THETA_NOISE, NU_START
    )
    nu = trained.nu
    many = Simulator(REFERENCE[1], discount=DISCOUNT, seed=REFERENCE_SEED + 1, exploration_std=EXPLORATION_STD)
    hessian, mixed = many.second_derivatives(nu, THETA_NOISE)
    wrong = error_of(hessian, np.asarray(-np.linalg.solve(hessian, mixed)), THETA_HIGH - THETA_LOW)
    by_ratio, by_path = [], []
    for seed in seeds:
        generator = np.random.default_rng([seed, 3])
        draw = lambda n, g=generator: many.rollouts(nu, THETA_NOISE, n, g)  # noqa: E731
        found = accumulate(draw, list(COUNTS), DISCOUNT, pilot=PILOT)
        by_ratio.append([wrong(f.sensitivity()) for f in found])
        errors = []
        for scenarios in SCENARIOS:
            few = Simulator(scenarios, discount=DISCOUNT, seed=seed, exploration_std=EXPLORATION_STD)
            few_hessian, few_mixed = few.second_derivatives(nu, THETA_NOISE)
            errors.append(wrong(np.asarray(-np.linalg.solve(few_hessian, few_mixed))))
        by_path.append(errors)
    small = Simulator(100, discount=DISCOUNT, seed=REFERENCE_SEED, exploration_std=EXPLORATION_STD)
    mismatch = sensitivity_mismatch(small, THETA_NOISE, small.train(THETA_NOISE, nu), THETA_HIGH - THETA_LOW)
    totals = tuple(n + PILOT for n in COUNTS)
    return GradientErrors(PLANT_NAMES[0], totals, np.array(by_ratio), SCENARIOS, np.array(by_path), mismatch)


def noise_of_levels(simulator: LevelSimulator, seeds: Sequence[int]) -> GradientErrors:
    """The same of the three levels, where only the likelihood form exists, against exact derivatives."""
    trained = simulator.train(LEVEL_START, LEVEL_NU_START)
    hessian, _ = simulator.second_derivatives(trained.nu, LEVEL_START)
    wrong = error_of(hessian, trained.sensitivity, LEVEL_HIGH - LEVEL_LOW)
    errors = []
    for seed in seeds:
        generator = np.random.default_rng([seed, 4])
        draw = lambda n, g=generator: simulator.rollouts(trained.nu, LEVEL_START, n, g)  # noqa: E731
        found = accumulate(draw, list(COUNTS), simulator.discount, pilot=PILOT)
        errors.append([wrong(f.sensitivity()) for f in found])
    mismatch = sensitivity_mismatch(simulator, LEVEL_START, trained, LEVEL_HIGH - LEVEL_LOW)
    totals = tuple(n + PILOT for n in COUNTS)
    return GradientErrors(PLANT_NAMES[1], totals, np.array(errors), (), np.empty((len(seeds), 0)), mismatch)


def error_of(hessian: Array, exact: Array, scale: Array) -> Callable[[Array], float]:
    """Of a dnu*/dtheta, relative: theta in units of its range, nu in the metric in which J_hat rises alike."""
    root = np.linalg.cholesky(hessian).T
    size = float(np.linalg.norm(root @ exact * scale))
    return lambda found: float(np.linalg.norm(root @ (found - exact) * scale)) / size


def sensitivity_mismatch(simulator: Simulator | LevelSimulator, theta: Array, trained: Trained, scale: Array) -> float:
    """Largest difference of dnu*/dtheta from retraining at theta +- h, relative to its largest entry."""
    columns = []
    for direction in DIFFERENCE * np.diag(scale):
        up = simulator.train(theta + direction, trained.nu + trained.sensitivity @ direction)
        down = simulator.train(theta - direction, trained.nu - trained.sensitivity @ direction)
        columns.append((up.nu - down.nu) / (2.0 * direction.max()))
    return float(np.max(np.abs(np.stack(columns, axis=1) - trained.sensitivity)) / np.max(np.abs(trained.sensitivity)))


def tune(
    simulator: Simulator,
    world: ScalarProblem,
    trained: Trained,
    args: argparse.Namespace,
    seed: int,
    step: Callable[[str], None],
) -> list[Iterate]:
    """theta <- theta - step (dnu*/dtheta)' grad_nu J, within bounds and a shrinking trust region."""
    generator = np.random.default_rng(seed)
    scale = THETA_HIGH - THETA_LOW
    theta, history = THETA_START, []
    for k in range(args.iterations):
        step(f"the store, iteration {k + 1}")
        history.append(Iterate(theta, trained.nu, real_return(world, trained.nu)))
        data = real_rollouts(
            trained.nu,
            real_plant,
            rollouts=args.rollouts,
            steps=40,
            exploration_std=args.exploration,
            generator=generator,
        )
        gradient = trained.sensitivity.T @ policy_gradient(data, trained.nu, DISCOUNT, args.exploration)
        direction = scale**2 * gradient
        longest = float(np.max(np.abs(direction / scale)))
        trust = args.trust / (1.0 + k / 10.0)
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


def best_in_class(world: ScalarProblem, starts: Sequence[Array]) -> float:
    """The best that the policy parameters can do in the real plant, by direct search over the exact return."""
    start = max(starts, key=lambda nu: real_return(world, nu))
    found = minimize(lambda nu: -real_return(world, nu), start, method="Nelder-Mead", options={"xatol": 1e-5})
    return -float(found.fun)


def as_json(
    args: argparse.Namespace,
    seeds: Sequence[int],
    store: SimCourse,
    room: SimCourse,
    noises: Sequence[GradientErrors],
    gaps: list[float],
) -> dict[str, Any]:
    def tuned(found: SimCourse, theta_names: Sequence[str], nu_names: Sequence[str]) -> dict[str, Any]:
        return {
            "theta_names": theta_names,
            "nu_names": nu_names,
            "theta": [[i.theta for i in h] for h in found.histories],
            "nu": [[i.nu for i in h] for h in found.histories],
            "real_return": found.returns,
            "best_of_policy_class": found.best,
            "optimal_return": found.optimum,
            "gap_closed": found.closed,
        }

    return {
        "experiment": "in-sim",
        "source": SOURCE,
        "seeds": list(seeds),
        "iterations": args.iterations,
        "trust": args.trust,
        "exploration": args.exploration,
        "store": tuned(store, MODEL_PARAMETERS, POLICY_PARAMETERS),
        "three_levels": {
            **tuned(room, LEVEL_PARAMETERS, LEVEL_POLICY),
            "largest_training_gap": gaps,
        },
        "noise_of_the_likelihood_form": [
            {
                "plant": noise.plant,
                "rollouts": noise.rollouts,
                "relative_error": noise.by_ratio,
                "enough_rollouts": noise.enough,
                "enough_rollouts_by_seed": noise.enough_by_seed,
                "enough_in_every_seed": noise.enough_in_every_seed,
                "scenarios": noise.scenarios,
                "relative_error_on_fixed_noise": noise.by_path,
                "retraining_relative_mismatch": noise.mismatch,
            }
            for noise in noises
        ],
    }
