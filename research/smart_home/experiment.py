"""Runs the smart-home protocol: judge, learn, judge, ..., with a record after every iteration."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codegen.condensed.solver import Rollout
from research.smart_home.record import Record, extend, identity_of, load_record, save_record
from systems.house.theta import theta_values
from tuner.house.data import STEPS_PER_DAY, ExperimentData, check_disjoint, draw_windows
from tuner.house.protocol import (
    JUDGE,
    MOVES_HORIZON,
    Agent,
    Setting,
    SmartHomeSpec,
    initial_state,
    judge,
    learn_interval,
    make_setting,
)

Array = NDArray[np.float64]
CONFIRM = 1
"""Salt of the innovations in the periods that confirm the result."""


@dataclass(frozen=True)
class Progress:
    """Told after every learning interval."""

    iteration: int
    share: float
    """Of the whole run, 0..1"""
    record: Record


@dataclass(frozen=True, eq=False)
class Outcome:
    """The record, and what it is compared with on the very same periods."""

    spec: SmartHomeSpec
    setting: Setting
    agents: list[Agent]
    periods: NDArray[np.int64]
    record: Record
    references: dict[str, Array]
    """Costs (models or 1, periods, 3) of the data fit, and of the world's own model, with mean innovation as bias."""
    confirmation: dict[str, Array]
    """Costs (models, more periods, 3) of "data_fitted" and "tuned"."""


def run_experiment(
    spec: SmartHomeSpec,
    data: ExperimentData,
    checkpoint: Path,
    *,
    threads: int,
    confirm_periods: int = 0,
    tell: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Start or resume. Raises RecordError for a checkpoint of other options, PeriodError for data too short."""
    began = time.perf_counter()
    setting, agents, periods = make_setting(spec, data, threads)
    assert_held_out(setting, agents, periods)
    identity = identity_of(spec, data)
    if checkpoint.exists():
        record = load_record(checkpoint, identity)
    else:
        record = _begin(setting, agents, periods, identity, time.perf_counter() - began)
        save_record(checkpoint, record)
    while record.iterations < spec.iterations:
        record = _iterate(setting, agents, periods, record, tell)
        save_record(checkpoint, record)
    references = {
        "data_fitted_with_mean": [theta_values(a.model, bias=a.model.innovation_mean) for a in agents],
        "world_model_with_mean": [theta_values(setting.world, bias=setting.world.innovation_mean)],
    }
    compared = {name: judge(thetas, setting, periods)[0] for name, thetas in references.items()}
    confirmation: dict[str, Array] = {}
    if confirm_periods:
        rng = np.random.default_rng([JUDGE, spec.seed, CONFIRM])
        more = draw_windows(data.evaluation, spec.period_days, confirm_periods, MOVES_HORIZON, rng)
        for name, row in (("data_fitted", 0), ("tuned", -1)):
            confirmation[name] = judge(list(record.thetas[row]), setting, more, salt=CONFIRM)[0]
    return Outcome(spec, setting, agents, periods, record, compared, confirmation)


def _failures(rollouts: Sequence[Rollout], models: int) -> Array:
    return np.array([r.failures for r in rollouts], dtype=float).reshape(models, -1).sum(1)


def _begin(setting: Setting, agents: list[Agent], periods: NDArray[np.int64], identity: str, seconds: float) -> Record:
    began = time.perf_counter()
    costs, rollouts = judge([agent.theta for agent in agents], setting, periods)
    models = len(agents)
    return Record(
        identity,
        setting.mpc.cost.beta,
        np.array([[agent.theta for agent in agents]]),
        costs[None],
        np.full((1, models), np.nan),
        _failures(rollouts, models)[None],
        tuple(initial_state(agent, setting) for agent in agents),
        {"prepare": seconds, "judge": time.perf_counter() - began},
    )


def _iterate(
    setting: Setting,
    agents: list[Agent],
    periods: NDArray[np.int64],
    record: Record,
    tell: Callable[[Progress], None] | None,
) -> Record:
    spec, began = setting.spec, time.perf_counter()
    states = list(record.states)
    solving = differentiating = 0.0
    intervals = max(1, spec.days_per_iteration // spec.interval_days)
    for interval in range(intervals):
        states, rollouts = learn_interval(agents, states, setting)
        solving += sum(r.solve_s for r in rollouts) / setting.threads
        differentiating += sum(r.differentiate_s for r in rollouts) / setting.threads
        if tell:
            share = (record.iterations + (interval + 1) / intervals) / spec.iterations
            tell(Progress(record.iterations + 1, share, record))
    learned = time.perf_counter()
    costs, rollouts = judge([state.theta for state in states], setting, periods)
    seconds = {
        "prepare": 0.0,
        "learn_solve": solving,
        "learn_differentiate": differentiating,
        "learn_other": learned - began - solving - differentiating,
        "judge": time.perf_counter() - learned,
    }
    failures = _failures(rollouts, len(agents)) + np.array([state.failures for state in states])
    return extend(record, states, costs, failures, seconds)


def assert_held_out(setting: Setting, agents: Sequence[Agent], periods: NDArray[np.int64]) -> None:
    """Raises PeriodError when a period that judges shares time with one that teaches, forecasts included."""
    spec, learning, evaluation = setting.spec, setting.data.learning, setting.data.evaluation

    def span(start_s: float, first: int, days: int) -> tuple[float, float]:
        steps = days * STEPS_PER_DAY + setting.mpc.horizon
        return start_s + first * setting.mpc.dt_s, start_s + (first + steps) * setting.mpc.dt_s

    check_disjoint(
        [span(learning.start_s, agent.first, spec.learning_days) for agent in agents],
        [span(evaluation.start_s, int(first), spec.period_days) for first in periods],
    )
