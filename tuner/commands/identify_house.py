"""`nisse identify --system house`: the ARX model of a house from its log, and whether to trust it."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from systems.assets.zone.arx_fit import ArxOptions
from systems.commands.numbers import number
from systems.commands.output import output_path, write_json
from systems.house.plant import PhysicalHouse
from systems.house.rules import Exciting
from systems.house.weather import generate_conditions
from tuner.commands.faults_table import faults_table
from tuner.identify.house import GAIN_HOURS, HouseIdentification, identify_house
from tuner.identify.house_log import HouseLog, load_house_log, simulate_house_log

PLOT_SUFFIXES = (".html", ".png", ".svg", ".pdf")


def add_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--days",
        type=number(1.0, 3660.0, "days"),
        default=60.0,
        help="length of the simulated log (default: %(default)g)",
    )
    group.add_argument("--plot", type=plot_path, metavar="FILE.html|.png", help="draw errors, gains and residuals")
    group.add_argument(
        "--no-constant", action="store_true", help="no constant term: eq. 37 of the source to the letter"
    )


def plot_path(text: str) -> Path:
    """For `type=` of --plot."""
    path = output_path(text)
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text}: end the name in one of {', '.join(PLOT_SUFFIXES)}")
    return path


def run(args: argparse.Namespace) -> int:
    waiting = Console(stderr=True)
    if args.log is not None:
        with waiting.status(f"reading {args.log}"):
            log = load_house_log(args.log, counters=args.counters)
    else:
        log = simulated_log(args.seed, args.days)
    with waiting.status("fitting and judging the model"):
        result = identify_house(log, options=ArxOptions(constant=not args.no_constant))
    console = Console()
    for table in (
        faults_table(result.clean.log.faults, result.clean.share_excluded),
        _errors_table(result),
        _gains_table(result),
    ):
        if table.row_count:
            console.print(table)
    console.print(_summary(result))
    if args.plot is not None:
        from tuner.identify.house_plot import write_plot  # matplotlib takes a second to import

        write_plot(result, args.plot)
    if args.json is not None:
        write_json(args.json, result.document())
    if args.plot is not None:
        console.print(f"drawn: {args.plot}", soft_wrap=True, highlight=False)
    for problem in result.problems:
        print(f"nisse identify: {problem}", file=sys.stderr)
    if result.problems and not args.force:
        return 1
    if args.output is not None:
        result.model.save(args.output)
        console.print(f"written: {args.output}", soft_wrap=True, highlight=False)
    return 0


def simulated_log(seed: int, days: float, *, start: datetime = datetime(2017, 9, 1, tzinfo=UTC)) -> HouseLog:
    """The physical house under the exciting policy, from the start of a heating season; with a progress bar."""
    conditions = generate_conditions(seed, start=start, days=days)
    house, rule = PhysicalHouse(conditions), Exciting(seed)
    with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("simulating a log", total=house.steps)
        source = f"a simulated log (physical house, {days:g} days, seed {seed})"
        log = simulate_house_log(
            house, rule, seed=seed, source=source, on_step=lambda step: progress.update(bar, completed=step)
        )
        progress.update(bar, completed=house.steps)
    return log


def _errors_table(result: HouseIdentification) -> Table:
    ahead = result.ahead
    table = Table(
        title=f"Held-out root mean square errors, K ({result.clean.log.source})",
        caption="hold: persistence, tomorrow as now; mu, sigma: mean and deviation of the one-step residual",
    )
    long = f"{ahead.hours:g} h"
    headings = ("room", "5 min", "(hold)", long, "(hold)", f"bias {long}", "mu", "sigma")
    for heading in headings:
        table.add_column(heading, justify="right")
    std = np.sqrt(np.diag(result.model.innovation_covariance))
    for i in range(result.model.ny):
        table.add_row(
            str(i + 1),
            f"{result.one_step.model_rmse_k[i]:.3f}",
            f"{result.one_step.persistence_rmse_k[i]:.3f}",
            f"{ahead.model_rmse_k[i]:.2f}",
            f"{ahead.persistence_rmse_k[i]:.2f}",
            f"{ahead.bias_k[i]:+.2f}",
            f"{result.model.innovation_mean[i]:+.4f}",
            f"{std[i]:.4f}",
        )
    return table


def _gains_table(result: HouseIdentification) -> Table:
    table = Table(
        title=f"Rise after {GAIN_HOURS:g} h of a step, K per K outdoors and K per kW: estimate ± standard error"
    )
    rooms = result.model.ny
    for heading in ("room", "outdoor", *(f"power {j + 1}" for j in range(rooms))):
        table.add_column(heading, justify="right")
    for i in range(rooms):
        cells = [f"{g:.2f}±{s:.2f}" for g, s in zip(result.gain[i], result.gain_std[i], strict=True)]
        table.add_row(str(i + 1), *cells)
    return table


def _summary(result: HouseIdentification) -> str:
    model = result.model
    stable = (
        f"stable, slowest time constant {model.slowest_time_constant_h:.0f} h"
        if model.spectral_radius < 1.0
        else "unstable"
    )
    excitation = ", ".join(f"{1000 * e.unexplained_kw:.0f}" for e in result.excitation)
    return (
        f"{100 * result.usable_share:.1f} % of the samples used; ridge strength {result.fit.strength:g}; {stable} "
        f"(spectral radius {model.spectral_radius:.5f}); independent variation of the powers {excitation} W"
    )
