"""`nisse evaluate --system battery`: the table of bills, with a verdict on the tuned theta."""

from __future__ import annotations

import argparse
import json

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from systems.battery.problem import home_battery
from systems.theta import read_theta
from tuner.commands.battery_data import split_from
from tuner.evaluate.battery import LABELS, NO_BATTERY, Evaluation, evaluate_battery, fit_from_plant
from tuner.evaluate.periods import check_theta_provenance
from tuner.report.page import write_report


class EvaluateUsageError(ValueError):
    """Options that ask for something impossible."""

    exit_code = 2


def run(args: argparse.Namespace) -> int:
    if args.weeks < 2 or args.seeds < 1:
        raise EvaluateUsageError(f"--weeks {args.weeks} --seeds {args.seeds}: at least 2 weeks and 1 seed are needed")
    split = split_from(args)
    problem = home_battery()
    tuned = None
    if args.theta is not None:
        tuned = read_theta(args.theta, problem)
        check_theta_provenance(args.theta, split)
    if args.data_fitted is not None:
        data_fitted = read_theta(args.data_fitted, problem)
    else:
        data_fitted = fit_from_plant(split, seed=args.seed).theta
    console = Console()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task("held-out weeks", total=args.weeks * args.seeds)
        evaluation = evaluate_battery(
            split,
            data_fitted=data_fitted,
            tuned=tuned,
            problem=problem,
            weeks=args.weeks,
            seeds=args.seeds,
            seed=args.seed,
            workers=args.workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(table_of(evaluation))
    console.print(evaluation.verdict)
    if args.json is not None:
        args.json.write_text(json.dumps(evaluation.to_json(), indent=2) + "\n", encoding="utf-8")
    if args.html is not None:
        write_report(args.html, evaluation)
        console.print(f"report: {args.html}")
    return 0


def table_of(evaluation: Evaluation) -> Table:
    """The table that `nisse evaluate` and `nisse demo` print."""
    table = Table(
        title="Bill in EUR per week (final stored energy credited) and saving against no battery, paired",
        caption=f"{evaluation.split.exogenous.source}; {len(evaluation.weeks)} held-out weeks, {evaluation.seeds} "
        f"seeds each, from {evaluation.split.boundary_time:%Y-%m-%d}",
    )
    table.add_column("policy")
    for heading in (
        "mean",
        "95 % interval",
        "saving",
        "95 % interval",
        "import kWh",
        "export kWh",
        "ms/solve",
        "failed",
    ):
        table.add_column(heading, justify="right")
    for name, result in evaluation.policies.items():
        cost, saving = result.cost_eur_per_week, result.saving_eur_per_week
        table.add_row(
            LABELS[name],
            f"{cost.mean:.3f}",
            f"{cost.low:.2f} to {cost.high:.2f}",
            f"{saving.mean:.3f}" if name != NO_BATTERY else "",
            f"{saving.low:.2f} to {saving.high:.2f}" if name != NO_BATTERY else "",
            f"{result.import_kwh_per_week:.1f}",
            f"{result.export_kwh_per_week:.1f}",
            f"{result.solve_ms_mean:.2f}" if result.solve_ms_mean else "",
            str(result.solves_failed) if result.solve_ms_mean else "",
        )
    return table
