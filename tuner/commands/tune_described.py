"""`nisse tune HOUSE`: learn theta of a described house on its plants, and judge it on held-out weeks."""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from rich.console import Console

from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.commands.output import write_json
from systems.design import HouseDesign
from systems.logs.log import Array
from systems.theta import check_theta, read_theta, write_theta
from tuner.commands.described_world import design_from, workers_from, worlds_from
from tuner.commands.evaluate_described import table_of, verdict
from tuner.commands.tune_battery import OLD, TUNED
from tuner.commands.tune_display import LiveTable
from tuner.commands.tune_house import changes_table, tuning_view
from tuner.evaluate.described import RULE, UNBIASED, Contender, Evaluation, evaluate_house
from tuner.evaluate.described import TUNED as TUNED_POLICY
from tuner.learn.tuning import Tuning, TuningSpec, tune
from tuner.loop.explore import LEARN, CompiledLabeller, PlantWorld, learning_entries
from tuner.loop.periods import HELD_IN_WEEKS, spread
from tuner.loop.workers import Workers
from tuner.loop.worlds import Worlds
from tuner.trainer import TrainingError

ITERATIONS, EPISODES, EPISODE_DAYS = 4, 6, 4.0
START_DAYS = 4
"""Of a week, on which an exploring episode may begin."""
HELD_OUT_WEEKS = 8
WORLDS = {"physical": "the plants of the house", "arx": "the identified model with its innovations"}


def run(args: argparse.Namespace) -> int:
    if args.log is not None or args.world == "log":
        raise TrainingError("a house file learns in --world physical or arx; leave --log out")
    console, design = Console(highlight=False), design_from(args)
    parameters = design.problem.theta
    fit = {p.name: p.default for p in parameters}
    start = fit if args.theta is None else read_theta(args.theta, design.problem)
    worlds, kind = worlds_from(args, design.house), args.world or "physical"
    spec = TuningSpec(
        method=args.method, critic=args.critic, learn=LEARN if args.learn is None else tuple(args.learn),
        iterations=ITERATIONS, seed=args.seed,
    )  # fmt: skip
    spec = spec if args.iterations is None else replace(spec, iterations=args.iterations)
    learning = learning_entries(parameters, spec.learn)
    console.print(worlds.told, soft_wrap=True)
    with console.status("compiling the program, once"):
        library = build_solver(design.problem, host_arch()).library
    weeks = HELD_IN_WEEKS if args.held_in_weeks is None else args.held_in_weeks
    held_in = spread(worlds.learning_weeks, weeks, "held-in")
    day = round(86_400.0 / design.house.grid.step_s)
    free = tuple(w + k * day for w in worlds.learning_weeks if w not in held_in for k in range(START_DAYS))
    if not free:
        raise TrainingError(f"beside {weeks} held-in weeks none is left to learn from; ask for fewer, or bring more")
    workers = workers_from(args, args.jobs)
    world = PlantWorld(
        design, library, worlds.learning, free, held_in, EPISODES if args.episodes is None else args.episodes,
        EPISODE_DAYS, spec.seed, workers, WORLDS[kind], _truth(design, kind),
    )  # fmt: skip
    labeller = CompiledLabeller(design, library, workers)
    title = f"tuning {design.house.name} by {spec.method} in {world.name}"
    with LiveTable(console, tuning_view(title, design.house.currency)) as live:
        tuning = tune(
            world, labeller, parameters, learning, np.array([start[p.name] for p in parameters]), spec,
            checkpoint=args.checkpoint, resume=args.resume, report=live.update, time_limit_s=args.time_limit,
        )  # fmt: skip
    judged = _judged(args, design, worlds, start, tuning, workers)
    if tuning.improved:
        console.print(changes_table(tuning))
    if judged is not None:
        console.print(table_of(judged))
        console.print(verdict(judged), soft_wrap=True)
    kept = not tuning.improved or (judged is not None and not _shown(judged))
    if not tuning.improved:
        console.print("no change was borne out: the theta it started from is kept")
    theta: Array = tuning.start if kept else tuning.theta
    written = check_theta(dict(zip(fit, theta.tolist(), strict=True)), design.problem)
    provenance = {
        "method": spec.method, "critic": spec.critic, "world": world.name, "seed": spec.seed, "data": worlds.told,
        "iterations": tuning.course.iteration, "theta": OLD if kept else TUNED,
        "started_from": "the data fit" if args.theta is None else str(args.theta),
    }  # fmt: skip
    write_theta(args.output, design.problem, written, provenance)
    console.print(f"written: {args.output} ({OLD if kept else TUNED} theta)", soft_wrap=True)
    if args.json is not None:
        document = tuning.as_json() | {"output": str(args.output), "written": written, "kept_old": kept}
        write_json(args.json, document | {"verdict": None if judged is None else verdict(judged)})
    return 0


def _truth(design: HouseDesign, kind: str) -> dict[str, object]:
    """Raises TrainingError where there is no model to be the truth."""
    if kind == "physical":
        return {}
    if "zone" not in design.fits:
        raise TrainingError("--world arx needs the fitted model of the zones; add --model from `nisse identify`")
    return {"zone": design.fitted["zone"]}


def _judged(
    args: argparse.Namespace,
    design: HouseDesign,
    worlds: Worlds,
    start: dict[str, float],
    tuning: Tuning,
    workers: Workers,
) -> Evaluation | None:
    weeks = HELD_OUT_WEEKS if args.held_out_weeks is None else args.held_out_weeks
    if weeks == 0 or not tuning.improved:
        return None
    found = (
        Contender(RULE, None),
        Contender(UNBIASED, tuple(start.values())),
        Contender(TUNED_POLICY, tuple(tuning.theta.tolist())),
    )
    chosen = spread(worlds.held_out_weeks, weeks, "held-out")
    return evaluate_house(design, worlds.held_out, chosen, found, seed=args.seed + 1, workers=workers)


def _shown(judged: Evaluation) -> bool:
    saving = judged.saving(TUNED_POLICY, UNBIASED)
    return saving is not None and saving.low > 0.0
