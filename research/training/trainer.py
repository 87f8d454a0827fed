"""The training loop all methods share: roll out, replay, fit the critic, improve, step, evaluate, checkpoint.

One iteration, with x = theta in units of each parameter's bound width:

    g = method's gradient + regularisation * (x - x_data_fitted)        (eq. 30: support of the data fit)
    x <- project(x - radius * mean(g) / rms(g)),    radius and exploration shrink by `decay` per iteration

A step that makes the held-in periods worse (paired, by `tolerance` standard errors) is halved a few times, then
dropped. The result is the best theta that the held-in periods have seen. Every random number derives from (seed,
iteration, episode), so the result does not depend on the number of processes.
Source of eq. 30: "All AI Models are Wrong, but Some are Optimal".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from research.training.critics import CRITICS
from research.training.episodes import (
    Episode,
    Gathered,
    RolloutSpec,
    TunableSystem,
    exploration_std,
    relabel,
    rollout,
    stack,
)
from research.training.methods import METHODS
from research.training.methods.face import BatchMethod
from research.training.policy import Array, MpcPolicy
from research.training.policy_check import GradientReport, check_gradients
from research.training.trainer_state import IterationRecord, Moments, TrainerState, load_state, save_state
from tuner.errors import TrainingError
from tuner.learn.paired import worse

CHECK_SEED, ROLLOUT_SEED = 1, 2
MEAN_MEMORY, SQUARE_MEMORY = 0.7, 0.7
"""Of the running means of the gradient and of its square."""
EXPLORATION_FLOOR = 0.2
"""Exploration shrinks to this fraction of its first value and no further: the critic needs some."""


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
    """First standard deviation of the action noise, as a fraction of half the action range."""
    replay: int = 1
    """Iterations whose experience is kept; on-policy methods keep one."""
    radius: float = 0.05
    """First trust radius: the largest change of a parameter in one step, as a fraction of its bound width."""
    decay: float = 0.95
    """Of radius and exploration, per iteration."""
    regularisation: float = 0.0
    """Cost of moving every parameter by its bound width from the data fit is half of this."""
    backtracks: int = 2
    """Halvings of a step that the held-in periods reject, before it is dropped; 0 takes every step, unjudged."""
    tolerance: float = 2.0
    """A step is rejected when it raises the held-in cost by more than so many standard errors (paired)."""
    gradient_points: int = 4
    """Observations of the gradient self-check at start."""
    learn: tuple[str, ...] = ()
    """Names of the parameters that may move; empty for all. What does not matter only adds a random walk."""
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
        for name in ("radius", "exploration", "decay"):
            if not 0 < getattr(self, name) <= 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; it is a fraction, choose it in (0, 1]")

    def exploration_at(self, iteration: int) -> float:
        return self.exploration * max(self.decay**iteration, EXPLORATION_FLOOR)

    def radius_at(self, iteration: int) -> float:
        return self.radius * self.decay**iteration


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
    names = tuple(p.name for p in system.parameters)
    unknown = sorted(set(spec.learn) - set(names))
    if unknown:
        raise TrainingError(f"{system.name} has no parameter {unknown[0]!r} to learn; it has {', '.join(names)}")
    if resume and checkpoint is None:
        raise TrainingError("there is nothing to resume from: name the checkpoint")
    clock = time.monotonic
    began = clock()
    if resume and checkpoint is not None:
        state, check = load_state(checkpoint, spec, names), None
    else:
        check = self_check(system, start, spec.gradient_points, spec.seed)
        costs = system.evaluate(start, jobs)
        zero = np.zeros_like(start)
        state = TrainerState(0, start, start, costs, costs, costs, Moments(zero, zero, 0), (), ())
    first = state.iteration
    while state.iteration < spec.iterations:
        state, solves, solve_time_s = _iterate(system, spec, state, (start, lower, upper), jobs)
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


def _gather(
    system: TunableSystem, spec: RolloutSpec, kept: Sequence[Episode], theta: Array, key: tuple[int, ...], jobs: int
) -> list[Gathered]:
    """Kept episodes relabelled by theta, then new ones seeded by `key` and their number."""
    calls = [delayed(relabel)(system, theta, spec, episode) for episode in kept]
    calls += [delayed(rollout)(system, theta, spec, (*key, k)) for k in range(spec.episodes)]
    return list(Parallel(n_jobs=jobs)(calls))


def _iterate(
    system: TunableSystem, spec: TrainingSpec, state: TrainerState, box: tuple[Array, Array, Array], jobs: int
) -> tuple[TrainerState, int, float]:
    """One iteration: (next state, solves, seconds inside the solver)."""
    start, lower, upper = box
    width = upper - lower
    needs_q = METHODS[spec.method](np.ones(1)).needs_q
    rollout_spec = RolloutSpec(spec.episodes, spec.steps, spec.exploration_at(state.iteration), needs_q)
    method: BatchMethod = METHODS[spec.method](exploration_std(rollout_spec, system.actions))
    kept: Sequence[Episode] = () if method.on_policy else state.replay
    gathered = _gather(system, rollout_spec, kept, state.theta, (spec.seed, ROLLOUT_SEED, state.iteration), jobs)
    batch = stack([g.episode for g in gathered], with_q=needs_q)
    critic = CRITICS[spec.critic](spec.seed).fit(batch, system.discount, width)
    improvement = method.improve(batch, critic, system.model_discount if needs_q else system.discount)
    gradient = improvement.gradient * width + spec.regularisation * (state.theta - start) / width
    if spec.learn:
        gradient = np.where([p.name in spec.learn for p in system.parameters], gradient, 0.0)
    direction, moments = step_direction(gradient, state.moments)

    theta, costs, accepted = state.theta, state.costs, False
    for backtrack in range(spec.backtracks + 1):
        radius = spec.radius_at(state.iteration) / 2**backtrack
        candidate = np.clip(state.theta + radius * width * direction, lower, upper)
        candidate_costs = system.evaluate(candidate, jobs)
        if spec.backtracks == 0 or not worse(candidate_costs, state.costs, spec.tolerance):
            theta, costs, accepted = candidate, candidate_costs, True
            break
    better = costs.mean() < state.best_costs.mean()
    keep = 0 if method.on_policy else spec.episodes * (spec.replay - 1)
    everything = [g.episode for g in gathered]
    record = IterationRecord(
        iteration=state.iteration + 1,
        cost=float(costs.mean()),
        td_error=improvement.td_error,
        accepted=accepted,
        radius=radius,
        transitions=len(batch),
        masked=batch.masked,
        failures=sum(g.failures for g in gathered),
        solves=sum(g.solves for g in gathered),
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
        moments=moments,
        replay=tuple(everything[len(everything) - keep :]) if keep else (),
        history=(*state.history, record),
    )
    return following, record.solves, sum(g.solve_time_s for g in gathered)


def step_direction(gradient: Array, moments: Moments) -> tuple[Array, Moments]:
    """-mean(g) / rms(g) per parameter (p,), each entry within [-1, 1]; zero where the gradient has always been zero.

    The mean is short, so that the first, huge gradients are soon forgotten; a parameter whose gradient keeps its sign
    moves by the whole radius, one whose gradient is noise hardly at all.
    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization".
    """
    count = moments.count + 1
    mean = MEAN_MEMORY * moments.mean + (1 - MEAN_MEMORY) * gradient
    square = SQUARE_MEMORY * moments.square + (1 - SQUARE_MEMORY) * gradient**2
    rms = np.sqrt(square / (1 - SQUARE_MEMORY**count))
    direction = -np.divide(mean / (1 - MEAN_MEMORY**count), rms, out=np.zeros_like(rms), where=rms > 0)
    return np.clip(direction, -1.0, 1.0), Moments(mean, square, count)
