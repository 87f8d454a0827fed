"""The training loop all methods share: roll out, replay, fit the critic, improve, step, evaluate, checkpoint.

One iteration, with x = theta in units of each parameter's bound width:

    g = method's gradient + regularisation * (x - x_data_fitted)        (eq. 30: support of the data fit)
    x <- project(x - radius * M^-1 g / |M^-1 g|_inf),   M = method's metric + damping
    a step that raises the mean cost of the held-in periods is halved a few times, then dropped; the radius follows.

Every random number derives from (seed, iteration, episode), so the result does not depend on the number of processes.
Source of eq. 30: "All AI Models are Wrong, but Some are Optimal".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from tuner.critics import CRITICS
from tuner.methods import METHODS
from tuner.methods.face import Improvement, Method
from tuner.policy import Array, MpcPolicy
from tuner.policy_check import GradientReport, check_gradients
from tuner.trainer_state import IterationRecord, TrainerState, load_state, save_state
from tuner.transitions import (
    Episode,
    Gathered,
    RolloutSpec,
    TunableSystem,
    exploration_std,
    relabel,
    rollout,
    stack,
)

CHECK_SEED, ROLLOUT_SEED = 1, 2


class TrainingError(ValueError):
    """A training run cannot start."""

    exit_code = 2


@dataclass(frozen=True)
class TrainingSpec:
    """Everything that decides the outcome of a run, given the system."""

    method: str = "dpg"
    """dpg, q or spg."""
    critic: str = "lstdq"
    """lstdq or two-layer."""
    iterations: int = 20
    episodes: int = 4
    """Exploring episodes per iteration."""
    steps: int = 192
    """Transitions per episode."""
    exploration: float = 0.1
    """Standard deviation of the action noise, as a fraction of half the action range."""
    replay: int = 1
    """Iterations whose experience is kept; on-policy methods keep one."""
    radius: float = 0.1
    """First trust radius: the largest change of a parameter in one step, as a fraction of its bound width."""
    radius_min: float = 1e-3
    """Below this the run stops: it has converged, or the gradient is noise."""
    damping: float = 1e-2
    """Added to the metric, relative to its mean diagonal."""
    regularisation: float = 0.0
    """Cost of moving every parameter by its bound width from the data fit is half of this."""
    backtracks: int = 2
    """Halvings of a step that the held-in periods reject."""
    gradient_points: int = 4
    """Observations of the gradient self-check at start."""
    seed: int = 0

    def validate(self) -> None:
        """Raises TrainingError naming the option and what it takes."""
        if self.method not in METHODS:
            raise TrainingError(f"method {self.method!r} is unknown; choose one of {', '.join(METHODS)}")
        if self.critic not in CRITICS:
            raise TrainingError(f"critic {self.critic!r} is unknown; choose one of {', '.join(CRITICS)}")
        for name in ("iterations", "episodes", "steps", "replay", "gradient_points"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.radius <= 1 or not 0 < self.exploration <= 1:
            raise TrainingError("radius and exploration are fractions: choose them in (0, 1]")


@dataclass(frozen=True)
class Progress:
    """What a live display shows after each iteration; times are not part of the result."""

    record: IterationRecord
    initial_cost: float
    ms_per_solve: float
    elapsed_s: float
    remaining_s: float


@dataclass(frozen=True)
class TuningResult:
    """theta (p) is the best found on the held-in periods; it equals theta_start when nothing was better."""

    names: tuple[str, ...]
    theta: Array
    theta_start: Array
    cost_start: float
    cost: float
    """Mean cost of theta on the held-in periods."""
    history: tuple[IterationRecord, ...]
    gradient_check: GradientReport | None
    spec: TrainingSpec

    @property
    def improved(self) -> bool:
        return self.cost < self.cost_start

    def theta_by_name(self) -> dict[str, float]:
        return {name: float(value) for name, value in zip(self.names, self.theta, strict=True)}

    def as_json(self) -> dict[str, object]:
        return {
            "theta": self.theta_by_name(),
            "theta_start": dict(zip(self.names, map(float, self.theta_start), strict=True)),
            "held_in_cost_start": self.cost_start,
            "held_in_cost": self.cost,
            "improved": self.improved,
            "spec": asdict(self.spec),
            "gradient_check": asdict(self.gradient_check) if self.gradient_check else None,
            "history": [record.as_json() for record in self.history],
        }


def bounds_of(system: TunableSystem) -> tuple[Array, Array]:
    return np.array([p.lower for p in system.parameters]), np.array([p.upper for p in system.parameters])


def self_check(system: TunableSystem, theta: Array, points: int, seed: int) -> GradientReport:
    """Finite-difference check at states that exploring episodes visit. Raises GradientCheckError."""
    rng = np.random.default_rng([seed, CHECK_SEED])
    observations, actions = [], []
    for _ in range(points):
        world = system.training_world(rng)
        for _ in range(int(rng.integers(1, 12))):
            world.step(rng.uniform(system.actions.lower, system.actions.upper))
        observations.append(world.observe())
        actions.append(rng.uniform(system.actions.lower, system.actions.upper))
    policy = MpcPolicy(system.controller(), system.actions, theta)
    names = [p.name for p in system.parameters]
    return check_gradients(policy, observations, actions, bounds_of(system), names)


def train(
    system: TunableSystem,
    spec: TrainingSpec,
    *,
    theta_start: Array | None = None,
    jobs: int = 1,
    checkpoint: Path | None = None,
    resume: bool = False,
    report: Callable[[Progress], None] | None = None,
    time_limit_s: float | None = None,
) -> TuningResult:
    """Tune theta of a system. `theta_start` (p) defaults to the system's own defaults, the data fit.

    `checkpoint` is written after every iteration; `resume` continues from it, bit for bit as if never interrupted.
    `time_limit_s` ends the run after the iteration that passes it, which makes the result depend on the machine.
    Raises TrainingError, CheckpointError, GradientCheckError, CriticError.
    """
    spec.validate()
    lower, upper = bounds_of(system)
    start = np.array([p.default for p in system.parameters]) if theta_start is None else np.array(theta_start, float)
    if np.any(start < lower) or np.any(start > upper):
        raise TrainingError("theta_start lies outside its bounds; fit or clip it first")
    method = METHODS[spec.method](exploration_std(_rollout_spec(spec, False), system.actions))
    names = tuple(p.name for p in system.parameters)
    clock = time.monotonic
    began = clock()
    if resume and checkpoint is not None:
        state, check = load_state(checkpoint, spec, names), None
    else:
        check = self_check(system, start, spec.gradient_points, spec.seed)
        costs = system.evaluate(start, jobs)
        state = TrainerState(0, start, start, costs, costs, costs, spec.radius, (), ())
    first = state.iteration
    while state.iteration < spec.iterations and state.radius >= spec.radius_min:
        state, solves, solve_time_s = _iterate(system, spec, method, state, (start, lower, upper), jobs)
        if checkpoint is not None:
            save_state(checkpoint, state, spec, names)
        elapsed = clock() - began
        if report is not None:
            done = state.iteration - first
            remaining = elapsed / done * (spec.iterations - state.iteration)
            ms = 1e3 * solve_time_s / max(solves, 1)
            report(Progress(state.history[-1], float(state.start_costs.mean()), ms, elapsed, remaining))
        if time_limit_s is not None and elapsed > time_limit_s:
            break
    return TuningResult(
        names, state.best_theta, start, float(state.start_costs.mean()), float(state.best_costs.mean()),
        state.history, check, spec,
    )  # fmt: skip


def _rollout_spec(spec: TrainingSpec, with_q: bool) -> RolloutSpec:
    return RolloutSpec(spec.episodes, spec.steps, spec.exploration, with_q)


def _gather(
    system: TunableSystem, spec: TrainingSpec, method: Method, state: TrainerState, jobs: int
) -> tuple[list[Gathered], list[Gathered]]:
    """(replayed, new) experience labelled by the current theta."""
    rollout_spec = _rollout_spec(spec, method.needs_q)
    kept: Sequence[Episode] = () if method.on_policy else state.replay
    calls = [delayed(relabel)(system, state.theta, rollout_spec, episode) for episode in kept]
    seeds = [(spec.seed, ROLLOUT_SEED, state.iteration, k) for k in range(spec.episodes)]
    calls += [delayed(rollout)(system, state.theta, rollout_spec, seed) for seed in seeds]
    results = list(Parallel(n_jobs=jobs)(calls))
    return results[: len(kept)], results[len(kept) :]


def _iterate(
    system: TunableSystem,
    spec: TrainingSpec,
    method: Method,
    state: TrainerState,
    box: tuple[Array, Array, Array],
    jobs: int,
) -> tuple[TrainerState, int, float]:
    """One iteration: (next state, solves, seconds inside the solver)."""
    start, lower, upper = box
    width = upper - lower
    old, new = _gather(system, spec, method, state, jobs)
    batch = stack([g.episode for g in old + new], with_q=method.needs_q)
    critic = CRITICS[spec.critic](spec.seed).fit(batch, system.discount, width)
    gamma = system.model_discount if method.needs_q else system.discount
    improvement = method.improve(batch, critic, gamma)
    direction = step_direction(improvement, width, (state.theta - start) / width, spec)

    theta, costs, radius, accepted = state.theta, state.costs, state.radius, False
    for _ in range(spec.backtracks + 1):
        candidate = np.clip(state.theta + radius * width * direction, lower, upper)
        candidate_costs = system.evaluate(candidate, jobs)
        if candidate_costs.mean() <= state.costs.mean():
            theta, costs, accepted = candidate, candidate_costs, True
            break
        radius /= 2
    radius = min(radius * 1.5, spec.radius) if accepted else radius
    better = costs.mean() < state.best_costs.mean()
    keep = 0 if method.on_policy else spec.episodes * (spec.replay - 1)
    everything = [g.episode for g in old + new]
    record = IterationRecord(
        iteration=state.iteration + 1,
        cost=float(costs.mean()),
        td_error=improvement.td_error,
        accepted=accepted,
        radius=radius,
        transitions=len(batch),
        masked=batch.masked,
        failures=sum(g.failures for g in old + new),
        solves=sum(g.solves for g in old + new),
        at_bounds=int(np.sum((theta <= lower) | (theta >= upper))),
        theta=tuple(map(float, theta)),
    )
    following = replace(
        state,
        iteration=state.iteration + 1,
        theta=theta,
        costs=costs,
        best_theta=theta if better else state.best_theta,
        best_costs=costs if better else state.best_costs,
        radius=radius,
        replay=tuple(everything[len(everything) - keep :]) if keep else (),
        history=(*state.history, record),
    )
    return following, record.solves, sum(g.solve_time_s for g in old + new)


def step_direction(improvement: Improvement, width: Array, displacement: Array, spec: TrainingSpec) -> Array:
    """-M^-1 g (p) in units of the bound widths, scaled to a largest entry of 1; zero for a zero gradient.

    `displacement` (p) is (theta - data fit) / width.
    """
    gradient = improvement.gradient * width + spec.regularisation * displacement
    metric = improvement.metric * np.outer(width, width)
    size = float(np.trace(metric)) / len(metric)
    if size == 0.0:
        metric, size = np.eye(len(metric)), 1.0
    # The penalty has curvature of its own; a parameter without influence must not turn its slope into a huge step.
    metric = metric + (spec.damping * size + spec.regularisation) * np.eye(len(metric))
    direction = -np.linalg.solve(metric, gradient)
    largest = float(np.max(np.abs(direction)))
    return direction / largest if largest > 0 else direction
