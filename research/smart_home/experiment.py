"""Runs the smart-home protocol: each model learns by the one learner, then every theta on its way is judged."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from research.four_rooms.theta import house_theta, theta_values
from research.smart_home.condensed import CondensedLabeller
from research.smart_home.data import STEPS_PER_DAY, ExperimentData, check_disjoint, draw_windows
from research.smart_home.protocol import JUDGE, MOVES_HORIZON, Agent, Setting, SmartHomeSpec, judge, make_setting
from research.smart_home.worlds import ArxWorld
from systems.problem import Parameter
from tuner.learn.tuning import Course, tune

Array = NDArray[np.float64]
CONFIRM = 1
"""Salt of the innovations in the periods that confirm the result."""
IDENTITY = "protocol.sha256"


class RecordError(ValueError):
    """Checkpoints that cannot be resumed."""

    exit_code = 65


@dataclass(frozen=True, eq=False)
class ProtocolRecord:
    """Iterations 0 (data-fitted) to k; first axes: iteration, model."""

    beta: float
    thetas: Array
    """(k + 1, models, ntheta)"""
    costs: Array
    """(k + 1, models, periods, 3) price, comfort, violation, EUR"""
    td_error: Array
    """(k, models) EUR per decision"""
    failures: int
    """Failed solves of learning and judging"""
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class ProtocolOutcome:
    """The record, and what it is compared with on the very same periods."""

    spec: SmartHomeSpec
    setting: Setting
    agents: list[Agent]
    periods: NDArray[np.int64]
    record: ProtocolRecord
    references: dict[str, Array]
    """Costs (models or 1, periods, 3) of the data fit, and of the world's own model, with mean innovation as bias."""
    confirmation: dict[str, Array]
    """Costs (models, more periods, 3) of "data_fitted" and "tuned"."""


def run_experiment(
    spec: SmartHomeSpec,
    data: ExperimentData,
    folder: Path,
    *,
    threads: int,
    confirm_periods: int = 0,
    tell: Callable[[str, float], None] | None = None,
) -> ProtocolOutcome:
    """Start, or go on with what `folder` holds: a checkpoint for each model.

    Raises RecordError for checkpoints of other options, PeriodError for data too short.
    """
    began = time.perf_counter()
    setting, agents, periods = make_setting(spec, data, threads)
    assert_held_out(setting, agents, periods)
    _claim(folder, identity_of(spec, data))
    prepared = time.perf_counter()
    calls = (delayed(learned)(agent, setting, folder / f"model-{agent.seed}.npz") for agent in agents)
    courses: list[Course] = []
    for course in Parallel(n_jobs=threads, return_as="generator")(calls):
        courses.append(course)
        if tell:
            tell(f"{len(courses)} of {len(agents)} models have learned", 0.8 * len(courses) / len(agents))
    learning = time.perf_counter()
    thetas = np.array([course.thetas for course in courses]).swapaxes(0, 1)
    judged = [judge(list(row), setting, periods) for row in thetas]
    failures = sum(r.failures for _, rollouts in judged for r in rollouts)
    failures += sum(r.failures for course in courses for r in course.history)
    ended = time.perf_counter()
    record = ProtocolRecord(
        setting.mpc.cost.beta,
        thetas,
        np.array([costs for costs, _ in judged]),
        np.array([[r.td_error for r in course.history] for course in courses]).T,
        failures,
        {"prepare": prepared - began, "learn": learning - prepared, "judge": ended - learning},
    )
    references = {
        "data_fitted_with_mean": [theta_values(a.model, bias=a.model.innovation_mean) for a in agents],
        "world_model_with_mean": [theta_values(setting.world, bias=setting.world.innovation_mean)],
    }
    compared = {name: judge(found, setting, periods)[0] for name, found in references.items()}
    confirmation: dict[str, Array] = {}
    if confirm_periods:
        rng = np.random.default_rng([JUDGE, spec.seed, CONFIRM])
        more = draw_windows(data.evaluation, spec.period_days, confirm_periods, MOVES_HORIZON, rng)
        for name, row in (("data_fitted", 0), ("tuned", -1)):
            confirmation[name] = judge(list(thetas[row]), setting, more, salt=CONFIRM)[0]
    return ProtocolOutcome(spec, setting, agents, periods, record, compared, confirmation)


def learned(agent: Agent, setting: Setting, checkpoint: Path) -> Course:
    """The course of one model, gone on from its checkpoint where there is one."""
    spec = setting.spec
    world = ArxWorld(
        setting.world, setting.mpc, setting.data.learning, agent.first, spec.learning_days, spec.days_per_iteration,
        spec.exploration_kw, (spec.seed, agent.seed),
    )  # fmt: skip
    return tune(
        world,
        CondensedLabeller(setting.mpc, spec.exploration_kw),
        parameters_of(setting),
        (setting.entries, setting.scale),
        agent.theta,
        spec.tuning(agent.seed),
        checkpoint=checkpoint,
        resume=checkpoint.exists(),
    ).course


def parameters_of(setting: Setting) -> tuple[Parameter, ...]:
    """The table of theta with the bounds of the experiment."""
    bounds = zip(house_theta(setting.world), setting.lower.tolist(), setting.upper.tolist(), strict=True)
    return tuple(dataclasses.replace(p, lower=low, upper=high) for p, low, high in bounds)


def identity_of(spec: SmartHomeSpec, data: ExperimentData) -> str:
    """The number of iterations is left out: checkpoints may be carried further."""
    document = dataclasses.asdict(spec)
    document.pop("iterations")
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for conditions in (data.learning, data.evaluation):
        digest.update(np.float64(conditions.start_s).tobytes())
        for values in (conditions.outdoor_c, conditions.irradiance_w_m2, conditions.price_eur_kwh):
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _claim(folder: Path, identity: str) -> None:
    """The folder is for this protocol and these data from now on. Raises RecordError."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / IDENTITY
    if mark.exists() and mark.read_text(encoding="utf-8") != identity:
        raise RecordError(f"{folder}: made with other options or other data; add --fresh or choose another --output")
    mark.write_text(identity, encoding="utf-8")


def forget(folder: Path) -> None:
    """Removes what earlier runs left to go on from."""
    for path in (folder / IDENTITY, *folder.glob("model-*.npz")):
        path.unlink(missing_ok=True)


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
