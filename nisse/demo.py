"""`nisse demo`: a battery week end to end - identify, tune, evaluate, build, verify, run on the bench, report.

The house has its own: `nisse.demo_house`.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nisse import demo_parts
from nisse.exits import EXIT_CHECK_FAILED, EXIT_OK
from systems.commands.output import output_folder, output_path, write_json

if TYPE_CHECKING:
    from rich.console import Console

    from hil.bench import Result as BenchResult
    from pages.page import Text
    from tuner.evaluate.battery import Evaluation
    from tuner.trainer import TuningResult

SCENARIO = "battery-week.toml"


@dataclass(frozen=True)
class DemoSize:
    """How much work the demo does. Two years, so that the held-out weeks see every season that was trained on."""

    generated_weeks: int = 104
    iterations: int = 6
    held_in_weeks: int = 3
    held_out_weeks: int = 8
    seeds: int = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  nisse demo --output out/demo --json out/demo/result.json\n"
        "  nisse demo --system house --output out/house"
    )
    parser.add_argument(
        "--system", choices=("battery", "house"), default="battery", help="what to show (default: %(default)s)"
    )
    parser.add_argument("--output", type=output_folder, metavar="DIR", help="(default: out/demo, or out/demo-house)")
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write the comparison as JSON")
    parser.add_argument(
        "--prices", type=Path, metavar="FILE.csv", help="your own hourly prices instead of generated ones"
    )
    parser.add_argument("--iterations", type=int, metavar="N", help="of tuning (default: the demo's)")
    parser.add_argument("--weeks", type=int, metavar="N", help="held out (default: the demo's)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    if args.system == "house":
        from nisse import demo_house

        return demo_house.run(args)
    args.output = args.output or Path("out/demo")
    args.iterations = DemoSize.iterations if args.iterations is None else args.iterations
    args.weeks = DemoSize.held_out_weeks if args.weeks is None else args.weeks
    return _run_battery(args)


def _run_battery(args: argparse.Namespace) -> int:
    from rich.console import Console

    from hil.scenario import load_scenario, shipped_scenario
    from systems.catalogue import Shape
    from tuner.commands.evaluate_battery import table_of
    from tuner.report.page import write_report

    console = Console()
    began = time.monotonic()
    tuning, evaluation, history = _tune_and_evaluate(args, console)
    chosen = "tuned" if evaluation.improvement is not None and evaluation.improvement.better else "data_fitted"
    built, public_key = demo_parts.build(
        console, args.output, Shape("battery", {}), evaluation.thetas[chosen], chosen=chosen, seed=args.seed
    )
    scenario = load_scenario(shipped_scenario(SCENARIO))
    bench = demo_parts.bench(console, args.output, scenario, built.path, public_key, "a week through the daemon")

    report = args.output / "report.html"
    notes = _notes(tuning, chosen, built.certificate, bench, args.output)
    write_report(
        report, evaluation, title="A battery week, from a price series to the daemon", history=history, notes=notes
    )
    if args.json is not None:
        write_json(args.json, _document(evaluation, bench, built.path, chosen))

    console.print(table_of(evaluation))
    console.print(evaluation.verdict)
    demo_parts.print_end(console, bench, built.path, chosen, report, time.monotonic() - began)
    return EXIT_OK if bench.verdict.passed else EXIT_CHECK_FAILED


def _tune_and_evaluate(args: argparse.Namespace, console: Console) -> tuple[TuningResult, Evaluation, list[Any]]:
    """Identify on the training weeks, tune on them, compare on the held-out ones."""
    from codegen.solver import compiled_controller
    from systems.battery.exogenous import from_price_file, generated
    from systems.battery.problem import home_battery
    from tuner.evaluate.battery import evaluate_battery, fit_from_plant
    from tuner.evaluate.periods import split_at
    from tuner.report.figures import LearningPoint
    from tuner.trainer import Progress as TuningProgress
    from tuner.tune_battery import BATTERY_TRAINING, tune_battery

    if args.prices is not None:
        series = from_price_file(args.prices, seed=args.seed)
    else:
        series = generated(DemoSize.generated_weeks, seed=args.seed)
    split = split_at(series)
    problem = home_battery()
    with demo_parts.step(console, "compile: the controller that is tuned is the one that is deployed"):
        compiled_controller(problem).close()
    with demo_parts.step(console, "identify: least squares on a log of the plant"):
        fitted = fit_from_plant(split, seed=args.seed).theta
    with demo_parts.bar(console) as bar:
        task = bar.add_task("tune: reinforcement learning over the MPC", total=args.iterations)

        def on_iteration(progress: TuningProgress) -> None:
            bar.update(
                task,
                completed=progress.record.iteration,
                description=f"tune: {progress.initial_cost:.2f} -> {progress.record.cost:.2f} EUR per held-in week",
            )

        spec = replace(BATTERY_TRAINING, iterations=args.iterations, seed=args.seed)
        tuning = tune_battery(
            split,
            data_fitted=fitted,
            spec=spec,
            problem=problem,
            held_in_weeks=DemoSize.held_in_weeks,
            jobs=args.workers,
            report=on_iteration,
        ).result
    with demo_parts.bar(console) as bar:
        task = bar.add_task("evaluate: six policies on held-out weeks", total=args.weeks * DemoSize.seeds)
        evaluation = evaluate_battery(
            split,
            data_fitted=fitted,
            tuned=tuning.theta_by_name(),
            problem=problem,
            weeks=args.weeks,
            seeds=DemoSize.seeds,
            seed=args.seed,
            workers=args.workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    history = [LearningPoint(0, tuning.cost_start)]
    history += [LearningPoint(r.iteration, r.cost) for r in tuning.history]
    return tuning, evaluation, history


def _notes(
    tuning: TuningResult, chosen: str, certificate: dict[str, Any], bench: BenchResult, folder: Path
) -> list[Text]:
    from pages.page import quiet

    solves = sum(r.solves for r in tuning.history)
    failures = sum(r.failures for r in tuning.history)
    learning = (
        f"Tuning: {len(tuning.history)} iterations, {solves} solves, {failures} of them failed and were left out."
    )
    return [quiet(learning), *demo_parts.notes(chosen, certificate, bench, folder)]


def _document(evaluation: Evaluation, bench: BenchResult, bundle: Path, chosen: str) -> dict[str, Any]:
    return {
        **evaluation.to_json(),
        "bench": demo_parts.bench_document(bench),
        "bundle": {"path": str(bundle), "theta": chosen},
    }
