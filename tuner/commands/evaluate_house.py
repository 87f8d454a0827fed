"""`nisse evaluate --system house`: thermostat, heating curve and MPCs on held-out weeks of the physical house."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from systems.assets.zone.arx_fit import fit_arx
from systems.commands.numbers import number
from systems.commands.output import write_json
from systems.house.arx import ArxModel, reference_model
from systems.house.cost import HouseCost
from systems.house.theta import HouseMpc, house_theta, theta_values
from systems.house.weather import Conditions, generate_conditions
from systems.theta import read_theta
from tuner.commands.battery_data import price_options
from tuner.commands.progress import counted
from tuner.evaluate.house import HouseEvaluation, evaluate_house, policies, spread_weeks
from tuner.house.data import data_from_files
from tuner.house.parameters import ThetaTable
from tuner.report.house import saving, write_house_report

HELD_OUT_SEASON = datetime(2018, 9, 1, tzinfo=UTC)
"""The season after the one from which the reference model was identified."""


BETA = number(0.0, 1e3, "EUR/(K^2 h), as 0.002", above=True)
"""For `type=` of --beta: comfort must be worth something."""


class HouseEvaluateUsageError(ValueError):
    """Options that ask for something impossible."""

    exit_code = 2


def add_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--weather", type=Path, metavar="FILE.csv", help="outdoor temperature and irradiance")
    group.add_argument("--model", type=Path, metavar="ARX.json", help="written by `nisse identify --system house`")
    group.add_argument(
        "--beta", type=BETA, default=HouseCost().beta, help="EUR/(K^2 h) of discomfort (default: %(default)g)"
    )
    group.add_argument(
        "--decide-every",
        type=int,
        choices=range(5, 31, 5),
        default=30,
        metavar="MIN",
        help="5 to 30, as `[controller] decide_every_s` of the site (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    model, conditions, source = _data(args)
    spec = HouseMpc(cost=HouseCost(beta=args.beta))
    tuned = None
    if args.theta is not None:
        tuned = np.array(list(read_theta(args.theta, ThetaTable(house_theta(model))).values()))
    # The strongest baseline that the fit allows: the expected-value model, mean of the innovations included.
    makers = policies(spec, theta_values(model, bias=model.innovation_mean), tuned, every=args.decide_every // 5)
    try:
        starts = spread_weeks(conditions, args.weeks, spec.horizon)
    except ValueError as error:
        raise HouseEvaluateUsageError(f"--weeks {args.weeks}: {error}") from error
    console = Console(highlight=False)
    with counted(console, "weeks of all policies", len(starts) * len(makers)) as tell:
        evaluation = evaluate_house(
            conditions,
            spec,
            makers,
            starts,
            seed=args.seed,
            progress=tell,
        )
    console.print(table_of(evaluation, source))
    console.print(evaluation.verdict, soft_wrap=True)
    failures = {name: sum(w.failures for w in weeks) for name, weeks in evaluation.results.items()}
    if any(failures.values()):
        told = ", ".join(f"{name} {count}" for name, count in failures.items() if count)
        console.print(f"failed solves, bridged by the last plan: {told}", soft_wrap=True)
    if args.json is not None:
        write_json(args.json, evaluation.document() | {"source": source})
    if args.html is not None:
        write_house_report(args.html, evaluation, source)
        console.print(f"report: {args.html}", soft_wrap=True)
    return 0


def _data(args: argparse.Namespace) -> tuple[ArxModel, Conditions, str]:
    """The data-fitted model, and conditions that it has not seen."""
    if args.prices is None and args.weather is None:
        model = reference_model() if args.model is None else ArxModel.load(args.model)
        conditions = generate_conditions(args.seed + 1_000_003, start=HELD_OUT_SEASON)
        return model, conditions, f"a generated season (from {HELD_OUT_SEASON:%Y-%m-%d}, seed {args.seed})"
    data = data_from_files(
        args.prices, args.weather, evaluate_from=args.train_until, seed=args.seed, options=price_options(args)
    )
    model = fit_arx(data.log.outputs, data.log.inputs).model if args.model is None else ArxModel.load(args.model)
    first = datetime.fromtimestamp(data.evaluation.start_s, UTC)
    return model, data.evaluation, f"{data.source} from {first:%Y-%m-%d}"


def table_of(evaluation: HouseEvaluation, source: str) -> Table:
    table = Table(
        title=f"Per week in the simulated physical house; {len(evaluation.starts)} weeks of {source}",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        caption="EUR per week; K h: outside the comfort band, all rooms; in brackets 95 % intervals",
    )
    table.add_column("policy", no_wrap=True)
    for heading in ("EUR", "comfort", "total", "saving, %", "K h", "worst K"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, weeks in evaluation.results.items():
        table.add_row(
            name.replace("_", " "),
            f"{evaluation.interval(name, lambda week: week.cost_eur).mean:.2f}",
            f"{evaluation.interval(name, lambda week: week.comfort_eur).mean:.2f}",
            f"{evaluation.interval(name, lambda week: week.total_eur).mean:.2f}",
            saving(evaluation, name),
            f"{evaluation.interval(name, lambda week: float(week.outside_kh.sum())).mean:.2f}",
            f"{max(week.worst_k for week in weeks):.1f}",
        )
    return table
