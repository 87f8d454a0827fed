"""`nisse experiment invariant-sets`: from which states a linear system stays safe, and the filter that keeps it so.

"Safety and data-driven control" (Dean, lecture): the stable example with |theta| <= 1, its exercise on omega_0, the
Lyapunov ellipsoid, robust invariance, the control barrier filter and the exercise on when it is feasible.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pages.chart import Chart, Limit, Line, Panel
from pages.page import Page
from pages.palette import Role
from research.experiments.daemon_limits import HOUSES, DaemonLimit, daemon_limits, daemon_table, fitted_limits
from research.experiments.output import Statement, add_output_arguments, result_page, write_outputs
from research.experiments.progress import steps
from research.experiments.settings import Settings
from research.linear_file import LinearProblem, read_linear
from systems.commands.numbers import seed_number, whole
from systems.invariant import (
    BarrierFilter,
    InvariantSet,
    QuadraticBarrier,
    controlled_invariant,
    largest_invariant,
    largest_level,
    lyapunov_matrix,
    quadratic_barrier,
    smallest_reach,
)
from systems.polytope import Polytope, box, make_polytope, require_bounded, vertices

Array = NDArray[np.float64]
SOURCE = "Safety and data-driven control (Dean, lecture)"
LECTURE = LinearProblem(
    a=np.array([[0.9, 0.1], [0.0, 0.9]]),
    b=np.array([[0.0], [0.2]]),
    q=np.eye(2),
    r=np.eye(1),
    noise_std=0.1,
    start=np.zeros(2),
    state=make_polytope([[1.0, 0.0], [-1.0, 0.0]], [1.0, 1.0]),
    action=box([1.0]),
    disturbance=box([0.002, 0.04]),
)
RANDOM_STEPS, FILTERED, FILTERED_STEPS, GAMMA = 100, 20, 80, 0.9
MOST_SEQUENCES = 20_000
STATES_TRIED = 200
CHOSEN = f"Nothing is tuned. Seeds draw trajectories, and states at which the filter is tried with γ = {GAMMA:g}."


@dataclass(frozen=True, eq=False)
class Sets:
    """Everything that holds before chance comes in. The ellipsoid is {s'Ps <= level}."""

    p: Array
    level: float
    invariant: InvariantSet
    robust: InvariantSet
    smallest: Array
    """Extent of the smallest robustly invariant set along each row of the state constraints, shape (k,)."""
    controlled: InvariantSet
    quadratic: QuadraticBarrier


@dataclass(frozen=True, eq=False)
class Trials:
    """Of one seed: how many of how many trajectories left the safe set."""

    sampled: int
    robust_left: int
    nominal_left: int
    unfiltered_left: int
    filtered_left: int
    refused: int
    """States at which the filter had no action."""
    feasible_share: dict[float, float]
    """gamma -> share of the states of the controlled invariant set at which the filter has an action."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Example: nisse experiment invariant-sets --json sets.json\n"
        "Example: nisse experiment invariant-sets --system mine.toml\n\n"
        "FILE.toml holds A, B and the sets state, action and disturbance, each { limit = [...] } or\n"
        "{ F = [[...]], b = [...] }; what it leaves out is the lecture's example:\n"
        "  A = [[0.9, 0.1], [0.0, 0.9]]\n  B = [[0.0], [0.2]]\n  action = { limit = [1.0] }\n"
        "  state = { F = [[1, 0], [-1, 0]], b = [1, 1] }\n  disturbance = { limit = [0.002, 0.04] }"
    )
    parser.add_argument("--system", type=Path, metavar="FILE.toml", help="a system of your own")
    parser.add_argument("--trajectories", type=whole(1), default=20_000, metavar="N", help="of each seed")
    parser.add_argument("--seeds", type=whole(1, 1000), default=5, metavar="N")
    parser.add_argument("--seed", type=seed_number, default=0, help="the first")
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    problem = LECTURE if args.system is None else read_linear(args.system, LECTURE)
    require_bounded(problem.action, "action")
    with steps("invariant-sets", 3 + args.seeds) as step:
        step("sets")
        sets = compute(problem)
        step("every extreme disturbance")
        extreme = extreme_sequences(problem, sets)
        trials = []
        for seed in range(args.seed, args.seed + args.seeds):
            step(f"seed {seed}")
            trials.append(try_out(problem, sets, args.trajectories, seed))
        step("the daemon's limits")
        daemon = []
        if args.system is None:
            daemon = [*(limit for house in HOUSES for limit in daemon_limits(house)), *fitted_limits()]
    result = as_json(problem, sets, extreme, trials, daemon, args.seed)
    page = make_page(problem, sets, extreme, trials, daemon)
    settings = Settings(CHOSEN, shown=range(args.seed, args.seed + args.seeds))
    path = write_outputs("invariant-sets", page, result, settings, args.output, args.json)
    report(problem, sets, extreme, trials, path)
    return 0


def compute(problem: LinearProblem) -> Sets:
    """Raises BadSystem for an unstable A, EmptySet where nothing is safe."""
    a, b, safe = problem.a, problem.b, problem.state
    p = lyapunov_matrix(a)
    level = largest_level(p, safe)
    invariant = largest_invariant(a, safe)
    # Elimination needs a bounded set: without action and disturbance no state outside the invariant set stays safe,
    # but an action can save it, so the bound is put well outside.
    reach = np.abs(vertices(invariant.polytope)).max(axis=0)
    bounded = Polytope(*_both(safe, box(2.0 * reach)))
    return Sets(
        p,
        level,
        invariant,
        largest_invariant(a, safe, problem.disturbance),
        smallest_reach(a, problem.disturbance, safe.normals),
        controlled_invariant(a, b, bounded, problem.action, problem.disturbance),
        quadratic_barrier(a, b, p, level),
    )


def _both(one: Polytope, other: Polytope) -> tuple[Array, Array]:
    return np.vstack([one.normals, other.normals]), np.concatenate([one.offsets, other.offsets])


def extreme_sequences(problem: LinearProblem, sets: Sets) -> dict[str, int]:
    """Every sequence of corners of W of one length, from every corner of the robust set: how many leave the set."""
    corners, starts = vertices(problem.disturbance), vertices(sets.robust.polytope)
    length = max(1, int(np.log(MOST_SEQUENCES) / np.log(max(2, len(corners)))))
    states, left = starts, 0
    for _ in range(length):
        states = (states @ problem.a.T)[:, None, :] + corners[None]
        states = states.reshape(-1, states.shape[-1])
        left += int((~sets.robust.polytope.contains(states, 1e-9)).sum())
    return {"length": length, "sequences": len(corners) ** length, "starts": len(starts), "left": left}


def try_out(problem: LinearProblem, sets: Sets, trajectories: int, seed: int) -> Trials:
    """Trajectories from the border under random corners of W, and the filter under an action that never stops."""
    generator = np.random.default_rng(seed)
    corners = vertices(problem.disturbance)

    def left(start: Array) -> int:
        states, out = start, np.zeros(len(start), dtype=bool)
        for _ in range(RANDOM_STEPS):
            states = states @ problem.a.T + corners[generator.integers(len(corners), size=len(states))]
            out |= ~problem.state.contains(states, 1e-9)
        return int(out.sum())

    robust_left = left(on_border(sets.robust.polytope, trajectories, generator))
    nominal_left = left(on_border(sets.invariant.polytope, trajectories, generator))
    controlled = sets.controlled.polytope
    keep = BarrierFilter(problem.a, problem.b, controlled, problem.action, problem.disturbance, GAMMA)
    pushing = vertices(problem.action)[-1]
    starts = on_border(controlled, FILTERED, generator)
    unfiltered_left = filtered_left = refused = 0
    for start in starts:
        for barrier in (None, keep):
            state, out = start, False
            for _ in range(FILTERED_STEPS):
                action = pushing if barrier is None else barrier(state, pushing)
                if action is None:
                    refused += 1
                    break
                state = problem.a @ state + problem.b @ action + corners[generator.integers(len(corners))]
                out = out or not problem.state.contains(state, 1e-7)
            if barrier is None:
                unfiltered_left += out
            else:
                filtered_left += out
    inside = on_border(controlled, STATES_TRIED, generator) * generator.uniform(size=(STATES_TRIED, 1))
    shares = {}
    for gamma in sorted({0.0, 0.5, max(0.0, keep.guaranteed_gamma()), 1.0}):
        tried = BarrierFilter(problem.a, problem.b, controlled, problem.action, problem.disturbance, gamma)
        shares[gamma] = float(np.mean([tried(state, pushing) is not None for state in inside]))
    return Trials(trajectories, robust_left, nominal_left, unfiltered_left, filtered_left, refused, shares)


def on_border(polytope: Polytope, count: int, generator: np.random.Generator) -> Array:
    """Points (count, n) on the border, along directions that are equally likely."""
    directions = generator.normal(size=(count, polytope.dimension))
    reach = directions @ polytope.normals.T / polytope.offsets
    return np.asarray(directions / reach.max(axis=1, keepdims=True))


def second_state(polytope: Polytope, first: float) -> tuple[float, float]:
    """Of a set in the plane: between which s_2 it lies where s_1 = first."""
    slope, room = polytope.normals[:, 1], polytope.offsets - polytope.normals[:, 0] * first
    above, below = slope > 1e-12, slope < -1e-12
    high = (room[above] / slope[above]).min(initial=np.inf)
    low = (room[below] / slope[below]).max(initial=-np.inf)
    return float(low), float(high)


def as_json(
    problem: LinearProblem,
    sets: Sets,
    extreme: dict[str, int],
    trials: list[Trials],
    daemon: list[DaemonLimit],
    seed: int,
) -> dict[str, Any]:
    result = {
        "experiment": "invariant-sets",
        "source": SOURCE,
        "A": problem.a,
        "B": problem.b,
        "lyapunov": {"P": sets.p, "largest_c": sets.level},
        "extreme_disturbances": extreme,
        "smallest_robust_extent": sets.smallest,
        "filter": {
            "gamma": GAMMA,
            "guaranteed_gamma": barrier_of(problem, sets).guaranteed_gamma(),
            "quadratic_mu": sets.quadratic.mu,
        },
        "seeds": {str(seed + k): vars(t) for k, t in enumerate(trials)},
        "daemon": [vars(limit) for limit in daemon],
    }
    for name in ("invariant", "robust", "controlled"):
        found: InvariantSet = getattr(sets, name)
        result[name] = {"F": found.polytope.normals, "b": found.polytope.offsets, "steps": found.steps}
    if len(problem.a) == 2:
        result["omega_0"] = {f"{x:g}": second_state(sets.invariant.polytope, x) for x in first_states(sets)}
    return result


def barrier_of(problem: LinearProblem, sets: Sets) -> BarrierFilter:
    return BarrierFilter(problem.a, problem.b, sets.controlled.polytope, problem.action, problem.disturbance, GAMMA)


def first_states(sets: Sets) -> list[float]:
    corners = vertices(sets.invariant.polytope)[:, 0]
    return [float(corners.min()), 0.0, float(corners.max())]


def make_page(
    problem: LinearProblem, sets: Sets, extreme: dict[str, int], trials: list[Trials], daemon: list[DaemonLimit]
) -> Page:
    total = sum(t.sampled for t in trials)
    rows = []
    if len(problem.a) == 2:
        for x in first_states(sets):
            low, high = second_state(sets.invariant.polytope, x)
            rows.append([f"{x:.4g}", f"{low:.6f} to {high:.6f}"])
    keep = barrier_of(problem, sets)
    shares = [
        [f"{gamma:.4f}", f"{100 * min(t.feasible_share[gamma] for t in trials):.1f} to "
         f"{100 * max(t.feasible_share[gamma] for t in trials):.1f} %"]
        for gamma in trials[0].feasible_share
    ]  # fmt: skip
    return result_page(
        title="Invariant sets and the filter on them",
        summary=f"{sum(t.robust_left for t in trials)} of {total} trajectories that start on the border of the robust "
        f"invariant set leave the safe set; {sum(t.nominal_left for t in trials)} of {total} that start on the border "
        "of the set without disturbance do.",
        statements=(
            Statement(
                "Are trajectories safe as long as |θ₀| < 1? No; what is the condition on ω₀?",
                f"The largest invariant set has {len(sets.invariant.polytope.offsets)} sides, made by the first "
                f"{sets.invariant.steps} steps; ω₀ between the bounds of the table is necessary and sufficient.",
                "θ_t = 0.9ᵗ(θ₀ + t ω₀/9) in the lecture's example: |θ₀ + t ω₀/9| ≤ 0.9⁻ᵗ for every t.",
            ),
            Statement(
                "{s'Ps ≤ c} with P = Σ (Aᵗ)'Aᵗ is invariant.",
                f"The largest such set inside the safe one has c = {sets.level:.6f}.",
                "c = min b²/(f'P⁻¹f) over the rows f's ≤ b. It is inside the largest invariant set.",
            ),
            Statement(
                "A set is robustly invariant if every w in W leaves it invariant.",
                f"All {extreme['sequences']} sequences of {extreme['length']} extreme disturbances from each of "
                f"{extreme['starts']} corners: {extreme['left']} states outside.",
                "The smallest robustly invariant set reaches "
                + ", ".join(f"{x:.4g}" for x in sets.smallest)
                + " along the rows of the safe set.",
            ),
            Statement(
                "If C is quadratic, when does the filter have an action a ∈ Rᵐ?",
                f"Iff s'(M − γP)s ≤ (1 − γ)c: on all of the set iff μ ≤ 1, on all of Rⁿ iff μ ≤ γ; here μ = "
                f"{sets.quadratic.mu:.6f}.",
                "M = A'PA − A'PB(B'PB)⁺B'PA is what the best action leaves, μ the largest eigenvalue of P⁻¹M.",
            ),
            Statement(
                "The robust filter asks for C(s⁺) ≤ γ C(s) for all w in W, with a in the action set.",
                f"On the controlled invariant polytope it has an action if γ ≤ {keep.guaranteed_gamma():.4f}. Of "
                f"{FILTERED * len(trials)} trajectories {sum(t.filtered_left for t in trials)} left with the filter, "
                f"{sum(t.unfiltered_left for t in trials)} without it.",
                "γ ≤ 1 − max h_W(f)/b, by scaling the action of the border point.",
            ),
        ),
        charts=[sets_chart(problem, sets)] if len(problem.a) == 2 else [],
        tables=(
            ("Where the first state is, the second may be", ["first state", "second state"], rows),
            ("Share of the set where the filter has an action", ["γ", "over the seeds"], shares),
            *daemon_table(daemon),
        ),
        notes=("Extreme disturbances are corners of W; trajectories draw one at every step.",),
        source=SOURCE,
    )


def sets_chart(problem: LinearProblem, sets: Sets) -> Chart:
    """The sets in the plane, and one trajectory that pushes against the border, with and without the filter."""
    angle = np.linspace(0.0, 2.0 * np.pi, 200)
    circle = np.column_stack([np.cos(angle), np.sin(angle)]) * np.sqrt(sets.level)
    ellipse = np.linalg.solve(np.linalg.cholesky(sets.p).T, circle.T).T

    def outline(polytope: Polytope, label: str, role: Role) -> Line:
        corners = vertices(polytope)
        closed = np.vstack([corners, corners[:1]])
        return Line(label, closed[:, 0], closed[:, 1], role)

    keep, pushing = barrier_of(problem, sets), vertices(problem.action)[-1]
    corners, generator = vertices(problem.disturbance), np.random.default_rng(0)
    trajectories = []
    runs: tuple[tuple[Any, str, Role], ...] = ((None, "unfiltered", "second"), (keep, "filtered", "first"))
    for barrier, label, role in runs:
        states = [np.zeros(len(problem.a))]
        for _ in range(FILTERED_STEPS):
            action = pushing if barrier is None else barrier(states[-1], pushing)
            if action is None:
                break
            states.append(problem.a @ states[-1] + problem.b @ action + corners[generator.integers(len(corners))])
        seen = np.array(states) @ problem.state.normals[0]
        trajectories.append(Line(label, np.arange(len(seen), dtype=float), seen, role))
    return Chart(
        "invariant-sets",
        "Invariant sets in the plane of the two states, and a filtered and an unfiltered trajectory.",
        [
            Panel(
                "Second state",
                [
                    Line(f"ellipsoid, c = {sets.level:.3f}", ellipse[:, 0], ellipse[:, 1], "second"),
                    outline(sets.invariant.polytope, "largest invariant", "first"),
                ],
                x_title="first state",
            ),
            Panel(
                "Second state",
                [
                    outline(sets.controlled.polytope, "with actions", "third"),
                    outline(sets.robust.polytope, "robust", "second"),
                    outline(sets.invariant.polytope, "no disturbance", "first"),
                ],
                x_title="first state",
            ),
            Panel(
                "First row of the safe set",
                trajectories,
                limits=[Limit(float(problem.state.offsets[0]), "bound")],
                x_title="step",
            ),
        ],
        columns=2,
    )


def report(problem: LinearProblem, sets: Sets, extreme: dict[str, int], trials: list[Trials], path: Path) -> None:
    print(f"Lyapunov ellipsoid: largest c = {sets.level:.6f}")
    if len(problem.a) == 2:
        for x in first_states(sets):
            low, high = second_state(sets.invariant.polytope, x)
            print(f"first state {x:.4g}: safe for ever if the second lies between {low:.6f} and {high:.6f}")
    total = sum(t.sampled for t in trials)
    print(
        f"robust set: {extreme['left']} states outside under all {extreme['sequences']} extreme sequences of "
        f"{extreme['length']} steps; {sum(t.robust_left for t in trials)} of {total} random trajectories left "
        f"({sum(t.nominal_left for t in trials)} from the set without disturbance)"
    )
    print(
        f"filter: has an action on the whole set up to gamma = {barrier_of(problem, sets).guaranteed_gamma():.4f}; "
        f"{sum(t.filtered_left for t in trials)} of {FILTERED * len(trials)} trajectories left with it, "
        f"{sum(t.unfiltered_left for t in trials)} without"
    )
    print(f"page: {path}")
