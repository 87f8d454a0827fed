"""`nisse tune --system house`: learn theta in a simulated house or from a recorded log, judge on held-out weeks."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from systems.assets.zone.arx_fit import fit_arx
from systems.commands.numbers import number, whole
from systems.commands.output import write_json
from systems.house.arx import ArxModel, reference_model
from systems.house.cost import HouseCost
from systems.house.theta import HouseMpc, house_theta, theta_values
from systems.house.weather import Conditions
from systems.prices import PRICE, PriceOptions, load_prices
from systems.series import held_at
from systems.theta import read_theta, write_theta
from tuner.commands.battery_data import price_options
from tuner.commands.evaluate_house import BETA
from tuner.commands.tune_battery import OLD, TUNED
from tuner.commands.tune_display import LiveTable, View
from tuner.evaluate.statistics import Interval, mean_interval
from tuner.house.condensed import tune_house
from tuner.house.data import data_from_files, generated_seasons
from tuner.house.field_log import is_field_log, read_field_log
from tuner.house.parameters import ThetaTable
from tuner.house.recorded import RecordedWorld, recorded_world
from tuner.house.worlds import ArxWorld, Exploration, PhysicalWorld, split_season
from tuner.identify.cleaning import clean_house_log
from tuner.identify.house_log import HouseLog, load_house_log
from tuner.learn.critic import StepOptions
from tuner.learn.tuning import Tuning, TuningProgress, TuningSpec
from tuner.learn.world import World
from tuner.trainer import TrainingError

Array = NDArray[np.float64]
WORLDS = ("physical", "arx", "log")
HELD_IN_WEEKS, HELD_OUT_WEEKS = 8, 12
LEARN = {"physical": ("cost",), "arx": ("bias", "cost"), "log": ("cost",)}
"""What of theta learns by default: the weights, which a data fit knows nothing of."""
LOG_SUPPORT = 0.1
"""Of eq. (30): on a log nothing can be tried, and what the data fit says is all that holds theta."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("house")
    group.add_argument(
        "--world", choices=WORLDS, help="what to learn in: the physical house, the model with its innovations, or --log"
    )
    group.add_argument("--log", type=Path, metavar="FILE", help="closed-loop log: CSV with --prices, or the nisse.db")
    group.add_argument("--model", type=Path, metavar="ARX.json", help="written by `nisse identify --system house`")
    group.add_argument("--weather", type=Path, metavar="FILE.csv", help="outdoor temperature and irradiance")
    group.add_argument("--beta", type=BETA, metavar="X", help="weight of comfort, EUR/(K^2 h) (default: 0.002)")
    group.add_argument(
        "--exploration-kw",
        type=number(0.0, 4.0, "kW", above=True),
        default=0.15,
        metavar="X",
        help="(default: %(default)g)",
    )
    group.add_argument(
        "--episodes", type=whole(1), default=16, metavar="N", help="weeks an iteration explores (default: %(default)s)"
    )


@dataclass(frozen=True, eq=False)
class _Data:
    """What to start from, learn in and be judged by."""

    model: ArxModel
    learning: Conditions
    held_out: Conditions
    source: str


