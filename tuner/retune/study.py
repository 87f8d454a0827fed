"""What a log says of the next theta: does the model hold, what is learned, do log and simulation agree that it pays.

The earlier part of the log teaches, the later one judges, off-policy; held-out weeks of simulation judge as well. A
theta is worth sending only where the model holds and both intervals lie above 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.design import HouseDesign
from systems.grid import HOUR_S
from systems.logs.log import Array
from systems.world import Exogenous
from tuner.evaluate.comparison import RULE, TUNED, Contender, Evaluation, evaluate_house
from tuner.evaluate.health import HealthFinding, health_of
from tuner.evaluate.health import document as findings_document
from tuner.evaluate.off_policy import Behaviour, OffPolicy, joined, off_policy_saving, other_moves
from tuner.evaluate.statistics import LEVEL, Interval
from tuner.learn.tuning import Tuning, TuningProgress, TuningSpec, tune
from tuner.loop.explore import CompiledLabeller, learning_entries, trace_of
from tuner.loop.label import Noise
from tuner.loop.policies import loaded
from tuner.loop.recorded import LEAST_SHARE, LOG_SUPPORT, RecordedWorld, check_states_stay, recorded_world, told_of_log
from tuner.loop.replay import Replay
from tuner.loop.workers import Workers

FIELD = "in the field"
TEACHES = 0.65
"""Share of the log's decisions; the rest judges."""


@dataclass(frozen=True)
class StudyWishes:
    """How much work, and on what."""

    learn: tuple[str, ...]
    iterations: int = 4
    seed: int = 0
    since_s: float = 0.0
    """Unix time from which on the theta in the field decided."""


@dataclass(frozen=True)
class Promise:
    """What the new theta is held to, in money a week against the rules: bill and what is left in store."""

    mean: float
    low: float
    """A single week is above it 39 times of 40, by the simulation."""
    weeks: int


@dataclass(frozen=True, eq=False)
class Study:
    """All that the verdict rests on."""

    findings: tuple[HealthFinding, ...]
    told: tuple[str, ...]
    """How much the log holds."""
    tuning: Tuning | None
    """None where the model does not hold, or the log cannot teach."""
    off_policy: OffPolicy | None
    """Saving a week against the theta in the field, by the later part of the log."""
    simulated: Evaluation | None
    promise: Promise | None
    refused: str
    """Why the new theta is not sent; empty where it is."""

    @property
    def better(self) -> bool:
        return not self.refused

    @property
    def simulated_saving(self) -> Interval | None:
        return None if self.simulated is None else self.simulated.saving(TUNED, FIELD)

    def theta(self) -> dict[str, float]:
        """The new one, by name. Only where there is one."""
        assert self.tuning is not None
        return {p.name: float(v) for p, v in zip(self.tuning.parameters, self.tuning.theta, strict=True)}

    def document(self) -> dict[str, Any]:
        """For machines."""
        return {
            "findings": findings_document(self.findings),
            "log": list(self.told),
            "changes": []
            if self.tuning is None
            else [
                {"name": p.name, "description": p.description, "unit": p.unit, "before": a, "after": b}
                for p, a, b in self.tuning.changes()
            ],
            "off_policy_saving_per_week": None if self.off_policy is None else _ends(self.off_policy.interval),
            "off_policy_decisions": None
            if self.off_policy is None
            else {"judging": self.off_policy.count, "effective": self.off_policy.effective},
            "simulated_saving_per_week": _ends(self.simulated_saving),
            "simulated_totals": {}
            if self.simulated is None
            else {name: float(self.simulated.totals(name).mean()) for name in (RULE, FIELD, TUNED)},
            "promise": None if self.promise is None else vars(self.promise),
            "better": self.better,
            "refused": self.refused,
        }


