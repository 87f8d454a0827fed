"""`nisse tune HOUSE`: learn theta so that decisions get better, and judge it on held-out weeks."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from codegen.commands.build import design_from
from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.commands.numbers import MOST_PROCESSES, number, whole
from systems.commands.output import output_path, write_json
from systems.design import HouseDesign
from systems.logs.log import Array
from systems.theta import check_theta, read_theta, write_theta
from tuner.commands import tune_own
from tuner.commands import worlds as world_options
from tuner.commands.prices import add_data_arguments
from tuner.commands.tune_display import OLD, TUNED, LiveTable, changes_table, tuning_view
from tuner.commands.tune_outcome import GUARDED, UNCHANGED, TuneOutcome, Weeks, contenders, guarded_by, judged_by
from tuner.commands.tune_outlook import looks, nameplate_theta, outlook
from tuner.commands.tune_pace import JUDGE, KINDS, Teller, plan_of, plan_of_log, seconds_of_a_decision
from tuner.commands.worlds import workers_from, worlds_from
from tuner.critics import CRITICS
from tuner.errors import TrainingError
from tuner.learn.differences import thetas_of
from tuner.learn.improve import METHODS
from tuner.learn.tuning import PAIRED, Tuning, TuningSpec, replay_of, tune
from tuner.learn.world import World
from tuner.loop.explore import LEARN, CompiledLabeller, PlantWorld, learned_by_default, learning_entries, trace_of
from tuner.loop.pace import Counted, Tasks
from tuner.loop.periods import HELD_IN_WEEKS, spread
from tuner.loop.recorded import LOG_SUPPORT, RecordedWorld, check_states_stay, recorded_world, told_of_log
from tuner.loop.workers import Workers
from tuner.loop.worlds import Worlds

ITERATIONS, EPISODES, EPISODE_DAYS = 4, 6, 4.0
START_DAYS = 4
"""Of a week, on which an exploring episode may begin."""
HELD_OUT_WEEKS = 8
WORLDS = {"physical": "the plants of the house", "arx": "the identified model with its innovations"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The learner sees the training part of the data only. Every step is tried on held-in weeks of that part and\n"
        "taken back when it makes them worse; the best theta of those weeks is the result, and the data\n"
        "fit stays when nothing was better. Held-out weeks then give the verdict, and --output holds the theta that\n"
        "it names: the tuned one where the gain is shown, otherwise the old one.\n\n"
        "examples:\n"
        "  nisse tune cabin --model model.json --output theta.json\n"
        "  nisse tune villa --model model.json --log nisse.db --output theta.json\n"
        "  nisse tune my_system.py --output theta.json\n"
        "  nisse tune battery --prices prices.csv --train-until 2021-01-01 --output theta.json\n"
        "  nisse tune house.toml --model model.json --own-log log.csv --learn cost --output theta.json"
    )
    parser.add_argument("house", help="a house file, the name of a shipped house (see `nisse check`), or my_system.py")
    parser.add_argument(
        "--method",
        choices=sorted((PAIRED, *METHODS)),
        default="dpg",
        help=f"{PAIRED} lives the same stretches through with theta moved to either side; the others explore, and "
        "learn from a log too (default: %(default)s)",
    )
    parser.add_argument(
        "--critic", choices=sorted(CRITICS), default="lstdq", help="of a method that has one (default: %(default)s)"
    )
    parser.add_argument("--iterations", type=whole(1), metavar="N", help=f"(default: {ITERATIONS})")
    parser.add_argument(
        "--episodes", type=whole(1), metavar="N", help=f"stretches that an iteration explores (default: {EPISODES})"
    )
    parser.add_argument(
        "--learn",
        nargs="+",
        metavar="NAME",
        help=f"parameters, or groups of them (default: {' '.join(LEARN)} and all that ends on _bias)",
    )
    parser.add_argument(
        "--world",
        choices=sorted(WORLDS),
        default="physical",
        help="what to learn in: the plants of "
        "the house, or the fitted model with its innovations (default: %(default)s)",
    )
    parser.add_argument(
        "--log",
        type=Path,
        metavar="NISSE.db",
        help="learn from the daemon's own log, written with exploration, instead of in a world",
    )
    parser.add_argument("--theta", type=Path, metavar="FILE", help="start here (default: the data fit)")
    parser.add_argument(
        "--output", type=output_path, default=Path("theta.json"), metavar="FILE", help="(default: %(default)s)"
    )
    parser.add_argument("--checkpoint", type=output_path, metavar="FILE.npz", help="(default: OUTPUT.checkpoint.npz)")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint, bit for bit")
    parser.add_argument(
        "--jobs", type=whole(1, MOST_PROCESSES), default=2, metavar="N", help="processes (default: %(default)s)"
    )
    parser.add_argument(
        "--time-limit",
        type=number(0.0, 1e8, "seconds", above=True),
        metavar="S",
        help="stop after the iteration that passes this",
    )
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write the result for machines")
    world_options.add_arguments(parser)
    add_data_arguments(parser)
    group = parser.add_argument_group("judging")
    group.add_argument("--held-in-weeks", type=whole(1), metavar="N", help=f"(default: {HELD_IN_WEEKS})")
    group.add_argument(
        "--held-out-weeks",
        type=whole(2, also=0),
        metavar="N",
        help=f"for the verdict; 0 leaves it to `nisse evaluate` (default: {HELD_OUT_WEEKS})",
    )


@dataclass(frozen=True, eq=False)
class Work:
    """What was asked for, looked at: all that can be refused is refused before anything is computed."""

    args: argparse.Namespace
    design: HouseDesign
    worlds: Worlds
    spec: TuningSpec
    learning: tuple[NDArray[np.int64], Array]
    """Entries of theta that learn (p,), and their scales (p,)."""
    held_in: tuple[int, ...]
    """First steps of the weeks on which a step is tried; none on a log."""
    free: tuple[int, ...]
    """First steps on which an exploring episode may begin."""
    guards: tuple[int, ...]
    """First steps of weeks of the training part that nothing is learned from: they say whether theta may be written
    where the verdict is left to `nisse evaluate`."""
    judges: tuple[int, ...]
    """First steps of the held-out weeks of the verdict; none where it is left to `nisse evaluate`."""
    start: dict[str, float]
    """Theta to start from."""
    began: str
    """Whose theta that is."""

    @property
    def theta(self) -> Array:
        """(ntheta,) to start from."""
        return np.array([self.start[p.name] for p in self.design.problem.theta])


def run(args: argparse.Namespace) -> int:
    if args.checkpoint is None:
        args.checkpoint = args.output.with_suffix(".checkpoint.npz")
    if args.house.endswith(".py"):
        return tune_own.run(args)
    console, work = Console(highlight=False), _work(args, design_from(args.house, args.model))
    console.print(work.worlds.told, soft_wrap=True)
    with console.status("compiling the program, once"):
        if not console.is_terminal:
            console.print("compiling the program, once: a minute or more where it is new")
        library = build_solver(work.design.problem, host_arch()).library
    teller, log = Teller(console), _log(console, work, library)
    seconds = seconds_of_a_decision(
        work.design, library, work.theta, work.worlds.learning, (*work.held_in, *work.free)[0]
    )
    with teller.begin(_plan(work, log), args.jobs, seconds) as pace:
        workers = Counted(workers_from(args, args.jobs), pace, KINDS)
        work = work if log else _begun(teller, work, workers)
        world = log or _plants(work, library, workers)
        tuning = _learned(teller, work, world, library, workers)
        outcome = _outcome(teller, work, tuning, workers)
    if tuning.improved:
        console.print(changes_table(tuning))
    outcome.tell(console)
    _write(console, work, world, tuning, outcome)
    return 0


def _work(args: argparse.Namespace, design: HouseDesign) -> Work:
    """Raises what the readers of files raise, and TrainingError for what the data or the house do not have."""
    worlds = worlds_from(args, design.house)
    start = {p.name: p.default for p in design.problem.theta}
    if args.theta is not None:
        start = read_theta(args.theta, design.problem)
    parameters = design.problem.theta
    spec = TuningSpec(
        method=args.method, critic=args.critic,
        learn=learned_by_default(parameters) if args.learn is None else tuple(args.learn),
        iterations=ITERATIONS if args.iterations is None else args.iterations, trace=trace_of(design.house),
        seed=args.seed,
    )  # fmt: skip
    learning = learning_entries(parameters, spec.learn)
    _truth(design, args.world)
    if args.log is not None:
        check_states_stay(design, learning[0])
        spec = replace(spec, step=replace(spec.step, support=LOG_SUPPORT))
    weeks = HELD_IN_WEEKS if args.held_in_weeks is None else args.held_in_weeks
    held_in = spread(worlds.learning_weeks, weeks, "held-in") if args.log is None else ()
    rest, judges = [week for week in worlds.learning_weeks if week not in held_in], _judges(args, worlds)
    if not rest:
        raise TrainingError(f"beside {weeks} held-in weeks none is left to learn from; ask for fewer, or bring more")
    guarding = 0 if judges else min(weeks, len(rest) - 1)
    guards = spread(rest, guarding, "validation") if guarding else ()
    day = round(86_400.0 / design.house.grid.step_s)
    free = tuple(w + k * day for w in rest if w not in guards for k in range(START_DAYS))
    began = "the data fit" if args.theta is None else str(args.theta)
    return Work(args, design, worlds, spec, learning, held_in, free, guards, judges, start, began)


def _plan(work: Work, log: RecordedWorld | None) -> list[Tasks]:
    spec, policies = work.spec, len(contenders(work.design, work.start, work.theta))
    judged = len(work.judges) * policies + len(work.guards) * GUARDED
    if log is not None:
        return plan_of_log(
            work.design, stretches=len(log.stretches), decisions=log.decisions, iterations=spec.iterations,
            judged=judged,
        )  # fmt: skip
    return plan_of(
        work.design, looks=looks(work.design, work.start) * len(work.held_in), tried=len(work.held_in),
        iterations=spec.iterations, episodes=EPISODES if work.args.episodes is None else work.args.episodes,
        episode_days=EPISODE_DAYS, replay=replay_of(spec), judged=judged,
        tries=thetas_of(work.design.problem.theta, work.learning[0]) if spec.method == PAIRED else None,
    )  # fmt: skip


def _begun(teller: Teller, work: Work, workers: Workers) -> Work:
    """The work from where it starts: at the nameplate where the data fit loses to it; says what there is to gain."""
    console = teller.console
    with console.status("what there is to gain") as status:
        teller.show = status.update
        ahead = outlook(
            work.design, work.worlds.learning, work.held_in, work.start, seed=work.args.seed, workers=workers
        )
    for line in ahead.told():
        console.print(line, soft_wrap=True)
    if work.args.theta is None and ahead.reserved is not None:
        console.print("tuning starts at the reserve by the hour that the best causal policy keeps", soft_wrap=True)
        return replace(work, start=dict(ahead.reserved), began="the reserve of the best causal policy")
    if work.args.theta is None and ahead.fit_loses:
        return replace(work, start=nameplate_theta(work.design), began="the nameplate")
    return work


def _log(console: Console, work: Work, library: Path) -> RecordedWorld | None:
    """The daemon's log, where it is what teaches."""
    args, design = work.args, work.design
    if args.log is None:
        return None
    found = recorded_world(args.log, design, library, work.theta)
    for line in told_of_log(found, design.problem):
        console.print(line, soft_wrap=True)
    return found