def run(args: argparse.Namespace) -> int:
    kind = args.world or ("log" if args.log is not None else "physical")
    _check(args, kind)
    console = Console(highlight=False)
    data = _data(args)
    mpc = HouseMpc(cost=HouseCost() if args.beta is None else HouseCost(beta=args.beta))
    table = house_theta(data.model)
    # The strongest start that the data fit allows: the expected-value model, mean of the innovations included.
    start = theta_values(data.model, bias=data.model.innovation_mean)
    if args.theta is not None:
        start = np.array(list(read_theta(args.theta, ThetaTable(table)).values()))
    spec = _spec(args, kind)
    world = _world(args, kind, data, mpc, start, spec)
    judge = _judge(args, kind, data, mpc)
    if isinstance(world, RecordedWorld):
        rooms = ", ".join(f"{kw:.2f}" for kw in world.exploration_kw)
        console.print(f"{world.decisions} decisions; exploration in the rooms {rooms} kW", soft_wrap=True)
    with LiveTable(console, tuning_view(f"tuning house by {spec.method} in {world.name}, {data.source}")) as live:
        tuning = tune_house(
            world, mpc, table, start, spec,
            exploration_kw=args.exploration_kw, threads=args.jobs, checkpoint=args.checkpoint, resume=args.resume,
            report=live.update,
            time_limit_s=args.time_limit,
        )  # fmt: skip
        verdict = _held_out(judge, tuning) if tuning.improved and judge is not None else None
    if tuning.improved:
        console.print(changes_table(tuning))
    console.print(_summary(tuning, verdict), soft_wrap=True)
    kept = not tuning.improved or (verdict is not None and verdict.low <= 0.0)
    theta = tuning.start if kept else tuning.theta
    written = OLD if kept else TUNED
    provenance = {
        "method": spec.method, "world": world.name, "seed": spec.seed, "data": data.source,
        "beta_eur_per_k2_h": mpc.cost.beta, "iterations": tuning.course.iteration,
        "theta": written, "started_from": "the data fit" if args.theta is None else str(args.theta),
    }  # fmt: skip
    names = [p.name for p in table]
    write_theta(args.output, ThetaTable(table), dict(zip(names, theta.tolist(), strict=True)), provenance)
    console.print(f"written: {args.output} ({written} theta)", soft_wrap=True)
    if args.json is not None:
        held_out = None if verdict is None else {"mean": verdict.mean, "low": verdict.low, "high": verdict.high}
        document = tuning.as_json() | {"held_out_improvement_percent": held_out, "output": str(args.output)}
        write_json(args.json, document | {"written": dict(zip(names, theta.tolist(), strict=True)), "kept_old": kept})
    return 0


def _check(args: argparse.Namespace, kind: str) -> None:
    """Options that contradict each other, told before the work. Raises TrainingError."""
    if (kind == "log") != (args.log is not None):
        raise TrainingError("--world log and --log FILE belong together; give both or neither")
    if kind == "log" and not args.log.is_file():
        raise TrainingError(f"--log {args.log}: there is no such file; name a CSV log or the daemon's nisse.db")
    if args.tariff is not None or args.generator != "nordic":
        raise TrainingError("the house takes prices as they stand in --prices; leave --tariff and --generator out")
    if kind == "log" and args.prices is None and not is_field_log(args.log):
        raise TrainingError("a CSV log holds no prices; add --prices FILE.csv, or name the daemon's nisse.db")
    if args.critic != "lstdq":
        raise TrainingError("the house has the compatible least-squares critic only; leave --critic out")


def _spec(args: argparse.Namespace, kind: str) -> TuningSpec:
    spec = TuningSpec(
        method=args.method,
        learn=LEARN[kind] if args.learn is None else tuple(args.learn),
        step=StepOptions(support=LOG_SUPPORT if kind == "log" else 0.0),
        seed=args.seed,
    )
    return spec if args.iterations is None else replace(spec, iterations=args.iterations)


def _data(args: argparse.Namespace) -> _Data:
    model = None if args.model is None else ArxModel.load(args.model)
    if args.weather is None and (args.prices is None or args.log is not None):
        learning, held_out = generated_seasons(args.seed)
        source = "generated weather and prices" if args.log is None else args.log.name
        return _Data(model or reference_model(), learning, held_out, f"{source}, seed {args.seed}")
    files = data_from_files(
        args.prices, args.weather, evaluate_from=args.train_until, seed=args.seed, options=price_options(args)
    )
    model = model or fit_arx(files.log.outputs, files.log.inputs).model
    return _Data(model, files.learning, files.evaluation, files.source)


def _world(args: argparse.Namespace, kind: str, data: _Data, mpc: HouseMpc, start: Array, spec: TuningSpec) -> World:
    if kind == "log":
        log, price = _log_and_prices(args.log, args.prices, price_options(args))
        return recorded_world(log, price, mpc, start)
    exploration = Exploration(args.episodes, 7, args.exploration_kw)
    weeks = HELD_IN_WEEKS if args.held_in_weeks is None else args.held_in_weeks
    season = split_season(data.learning, exploration.days, weeks, mpc.horizon)
    if kind == "arx":
        return ArxWorld(season, data.model, mpc, exploration, spec.seed, args.jobs)
    return PhysicalWorld(season, mpc, exploration, spec.seed, args.jobs)


def _log_and_prices(path: Path, prices: Path | None, options: PriceOptions) -> tuple[HouseLog, Array]:
    """The log, and the price at each of its samples, NaN where unknown. Raises SeriesError, LogError."""
    if is_field_log(path):
        log, known = read_field_log(path)
        if prices is None:
            return log, known
    else:
        log = clean_house_log(load_house_log(path)).log
    assert prices is not None  # `_check` wants prices for a CSV log
    return log, held_at(load_prices(prices, options), PRICE, log.start_s + log.dt_s * np.arange(len(log)))


