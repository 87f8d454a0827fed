"""`nisse experiment smart-home`: ten house MPCs tuned by reinforcement learning, judged after every iteration."""

from __future__ import annotations

import argparse
import os
import platform
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from codegen.versions import versions_of
from research.four_rooms.reference import reference_model
from research.four_rooms.theta import house_theta
from research.smart_home.data import ExperimentData, data_from_files, generated_data
from research.smart_home.experiment import ProtocolOutcome, forget, run_experiment
from research.smart_home.figure import draw_curves
from research.smart_home.parameters import learning_entries
from research.smart_home.protocol import MOVES, QUICK, SmartHomeSpec
from research.smart_home.summary import summarise
from research.smart_home.sweep import draw_sweep, run_sweep
from systems.commands.numbers import MOST_PROCESSES, number, seed_number, whole
from systems.commands.output import output_folder, output_path, write_json
from tuner.evaluate.statistics import LEAST
from tuner.learn.critic import StepOptions

PROTOCOLS = {"paper": SmartHomeSpec(), "quick": QUICK}
CONFIRM_PERIODS = {"paper": 20, "quick": 0}

BETA = number(0.0, 1e3, "EUR/(K^2 h)", above=True)
LEAST_FIT_DAYS = 8
"""Eight blocks that are left out in turn, each with room for the twelve hours that are predicted in it."""


