"""What tries in pairs tell of theta, and what single weeks would; and what a theta found so is worth in another year.

python -m benchmarks.pairs slopes --learn load_bias home_price_spread --stretches 8 --markdown slopes.md
python -m benchmarks.pairs gain --learn load_bias --iterations 2 --stretches 4 --judges 12 --search 8 --markdown gain.md

The house is the shipped battery with hours for steps, so that a year of it is simulated in a quarter of a minute. It
starts with a load forecast that is wrong by `--bias` kW, as its data fit is where rare spikes lift the mean.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np

from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.logs.log import Array
from systems.world.generate import generated_world
from tuner.evaluate.statistics import Interval, mean_interval
from tuner.learn.differences import directions, slopes_of, tries
from tuner.learn.proposals import WIDTH, Labeller
from tuner.learn.tuning import PAIRED, TuningSpec, tune
from tuner.loop.by_hand_and_search import by_search
from tuner.loop.explore import PlantWorld, learning_entries
from tuner.loop.periods import weeks_of
from tuner.loop.workers import LocalWorkers

YEAR, NEXT_YEAR, DAYS = datetime(2022, 1, 3, tzinfo=UTC), datetime(2023, 1, 2, tzinfo=UTC), 190.0
BIAS = "load_bias"


class Battery:
    """The house, its start, half a year to learn in and the same half of the next year to be judged in."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.design = HouseDesign(read_house("battery")[0].replace('"15 min"', '"1 h"'))
        self.parameters = self.design.problem.theta
        self.library = build_solver(self.design.problem, host_arch()).library
        self.learning = learning_entries(self.parameters, args.learn)
        self.start = self.with_bias(args.bias)
        self.args = args

    def with_bias(self, kw: float) -> Array:
        theta = self.design.problem.theta_default()
        theta[[p.name for p in self.parameters].index(BIAS)] = kw
        return theta

    def plants(self, start: datetime, seed: int, held_in: int) -> PlantWorld:
        """To be tried on `held_in` stretches, evenly spread; others teach."""
        args = self.args
        world = generated_world(self.design.house, start, DAYS, seed=seed)
        weeks = weeks_of(self.design.house, world)
        tried = [weeks[i] for i in np.linspace(0, len(weeks) - 1, held_in).round().astype(int)]
        free = tuple(week for week in weeks if week not in tried)
        return PlantWorld(
            self.design, self.library, world, free, tuple(tried), args.stretches, args.days, args.seed,
            LocalWorkers(1), held_in_days=args.days,
        )  # fmt: skip


def slopes(battery: Battery) -> list[str]:
    """A row for each kind of parameter."""
    entries, scale = battery.learning
    rows = directions(battery.parameters, entries, 0, 0)
    moves = np.zeros((len(rows), len(battery.start)))
    moves[:, entries] = WIDTH * scale * rows
    bounds = np.array([p.lower for p in battery.parameters]), np.array([p.upper for p in battery.parameters])
    asked = tries(battery.start, moves, bounds)
    costs = battery.plants(YEAR, battery.args.seed, 3).compare(list(asked), 0)
    found = slopes_of(asked, costs, moves, WIDTH)
    spread = float(costs[0].std(ddof=1))
    lines = [
        "| a scale of | slope, EUR a stretch | 95 % interval | spread in pairs | spread apart |",
        "|---|--:|--:|--:|--:|",
    ]
    for row, slope, ahead, behind in zip(rows, found.slope, found.ahead, found.behind, strict=True):
        told, name = mean_interval(slope), battery.parameters[entries[row != 0.0][0]].name
        apart, paired = np.sqrt(2.0) * spread / (ahead + behind), slope.std(ddof=1)
        lines.append(f"| `{name}` | {told.mean:.3f} | {told.low:.3f} .. {told.high:.3f} | {paired:.3f} | {apart:.2f} |")
    return lines


def gain(battery: Battery) -> list[str]:
    """A row for each theta: what it saves against the start in the year after, paired."""
    args, learn = battery.args, tuple(battery.args.learn)
    plants = battery.plants(YEAR, args.seed, 3)
    spec = TuningSpec(method=PAIRED, learn=learn, iterations=args.iterations, seed=args.seed)
    tuned = tune(plants, cast(Labeller, None), battery.parameters, battery.learning, battery.start, spec)
    lived = tuned.course.history[-1].transitions
    thetas = {"start": battery.start, f"{BIAS} 0": battery.with_bias(0.0), "tries in pairs": tuned.theta}
    if args.search:
        chosen = by_search(
            battery.parameters, battery.learning, battery.start,
            lambda asked: np.array([tried.total.mean() for tried in plants.try_all(list(asked))]),
            budget=args.search, seed=args.seed,
        )  # fmt: skip
        thetas[f"black-box search, {args.search} thetas"] = chosen.theta
    judged = battery.plants(NEXT_YEAR, args.seed + 50, args.judges).try_all(list(thetas.values()))
    costs = {name: tried.total for name, tried in zip(thetas, judged, strict=True)}
    lines = ["| theta | EUR a stretch | saves against the start | against 0 |", "|---|--:|--:|--:|"]
    for name, cost in costs.items():
        savings = [_said(mean_interval(costs[other] - cost)) if other != name else "" for other in list(costs)[:2]]
        lines.append(f"| {name} | {cost.mean():.3f} | {savings[0]} | {savings[1]} |")
    moved = ", ".join(f"`{p.name}` {before:.3f} to {after:.3f}" for p, before, after in tuned.changes())
    told = f"Tries in pairs moved {moved or 'nothing'}; the last iteration lived through {lived} stretches."
    return [*lines, "", told]


def _said(interval: Interval) -> str:
    return f"{interval.mean:.3f} ({interval.low:.3f} .. {interval.high:.3f})"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("slopes", "gain"))
    parser.add_argument("--learn", nargs="+", default=[BIAS])
    parser.add_argument("--bias", type=float, default=0.15, help="kW, of the start (default: %(default)s)")
    parser.add_argument("--stretches", type=int, default=4, help="of an iteration (default: %(default)s)")
    parser.add_argument("--days", type=float, default=3.0, help="of a stretch (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--judges", type=int, default=12, help="stretches of the next year (default: %(default)s)")
    parser.add_argument("--search", type=int, default=0, help="thetas of a black-box search; 0 leaves it out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args(argv)
    lines = (slopes if args.part == "slopes" else gain)(Battery(args))
    print("\n".join(lines))
    if args.markdown is not None:
        args.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
