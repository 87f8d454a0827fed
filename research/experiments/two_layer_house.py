"""`nisse experiment two-layer --house HOUSE`: the critic in described houses, against paired rollouts there."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.solver import build_solver
from codegen.targets import host_arch
from pages.chart import Chart, Line, NumberAxis, Panel
from pages.page import Page
from pages.palette import LINES
from research.experiments.output import Statement, result_page, write_outputs
from research.experiments.progress import steps
from research.experiments.settings import Settings
from research.experiments.two_layer_page import SOURCE, over, spread
from research.house_grid import grid_told, on_coarse_grid
from research.two_layer import Agreement
from research.two_layer_house import LEAST_SQUARES, NEWS, HouseFound, HousePlan, examine_house
from systems.design import HouseDesign
from systems.house_file import read_house
from tuner.loop.workers import LocalWorkers

AHEAD_H = 12.0
LABELS = {"semi": "semi-gradient", "both": "both sides", NEWS: "semi-gradient, news off"}
CHOSEN_ON = range(5)
"""Seeds of the linear regulator, on which the critic's settings were chosen."""
Runs = Sequence[HouseFound]
Array = NDArray[np.float64]


def run_houses(args: argparse.Namespace) -> int:
    seeds = range(args.seed, args.seed + args.seeds)
    designs = {}
    for name in args.house:
        text, source = read_house(name)
        design = HouseDesign(text if args.own_grid else on_coarse_grid(text, source), {}, source)
        designs[design.house.name] = design
    with steps("two-layer", len(designs) * len(seeds)) as step:
        found = {name: study(name, design, args, seeds, step) for name, design in designs.items()}
    page = make_house_page(found, designs, args)
    path = write_outputs(
        "two-layer", page, as_json(found, designs, args, seeds), settings_of(seeds), args.output, args.json
    )
    for name, runs in found.items():
        for critic, agreements in ends(runs).items():
            print(f"{name}, {critic}: {told(agreements)}")
    print(f"page: {path}")
    return 0


def settings_of(seeds: Sequence[int]) -> Settings:
    return Settings(
        "Weights' start, rate and window are those of the linear regulator, chosen there; days, tries and how far a "
        "try goes by their time, whatever they give.",
        shown=seeds,
        chosen_on=CHOSEN_ON,
    )


def study(
    name: str, design: HouseDesign, args: argparse.Namespace, seeds: Sequence[int], step: Callable[[str], None]
) -> list[HouseFound]:
    library = build_solver(design.problem, host_arch()).library
    tasks = [(HousePlan(design.text, library, seed, args.days, args.tries, AHEAD_H, args.updates),) for seed in seeds]
    found = []
    for outcome in LocalWorkers(args.jobs).run(examine_house, (), tasks):
        found.append(outcome)
        step(f"{name}, {len(found)} of {len(seeds)} seeds")
    return found


def ends_of(runs: Runs, critic: str) -> list[Agreement]:
    return [run.critics[critic].end for run in runs]


def ends(runs: Runs) -> dict[str, list[Agreement]]:
    """By critic, over the seeds."""
    found = {LABELS[name]: ends_of(runs, name) for name in runs[0].critics}
    return {**found, LEAST_SQUARES: [run.least_squares for run in runs]}


def told(agreements: Sequence[Agreement]) -> str:
    return (
        f"correlation {over([a.correlation for a in agreements], '+.2f')}, "
        f"relative error {over([a.error for a in agreements], '.2f')}"
    )


def pooled(runs: Runs, critic: str) -> Agreement:
    """Over the tries of all seeds."""
    return Agreement.of(foretold(runs, critic), np.concatenate([run.measured for run in runs]))


def foretold(runs: Runs, critic: str) -> Array:
    """Over the tries of all seeds."""
    return np.concatenate([run.foretold[critic] for run in runs])


def rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def make_house_page(found: Mapping[str, Runs], designs: Mapping[str, HouseDesign], args: argparse.Namespace) -> Page:
    first = next(iter(found.values()))
    tries = {name: sum(len(run.measured) for run in runs) for name, runs in found.items()}
    return result_page(
        title="A critic with two layers, in a house",
        summary=" ".join(
            f"{name}: over {tries[name]} pairs of rollouts the semi-gradient's dQ/da correlates by "
            f"{pooled(runs, 'semi').correlation:+.2f} with what a move costs; by seed "
            f"{told(ends_of(runs, 'semi'))}."
            for name, runs in found.items()
        ),
        statements=(
            Statement(
                "The critic converges to the Q of the policy, up to what its layers can hold.",
                "; ".join(f"{name}: {told(ends_of(runs, 'semi'))}" for name, runs in found.items()) + ".",
                "Measured: the same state lived through twice. The program itself says 0, a relative error of 1; above "
                "it the critic knows less than nothing.",
            ),
            Statement(
                "The gradient of both sides.",
                "; ".join(f"{name}: {told(ends_of(runs, 'both'))}" for name, runs in found.items()) + ".",
                "On the linear regulator it makes Q flat; here noise hides that.",
            ),
            Statement(
                "What limits it: the layers, the updates, or the data?",
                "; ".join(f"{name}: {told([r.least_squares for r in runs])}" for name, runs in found.items())
                + " for the same Q solved by least squares.",
                f"The data, where the solution is no nearer than the iteration. {first[0].transitions} of them a seed; "
                + "; ".join(
                    f"{name}: moves cost {rms(np.concatenate([r.measured for r in runs])):.2g} "
                    f"{designs[name].house.currency}, foretold are {rms(foretold(runs, NEWS)):.2g} with the news off"
                    for name, runs in found.items()
                )
                + " (root mean squares). Noise that falls like n^(-1/2) is as small as what is sought after the "
                "transitions of the table.",
            ),
            Statement(
                "Bounded weights; persistent excitation.",
                "; ".join(
                    f"{name}: largest norm {over([r.critics['semi'].largest_norm for r in runs], '.1f')}, smallest "
                    f"eigenvalue {over([r.critics['semi'].excitation for r in runs], '.1e')}"
                    for name, runs in found.items()
                )
                + ".",
                "Products of powers that exclude each other, or that rest at a bound, are not excited.",
            ),
        ),
        charts=[chart(name, runs) for name, runs in found.items()],
        tables=tuple(
            (
                f"{name}: dQ/da against what moves cost",
                [
                    "critic",
                    "correlation, all seeds",
                    "by seed",
                    "relative error, all seeds",
                    "by seed",
                    "transitions until 1",
                ],
                [
                    [
                        label,
                        f"{pooled(runs, key).correlation:+.2f}",
                        over([a.correlation for a in agreements], "+.2f"),
                        f"{pooled(runs, key).error:.1f}",
                        over([a.error for a in agreements], ".1f"),
                        f"{runs[0].transitions * max(pooled(runs, key).error, 1.0) ** 2:.1g}",
                    ]
                    for key, (label, agreements) in zip(
                        (*runs[0].critics, LEAST_SQUARES), ends(runs).items(), strict=True
                    )
                ],
            )
            for name, runs in found.items()
        ),
        notes=(
            f"{args.days:g} exploring days a seed, {args.tries} pairs of rollouts of {AHEAD_H:g} h from states of "
            f"another year, {args.updates} updates. Medians, and in brackets the range over the seeds.",
            *(grid_told(name, design.text) for name, design in designs.items()),
            "A pair holds one course of weather, prices and people, so no critic can foretell all of it.",
        ),
        source=SOURCE,
    )


def chart(name: str, runs: Runs) -> Chart:
    """Over the updates, median and range over the seeds."""

    def course(read: Callable[[Agreement], float]) -> list[Line]:
        lines = []
        for number, critic in enumerate(runs[0].critics):
            whole = [run.critics[critic] for run in runs if not run.critics[critic].left]
            if whole:
                values = np.array([[read(a) for a in one.course] for one in whole])
                lines.append(spread(LABELS[critic], np.array(whole[0].updates, float), values, number))
        return lines

    measured = np.concatenate([run.measured for run in runs])
    said = [
        Line(LABELS[critic], measured, foretold(runs, critic), LINES[number], "dots")
        for number, critic in enumerate(runs[0].critics)
    ]
    return Chart(
        f"two-layer-{name}",
        f"{name}: the critic's dQ/da against what moves cost, over its updates and try by try.",
        [
            Panel("Correlation with what a move costs", course(lambda a: a.correlation), log_x=True),
            Panel("Relative error", course(lambda a: a.error), log=True, log_x=True),
            Panel("Foretold", said, x_title="measured"),
        ],
        NumberAxis("updates"),
        columns=2,
    )


def as_json(
    found: Mapping[str, Runs], designs: Mapping[str, HouseDesign], args: argparse.Namespace, seeds: Sequence[int]
) -> dict[str, Any]:
    return {
        "experiment": "two-layer",
        "source": SOURCE,
        "seeds": list(seeds),
        "days": args.days,
        "tries": args.tries,
        "ahead_h": AHEAD_H,
        "updates": args.updates,
        "houses": {
            name: {
                "currency": designs[name].house.currency,
                "step_s": designs[name].house.grid.step_s,
                "hold_s": designs[name].house.grid.hold_s,
                "transitions": [run.transitions for run in runs],
                "over_all_tries": {critic: asdict(pooled(runs, critic)) for critic in runs[0].foretold},
                "critics": {critic: [asdict(run.critics[critic]) for run in runs] for critic in runs[0].critics},
                "least_squares": [asdict(run.least_squares) for run in runs],
                "measured": [run.measured for run in runs],
                "foretold": [run.foretold for run in runs],
            }
            for name, runs in found.items()
        },
    }