def _judge(args: argparse.Namespace, kind: str, data: _Data, mpc: HouseMpc) -> World | None:
    """The weeks that learning does not see, chosen before the work; None where nothing is to be judged.

    Raises PeriodError when the data have too few.
    """
    weeks = HELD_OUT_WEEKS if args.held_out_weeks is None else args.held_out_weeks
    if kind == "log" or weeks == 0:
        return None
    season = split_season(data.held_out, 1, weeks, mpc.horizon)
    if kind == "arx":
        return ArxWorld(season, data.model, mpc, Exploration(), args.seed + 1, args.jobs)
    return PhysicalWorld(season, mpc, Exploration(), args.seed + 1, args.jobs)


def _held_out(judge: World, tuning: Tuning) -> Interval | None:
    """Paired improvement of the total cost on the judge's weeks, %."""
    before, after = judge.try_out(tuning.start), judge.try_out(tuning.theta)
    if before is None or after is None:
        return None
    return mean_interval(100.0 * (before.total - after.total) / before.total.mean())


def tuning_view(title: str, currency: str = "EUR") -> View[TuningProgress]:
    """How an iteration is shown; costs are per held-in week."""

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    def change(p: TuningProgress) -> str:
        if not p.record.accepted:
            return "none"
        total = p.record.total
        return "taken" if total is None or p.start_total is None else f"{100 * (total / p.start_total - 1):+.2f} %"

    def row(p: TuningProgress) -> list[str]:
        r = p.record
        return [
            str(r.iteration), shown(r.price), shown(r.comfort), shown(r.total), change(p), f"{r.td_error:.4f}",
            f"{p.ms_per_solve:.2f}", str(r.failures), str(r.at_bounds), f"{p.remaining_s:.0f} s",
        ]  # fmt: skip

    def line(p: TuningProgress) -> str:
        r = p.record
        return (
            f"iteration {r.iteration}: price {shown(r.price)}, comfort {shown(r.comfort)}, total {shown(r.total)} "
            f"{currency}/week, change {change(p)}, {r.failures} failures, {p.remaining_s:.0f} s left"
        )

    costs = ("price", "comfort", "total", "change")
    columns = ("step", *costs, "TD error", "ms/solve", "failed", "at bounds", "left")
    return View(title, columns, row, line, "first look at the held-in weeks")


def changes_table(tuning: Tuning) -> Table:
    """What moved, with its bounds."""
    table = Table(title="theta")
    for heading in ("parameter", "unit", "before", "tuned", "bounds"):
        table.add_column(heading, justify="left" if heading in ("parameter", "unit") else "right")
    for p, before, after in tuning.changes()[:40]:
        bound = " (at its bound)" if after in (p.lower, p.upper) else ""
        table.add_row(p.name, p.unit, f"{before:.4f}", f"{after:.4f}{bound}", f"{p.lower:.4g}..{p.upper:.4g}")
    if len(tuning.changes()) > 40:
        table.add_row(f"and {len(tuning.changes()) - 40} more", "", "", "", "")
    return table


def _summary(tuning: Tuning, verdict: Interval | None) -> str:
    course = tuning.course
    failures = sum(record.failures for record in course.history)
    lines = [f"{failures} failed solves; transitions next to one are left out"]
    start, best = course.tried[0], course.tried[course.best]
    if start is not None and best is not None:
        lines.append(f"held-in weeks: {start.total.mean():.3f} EUR per week before, {best.total.mean():.3f} tuned")
    if not tuning.improved:
        lines.append("no change was borne out: the theta it started from is kept")
        if start is None:
            lines.append("a log that explores more, or longer, shows more: about 0.15 kW at random, some weeks")
    elif verdict is None:
        lines.append("run `nisse evaluate` on held-out weeks before using it")
    else:
        span = f"{verdict.mean:.2f} % (95 % interval {verdict.low:.2f} to {verdict.high:.2f}, {verdict.n} weeks)"
        lines.append(f"held-out weeks: improvement of the total cost {span}")
        if verdict.low <= 0.0:
            shown = "these weeks do not show that it helps" if verdict.high >= 0.0 else "it costs more"
            lines.append(
                f"{shown}; the old theta is kept and written (--held-out-weeks 0 writes the tuned one unjudged)"
            )
    return "\n".join(lines)
