"""`nisse evaluate HOUSE`: rules, data fit, tuned theta and what else a person would try, on held-out weeks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from codegen.commands.build import design_from
from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.commands.numbers import MOST_PROCESSES, whole
from systems.commands.output import output_path, write_json
from systems.design import HouseDesign
from systems.logs.log import Array
from systems.theta import read_theta
from tuner.bound.house import Horizon, why_not
from tuner.commands import worlds as world_options
from tuner.commands.prices import add_data_arguments
from tuner.commands.worlds import workers_from, worlds_from
from tuner.evaluate.comparison import (
    BOUNDS,
    BY_HAND,
    CAUSAL,
    RULE,
    SEARCHED,
    TUNED,
    Evaluation,
    bounds,
    contenders,
    evaluate_house,
)
from tuner.loop.by_hand_and_search import Choice, by_hand, by_search
from tuner.loop.explore import PlantWorld, learned_by_default, learning_entries
from tuner.loop.periods import HELD_IN_WEEKS, spread
from tuner.loop.workers import Workers
from tuner.loop.worlds import Worlds, check_trained_until


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Policies: the rules, the data fit with and without the mean of its errors, weights from a grid by hand, a\n"
        "black-box search, the tuned theta (with --theta), a perfect forecast, and for a battery alone the best\n"
        "causal policy and the best with a known future, by dynamic programming on its plant.\n"
        "All meet the same weeks and the same disturbances.\n\n"
        "examples:\n"
        "  nisse evaluate cabin --model model.json --theta theta.json --html verdict.html\n"
        "  nisse evaluate battery --prices prices.csv --train-until 2021-01-01 --theta theta.json\n"
        "  nisse evaluate house.toml --own-log log.csv --weeks 8 --html house.html"
    )
    parser.add_argument("house", help="a house file, or the name of a shipped house (see `nisse check`)")
    parser.add_argument("--theta", type=Path, metavar="FILE", help="the tuned parameters")
    parser.add_argument("--weeks", type=whole(2), default=12, help="held out, evenly spread (default: %(default)s)")
    parser.add_argument(
        "--workers", type=whole(1, MOST_PROCESSES, also=-1), default=-1, help="processes (default: one per core)"
    )
    parser.add_argument(
        "--search",
        type=whole(0),
        default=24,
        metavar="N",
        help="thetas that a grid by hand and a black-box search may each try on the training weeks; 0 leaves both out "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--training-weeks", type=whole(1), default=HELD_IN_WEEKS, metavar="N", help="for them (default: %(default)s)"
    )
    parser.add_argument("--learn", nargs="+", metavar="NAME", help="what they turn, as in `nisse tune`")
    parser.add_argument(
        "--minutes",
        action="store_true",
        help="what a step holds varies inside, and batteries follow the meter in every minute, the rules' as well",
    )
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write the result for machines")
    parser.add_argument("--html", type=output_path, metavar="PATH", help="write a page with table and plots")
    world_options.add_arguments(parser)
    add_data_arguments(parser)


def run(args: argparse.Namespace) -> int:
    design = design_from(args.house, args.model)
    worlds = worlds_from(args, design.house)
    tuned = None if args.theta is None else read_theta(args.theta, design.problem)
    if args.theta is not None:
        check_trained_until(args.theta, worlds)
    weeks = spread(worlds.held_out_weeks, args.weeks, "held-out")
    workers = workers_from(args, args.workers)
    with Progress(transient=True) as progress:
        chosen = choices(args, design, worlds, workers, progress)
        bar = progress.add_task("held-out weeks", total=None)
        thetas = {name: choice.theta for name, choice in chosen.items()}
        found = evaluate_house(
            design, worlds.held_out, weeks, (*contenders(design.problem.theta, tuned, thetas), *bounds(design.house)),
            seed=args.seed, minutes=args.minutes, workers=workers,
            report=lambda done, total: progress.update(bar, completed=done, total=total),
        )  # fmt: skip
    console = Console()
    console.print(table_of(found))
    console.print(verdict(found), soft_wrap=True, highlight=False)
    says = [*against_the_others(found), *told_of(chosen, found.currency), bound_told(design, worlds, found)]
    for line in (*says, worlds.told):
        console.print(line, soft_wrap=True, highlight=False)
    if args.json is not None:
        write_json(args.json, document(found, worlds.told) | {"chosen_on_training_weeks": chosen_document(chosen)})
    if args.html is not None:
        from tuner.report.verdict import write_page  # matplotlib takes a second to import

        write_page(args.html, design, worlds.held_out, found, verdict(found), says, worlds.told)
        console.print(f"drawn: {args.html}", soft_wrap=True, highlight=False)
    return 0


def choices(
    args: argparse.Namespace, design: HouseDesign, worlds: Worlds, workers: Workers, progress: Progress
) -> dict[str, Choice]:
    """What hand and search choose on the training weeks; empty where --search is 0."""
    if args.search == 0:
        return {}
    parameters = design.problem.theta
    learning = learning_entries(parameters, learned_by_default(parameters) if args.learn is None else tuple(args.learn))
    held_in = spread(worlds.learning_weeks, min(args.training_weeks, len(worlds.learning_weeks)), "training")
    library = build_solver(design.problem, host_arch()).library
    weeks = PlantWorld(design, library, worlds.learning, (), held_in, 0, 0.0, args.seed, workers)

    known: dict[bytes, float] = {}

    def trial(thetas: Sequence[Array]) -> Array:
        """Both begin at the data fit, which is tried once."""
        new = [theta for theta in thetas if theta.tobytes() not in known]
        for theta, tried in zip(new, weeks.try_all(new) if new else (), strict=True):
            known[theta.tobytes()] = float(tried.total.mean())
        return np.array([known[theta.tobytes()] for theta in thetas])

    start, found = design.problem.theta_default(), dict[str, Choice]()
    for name, choose in ((BY_HAND, by_hand), (SEARCHED, partial(by_search, seed=args.seed))):
        bar = progress.add_task(f"{name}: thetas on training weeks", total=args.search)
        found[name] = choose(
            parameters, learning, start, trial, budget=args.search, report=partial(_completed, progress, bar)
        )
        progress.remove_task(bar)
    return found


def _completed(progress: Progress, bar: TaskID, done: int) -> None:
    progress.update(bar, completed=done)


def told_of(chosen: Mapping[str, Choice], currency: str) -> list[str]:
    """A line for each choice: what it promised on the weeks that it was chosen on."""
    return [
        f"{name}: best of {choice.tried} on the training weeks, {choice.cost:.2f} {currency} a week there; the data "
        f"fit {choice.start_cost:.2f}"
        for name, choice in chosen.items()
    ]


def chosen_document(chosen: Mapping[str, Choice]) -> dict[str, Any]:
    return {
        name: {"theta": c.theta.tolist(), "cost": c.cost, "data_fit_cost": c.start_cost, "tried": c.tried}
        for name, c in chosen.items()
    }


def against_the_others(found: Evaluation) -> list[str]:
    """The tuned theta against the choices of hand and search, in a sentence each, paired."""
    if found.about != TUNED:
        return []
    lines = []
    for rival in (BY_HAND, SEARCHED):
        saving = found.saving(TUNED, rival) if rival in found.results else None
        if saving is None:
            continue
        span = f"{saving.mean:+.3f} {found.currency} a week, 95 % interval {saving.low:.3f} to {saving.high:.3f}"
        word = "beats" if saving.low > 0.0 else "loses to" if saving.high < 0.0 else "is not told apart from"
        lines.append(f"tuned {word} {rival} ({span})")
    return lines


def bound_told(design: HouseDesign, worlds: Worlds, found: Evaluation) -> str:
    """What is left to gain for anybody who does not see the future, or why that is not computed."""
    reason = why_not(design.house)
    if CAUSAL not in found.results and not reason:
        reason = "it decides for whole steps, and what happens inside them is not among its states"
    if reason:
        return f"no best causal policy: {reason}"
    costs = {name: float(found.totals(name).mean()) for name in found.results if name not in BOUNDS}
    best = min(costs, key=lambda name: costs[name])
    left = costs[best] - float(found.totals(CAUSAL).mean())
    stages = round(7 * 86_400.0 / design.house.grid.hold_s)
    error = Horizon(design, worlds.held_out, found.weeks[0], stages).grid_error()
    return (
        f"without seeing the future {left:.2f} {found.currency} a week is left to gain on the {best} (grid error "
        f"{error:.2f}; prices and what a weather service says are taken as known)"
    )


def table_of(found: Evaluation) -> Table:
    money = found.currency
    table = Table(title=f"{found.house}: {len(found.weeks)} held-out weeks, {money} a week")
    capacity = any(r.capacity for results in found.results.values() for r in results)
    zones = list(next(iter(found.results.values()))[0].discomfort_kh)
    tank = any(r.cold_litres for results in found.results.values() for r in results)
    columns = ["total", "energy", *(["peaks"] if capacity else []), "in store", "not billed"]
    columns += [f"{zone} K h" for zone in zones] + (["cold litres"] if tank else [])
    for heading in ("policy", *columns, "failed"):
        table.add_column(heading, justify="left" if heading == "policy" else "right")
    for name, results in found.results.items():
        cells = [f"{found.totals(name).mean():.3f}", f"{np.mean([r.energy for r in results]):.2f}"]
        cells += [f"{np.mean([r.capacity for r in results]):.2f}"] if capacity else []
        cells += [f"{np.mean([-r.stored for r in results]):+.2f}"]
        cells += [f"{np.mean([sum(r.unbilled.values()) for r in results]):.2f}"]
        cells += [f"{np.mean([r.discomfort_kh[zone] for r in results]):.1f}" for zone in zones]
        cells += [f"{np.mean([r.cold_litres for r in results]):.0f}"] if tank else []
        table.add_row(name, *cells, str(sum(r.failures for r in results)))
    return table


def verdict(found: Evaluation) -> str:
    """What comes of it, in a sentence: tuned against the best that a person would try first, paired."""
    rival = found.fit
    if found.about != TUNED:
        saving = found.saving(rival, RULE)
        text = "" if saving is None else f" (95 % interval {saving.low:.2f} to {saving.high:.2f})"
        mean = (found.totals(RULE) - found.totals(rival)).mean()
        return f"the MPC with the {rival} saves {mean:.2f} {found.currency} a week against the rules{text}"
    saving = found.saving(TUNED, rival)
    mean = (found.totals(rival) - found.totals(TUNED)).mean()
    share = 100.0 * mean / max(abs(found.totals(rival).mean()), 1e-9)
    if saving is None:
        return f"tuned saves {mean:.3f} {found.currency} in the one week against {rival}"
    span = f"{share:.1f} %, 95 % interval {saving.low:.3f} to {saving.high:.3f} {found.currency} a week"
    if saving.low > 0.0:
        return f"tuning saves {saving.mean:.3f} {found.currency} a week against {rival} ({span})"
    if saving.high < 0.0:
        return f"tuning costs {-saving.mean:.3f} {found.currency} a week against {rival} ({span}); keep the old theta"
    return f"these weeks do not show that tuning helps against {rival} ({span}); keep the old theta"


def document(found: Evaluation, told: str) -> dict[str, Any]:
    """For machines."""

    def interval(name: str, against: str) -> dict[str, float] | None:
        saving = found.saving(name, against) if name != against else None
        if saving is None:
            return None
        return {"mean": saving.mean, "low": saving.low, "high": saving.high, "clusters": saving.n}

    return {
        "house": found.house,
        "currency": found.currency,
        "weeks": list(found.weeks),
        "months": list(found.months),
        "data": told,
        "verdict": verdict(found),
        "policies": {
            name: {
                "total_per_week": found.totals(name).tolist(),
                "energy_per_week": [r.energy for r in results],
                "capacity_per_week": [r.capacity for r in results],
                "stored_per_week": [r.stored for r in results],
                "not_billed_per_week": [dict(r.unbilled) for r in results],
                "discomfort_kh": [dict(r.discomfort_kh) for r in results],
                "cold_litres": [r.cold_litres for r in results],
                "import_kwh": [r.import_kwh for r in results],
                "export_kwh": [r.export_kwh for r in results],
                "peak_kw": [r.peak_kw for r in results],
                "failed_solves": sum(r.failures for r in results),
                "ms_per_solve": 1e3 * sum(r.solve_time_s for r in results) / max(sum(r.solves for r in results), 1),
                "saving_against": {other: interval(name, other) for other in found.results if other != name},
            }
            for name, results in found.results.items()
        },
    }
