"""`nisse tune my_system.py`: learn theta of a researcher's own problem in its own world."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.commands.output import write_json
from systems.theta import check_theta, read_theta, write_theta
from tuner.commands.prices import ForeignOptionError
from tuner.commands.tune_display import OLD, TUNED, LiveTable, TableView, changes_table
from tuner.commands.worlds import workers_from
from tuner.evaluate.statistics import Interval, mean_interval
from tuner.learn.tuning import TuningProgress, TuningSpec, tune
from tuner.loop.explore import learning_entries
from tuner.loop.own_system import read_system, system_of
from tuner.loop.own_world import HELD_OUT, OwnLabeller, OwnPlants

ITERATIONS, EPISODES, HELD_IN, HELD_OUT_EPISODES = 6, 6, 16, 32
FOREIGN = (
    "prices", "price_unit", "exchange_rate", "timezone", "tariff", "train_until", "own_log", "map", "model",
)  # fmt: skip
"""What belongs to houses, and would be ignored here."""


def run(args: argparse.Namespace) -> int:
    given = ["--" + name.replace("_", "-") for name in FOREIGN if getattr(args, name, None) is not None]
    if given:
        raise ForeignOptionError(f"{', '.join(given)}: of houses only; {args.house} is its own world, leave it out")
    console, file = Console(highlight=False), read_system(Path(args.house))
    system = system_of(file)
    problem = system.problem
    fit = {p.name: p.default for p in problem.theta}
    start = fit if args.theta is None else read_theta(args.theta, problem)
    spec = TuningSpec(
        method=args.method, critic=args.critic, learn=system.learn if args.learn is None else tuple(args.learn),
        iterations=args.iterations or ITERATIONS, seed=args.seed,
    )  # fmt: skip
    learning = learning_entries(problem.theta, spec.learn)
    with console.status("compiling the program, once"):
        library = build_solver(problem, host_arch()).library
    workers = workers_from(args, args.jobs)
    plants = OwnPlants(file, library, args.episodes or EPISODES, args.held_in_weeks or HELD_IN, spec.seed, workers)
    labeller = OwnLabeller(file, library, problem, workers)
    with LiveTable(console, _view(f"tuning {problem.name} by {spec.method} in {plants.name}")) as live:
        tuning = tune(
            plants, labeller, problem.theta, learning, np.array(list(start.values())), spec,
            checkpoint=args.checkpoint, resume=args.resume, report=live.update, time_limit_s=args.time_limit,
        )  # fmt: skip
    if tuning.improved:
        console.print(changes_table(tuning))
    count = HELD_OUT_EPISODES if args.held_out_weeks is None else args.held_out_weeks
    saving, before = None, 0.0
    if tuning.improved and count > 1:
        costs = [plants.costs(theta, HELD_OUT, count) for theta in (tuning.start, tuning.theta)]
        saving, before = mean_interval(costs[0] - costs[1]), float(costs[0].mean())
    told = _verdict(tuning.improved, saving, before)
    console.print(told, soft_wrap=True)
    kept = not tuning.improved or (saving is not None and saving.low <= 0.0)
    theta = tuning.start if kept else tuning.theta
    written = check_theta(dict(zip(fit, theta.tolist(), strict=True)), problem)
    write_theta(
        args.output, problem, written,
        {"method": spec.method, "world": plants.name, "seed": spec.seed, "theta": OLD if kept else TUNED},
    )  # fmt: skip
    console.print(f"written: {args.output} ({OLD if kept else TUNED} theta)", soft_wrap=True)
    if args.json is not None:
        ends = None if saving is None else {"mean": saving.mean, "low": saving.low, "high": saving.high, "n": saving.n}
        document = tuning.as_json() | {"output": str(args.output), "written": written, "kept_old": kept}
        write_json(args.json, document | {"verdict": told, "saving": ends})
    return 0


def _verdict(improved: bool, saving: Interval | None, before: float) -> str:
    if not improved:
        return "no change was borne out: the theta it started from is kept"
    if saving is None:
        return "not judged on held-out episodes"
    span = (
        f"of {before:.4g} an episode; 95 % interval {saving.low:.4g} to {saving.high:.4g}, {saving.n} held-out episodes"
    )
    if saving.low > 0.0:
        return f"tuning saves {saving.mean:.4g} ({span})"
    if saving.high < 0.0:
        return f"tuning costs {-saving.mean:.4g} ({span}); the old theta is kept"
    return f"these episodes do not show that tuning helps: {saving.mean:.4g} ({span}); the old theta is kept"


def _view(title: str) -> TableView[TuningProgress]:
    def change(p: TuningProgress) -> str:
        total = p.record.total
        if not p.record.accepted or total is None or p.start_total is None:
            return "none"
        return f"{total - p.start_total:+.4g}"

    def row(p: TuningProgress) -> Sequence[str]:
        r = p.record
        return [
            str(r.iteration), f"{r.total:.4f}", change(p), f"{r.td_error:.3g}", f"{p.ms_per_solve:.2f}",
            str(r.failures), str(r.at_bounds), f"{p.remaining_s:.0f} s",
        ]  # fmt: skip

    def line(p: TuningProgress) -> str:
        r = p.record
        return f"iteration {r.iteration}: cost {r.total:.4f} an episode, change {change(p)}, {r.failures} failures"

    columns = ("step", "cost", "change", "TD error", "ms/solve", "failed", "at bounds", "left")
    return TableView(title, columns, row, line, "first look at the held-in episodes")
