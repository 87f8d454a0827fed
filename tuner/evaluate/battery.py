"""The comparison: six policies on the same held-out weeks and the same disturbances, in money, with a verdict.

Every policy meets week w with seed s in the same plant with the same net load, so differences are paired. Costs are
averaged over the seeds of a week; the weeks are the independent samples of the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from codegen.controller import Controller
from codegen.solver import compiled_controller
from systems.battery.exogenous import Exogenous
from systems.battery.plant import BatteryPlant, PlantSpec
from systems.battery.problem import home_battery
from systems.problem import Problem
from systems.theta import check_theta
from tuner.evaluate.closed_loop import Trace, WeekResult, run_week
from tuner.evaluate.periods import Split, check_disjoint
from tuner.evaluate.policies import Mpc, NoBattery, Policy, SelfConsumption
from tuner.evaluate.statistics import Interval, mean_interval
from tuner.identify.battery import IDENTIFICATION_DAYS, BatteryFit, fit_battery, simulate_log

NO_BATTERY, RULE, DATA_FITTED, TUNED, PERFECT = "no_battery", "rule", "data_fitted", "tuned", "perfect_forecast"
UNBIASED = "data_fitted_without_bias"
"""The data fit with 0 in the place of `net_load_bias`: what a person would try first. Few, large deviations lift the
mean that the fit takes for the bias; the usual deviation is smaller."""
BIAS = "net_load_bias"
LABELS = {
    NO_BATTERY: "no battery",
    RULE: "self-consumption rule",
    DATA_FITTED: "data-fitted MPC",
    UNBIASED: "data fit, bias 0",
    TUNED: "tuned MPC",
    PERFECT: "perfect forecast",
}
DAYS_AROUND = 3
"""Days of the series that a worker gets before and after its week: persistence looks back, true forecasts ahead."""
SHOWN_PLAN_HOURS = 48 + 14.0
"""When in the week the report shows a plan: soon after the prices of the next day came out."""

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True)
class PolicyResult:
    """One row of the table: per week, over held-out weeks and seeds."""

    cost_eur_per_week: Interval
    saving_eur_per_week: Interval
    """Against no battery, paired by week."""
    bill_eur_per_week: float
    import_kwh_per_week: float
    export_kwh_per_week: float
    discharged_kwh_per_week: float
    solves_failed: int
    solve_ms_mean: float


@dataclass(frozen=True)
class Improvement:
    """Of one MPC over another, paired by week; positive is better."""

    eur_per_week: Interval
    percent: Interval
    """Of the mean cost of the other."""

    @property
    def better(self) -> bool:
        return self.eur_per_week.low > 0.0

    @property
    def numbers(self) -> str:
        e, p = self.eur_per_week, self.percent
        return f"{e.mean:.3f} EUR per week ({p.mean:.2f} %, 95 % interval {p.low:.2f} to {p.high:.2f} %, {p.n} weeks)"

    def to_json(self) -> dict[str, float]:
        e, p = self.eur_per_week, self.percent
        return {
            "mean_percent": p.mean, "low_percent": p.low, "high_percent": p.high,
            "mean_eur_per_week": e.mean, "low_eur_per_week": e.low, "high_eur_per_week": e.high,
        }  # fmt: skip

    @property
    def verdict(self) -> str:
        e, numbers = self.eur_per_week, self.numbers
        if e.low == e.high == 0.0:
            return "no improvement: the tuned theta decides as the data-fitted one; keep the old theta"
        if self.better:
            return f"improvement: the tuned theta saves {numbers}; use it"
        if e.high < 0.0:
            return f"no improvement: the tuned theta costs more, it saves {numbers}; keep the old theta"
        return f"no improvement: the difference is within chance, saved {numbers}; keep the old theta"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that table, JSON and report show."""

    policies: dict[str, PolicyResult]
    improvement: Improvement | None
    """None without a tuned theta."""
    week_costs: dict[str, NDArray[np.float64]]
    """EUR per week (weeks,), mean over seeds."""
    weeks: tuple[int, ...]
    """First steps of the held-out weeks."""
    seeds: int
    split: Split
    thetas: dict[str, dict[str, float]]
    traces: dict[str, Trace]
    """Of the first held-out week with the first seed."""

    @property
    def verdict(self) -> str:
        return self.improvement.verdict if self.improvement else "no tuned theta was given: run `nisse tune` first"

    @property
    def without_bias(self) -> Improvement:
        """Of the data fit without its bias over the data fit."""
        return compare(self.week_costs[UNBIASED], self.week_costs[DATA_FITTED])

    @property
    def beyond_bias(self) -> Improvement | None:
        """Of the tuned theta over the data fit without its bias."""
        return compare(self.week_costs[TUNED], self.week_costs[UNBIASED]) if TUNED in self.week_costs else None

    @property
    def made_of(self) -> str:
        """What the gain is made of: the untuned change that a person would try first, and what tuning adds to it."""
        text = f"untuned, 0 in place of the data fit's net_load_bias saves {self.without_bias.numbers}"
        if self.beyond_bias is not None:
            text += f"; the tuned theta saves {self.beyond_bias.numbers} more than that"
        return text

    @property
    def origin(self) -> str:
        """Whose numbers these are."""
        return f"prices: {self.split.exogenous.source}; household (load and PV) generated, battery simulated"

    def to_json(self) -> dict[str, Any]:
        improvement = self.improvement.to_json() if self.improvement else None
        beyond = self.beyond_bias.to_json() if self.beyond_bias else None
        return {
            "policies": {name: asdict(result) for name, result in self.policies.items()},
            "improvement_of_tuned_over_data_fitted": improvement,
            "improvement_of_data_fitted_without_bias": self.without_bias.to_json(),
            "improvement_of_tuned_over_data_fitted_without_bias": beyond,
            "verdict": self.verdict,
            "weeks": len(self.weeks),
            "seeds": self.seeds,
            "week_starts": [self.split.exogenous.time(week).isoformat() for week in self.weeks],
            "week_costs_eur": {name: costs.tolist() for name, costs in self.week_costs.items()},
            "trained_until": self.split.boundary_time.isoformat(),
            "source": self.split.exogenous.source,
            "origin": self.origin,
            "theta": self.thetas,
        }


