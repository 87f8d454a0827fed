"""`nisse identify --system battery`: efficiencies and net-load bias from a log."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from systems.battery.plant import BatteryPlant
from systems.battery.problem import home_battery
from systems.battery.spec import BatterySpec
from systems.commands.numbers import number
from systems.commands.output import write_json
from systems.series import TimeSeries
from systems.theta import write_theta
from tuner.commands.faults_table import faults_table
from tuner.identify.battery import IDENTIFICATION_DAYS, BatteryFit, fit_battery, simulate_log
from tuner.identify.battery_log import BatteryLog, load_battery_log

MAX_CAPACITY_KWH = 2000.0
"""Above, the number is in Wh."""


def add_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--capacity-kwh",
        type=number(0.0, MAX_CAPACITY_KWH, "kWh", above=True),
        default=BatterySpec().capacity_kwh,
        metavar="KWH",
        help="(default: %(default)g)",
    )


def run(args: argparse.Namespace) -> int:
    spec = BatterySpec(capacity_kwh=args.capacity_kwh)
    if args.log is not None:
        log = load_battery_log(args.log, spec, counters=args.counters, zone=args.timezone)
    else:
        series = simulated_log(args.seed)
        log = BatteryLog(series, (), dict.fromkeys(("rows", *series.values), 0.0))
    console = Console()
    if log.faults:
        console.print(faults_table(log.faults, log.share_excluded))
    fit = fit_battery(log.series, spec)
    console.print(_table(fit, log.series))
    if fit.windows_left_out:
        said = f"{fit.windows_left_out} windows are left out: their energies do not match the state of charge"
        console.print(said, soft_wrap=True, highlight=False)
    if args.output is not None:
        write_theta(args.output, home_battery(spec), fit.theta, {"method": "least squares", "log": log.series.source})
        Console(highlight=False).print(f"written: {args.output}", soft_wrap=True)
    if args.json is not None:
        write_json(args.json, _document(fit, log))
    return 0


def simulated_log(seed: int) -> TimeSeries:
    """What the sensors of a simulated battery show while it is used at random."""
    steps = IDENTIFICATION_DAYS * 96
    return simulate_log(BatteryPlant(episode_steps=steps), steps=steps, seed=seed)


def _table(fit: BatteryFit, log: TimeSeries) -> Table:
    table = Table(title=f"Battery model fitted to {log.source} ({fit.days:.0f} days, {fit.windows} windows)")
    for heading in ("parameter", "unit", "estimate", "standard error", "95 % interval"):
        table.add_column(heading, justify="left" if heading in ("parameter", "unit") else "right")
    for e in fit.estimates:
        interval = f"{e.low:.4f} to {e.high:.4f}"
        note = " (at its bound)" if e.name in fit.clipped else ""
        table.add_row(e.name + note, e.unit, f"{e.value:.4f}", f"{e.standard_error:.4f}", interval)
    return table


def _document(fit: BatteryFit, log: BatteryLog) -> dict[str, Any]:
    return {
        "system": "battery",
        "log": log.series.source,
        "theta": fit.theta,
        **asdict(fit),
        "faults": [asdict(fault) for fault in log.faults],
        "share_excluded": log.share_excluded,
    }
