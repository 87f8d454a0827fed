"""One seed of the comparison in a described house: data once, a theta by every way, all on the same held-out days."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from research.value_aware.fits import Worth, by_implicit_gradient, by_likelihood, by_value, policy_weights, worth_of
from research.value_aware.prediction import Prediction
from research.value_aware.record import ProgramRecord, record
from research.value_aware.scenarios import ScenarioMpc
from systems.design import HouseDesign
from systems.logs.log import Array
from systems.plant import HousePlant
from systems.tariff import Tariff
from systems.world import Exogenous
from tuner.errors import TrainingError
from tuner.evaluate.comparison import PERFECT, design_of
from tuner.learn.proposals import least_transitions
from tuner.learn.transitions import Labelled
from tuner.learn.tuning import TuningSpec, tune
from tuner.loop.explore import DAY_S, LEARN, CompiledLabeller, Stretch, learning_entries
from tuner.loop.policies import Mpc
from tuner.loop.week import LoopPolicy, run_stretch
from tuner.loop.workers import LocalWorkers
from tuner.loop.worlds import generated_worlds

NAMEPLATE, LIKELIHOOD, BAYES = "nameplate", "likelihood", "Bayesian"
WEIGHTED, VALUE, IMPLICIT = "policy-weighted likelihood", "value-aware loss", "implicit model gradient"
DECISION, DECISION_WHOLE = "decision-oriented, as far as sure", "decision-oriented, whole step"
DECISION_MORE = "decision-oriented, weights too, as far as sure"
CAUTIOUS = TuningSpec().certainty
MORE = (*LEARN, "backoff")
"""Learned besides the model."""


def scenario_name(count: int) -> str:
    return f"scenario MPC, {count}"


@dataclass(frozen=True)
class SeedPlan:
    """What one seed does."""

    house: str
    """Text of a house file"""
    library: Path
    seed: int
    days: float
    """Of data"""
    judged_days: float
    scenarios: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Outcome:
    """Costs of the held-out days by name, and what was done to get there."""

    totals: Mapping[str, float]
    """Bill, discomfort and wear, in the currency of the house"""
    thetas: Mapping[str, Mapping[str, float]]
    """By name, those entries that any way has moved"""
    prediction_errors: Mapping[str, float]
    """Root mean square at the meter over the data, kW"""
    transitions: int
    failures: int
    without_q: int
    """Decisions of the record whose Q the solver did not end to its tolerance"""


@dataclass(frozen=True, eq=False)
class OneRecord:
    """The one record, whatever theta: what the learner may learn from here."""

    stretch: Stretch
    name: str = "a record"
    recorded: bool = True

    def explore(self, theta: Array, iteration: int) -> Sequence[Stretch]:
        return [self.stretch]

    def try_out(self, theta: Array) -> None:
        return None


def study(plan: SeedPlan) -> Outcome:
    design = design_of(plan.house, ())
    worlds = generated_worlds(design.house, seed=plan.seed, prices="nordic", tariff=Tariff())
    start = np.array(design.problem.theta_default())
    seen = record(design, plan.library, worlds.learning, start, worlds.learning_weeks, plan.days, plan.seed)
    prediction = Prediction.of(design)
    worth = worth_of(design, plan.library, prediction, seen, start)
    thetas = {NAMEPLATE: start, **fitted(design, plan.library, prediction, seen, start, worth)}
    week = int(np.random.default_rng(plan.seed).choice(np.asarray(worlds.held_out_weeks)))

    def judge(policy: LoopPolicy) -> tuple[float, int]:
        return judged(design, worlds.held_out, policy, week, plan.judged_days, plan.seed)

    # Ways that change nothing have one theta: it is judged once.
    same = {theta.tobytes(): theta for theta in thetas.values()}
    once = {key: judge(Mpc(design, plan.library, theta)) for key, theta in same.items()}
    failures = sum(failed for _, failed in once.values())
    totals = {name: once[theta.tobytes()][0] for name, theta in thetas.items()}
    for count in plan.scenarios:
        rng = np.random.default_rng((plan.seed, count))
        totals[scenario_name(count)], failed = judge(ScenarioMpc(design, plan.library, thetas[BAYES], seen, count, rng))
        failures += failed
    totals[PERFECT], failed = judge(Mpc(design, plan.library, thetas[BAYES], forecast_error=0.0))
    moved, errors = changes(design, thetas), meter_errors(design, seen, thetas)
    return Outcome(totals, moved, errors, len(seen), failures + failed, int(np.isnan(worth.q).sum()))


def fitted(
    design: HouseDesign, library: Path, prediction: Prediction, seen: ProgramRecord, start: Array, worth: Worth
) -> dict[str, Array]:
    """Thetas by name; each way sees the same record and starts at the same theta."""
    labeller = Once(CompiledLabeller(design, library, LocalWorkers()))
    gamma = labeller.gamma
    likelihood = by_likelihood(prediction, seen, start).theta
    weights = policy_weights(design, library, seen, likelihood)
    model = tuple(prediction.names)
    return {
        LIKELIHOOD: likelihood,
        BAYES: by_likelihood(prediction, seen, start, prior=True).theta,
        WEIGHTED: by_likelihood(prediction, seen, start, weights=weights).theta,
        VALUE: by_value(prediction, seen, start, worth, gamma, prices(design, seen)).theta,
        IMPLICIT: by_implicit_gradient(prediction, seen, start, worth, gamma).theta,
        DECISION: learned(labeller, seen, start, model, CAUTIOUS),
        DECISION_WHOLE: learned(labeller, seen, start, model, 0.0),
        DECISION_MORE: learned(labeller, seen, start, (*model, *MORE), CAUTIOUS),
    }


def prices(design: HouseDesign, seen: ProgramRecord) -> tuple[Array, Array]:
    """(n,) each: of a kWh bought and of one sold; a house that sells none pays the same."""
    columns = [f.name for f in design.problem.forecasts]
    buy = seen.forecasts[:-1, 0, columns.index("buy")]
    return buy, seen.forecasts[:-1, 0, columns.index("sell")] if "sell" in columns else buy


@dataclass(frozen=True, eq=False)
class Once:
    """What the one record is to the one start is asked once, however many steps are taken from it."""

    labeller: CompiledLabeller
    said: dict[bytes, Labelled] = field(default_factory=dict)
    exploration: float = 1.0

    @property
    def gamma(self) -> float:
        return self.labeller.gamma

    def label(
        self,
        experience: Sequence[Stretch],
        theta: Array,
        entries: NDArray[np.int64],
        scale: Array,
        *,
        with_advantage: bool,
    ) -> Labelled:
        key = theta.tobytes() + entries.tobytes()
        if key not in self.said:
            self.said[key] = self.labeller.label(experience, theta, entries, scale, with_advantage=with_advantage)
        return self.said[key]


def check_days(design: HouseDesign, days: float) -> None:
    """Raises TrainingError, before the work, where the record will not hold enough decisions to learn from."""
    names = (*Prediction.of(design).names, *MORE)
    entries, _ = learning_entries(design.problem.theta, names)
    per_day = DAY_S / design.house.grid.hold_s
    decisions, needed = round(days * per_day) - 1, least_transitions(len(entries))
    if decisions < needed:
        raise TrainingError(
            f"{days:g} days hold {decisions} decisions, too few for {len(entries)} parameters: bring "
            f"{math.ceil((needed + 1) / per_day)} days"
        )


def learned(labeller: Once, seen: ProgramRecord, start: Array, names: tuple[str, ...], certainty: float) -> Array:
    """One step of the deterministic policy gradient; `certainty` in standard errors that a direction must exceed."""
    parameters = labeller.labeller.design.problem.theta
    spec = TuningSpec(method="dpg", learn=names, iterations=1, rate=1.0, certainty=certainty)
    tuning = tune(OneRecord(seen.stretch), labeller, parameters, learning_entries(parameters, names), start, spec)
    return np.asarray(tuning.course.thetas[-1])


def judged(
    design: HouseDesign, world: Exogenous, policy: LoopPolicy, first: int, days: float, seed: int
) -> tuple[float, int]:
    """(cost of the counted days, failed solves): the same weather, people and forecasts whatever policy."""
    stages = round(days * DAY_S / design.house.grid.hold_s)
    plant = HousePlant(design.house, world)
    result = run_stretch(design, plant, policy, first=first, stages=stages, seed=seed + 500_000)
    return result.total, result.failures


def changes(design: HouseDesign, thetas: Mapping[str, Array]) -> dict[str, dict[str, float]]:
    names = [p.name for p in design.problem.theta]
    moved = np.any([theta != thetas[NAMEPLATE] for theta in thetas.values()], axis=0)
    return {
        way: {name: float(v) for name, v, changed in zip(names, theta, moved, strict=True) if changed}
        for way, theta in thetas.items()
    }


def meter_errors(design: HouseDesign, seen: ProgramRecord, thetas: Mapping[str, Array]) -> dict[str, float]:
    prediction = Prediction.of(design)
    return {
        name: float(np.sqrt(np.mean((seen.grid_kw - prediction.after(theta, seen)[0][:, 0]) ** 2)))
        for name, theta in thetas.items()
    }
