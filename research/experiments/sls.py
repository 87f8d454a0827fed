"""`nisse experiment sls`: responses instead of gains, by convex programs: unconstrained, with bounds, and robust.

"Safety and data-driven control" (Dean, lecture): system level synthesis; the system and the three routes from data
are those of `nisse experiment lqr`.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research.experiments.lqr import EXPLORATION_STD, ROUTES, SYSTEM
from research.experiments.output import add_output_arguments, write_outputs
from research.experiments.progress import steps
from research.experiments.settings import Settings
from research.experiments.sls_page import DESIGNS, SOURCE, Design, Learned, make_page, report
from research.linear_file import LinearProblem, read_linear
from research.lqr import (
    LinearQuadratic,
    certainty_equivalence,
    explore,
    finite_difference_gradient_descent,
    lstd_policy_iteration,
)
from research.memory import free_memory, require_memory
from research.sls import Certified, RobustSynthesis, SystemResponse, estimate, synthesise
from systems.commands.numbers import seed_number, whole
from systems.invariant import require_stable
from systems.polytope import box, vertices
from systems.set_errors import BadSystem

Array = NDArray[np.float64]
PROBLEM = LinearProblem(
    a=SYSTEM.a,
    b=SYSTEM.b,
    q=SYSTEM.q,
    r=SYSTEM.r,
    noise_std=SYSTEM.noise_std,
    start=np.array([0.7, 0.5]),
    state=box([0.85, 0.6]),
    action=box([0.8]),
    disturbance=box([0.03, 0.03]),
)
HORIZONS = (2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 25)
BUDGETS = (30, 100, 300, 1000, 3000, 10_000)
ROBUST_HORIZON = 14
"""Steps of the robust response from data: what ending after so many costs is in the table over T."""
MOST_SEQUENCES = 20_000
TOUCH = 1e-6
"""Bounds are met up to the accuracy of the solver."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Example: nisse experiment sls --json sls.json\n"
        "Example: nisse experiment sls --system mine.toml --horizon 15\n\n"
        "FILE.toml as for `nisse experiment invariant-sets`, with Q, R, noise_std and start as well.\n"
        "Needs the extra `research`."
    )
    parser.add_argument("--system", type=Path, metavar="FILE.toml", help="a system of your own")
    parser.add_argument("--horizon", type=whole(1, 60), default=12, metavar="T", help="of the bounded responses")
    parser.add_argument("--trajectories", type=whole(1, 1_000_000), default=20_000, metavar="N", help="of each seed")
    parser.add_argument("--transitions", type=whole(30), default=BUDGETS[-1], metavar="N", help="largest data budget")
    parser.add_argument("--seeds", type=whole(1, 1000), default=5, metavar="N")
    parser.add_argument("--seed", type=seed_number, default=0, help="the first")
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    problem = PROBLEM if args.system is None else read_linear(args.system, PROBLEM)
    require_stable(problem.a)  # data are taken without a controller
    if not problem.noise_std > 0.0:
        raise BadSystem(f"noise_std is {problem.noise_std:g}: data and average cost need one above 0")
    numbers = 3 * len(vertices(problem.disturbance)) + 4 * len(problem.a)  # of a step, on the way
    each = 8 * args.horizon * numbers
    require_memory(args.trajectories, f"trajectories of {args.horizon} steps", each, free_memory())
    seeds = range(args.seed, args.seed + args.seeds)
    system = LinearQuadratic(problem.a, problem.b, problem.q, problem.r, problem.noise_std)
    budgets = [n for n in BUDGETS if n < args.transitions] + [args.transitions]
    with steps("sls", 2 + len(DESIGNS)) as step:
        step("horizons")
        # In fewer steps than states no response need come to an end.
        horizons = [horizon for horizon in HORIZONS if horizon >= len(problem.a)]
        against_horizon = [compare_with_gain(problem, system, horizon) for horizon in horizons]
        designs = {}
        for name in DESIGNS:
            step(name)
            designs[name] = design(problem, system, name, args.horizon, args.trajectories, seeds)
        step("from data")
        learned = learn(problem, system, budgets, seeds)
    result = as_json(args.horizon, against_horizon, designs, learned, budgets, seeds)
    page = make_page(problem, args.horizon, against_horizon, designs, learned, budgets)
    path = write_outputs("sls", page, result, settings_of(seeds), args.output, args.json)
    report(against_horizon, designs, learned, budgets, args.trajectories * len(seeds), path)
    return 0


def settings_of(seeds: Sequence[int]) -> Settings:
    return Settings(
        "No setting was tried on seeds. The problem is given: bounds, W and the exploration of `lqr`. The robust "
        f"response has {ROBUST_HORIZON} steps, which with the model known costs what the table over T says; errors of "
        "the model are bounded with 95 % each. Seeds draw the data and the sampled disturbances; what holds for all of "
        "W is a convex program's.",
        shown=seeds,
    )


def optimum(system: LinearQuadratic) -> float:
    """Average cost of the optimal gain under w of covariance I."""
    return system.average_cost(system.optimal_gain()) / system.noise_std**2


def compare_with_gain(problem: LinearProblem, system: LinearQuadratic, horizon: int) -> tuple[int, float, float]:
    """(T, relative cost above the optimal gain's, distance of Phi_a[1] from it)."""
    response = synthesise(problem, horizon)
    cost = response.cost(problem.q, problem.r) / optimum(system) - 1.0
    return horizon, cost, float(np.linalg.norm(response.gain - system.optimal_gain()))


