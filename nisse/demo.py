"""`nisse demo`: one battery week end to end - identify, tune, evaluate, build, verify, run on the bench, report."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nisse.exits import EXIT_CHECK_FAILED, EXIT_OK

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from hil.bench import Result as BenchResult
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
    parser.epilog = "example:\n  nisse demo --output out/demo --json out/demo/result.json"
    parser.add_argument("--output", type=Path, default=Path("out/demo"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the comparison as JSON")
    parser.add_argument(
        "--prices", type=Path, metavar="FILE.csv", help="your own hourly prices instead of generated ones"
    )
    parser.add_argument("--iterations", type=int, default=DemoSize.iterations, help="of tuning (default: %(default)s)")
    parser.add_argument("--weeks", type=int, default=DemoSize.held_out_weeks, help="held out (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from tuner.commands.evaluate_battery import table_of
    from tuner.report.page import write_report

    console = Console()
    began = time.monotonic()
    tuning, evaluation, history = _tune_and_evaluate(args, console)
    chosen = "tuned" if evaluation.improvement is not None and evaluation.improvement.better else "data_fitted"
    bundle, public_key, certificate = _build(args, console, evaluation.thetas[chosen], chosen)
    bench = _bench(args, console, bundle, public_key)

    report = args.output / "report.html"
    notes = _notes(tuning, chosen, certificate, bench)
    write_report(
        report, evaluation, title="A battery week, from a price series to the daemon", history=history, notes=notes
    )
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(
            json.dumps(_document(evaluation, bench, bundle, chosen), indent=2) + "\n", encoding="utf-8"
        )

    console.print(table_of(evaluation))
    console.print(evaluation.verdict)
    mark = "[green]passed[/]" if bench.verdict.passed else "[bold red]FAILED[/]"
    days = len(bench.record.cycles) * bench.record.step_s / 86400.0
    console.print(f"bench: {days:g} days through the daemon in {bench.wall_s:.0f} s, {mark}; {bench.html_path}")
    console.print(f"bundle: {bundle} ({chosen.replace('_', '-')} theta)")
    console.print(f"[bold]report: {report}[/] ({time.monotonic() - began:.0f} s in all)", soft_wrap=True)
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
    with _step(console, "compile: the controller that is tuned is the one that is deployed"):
        compiled_controller(problem).close()
    with _step(console, "identify: least squares on a log of the plant"):
        fitted = fit_from_plant(split, seed=args.seed).theta
    with _bar(console) as bar:
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
    with _bar(console) as bar:
        task = bar.add_task("evaluate: five policies on held-out weeks", total=args.weeks * DemoSize.seeds)
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


def _build(
    args: argparse.Namespace, console: Console, theta: dict[str, float], chosen: str
) -> tuple[Path, str, dict[str, Any]]:
    """A signed bundle for this machine, with its certificate."""
    from codegen.build import BuildRequest, build_bundle
    from codegen.toolchain import host_arch
    from runtime.keys import load_key, new_key
    from systems.catalogue import Shape

    key_path = args.output / "demo-key.pem"
    key = load_key(key_path) if key_path.exists() else new_key(key_path)
    request = BuildRequest(
        shape=Shape("battery", {}),
        targets=(host_arch(),),
        theta=theta,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        provenance={"theta": {"from": f"nisse demo, {chosen}"}},
        seed=args.seed,
    )
    with _bar(console) as bar:
        task = bar.add_task("build", total=None)
        built = build_bundle(
            request,
            key,
            args.output / "battery.nisse",
            progress=lambda what, done, total: bar.update(
                task, description=f"build: {what}", completed=done, total=total
            ),
        )
    return built.path, key.public, built.certificate


def _bench(args: argparse.Namespace, console: Console, bundle: Path, public_key: str) -> BenchResult:
    """One week in lockstep: the real daemon, a real broker, a Modbus device on a pseudo-terminal."""
    from hil.bench import run_scenario
    from hil.scenario import load_scenario, shipped_scenario

    scenario = load_scenario(shipped_scenario(SCENARIO))
    with _bar(console) as bar:
        task = bar.add_task("bench: a week through the daemon", total=None)
        return run_scenario(
            scenario,
            bundle,
            public_key,
            args.output / "bench",
            progress=lambda done, total, level: bar.update(task, completed=done, total=total),
        )


def _notes(tuning: TuningResult, chosen: str, certificate: dict[str, Any], bench: BenchResult) -> list[str]:
    solves = sum(r.solves for r in tuning.history)
    failures = sum(r.failures for r in tuning.history)
    days = len(bench.record.cycles) * bench.record.step_s / 86400.0
    notes = [f"Tuning: {len(tuning.history)} iterations, {solves} solves, {failures} of them failed and were left out."]
    for arch, entry in certificate["arch"].items():
        if "skipped" not in entry:
            notes.append(
                f"Certificate ({arch}): {certificate['problems']} seeded problems against {certificate['reference']}, "
                f"largest relative objective gap {entry['max_relative_objective_gap']:.1e}, "
                f"largest KKT residual {entry['max_kkt_residual']:.1e}."
            )
    verdict = "every predicate held" if bench.verdict.passed else "a predicate failed"
    notes.append(
        f"Bench: {days:g} days of the {chosen.replace('_', '-')} controller in the daemon, over MQTT and Modbus RTU, "
        f"in {bench.wall_s:.0f} s; {verdict}. Its own page: {bench.html_path}."
    )
    return notes


def _document(evaluation: Evaluation, bench: BenchResult, bundle: Path, chosen: str) -> dict[str, Any]:
    return {
        **evaluation.to_json(),
        "bench": {"passed": bench.verdict.passed, "wall_s": bench.wall_s, "record_sha256": bench.record.sha256()},
        "bundle": {"path": str(bundle), "theta": chosen},
    }


@contextmanager
def _step(console: Console, text: str) -> Iterator[None]:
    began = time.monotonic()
    with console.status(text):
        yield
    console.print(f"{text} [dim]{time.monotonic() - began:.1f} s[/]")


@contextmanager
def _bar(console: Console) -> Iterator[Progress]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        yield bar