class SmartHomeUsageError(ValueError):
    """Sizes that no run can have."""

    exit_code = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: nisse experiment smart-home --protocol quick --output smart-home --json smart-home.json"
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), default="quick", help="default: %(default)s")
    parser.add_argument(
        "--output", type=output_folder, default=Path("smart-home"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write all results there")
    parser.add_argument(
        "--threads", type=whole(1, MOST_PROCESSES), default=os.cpu_count() or 1, help="default: %(default)s"
    )
    parser.add_argument("--fresh", action="store_true", help="begin anew instead of resuming the run in --output")
    parser.add_argument(
        "--sweep", action="store_true", help="map the improvement over comfort weight and model mismatch"
    )
    data = parser.add_argument_group("data", "generated unless files are named")
    data.add_argument("--prices", type=Path, metavar="FILE.csv", help="columns time, price_eur_per_kwh")
    data.add_argument(
        "--weather",
        type=Path,
        metavar="FILE.csv",
        help="columns time, outdoor_temperature_celsius, global_irradiance_w_per_m2",
    )
    data.add_argument("--evaluate-from", type=datetime.fromisoformat, metavar="DATE", help="what is before, teaches")
    readings = parser.add_argument_group("readings", "where the paper leaves room, and sizes; defaults: the protocol's")
    readings.add_argument("--model-reading", choices=["exact", "sampled"], help="what the data-fitted model is")
    readings.add_argument("--days-per-iteration", type=whole(1), metavar="N", help="learning days per iteration")
    readings.add_argument("--learning-days", type=whole(1), metavar="N", help="length of each seed's learning period")
    readings.add_argument(
        "--comfort-share", type=number(0.0, 1.0), metavar="X", help="of the data-fitted cost; sets beta"
    )
    readings.add_argument("--beta", type=BETA, metavar="X", help="weight of comfort, EUR/(K^2 h)")
    readings.add_argument("--moves", choices=sorted(MOVES), help="held half an hour, free (144), or coarsening")
    readings.add_argument(
        "--groups", metavar="NAMES", help="of theta that learn: arx,bias,set_point,backoff,cost,terminal"
    )
    readings.add_argument(
        "--trace", type=number(0.0, 1.0), metavar="X", help="lambda of the critic: 0 trusts the MPC's own value"
    )
    readings.add_argument(
        "--support", type=number(0.0, 1e6), metavar="X", help="weight of the distance from the data fit, eq. 30"
    )
    readings.add_argument(
        "--rate", type=number(0.0, 1.0, above=True), metavar="X", help="share of the Gauss-Newton step per iteration"
    )
    for name in ("models", "iterations", "period-days"):
        readings.add_argument(f"--{name}", type=whole(1), metavar="N")
    readings.add_argument("--periods", type=whole(LEAST), metavar="N")
    readings.add_argument("--seed", type=seed_number, metavar="N")
    readings.add_argument(
        "--confirm-periods", type=whole(LEAST, also=0), metavar="N", help="fresh periods that judge the end result"
    )


def spec_from(args: argparse.Namespace) -> SmartHomeSpec:
    """The protocol with what the command line changes."""
    names = (
        "model_reading", "days_per_iteration", "learning_days", "comfort_share", "beta", "moves",
        "rate", "trace", "models", "iterations", "periods", "period_days", "seed",
    )  # fmt: skip
    changes: dict[str, Any] = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.groups:
        changes["groups"] = tuple(args.groups.split(","))
    if args.support is not None:
        changes["step"] = StepOptions(support=args.support)
    return checked(replace(PROTOCOLS[args.protocol], **changes))


def checked(spec: SmartHomeSpec) -> SmartHomeSpec:
    """The same, told before the work if it cannot be. Raises SmartHomeUsageError and, for `groups`, HouseMpcError."""
    if spec.learning_days < LEAST_FIT_DAYS and spec.model_reading == "sampled":
        raise SmartHomeUsageError(
            f"--learning-days {spec.learning_days}: a model sampled from its learning period needs at least "
            f"{LEAST_FIT_DAYS}; learn for longer or take --model-reading exact"
        )
    learning_entries(house_theta(reference_model()), spec.groups)
    return spec


def data_from(args: argparse.Namespace, spec: SmartHomeSpec) -> ExperimentData:
    if args.prices is None and args.weather is None:
        return generated_data(spec.seed)
    return data_from_files(args.prices, args.weather, evaluate_from=args.evaluate_from, seed=spec.seed)


def sweep(args: argparse.Namespace, spec: SmartHomeSpec) -> int:
    """The map of --sweep: one experiment of the protocol per point."""
    data = data_from(args, spec)
    rows = run_sweep(
        spec, data, args.output, threads=args.threads, tell=lambda text, share: print(f"{share:4.0%} {text}")
    )
    draw_sweep(rows, args.output / "sweep.png")
    document = {"experiment": "smart-home-sweep", "data": data.source, "points": rows, "versions": _versions()}
    if args.json:
        write_json(args.json, document)
    heads = f"{'model':10}{'comfort share':>14}{'beta':>10}{'improvement %':>15}"
    print(f"{heads}{'95 % interval':>18}{'fit with mean %':>17}")
    for row in rows:
        gain, fit = row["improvement_percent"], row["fit_with_mean_percent"]
        interval = f"{gain['low']:.1f} .. {gain['high']:.1f}"
        print(
            f"{row['model']:10}{row['comfort_share']:14.2f}{row['beta_eur_per_k2_h']:10.3g}{gain['mean']:15.1f}"
            f"{interval:>18}{fit['mean']:17.1f}"
        )
    print(f"figure: {args.output / 'sweep.png'}")
    return 0


def run(args: argparse.Namespace) -> int:
    spec = spec_from(args)
    if args.sweep:
        return sweep(args, spec)
    if args.fresh:
        forget(args.output)
    confirm = CONFIRM_PERIODS[args.protocol] if args.confirm_periods is None else args.confirm_periods
    with _progress() as tell:
        outcome = run_experiment(
            spec, data_from(args, spec), args.output, threads=args.threads, confirm_periods=confirm, tell=tell
        )
    document = summarise(outcome) | {"versions": _versions(), "threads": args.threads}
    draw_curves(outcome.record.costs, args.output / "smart-home.png", title=_title(outcome))
    for path in {args.output / "smart-home.json", args.json or args.output / "smart-home.json"}:
        write_json(path, document)
    print(report(document, args.output))
    return 0


def report(document: dict[str, Any], output: Path) -> str:
    """The result in a few lines."""
    first, last = document["iterations"][0], document["iterations"][-1]
    gain = document["improvement_percent"]
    lines = [
        f"{'':14}{'price':>10}{'comfort':>10}{'total':>10}   EUR per period",
        f"{'data-fitted':14}{first['price_eur']:10.2f}{first['comfort_eur']:10.2f}{first['total_eur']:10.2f}",
        f"{'tuned':14}{last['price_eur']:10.2f}{last['comfort_eur']:10.2f}{last['total_eur']:10.2f}",
        f"improvement {gain['mean']:.1f} % (95 % interval {gain['low']:.1f} .. {gain['high']:.1f}, "
        f"{document['protocol']['models']} models, {document['protocol']['periods']} periods)",
    ]
    if gain["low"] <= 0.0:
        lines.append("the interval holds zero: on these data tuning is not shown to help; keep the data-fitted theta")
    for name, reference in document["references_improvement_percent"].items():
        lines.append(f"for comparison, {name.replace('_', ' ')}: {reference['mean']:.1f} %")
    if "confirmation" in document:
        more = document["confirmation"]
        gain = more["improvement_percent"]
        lines.append(
            f"on {more['periods']} fresh periods: {gain['mean']:.1f} % ({gain['low']:.1f} .. {gain['high']:.1f})"
        )
    spent = ", ".join(f"{name.replace('_', ' ')} {value:.0f} s" for name, value in document["seconds"].items())
    lines.append(f"failed solves {document['failed_solves']}; time: {spent}")
    lines.append(f"figure: {output / 'smart-home.png'}")
    return "\n".join(lines)


def _title(outcome: ProtocolOutcome) -> str:
    spec = outcome.spec
    size = f"{spec.models} models, {spec.periods} periods of {spec.period_days} days"
    return f"Smart home: {size} ({outcome.setting.data.source})"


def _versions() -> dict[str, str]:
    return versions_of("numpy", "scipy") | {"python": platform.python_version()}


class _progress:
    """A rich progress bar as the callback of the run; nothing when rich is not installed."""

    def __enter__(self) -> Any:
        try:
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar
        except ModuleNotFoundError:
            self.bar: Any = nullcontext()
            return None
        self.bar = Bar(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self.bar.__enter__()
        task = self.bar.add_task("preparing", total=1.0)

        def tell(text: str, share: float) -> None:
            self.bar.update(task, completed=share, description=text)

        return tell

    def __exit__(self, *failure: Any) -> None:
        self.bar.__exit__(*failure)