def design(
    problem: LinearProblem, system: LinearQuadratic, name: str, horizon: int, trajectories: int, seeds: Sequence[int]
) -> Design:
    response = synthesise(
        problem,
        horizon,
        bounded=name != "unconstrained",
        disturbance=problem.disturbance if name == "robust" else None,
    )
    corners = vertices(problem.disturbance)
    sampled = []
    for seed in seeds:
        generator = np.random.default_rng(seed)
        # Half of the draws are corners of W, half anywhere in it: a mean of corners with random weights.
        weights = generator.dirichlet(np.ones(len(corners)), size=(trajectories, horizon))
        drawn = np.eye(len(corners))[generator.integers(len(corners), size=(trajectories, horizon))]
        mixed = np.where(generator.random((trajectories, horizon, 1)) < 0.5, weights, drawn)
        sampled.append(violations(problem, response, mixed @ corners))
    length = max(1, int(np.log(MOST_SEQUENCES) / np.log(max(2, len(corners)))))
    sequences = np.array(list(itertools.product(range(len(corners)), repeat=length)))
    extreme = violations(problem, response, corners[sequences])
    return Design(
        response,
        response.cost(problem.q, problem.r) / optimum(system) - 1.0,
        sampled,
        extreme,
        len(sequences),
        worst_row(problem, response),
    )


def violations(problem: LinearProblem, response: SystemResponse, disturbances: Array) -> int:
    """Trajectories of the controller in the system that leave the set of states or of actions."""
    states, actions = response.simulate(problem.a, problem.b, problem.start, disturbances)
    kept = problem.state.contains(states, TOUCH).all(axis=1) & problem.action.contains(actions, TOUCH).all(axis=1)
    return int((~kept).sum())


def worst_row(problem: LinearProblem, response: SystemResponse) -> float:
    """Each row at each time is linear in the disturbances, so a sequence of corners is its worst: all are simulated."""
    corners = vertices(problem.disturbance)
    worst = -np.inf
    for allowed, phi, from_states in (
        (problem.state, response.states, True),
        (problem.action, response.actions, False),
    ):
        toward = np.einsum("fi,kij,cj->fkc", allowed.normals, phi, corners)
        choice = corners[toward.argmax(axis=2)]  # (rows, T, n): what k steps before is worst
        disturbances = choice[:, ::-1]
        for t in range(response.horizon + 1):
            came = disturbances[:, response.horizon - t :]
            states, actions = response.simulate(problem.a, problem.b, problem.start, came)
            found = (states if from_states else actions)[:, -1]
            worst = max(worst, float((np.einsum("fi,fi->f", found, allowed.normals) - allowed.offsets).max()))
    return worst


def learn(problem: LinearProblem, system: LinearQuadratic, budgets: list[int], seeds: Sequence[int]) -> Learned:
    best = system.average_cost(system.optimal_gain())
    start = np.zeros((system.m, system.n))
    names = [*ROUTES, "robust"]
    gaps = {name: np.full((len(seeds), len(budgets)), np.nan) for name in names}
    program = RobustSynthesis(problem.q, problem.r, ROBUST_HORIZON)
    certified: list[list[Certified | None]] = []
    covered = 0
    for row, seed in enumerate(seeds):
        data = explore(system, start, budgets[-1], action_std=EXPLORATION_STD, seed=seed)
        certified.append([])
        for column, n in enumerate(budgets):
            part = data.first(n)
            gains = {
                "certainty_equivalence": certainty_equivalence(part, system.q, system.r),
                "lstd_policy_iteration": lstd_policy_iteration(part, start),
                "policy_gradient": finite_difference_gradient_descent(system, start, n, seed=seed),
            }
            for name, gain in gains.items():
                gaps[name][row, column] = system.average_cost(gain) / best - 1.0
            found = estimate(part.s, part.a, part.s_next)
            errors = np.linalg.norm(found.a - system.a, 2), np.linalg.norm(found.b - system.b, 2)
            covered += bool(errors[0] <= found.eps_a and errors[1] <= found.eps_b)
            robust = program.solve(found.a, found.b, found.eps_a, found.eps_b)
            certified[-1].append(robust)
            if robust is not None:
                cost = robust.response.cost_in(problem.a, problem.b, problem.q, problem.r)
                gaps["robust"][row, column] = cost * system.noise_std**2 / best - 1.0
    return Learned(gaps, certified, covered)


def as_json(
    horizon: int,
    against_horizon: list[tuple[int, float, float]],
    designs: dict[str, Design],
    learned: Learned,
    budgets: list[int],
    seeds: Sequence[int],
) -> dict[str, Any]:
    return {
        "experiment": "sls",
        "source": SOURCE,
        "seeds": list(seeds),
        "against_horizon": [dict(zip(("T", "cost_gap", "gain_error"), row, strict=True)) for row in against_horizon],
        "horizon": horizon,
        "designs": {
            name: {
                "cost_gap": d.relative_cost,
                "sampled_violations": d.sampled_violations,
                "extreme_violations": d.extreme_violations,
                "extreme_sequences": d.extreme_sequences,
                "worst_row": d.worst_row,
                "Phi_s": d.response.states,
                "Phi_a": d.response.actions,
            }
            for name, d in designs.items()
        },
        "transitions": budgets,
        "relative_cost_gap": learned.gaps,
        "robust": {
            "gamma": [[c and c.gamma for c in row] for row in learned.certified],
            "certified_cost": [[c and c.bound for c in row] for row in learned.certified],
            "errors_within_bounds": learned.covered,
            "estimates": sum(len(row) for row in learned.certified),
        },
    }