def _plants(work: Work, library: Path, workers: Workers) -> PlantWorld:
    args, design = work.args, work.design
    return PlantWorld(
        design, library, work.worlds.learning, work.free, work.held_in,
        EPISODES if args.episodes is None else args.episodes, EPISODE_DAYS, work.spec.seed, workers,
        WORLDS[args.world], _truth(design, args.world),
    )  # fmt: skip


def _learned(teller: Teller, work: Work, world: World, library: Path, workers: Workers) -> Tuning:
    args, house = work.args, work.design.house
    title = f"tuning {house.name} by {work.spec.method} in {world.name}"
    with LiveTable(teller.console, tuning_view(title, house.currency)) as live:
        teller.show = live.doing
        return tune(
            world, CompiledLabeller(work.design, library, workers), work.design.problem.theta, work.learning,
            work.theta, work.spec,
            checkpoint=args.checkpoint, resume=args.resume, report=live.update, time_limit_s=args.time_limit,
        )  # fmt: skip


def _write(console: Console, work: Work, world: World, tuning: Tuning, outcome: TuneOutcome) -> None:
    """Theta: the tuned one where the outcome allows it, otherwise the one it started from; the result for machines."""
    args, spec, problem = work.args, work.spec, work.design.problem
    theta, whose = (tuning.start, OLD) if outcome.kept else (tuning.theta, TUNED)
    names = [p.name for p in problem.theta]
    written = check_theta(dict(zip(names, theta.tolist(), strict=True)), problem)
    provenance = {
        "method": spec.method, "critic": spec.critic, "world": world.name, "seed": spec.seed,
        "data": work.worlds.told, "trained_until": work.worlds.until, "iterations": tuning.course.iteration,
        "theta": whose, "started_from": work.began,
    }  # fmt: skip
    write_theta(args.output, problem, written, provenance)
    console.print(f"written: {args.output} ({whose} theta)", soft_wrap=True)
    if args.json is not None:
        document = tuning.as_json() | {"output": str(args.output), "written": written, "kept_old": outcome.kept}
        write_json(args.json, document | {"verdict": outcome.said if tuning.improved else None})