def fit_from_plant(split: Split, physics: PlantSpec | None = None, *, seed: int = 0) -> BatteryFit:
    """The data-fitted model from a log of the plant in the last training weeks, under an exciting policy."""
    training = split.training_exogenous()
    steps = min(IDENTIFICATION_DAYS * training.steps_per_day, len(training))
    plant = BatteryPlant(physics, training, episode_steps=steps, start_step=len(training) - steps)
    return fit_battery(simulate_log(plant, steps=steps, seed=seed), plant.physics.battery)


def evaluate_battery(
    split: Split,
    *,
    data_fitted: Mapping[str, float],
    tuned: Mapping[str, float] | None = None,
    physics: PlantSpec | None = None,
    problem: Problem | None = None,
    weeks: int = 12,
    seeds: int = 2,
    seed: int = 0,
    workers: int = 2,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Run all policies on `weeks` held-out weeks with `seeds` disturbances each.

    Results do not depend on `workers`: each (week, seed) has its own random stream. Raises PeriodError when the
    split has too few weeks or they overlap those of training.
    """
    physics = physics or PlantSpec()
    problem = problem or home_battery(physics.battery)
    held_out = split.held_out_weeks(weeks)
    check_disjoint(split.training_weeks(), held_out, split.exogenous.steps_per_week)
    thetas = {DATA_FITTED: check_theta(data_fitted, problem)}
    thetas[UNBIASED] = {**thetas[DATA_FITTED], BIAS: 0.0}
    if tuned is not None:
        thetas[TUNED] = check_theta(tuned, problem)
    # The perfect forecast has no bias to correct.
    thetas[PERFECT] = thetas[UNBIASED]
    vectors = {name: np.array(list(theta.values())) for name, theta in thetas.items()}
    with compiled_controller(problem, cache_dir) as controller:
        library = controller.library_path
    tasks = [(week, k) for week in held_out for k in range(seeds)]
    jobs = joblib.Parallel(n_jobs=workers, return_as="generator")(
        joblib.delayed(_run_task)(
            physics,
            *_around(split.exogenous, week),
            library,
            vectors,
            _plant_seed(seed, week, k),
            (week, k) == tasks[0],
        )
        for week, k in tasks
    )
    results: list[dict[str, WeekResult]] = []
    traces: dict[str, Trace] = {}
    for done, (result, trace) in enumerate(jobs, start=1):
        results.append(result)
        traces = traces or trace
        if progress:
            progress(done, len(tasks))
    return _summarise(split, held_out, seeds, results, thetas, traces)


def _around(exogenous: Exogenous, week: int) -> tuple[Exogenous, int]:
    """The part of the series that a week can see, and where in it the week begins."""
    margin = DAYS_AROUND * exogenous.steps_per_day
    begin = max(0, week - margin)
    return exogenous.slice(begin, min(len(exogenous), week + exogenous.steps_per_week + margin)), week - begin


def _plant_seed(seed: int, week: int, k: int) -> int:
    return int(np.random.SeedSequence([seed, week, k, 6]).generate_state(1)[0])


def _run_task(
    physics: PlantSpec,
    exogenous: Exogenous,
    start: int,
    library: Path,
    thetas: dict[str, NDArray[np.float64]],
    plant_seed: int,
    keep_traces: bool,
) -> tuple[dict[str, WeekResult], dict[str, Trace]]:
    """All policies in one week with one seed; runs in a worker process."""
    plant = BatteryPlant(physics, exogenous, episode_steps=exogenous.steps_per_week)
    plan_at = round(SHOWN_PLAN_HOURS * 3600.0 / exogenous.dt_s)
    results: dict[str, WeekResult] = {}
    traces: dict[str, Trace] = {}
    with Controller(library) as controller:
        for name in (NO_BATTERY, RULE, *thetas):
            policy: Policy
            if name == NO_BATTERY:
                policy = NoBattery()
            elif name == RULE:
                policy = SelfConsumption()
            else:
                policy = Mpc(controller, thetas[name], perfect_forecast=name == PERFECT)
            results[name], trace = run_week(plant, policy, start, plant_seed, plan_at=plan_at)
            if keep_traces:
                traces[name] = trace
    return results, traces


def _summarise(
    split: Split,
    weeks: tuple[int, ...],
    seeds: int,
    results: list[dict[str, WeekResult]],
    thetas: dict[str, dict[str, float]],
    traces: dict[str, Trace],
) -> Evaluation:
    steps = split.exogenous.steps_per_week
    policies, week_costs = {}, {}
    for name in results[0]:
        column = {f.name: np.array([getattr(r[name], f.name) for r in results]) for f in fields(WeekResult)}
        costs = column["cost_eur"].reshape(len(weeks), seeds).mean(1)
        week_costs[name] = costs
        policies[name] = PolicyResult(
            cost_eur_per_week=mean_interval(costs),
            saving_eur_per_week=mean_interval(week_costs[NO_BATTERY] - costs),
            bill_eur_per_week=float(column["bill_eur"].mean()),
            import_kwh_per_week=float(column["import_kwh"].mean()),
            export_kwh_per_week=float(column["export_kwh"].mean()),
            discharged_kwh_per_week=float(column["discharged_kwh"].mean()),
            solves_failed=int(column["failures"].sum()),
            solve_ms_mean=float(column["solve_time_s"].mean() / steps * 1e3),
        )
    improvement = None
    if TUNED in week_costs:
        improvement = compare(week_costs[TUNED], week_costs[DATA_FITTED])
    return Evaluation(policies, improvement, week_costs, weeks, seeds, split, thetas, traces)


def compare(tuned: NDArray[np.float64], data_fitted: NDArray[np.float64]) -> Improvement:
    """Paired over weeks: costs in EUR (weeks,) of both."""
    saved = mean_interval(data_fitted - tuned)
    return Improvement(saved, saved.scaled(100.0 / max(abs(float(data_fitted.mean())), 1e-9)))
