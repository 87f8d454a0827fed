"""`nisse evaluate --system battery`: the table of bills, with a verdict on the tuned theta."""

from __future__ import annotations

import argparse

from rich import box
from rich.console import Console
from rich.table import Table

from systems.battery.problem import home_battery
from systems.commands.output import write_json
from systems.theta import read_theta
from tuner.commands.battery_data import split_from
from tuner.commands.progress import counted
from tuner.evaluate.battery import LABELS, NO_BATTERY, Evaluation, evaluate_battery, fit_from_plant
from tuner.evaluate.periods import check_theta_provenance
from tuner.report.page import write_report


def run(args: argparse.Namespace) -> int:
    split = split_from(args)
    problem = home_battery(horizon=args.horizon)
    tuned = None
    if args.theta is not None:
        tuned = read_theta(args.theta, problem)
        check_theta_provenance(args.theta, split)
    if args.data_fitted is not None:
        data_fitted = read_theta(args.data_fitted, problem)
    else:
        data_fitted = fit_from_plant(split, seed=args.seed).theta
    console = Console(highlight=False)
    with counted(console, "held-out weeks", args.weeks * args.seeds) as tell:
        evaluation = evaluate_battery(
            split,
            data_fitted=data_fitted,
            tuned=tuned,
            problem=problem,
            weeks=args.weeks,
            seeds=args.seeds,
            seed=args.seed,
            workers=args.workers,
            progress=tell,
        )
    console.print(table_of(evaluation))
    console.print(evaluation.verdict, soft_wrap=True)
    console.print(evaluation.made_of, soft_wrap=True)
    failed = sum(result.solves_failed for result in evaluation.policies.values())
    if failed:
        console.print(f"{failed} solves failed; the battery stayed idle in those steps", style="yellow")
    if args.json is not None:
        write_json(args.json, evaluation.to_json())
    if args.html is not None:
        write_report(args.html, evaluation)
        console.print(f"report: {args.html}")
    return 0


def table_of(evaluation: Evaluation) -> Table:
    """The table that `nisse evaluate` and `nisse demo` print; fits 80 columns."""
    seeds = "1 seed" if evaluation.seeds == 1 else f"{evaluation.seeds} seeds"
    table = Table(
        title="EUR per week, final stored energy credited; intervals are 95 %",
        caption=f"{evaluation.origin.replace('; ', chr(10))}\n{len(evaluation.weeks)} held-out weeks from "
        f"{evaluation.split.boundary_time:%Y-%m-%d}, {seeds} each\n"
        "savings: against no battery, paired by week; ms: per solve",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("policy", no_wrap=True)
    for heading in ("bill", "interval", "saving", "interval", "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, result in evaluation.policies.items():
        cost, saving = result.cost_eur_per_week, result.saving_eur_per_week
        paired = name != NO_BATTERY
        table.add_row(
            LABELS[name],
            f"{cost.mean:.2f}",
            f"{cost.low:.2f}, {cost.high:.2f}",
            f"{saving.mean:.2f}" if paired else "",
            f"{saving.low:.2f}, {saving.high:.2f}" if paired else "",
            f"{result.solve_ms_mean:.1f}" if result.solve_ms_mean else "",
        )
    return table
