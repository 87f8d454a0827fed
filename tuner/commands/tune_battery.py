"""`nisse tune --system battery`: learn on the training weeks, judge on the held-out ones."""

from __future__ import annotations

import argparse
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from systems.battery.problem import home_battery
from systems.commands.numbers import whole
from systems.commands.output import write_json
from systems.problem import Problem
from systems.theta import read_theta, write_theta
from tuner.commands.battery_data import add_data_arguments, split_from
from tuner.commands.tune_display import LiveTable, View
from tuner.evaluate.battery import Evaluation, evaluate_battery
from tuner.evaluate.periods import PeriodError, Split
from tuner.evaluate.statistics import LEAST
from tuner.trainer import Progress
from tuner.tune_battery import BATTERY_TRAINING, BatteryTuning, tune_battery

HELD_IN_WEEKS, HELD_OUT_WEEKS = 4, 8
OLD, TUNED = "old", "tuned"
"""What --output holds, by its provenance."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_arguments(parser)
    group = parser.add_argument_group("judging")
    group.add_argument("--held-in-weeks", type=whole(1), metavar="N", help="(default: battery 4, house 8)")
    group.add_argument(
        "--held-out-weeks",
        type=whole(2, also=0),
        metavar="N",
        help="for the verdict; 0 leaves it to `nisse evaluate` (default: battery 8, house 12)",
    )


def run(args: argparse.Namespace) -> int:
    problem = home_battery()
    split = split_from(args)
    held_out_weeks = _held_out_weeks(args.held_out_weeks, split)
    spec = replace(BATTERY_TRAINING, method=args.method, critic=args.critic, seed=args.seed)
    if args.iterations is not None:
        spec = replace(spec, iterations=args.iterations)
    if args.learn is not None:
        spec = replace(spec, learn=tuple(args.learn))
    start = read_theta(args.theta, problem) if args.theta is not None else None
    console = Console()
    with LiveTable(console, _view(f"tuning {problem.name} by {spec.method}, {split.exogenous.source}")) as live:
        tuning = tune_battery(
            split,
            data_fitted=start,
            spec=spec,
            problem=problem,
            held_in_weeks=HELD_IN_WEEKS if args.held_in_weeks is None else args.held_in_weeks,
            jobs=args.jobs,
            time_limit_s=args.time_limit,
            checkpoint=args.checkpoint,
            resume=args.resume,
            report=live.update,
        )
        evaluation = None
        if held_out_weeks > 0 and tuning.result.improved:
            evaluation = evaluate_battery(
                split,
                data_fitted=tuning.data_fitted,
                tuned=tuning.theta,
                problem=problem,
                weeks=held_out_weeks,
                seeds=1,
                seed=args.seed,
                workers=args.jobs,
                progress=live.held_out,
            )
    kept = not tuning.result.improved or (evaluation is not None and not _better(evaluation))
    theta = tuning.data_fitted if kept else tuning.theta
    console.print(_theta_table(problem, tuning))
    console.print(_summary(tuning, evaluation), highlight=False, soft_wrap=True)
    provenance = {
        "method": spec.method, "critic": spec.critic, "seed": spec.seed, "prices": split.exogenous.source,
        "trained_until": split.boundary_time.isoformat(), "theta": OLD if kept else TUNED,
        "started_from": "a fit to a simulated log" if args.theta is None else str(args.theta),
    }  # fmt: skip
    write_theta(args.output, problem, theta, provenance)
    console.print(f"written: {args.output} ({OLD if kept else TUNED} theta)", highlight=False, soft_wrap=True)
    if args.json is not None:
        document = tuning.result.as_json() | {"data_fitted": tuning.data_fitted, "output": str(args.output)}
        document |= {"written": theta, "kept_old": kept}
        document["held_out"] = evaluation.to_json() if evaluation is not None else None
        write_json(args.json, document)
    return 0


def _held_out_weeks(asked: int | None, split: Split) -> int:
    """How many weeks judge, known before the work. Raises PeriodError where the data have too few."""
    if asked == 0:
        return 0
    there = len(split.held_out_weeks())
    if there < LEAST or there < (asked or LEAST):
        raise PeriodError(
            f"{split.exogenous.source}: {there} weeks from {split.boundary_time:%Y-%m-%d} on, and a verdict needs "
            f"{asked or LEAST}; choose an earlier --train-until, bring more data, or leave the verdict to "
            "`nisse evaluate` (--held-out-weeks 0)"
        )
    return min(HELD_OUT_WEEKS, there) if asked is None else asked


def _better(evaluation: Evaluation) -> bool:
    return evaluation.improvement is not None and evaluation.improvement.better


def _view(title: str) -> View[Progress]:
    def row(p: Progress) -> list[str]:
        r = p.record
        change = f"{r.cost - p.initial_cost:+.4f}" if r.accepted else "taken back"
        return [
            str(r.iteration), f"{r.cost:.4f}", change, f"{r.td_error:.4f}", f"{p.ms_per_solve:.2f}",
            str(r.failures), str(r.at_bounds), f"{p.remaining_s:.0f} s",
        ]  # fmt: skip

    def line(p: Progress) -> str:
        r = p.record
        return f"iteration {r.iteration}: held-in cost {r.cost:.4f}, {r.failures} failures, {p.remaining_s:.0f} s left"

    columns = ("step", "held-in cost", "change", "TD error", "ms/solve", "failed", "at bounds", "left")
    return View(title, columns, row, line, "solver, data fit and gradient self-check")


def _theta_table(problem: Problem, tuning: BatteryTuning) -> Table:
    table = Table(title="theta")
    for heading in ("parameter", "unit", "data-fitted", "tuned", "bounds"):
        table.add_column(heading, justify="left" if heading in ("parameter", "unit") else "right")
    for p in problem.theta:
        value = tuning.theta[p.name]
        bound = " (at its bound)" if value in (p.lower, p.upper) else ""
        table.add_row(
            p.name, p.unit, f"{tuning.data_fitted[p.name]:.4f}", f"{value:.4f}{bound}", f"{p.lower:g}..{p.upper:g}"
        )
    return table


def _summary(tuning: BatteryTuning, evaluation: Evaluation | None) -> str:
    result = tuning.result
    lines = [result.gradient_check.summary()] if result.gradient_check else []
    failures = sum(record.failures for record in result.history)
    masked = sum(record.masked for record in result.history)
    lines.append(f"{failures} failed solves, {masked} transitions left out for them")
    lines.append(f"held-in weeks: {result.cost_start:.3f} EUR per week data-fitted, {result.cost:.3f} tuned")
    if not result.improved:
        lines.append("no improvement on the held-in weeks: the data-fitted theta is kept")
    elif evaluation is not None:
        lines.append(f"held-out weeks: {evaluation.verdict}")
        lines.append(f"({evaluation.made_of}; {evaluation.origin})")
        if not _better(evaluation):
            lines.append("so the old theta is what is written; --held-out-weeks 0 writes the tuned one unjudged")
    else:
        lines.append("run `nisse evaluate` on held-out weeks before using it")
    return "\n".join(lines)