def _truth(design: HouseDesign, kind: str) -> dict[str, object]:
    """Raises TrainingError where there is no model to be the truth."""
    if kind == "physical":
        return {}
    if "zone" not in design.fits:
        raise TrainingError("--world arx needs the fitted model of the zones; add --model from `nisse identify`")
    return {"zone": design.fitted["zone"]}


def _judges(args: argparse.Namespace, worlds: Worlds) -> tuple[int, ...]:
    """The held-out weeks of the verdict, known before the work; none where it is left to `nisse evaluate`."""
    asked = args.held_out_weeks
    if asked == 0:
        return ()
    return spread(
        worlds.held_out_weeks, min(HELD_OUT_WEEKS, len(worlds.held_out_weeks)) if asked is None else asked, "held-out"
    )


def _outcome(teller: Teller, work: Work, tuning: Tuning, workers: Workers) -> TuneOutcome:
    """By the held-out weeks of the verdict, else by the weeks of the training part that were kept for it."""
    if not tuning.improved:
        return TuneOutcome(True, UNCHANGED)
    design, worlds, seed = work.design, work.worlds, work.args.seed + 1
    with teller.console.status(JUDGE) as status:
        teller.show = status.update
        if work.judges:
            return judged_by(design, Weeks(worlds.held_out, work.judges, seed), work.start, tuning, workers)
        if work.guards:
            return guarded_by(design, Weeks(worlds.learning, work.guards, seed), work.start, tuning, workers)
    return TuneOutcome(False, "no week was left to say what the tuned theta is worth; `nisse evaluate` judges it")
