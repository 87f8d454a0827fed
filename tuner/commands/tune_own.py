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
from tuner.commands.tune_display import OLD, TUNED, LiveTable, TableView, changes_table, milliseconds
from tuner.commands.tune_pace import KINDS, Teller, lessons_of
from tuner.commands.worlds import workers_from
from tuner.evaluate.statistics import Interval, mean_interval
from tuner.learn.differences import thetas_of
from tuner.learn.tuning import PAIRED, TuningProgress, TuningSpec, replay_of, tune
from tuner.loop.explore import learning_entries
from tuner.loop.own_system import read_system, system_of
from tuner.loop.own_world import OwnLabeller, OwnPlants, seconds_of_a_step
from tuner.loop.pace import Counted, Tasks

ITERATIONS, EPISODES, HELD_IN, HELD_OUT_EPISODES = 6, 6, 16, 32
TRY_EPISODES, JUDGE_EPISODES = "trying on held-in episodes", "held-out episodes"
OWN_KINDS = {"_tried": TRY_EPISODES, "_judged": JUDGE_EPISODES}
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
    teller, begin = Teller(console), np.array(list(start.values()))
    episodes, held_in = args.episodes or EPISODES, args.held_in_weeks or HELD_IN
    count = HELD_OUT_EPISODES if args.held_out_weeks is None else args.held_out_weeks
    steps, saving, before = system.steps, None, 0.0
    seconds = seconds_of_a_step(file, library, begin, spec.seed)
    plan = [Tasks(TRY_EPISODES, held_in, steps)]
    for iteration in range(spec.iterations):
        tries = thetas_of(problem.theta, learning[0]) if spec.method == PAIRED else None
        plan += [
            *lessons_of(iteration, episodes, steps, 0.0, replay_of(spec), tries),
            Tasks(TRY_EPISODES, held_in, steps),
        ]
    plan += [Tasks(JUDGE_EPISODES, count, steps)] * 2
    with teller.begin([step for step in plan if step.tasks], args.jobs, seconds) as pace:
        workers = Counted(workers_from(args, args.jobs), pace, KINDS | OWN_KINDS)
        plants = OwnPlants(file, library, episodes, held_in, spec.seed, workers)
        with LiveTable(console, _view(f"tuning {problem.name} by {spec.method} in {plants.name}")) as live:
            teller.show = live.doing
            tuning = tune(
                plants, OwnLabeller(file, library, problem, workers), problem.theta, learning, begin, spec,
                checkpoint=args.checkpoint, resume=args.resume, report=live.update, time_limit_s=args.time_limit,
            )  # fmt: skip
        if tuning.improved and count > 1:
            costs = [plants.held_out(theta, count) for theta in (tuning.start, tuning.theta)]
            saving, before = mean_interval(costs[0] - costs[1]), float(costs[0].mean())
    if tuning.improved:
        console.print(changes_table(tuning))
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
            str(r.iteration), f"{r.total:.4f}", change(p), "-" if r.td_error is None else f"{r.td_error:.3g}",
            milliseconds(p), str(r.failures), str(r.at_bounds), f"{p.remaining_s:.0f} s",
        ]  # fmt: skip

    def line(p: TuningProgress) -> str:
        r = p.record
        return f"iteration {r.iteration}: cost {r.total:.4f} an episode, change {change(p)}, {r.failures} failures"

    columns = ("step", "cost", "change", "TD error", "ms/solve", "failed", "at bounds", "left")
    return TableView(title, columns, row, line, "first look at the held-in episodes")