def study(
    log: Path,
    replay: Replay,
    design: HouseDesign,
    field: Mapping[str, float],
    wishes: StudyWishes,
    judges: Callable[[], tuple[Exogenous, Sequence[int]]],
    workers: Workers,
    *,
    report: Callable[[TuningProgress], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Study:
    """replay: of the log. field: the theta that decided in it. judges: a world of simulation and the first steps of its
    weeks, made where it comes to that.

    Raises LogError for a log that does not fit, or cannot teach.
    """
    say("does the model hold")
    findings = tuple(health_of(replay, design))
    ill = [finding.about for finding in findings if not finding.holds]
    parameters = design.problem.theta
    start = np.array([field[p.name] for p in parameters])
    if ill:
        word = "again" if design.fits else "from its log, so far its model is that of the nameplate"
        refused = f"the model does not hold ({'; '.join(ill)}): identify the house {word}"
        return Study(findings, (), None, None, None, None, refused)
    library = build_solver(design.problem, host_arch()).library
    learning = learning_entries(parameters, wishes.learn)
    check_states_stay(design, learning[0])
    world = recorded_world(log, design, library, start, since_s=wishes.since_s)
    told = tuple(told_of_log(world, design.problem))
    earlier, later = world.divided(TEACHES)
    labeller = CompiledLabeller(design, library, workers)
    spec = TuningSpec(learn=wishes.learn, iterations=wishes.iterations, seed=wishes.seed, trace=trace_of(design.house))
    spec = replace(spec, step=replace(spec.step, support=LOG_SUPPORT))
    say("what the log teaches")
    tuning = tune(earlier, labeller, parameters, learning, start, spec, report=report)
    if not tuning.improved:
        return Study(findings, told, tuning, None, None, None, "the log bears out no change: the theta stays")
    say("what the later part of the log says of it")
    off_policy = judged_by_log(later, labeller, tuning, learning)
    say("what simulation says of it")
    policies = (
        Contender(RULE, None),
        Contender(FIELD, tuple(start.tolist())),
        Contender(TUNED, tuple(tuning.theta.tolist())),
    )
    world_of_judges, weeks = judges()
    simulated = evaluate_house(design, world_of_judges, weeks, policies, seed=wishes.seed + 1, workers=workers)
    promise = promise_of(simulated)
    found = Study(findings, told, tuning, off_policy, simulated, promise, "")
    return replace(found, refused=_refused(off_policy, found.simulated_saving))


def judged_by_log(
    later: RecordedWorld, labeller: CompiledLabeller, tuning: Tuning, learning: tuple[NDArray[np.int64], Array]
) -> OffPolicy:
    """What the new theta saves a week, by a part of the log that did not teach."""
    design, (entries, scale) = labeller.design, learning
    if not later.stretches:
        return OffPolicy(None, 0.0, 0, "no decisions are left to judge by")
    controller, noise = loaded(design, labeller.library), Noise.of(design.problem)
    least = LEAST_SHARE * (noise.upper - noise.lower)
    behaviour = Behaviour(np.maximum(later.exploration, least), noise.lower, noise.upper)
    parts, thetas = [], (tuning.start, tuning.theta)
    for stretch in later.stretches:
        labelled = labeller.label([stretch], tuning.start, entries, scale, with_advantage=False)
        seen = stretch.states[:-1], stretch.forecasts[:-1]
        parts.append(other_moves(controller, thetas, *seen, labelled, noise.std, behaviour))
    a_week = 7 * 24 * HOUR_S / design.house.grid.hold_s
    return off_policy_saving(joined(parts), gamma=labeller.gamma, per=a_week)


def promise_of(simulated: Evaluation) -> Promise:
    """From the simulated weeks: what a week saves against the rules, and the low end of what a single one may."""
    bills = {name: np.array([r.bill for r in simulated.results[name]]) for name in (RULE, TUNED)}
    saved = bills[RULE] - bills[TUNED]
    n = len(saved)
    spread = float(saved.std(ddof=1)) if n > 1 else float("inf")
    half = float(stdtrit(max(n - 1, 1), (1 + LEVEL) / 2)) * spread * np.sqrt(1 + 1 / n)
    return Promise(float(saved.mean()), float(saved.mean() - half), n)


def _refused(off_policy: OffPolicy, simulated: Interval | None) -> str:
    """Why not; empty where both say that it pays."""
    if off_policy.interval is None:
        return f"the later part of the log cannot judge ({off_policy.why}): the theta stays"
    if off_policy.interval.low <= 0.0:
        return "the later part of the log does not show that the new theta pays: the theta stays"
    if simulated is None or simulated.low <= 0.0:
        return "simulation does not show that the new theta pays: the theta stays"
    return ""


def _ends(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else {"mean": interval.mean, "low": interval.low, "high": interval.high}
