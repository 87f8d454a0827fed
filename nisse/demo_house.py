"""`nisse demo --system house`: four heat pumps from a log to the daemon - identify, tune, evaluate, build, bench."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nisse import demo_parts
from nisse.exits import EXIT_CHECK_FAILED, EXIT_OK

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import Console

    from hil.scenario import Scenario
    from systems.house.arx import ArxModel
    from systems.house.theta import HouseMpc
    from systems.house.weather import Conditions
    from tuner.evaluate.house import HouseEvaluation
    from tuner.learn.tuning import Tuning, TuningProgress

    Array = NDArray[np.float64]

SCENARIO = "house-winter-week"
HOUR_S = 3600.0


@dataclass(frozen=True)
class DemoSize:
    """How much work the demo does: some minutes on two cores."""

    log_days: float = 45.0
    iterations: int = 4
    episodes: int = 8
    """Exploring weeks of an iteration"""
    held_in_weeks: int = 4
    held_out_weeks: int = 8
    problems: int = 40
    """Verified; with as many parameters as this each takes a quarter of a second of reference."""
    bench_hours: float = 24.0


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from pages.page import quiet
    from systems.catalogue import Shape
    from systems.commands.output import write_json
    from systems.house.theta import HouseMpc, house_theta, theta_values
    from tuner.commands.evaluate_house import table_of
    from tuner.evaluate.house import TUNED
    from tuner.report.figures import LearningPoint
    from tuner.report.house import write_house_report

    console, size, began = Console(), DemoSize(), time.monotonic()
    output = args.output or Path("out/demo-house")
    output.mkdir(parents=True, exist_ok=True)
    mpc = HouseMpc()
    learning, held_out, source = _conditions(args)
    model = _identify(console, args.seed, size.log_days)
    fitted = theta_values(model, bias=model.innovation_mean)
    tuning = _tune(console, args, size, learning, model, mpc, fitted)
    evaluation = _evaluate(console, args, size, held_out, mpc, fitted, tuning)
    better = TUNED in evaluation.results and evaluation.saving_percent(TUNED, "data_fitted").low > 0.0
    chosen, theta = ("tuned", tuning.theta) if better else ("data_fitted", fitted)

    names = [p.name for p in house_theta(model)]
    built, public_key = demo_parts.build(
        console,
        output,
        Shape("house", {}, model=model.to_json()),
        dict(zip(names, theta.tolist(), strict=True)),
        chosen=chosen,
        seed=args.seed,
        problems=size.problems,
    )
    text = f"{size.bench_hours:g} hours through the daemon"
    bench = demo_parts.bench(console, output, _first_hours(size.bench_hours), built.path, public_key, text)

    report = output / "report.html"
    write_house_report(
        report,
        evaluation,
        source,
        title="Four heat pumps, from a log to the daemon",
        history=[LearningPoint(0, _total(tuning, 0))]
        + [LearningPoint(r.iteration, r.total) for r in tuning.course.history if r.total is not None],
        notes=[quiet(_learned(tuning)), *demo_parts.notes(chosen, built.certificate, bench, output)],
    )
    if args.json is not None:
        document: dict[str, Any] = evaluation.document() | {
            "bench": demo_parts.bench_document(bench),
            "bundle": {"path": str(built.path), "theta": chosen},
            "tuning": tuning.as_json(),
        }
        write_json(args.json, document)
    console.print(table_of(evaluation, source))
    console.print(evaluation.verdict, soft_wrap=True)
    demo_parts.print_end(console, bench, built.path, chosen, report, time.monotonic() - began)
    return EXIT_OK if bench.verdict.passed else EXIT_CHECK_FAILED


def _conditions(args: argparse.Namespace) -> tuple[Conditions, Conditions, str]:
    """Weather and prices to learn in and, disjoint from them, to be judged by; and what they are called."""
    from tuner.house.data import data_from_files, generated_seasons

    if args.prices is None:
        return (*generated_seasons(args.seed), f"a generated season (seed {args.seed})")
    data = data_from_files(args.prices, None, seed=args.seed)
    return data.learning, data.evaluation, data.source


def _identify(console: Console, seed: int, days: float) -> ArxModel:
    from tuner.commands.identify_house import simulated_log
    from tuner.identify.house import identify_house

    with demo_parts.step(console, f"log: {days:g} days of the house with moving set-points"):
        log = simulated_log(seed, days)
    with demo_parts.step(console, "identify: an ARX model of one hour of history, judged on blocks left out"):
        found = identify_house(log)
    wrong, hold = found.ahead.model_rmse_k.mean(), found.ahead.persistence_rmse_k.mean()
    console.print(
        f"  12 h ahead wrong by {wrong:.2f} K (persistence {hold:.2f} K); "
        f"slowest time constant {found.model.slowest_time_constant_h:.0f} h",
        soft_wrap=True,
    )
    return found.model


def _tune(
    console: Console,
    args: argparse.Namespace,
    size: DemoSize,
    learning: Conditions,
    model: ArxModel,
    mpc: HouseMpc,
    fitted: Array,
) -> Tuning:
    """Deterministic policy gradient over the MPC in the physical house, by what its weeks cost."""
    from systems.house.theta import house_theta
    from tuner.house.condensed import tune_house
    from tuner.house.worlds import Exploration, PhysicalWorld, split_season
    from tuner.learn.tuning import TuningSpec

    iterations = size.iterations if args.iterations is None else args.iterations
    spec = TuningSpec(learn=("cost",), iterations=iterations, seed=args.seed)
    exploration = Exploration(size.episodes, 7, Exploration.std_kw)
    season = split_season(learning, exploration.days, size.held_in_weeks, mpc.horizon)
    world = PhysicalWorld(season, mpc, exploration, spec.seed, args.workers)
    with demo_parts.bar(console) as shown:
        task = shown.add_task("tune: reinforcement learning over the MPC", total=iterations)

        def on_iteration(progress: TuningProgress) -> None:
            text = f"tune: {progress.start_total:.2f} -> {progress.record.total:.2f} EUR per held-in week"
            shown.update(task, completed=progress.record.iteration, description=text)

        return tune_house(world, mpc, house_theta(model), fitted, spec, threads=args.workers, report=on_iteration)


def _evaluate(
    console: Console,
    args: argparse.Namespace,
    size: DemoSize,
    held_out: Conditions,
    mpc: HouseMpc,
    fitted: Array,
    tuning: Tuning,
) -> HouseEvaluation:
    """All policies on the same held-out weeks of the physical house."""
    from tuner.evaluate.house import evaluate_house, policies, spread_weeks

    weeks = size.held_out_weeks if args.weeks is None else args.weeks
    makers = policies(mpc, fitted, tuning.theta if tuning.improved else None)
    starts = spread_weeks(held_out, weeks, mpc.horizon)
    with demo_parts.bar(console) as shown:
        task = shown.add_task(f"evaluate: {len(makers)} policies on held-out weeks", total=len(starts) * len(makers))
        return evaluate_house(
            held_out,
            mpc,
            makers,
            starts,
            seed=args.seed,
            progress=lambda done, total: shown.update(task, completed=done, total=total),
        )


def _first_hours(hours: float) -> Scenario:
    """The winter week's scenario, cut short."""
    from hil.scenario import load_scenario, shipped_scenario

    week = load_scenario(shipped_scenario(SCENARIO))
    return week.model_copy(update={"head": week.head.model_copy(update={"duration": hours * HOUR_S})})


def _total(tuning: Tuning, row: int) -> float:
    tried = tuning.course.tried[row]
    return float("nan") if tried is None else float(tried.total.mean())


def _learned(tuning: Tuning) -> str:
    history = tuning.course.history
    moved = ", ".join(f"{p.name} {before:.3g} → {after:.3g}" for p, before, after in tuning.changes())
    return (
        f"Tuning: {len(history)} iterations, {sum(r.solves for r in history)} solves, "
        f"{sum(r.failures for r in history)} of them failed and were left out. "
        + (f"What moved: {moved}." if moved else "No change was borne out.")
    )
