"""Tunes theta: explore or try in pairs, improve, try on held-in weeks, keep the best.

One iteration: the world explores under theta; that and what earlier iterations saw is labelled by the present theta
(off-policy; spg sees its own alone), or theta is tried in pairs; the method proposes a change in units of each
parameter's scale; a share of it is tried on held-in weeks, halved while it makes them worse, and dropped after that.
Recorded logs cannot try anything: there only directions count that no part of the log decides alone.
All randomness derives from (seed, iteration, episode), so a resumed run is the one that was not interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systems.problem import Parameter
from tuner.checkpoint_file import UNREADABLE, read_checkpoint, write_checkpoint
from tuner.critics import CRITICS
from tuner.errors import CheckpointError, TrainingError
from tuner.learn.critic import StepOptions
from tuner.learn.improve import METHODS, Credit
from tuner.learn.paired import worse
from tuner.learn.proposals import Fate, FromExperience, FromPairs, Labeller, Proposer
from tuner.learn.world import Tried, World

Array = NDArray[np.float64]
FORMAT = 4
PAIRED = "paired"
"""The method beside those of `tuner.learn.improve` that needs neither exploration nor a value function."""


@dataclass(frozen=True)
class TuningSpec:
    """Everything that decides the outcome, given the world and the start."""

    method: str = "dpg"
    critic: str = "lstdq"
    """lstdq or two-layer, of a method that has one."""
    learn: tuple[str, ...] = ("bias", "set_point", "cost", "terminal")
    """Groups of theta, or names of parameters."""
    iterations: int = 10
    replay: int = 3
    """Iterations whose experience teaches; on-policy methods keep one."""
    trace: float = 0.5
    """lambda of the critic; below it inherits the model's own error about what heat is worth later."""
    rate: float = 0.5
    """Share of the proposed change that is tried first."""
    limit: float = 1.0
    """Largest change of a parameter per iteration, in its scale."""
    backtracks: int = 2
    tolerance: float = 0.0
    """A change is dropped when it raises the held-in cost by more than so many standard errors (paired)."""
    certainty: float = 1.0
    """Standard errors that a direction of the change must exceed to be followed."""
    step: StepOptions = field(default_factory=StepOptions)
    seed: int = 0

    def validate(self) -> None:
        """Raises TrainingError naming the option and what it takes."""
        if self.method not in (PAIRED, *METHODS):
            raise TrainingError(f"method {self.method!r} is unknown; choose one of {PAIRED}, {', '.join(METHODS)}")
        if self.critic not in CRITICS:
            raise TrainingError(f"critic {self.critic!r} is unknown; choose one of {', '.join(CRITICS)}")
        if self.critic != "lstdq" and not (self.method in METHODS and METHODS[self.method].has_critic):
            raise TrainingError(f"method {self.method} has no critic to choose; leave --critic out, or choose dpg")
        for name in ("iterations", "replay"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0.0 < self.rate <= 1.0:
            raise TrainingError(f"rate is {self.rate}; it is a share, choose it in (0, 1]")


@dataclass(frozen=True)
class Iteration:
    """One line of the learning history; nothing in it depends on the machine's speed."""

    iteration: int
    price: float | None
    """EUR per held-in week after the step; None where nothing can be tried."""
    comfort: float | None
    td_error: float | None
    """None of a method without a value function."""
    accepted: bool
    share: float
    """Of the proposed change; 0 where none was asked for."""
    transitions: int
    """Of a tuning by tries in pairs, stretches that were simulated."""
    solves: int
    failures: int
    at_bounds: int

    @property
    def total(self) -> float | None:
        return None if self.price is None or self.comfort is None else self.price + self.comfort


@dataclass(frozen=True)
class TuningProgress:
    """Told after each iteration; the times are not part of the result."""

    record: Iteration
    start_total: float | None
    ms_per_solve: float
    remaining_s: float


@dataclass(frozen=True, eq=False)
class Course:
    """Where learning stands: thetas (k + 1, ntheta) from the start on, what they cost, and the record of each step."""

    thetas: Array
    tried: tuple[Tried | None, ...]
    history: tuple[Iteration, ...]

    @property
    def iteration(self) -> int:
        return len(self.history)

    @property
    def best(self) -> int:
        """Row of the theta that held-in weeks liked best; the last one where nothing was tried."""
        totals = [None if t is None else float(t.total.mean()) for t in self.tried]
        known = [total for total in totals if total is not None]
        return totals.index(min(known)) if known else len(totals) - 1


@dataclass(frozen=True, eq=False)
class Tuning:
    """What learning made of the start."""

    parameters: tuple[Parameter, ...]
    course: Course
    spec: TuningSpec

    @property
    def theta(self) -> Array:
        return np.asarray(self.course.thetas[self.course.best])

    @property
    def start(self) -> Array:
        return np.asarray(self.course.thetas[0])

    @property
    def improved(self) -> bool:
        return bool(np.any(self.theta != self.start))

    def changes(self) -> list[tuple[Parameter, float, float]]:
        """(parameter, before, after) of all that moved."""
        rows = zip(self.parameters, self.start.tolist(), self.theta.tolist(), strict=True)
        return [(p, before, after) for p, before, after in rows if before != after]

    def as_json(self) -> dict[str, Any]:
        names = [p.name for p in self.parameters]
        return {
            "theta": dict(zip(names, self.theta.tolist(), strict=True)),
            "theta_start": dict(zip(names, self.start.tolist(), strict=True)),
            "improved": self.improved,
            "spec": asdict(self.spec),
            "history": [asdict(r) | {"total": r.total} for r in self.course.history],
        }


def tune(
    world: World,
    labeller: Labeller,
    parameters: Sequence[Parameter],
    learning: tuple[NDArray[np.int64], Array],
    start: Array,
    spec: TuningSpec,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    report: Callable[[TuningProgress], None] | None = None,
    time_limit_s: float | None = None,
) -> Tuning:
    """Learn from `start` (ntheta,), ordered as `parameters`; `learning`: which entries (p,), and their scales (p,).

    `checkpoint` is written after every iteration; `resume` continues from it. `time_limit_s` ends the run after the
    iteration that passes it, which makes the result depend on the machine. Raises TrainingError, CheckpointError,
    and what the world and the labeller raise.
    """
    spec.validate()
    if world.recorded and spec.method in METHODS and METHODS[spec.method].on_policy:
        raise TrainingError(
            f"method {spec.method} learns from its own decisions alone and cannot use a log; choose dpg or q"
        )
    bounds = np.array([p.lower for p in parameters]), np.array([p.upper for p in parameters])
    if np.any(start < bounds[0]) or np.any(start > bounds[1]):
        raise TrainingError("the start lies outside its bounds; clip it first")
    if resume and checkpoint is None:
        raise TrainingError("there is nothing to resume from: name the checkpoint")
    course = load_course(checkpoint, spec, start) if resume and checkpoint is not None else None
    if course is None:
        course = Course(start[None], (world.try_out(start),), ())
    proposer = _proposer(world, labeller, parameters, learning, bounds, spec)
    learner = _Learner(proposer, spec, *learning, bounds)
    began, first = time.monotonic(), course.iteration
    while course.iteration < spec.iterations:
        course, solving_s = learner.iterate(world, course)
        if checkpoint is not None:
            save_course(checkpoint, course, spec)
        elapsed, record = time.monotonic() - began, course.history[-1]
        if report is not None:
            left = elapsed / (course.iteration - first) * (spec.iterations - course.iteration)
            begin = course.tried[0]
            total = None if begin is None else float(begin.total.mean())
            report(TuningProgress(record, total, 1e3 * solving_s / max(record.solves, 1), left))
        settled = world.recorded and not record.accepted
        if settled or (time_limit_s is not None and elapsed > time_limit_s):
            break
    return Tuning(tuple(parameters), course, spec)


def _proposer(
    world: World,
    labeller: Labeller,
    parameters: Sequence[Parameter],
    learning: tuple[NDArray[np.int64], Array],
    bounds: tuple[Array, Array],
    spec: TuningSpec,
) -> Proposer:
    if spec.method == PAIRED:
        return FromPairs(parameters, *learning, bounds, spec.seed)
    method = METHODS[spec.method]
    credit = Credit(labeller.gamma, spec.trace, labeller.exploration, spec.step, spec.critic, spec.seed)
    memory = 1 if world.recorded else replay_of(spec)
    return FromExperience(labeller, method, *learning, credit, spec.certainty, memory)


def replay_of(spec: TuningSpec) -> int:
    """Iterations whose experience teaches."""
    return 1 if spec.method in METHODS and METHODS[spec.method].on_policy else spec.replay


@dataclass(frozen=True, eq=False)
class _Learner:
    """One tuning's constants."""

    proposer: Proposer
    spec: TuningSpec
    entries: NDArray[np.int64]
    scale: Array
    bounds: tuple[Array, Array]

    def iterate(self, world: World, course: Course) -> tuple[Course, float]:
        """(the course with one more iteration, seconds spent in solves and their derivatives)."""
        spec, theta = self.spec, course.thetas[-1]
        fates = [Fate(asked=r.share > 0.0, taken=r.accepted) for r in course.history]
        proposal = self.proposer.propose(world, course.thetas, fates)
        rate, limit = (1.0, np.inf) if spec.method == PAIRED else (spec.rate, spec.limit)
        before, after, accepted, share = course.tried[-1], course.tried[-1], False, rate
        following = self._moved(theta, share * proposal.change, limit)
        if np.array_equal(following, theta):
            share = 0.0
        elif before is None:
            accepted = True
        else:
            for backtrack in range(spec.backtracks + 1):
                share = rate / 2**backtrack
                following = self._moved(theta, share * proposal.change, limit)
                tried = world.try_out(following)
                if tried is not None and not worse(tried.total, before.total, spec.tolerance):
                    after, accepted = tried, True
                    break
        following = following if accepted else theta
        learned = following[self.entries]
        at_bounds = (learned <= self.bounds[0][self.entries]) | (learned >= self.bounds[1][self.entries])
        record = Iteration(
            iteration=course.iteration + 1,
            price=None if after is None else float(after.price.mean()),
            comfort=None if after is None else float(after.comfort.mean()),
            td_error=proposal.td_error,
            accepted=accepted,
            share=share,
            transitions=proposal.transitions,
            solves=proposal.solves,
            failures=proposal.failures,
            at_bounds=int(at_bounds.sum()),
        )
        thetas = np.vstack([course.thetas, following])
        return Course(thetas, (*course.tried, after), (*course.history, record)), proposal.solving_s

    def _moved(self, theta: Array, change: Array, limit: float) -> Array:
        """theta after a change (p,) in units of scale, shortened to the limit as a whole, within the bounds."""
        limited = change * min(1.0, limit / max(float(np.abs(change).max()), 1e-12))
        moved = theta.copy()
        moved[self.entries] += self.scale * limited
        return np.clip(moved, *self.bounds)


def _identity(spec: TuningSpec) -> dict[str, Any]:
    """What must agree between a checkpoint and the run that continues it. More iterations may be asked for."""
    chosen = asdict(spec)
    chosen.pop("iterations")
    return {"format": FORMAT, "spec": chosen | {"learn": list(spec.learn)}}


def save_course(path: Path, course: Course, spec: TuningSpec) -> None:
    """Whole or not at all."""
    arrays = {"thetas": course.thetas}
    for k, tried in enumerate(course.tried):
        if tried is not None:
            arrays |= {f"price{k}": tried.price, f"comfort{k}": tried.comfort}
    write_checkpoint(path, _identity(spec) | {"history": [asdict(r) for r in course.history]}, arrays)


def load_course(path: Path, spec: TuningSpec, start: Array) -> Course:
    """Raises CheckpointError when the file is missing, damaged, or of another run."""
    try:
        head, arrays = read_checkpoint(path)
        history = tuple(Iteration(**r) for r in head["history"])
        thetas = arrays["thetas"]
        tried = tuple(
            Tried(arrays[f"price{k}"], arrays[f"comfort{k}"]) if f"price{k}" in arrays else None
            for k in range(len(thetas))
        )
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint at {path}; start without --resume") from error
    except (*UNREADABLE, TypeError) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint ({error}); delete it and start again") from error
    own = _identity(spec)
    if {key: head.get(key) for key in own} != own or not np.array_equal(thetas[0], start):
        raise CheckpointError(f"{path} belongs to another run; use the same options and data, or another file")
    return Course(thetas, tried, history)
