"""Holding set-points against following the meter, and the rule in real time: the same weeks with minutes in them.

    python -m benchmarks.tracking                                  # the table of docs/results/tracking.md
    python -m benchmarks.tracking --weeks 3 --tariffs spot

The shipped house `battery` under spot prices and under a flat tariff, each without and with a charge for peaks; load
and sun vary from minute to minute (`systems.world.inside`) about the means of the world's steps. What is bought and
what is sold are counted each minute, as a meter with two registers does. All policies meet the same minutes. A saving
is paired by week, its interval clustered by month.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np

from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.logs.log import Array
from systems.plant import HousePlant
from systems.tariff import Tariff
from systems.world import Exogenous
from systems.world.inside import Inside
from tuner.evaluate.statistics import clustered_interval
from tuner.loop.follow import Follower
from tuner.loop.policies import Mpc, RulePolicy
from tuner.loop.week import LoopPolicy, run_stretch
from tuner.loop.worlds import Worlds, generated_worlds

DAY_S = 86_400.0
FLAT_BUY, FLAT_SELL = 0.30, 0.06
TARIFFS = ("spot", "flat")
CHARGES = {"none": "", "peaks": 'capacity = { price_per_kw = 4.2, interval = "15 min", free_kw = 2.5 }'}
NOBODY, RULE_HELD, RULE, HELD, TRACKED = "no battery", "rule, held", "rule, real time", "MPC, held", "MPC, tracked"
POLICIES = (NOBODY, RULE_HELD, RULE, HELD, TRACKED)


@dataclass(frozen=True)
class Task:
    tariff: str
    charge: str
    week: int
    policy: str
    seed: int
    hold: str


@lru_cache(maxsize=2)
def design_of(charge: str, hold: str) -> HouseDesign:
    text, source = read_house("battery")
    text = text.replace("[meter]", f"[meter]\n{CHARGES[charge]}", 1)
    text = re.sub(r'step = "[^"]*"\nhold = "[^"]*"', f'step = "15 min"\nhold = "{hold}"', text)
    return HouseDesign(text, {}, source)


@lru_cache(maxsize=2)
def worlds_of(charge: str, hold: str, seed: int) -> Worlds:
    return generated_worlds(design_of(charge, hold).house, seed=seed, prices="continental", tariff=Tariff())


def world_of(charge: str, hold: str, tariff: str, seed: int) -> tuple[Exogenous, Sequence[int]]:
    worlds = worlds_of(charge, hold, seed)
    world = worlds.held_out
    if tariff == "flat":
        n = len(world)
        world = world.with_columns({"buy": np.full(n, FLAT_BUY), "sell": np.full(n, FLAT_SELL)})
    return world, worlds.held_out_weeks


def run(task: Task) -> float:
    """The bill of a week, corrected for what is left in store."""
    design = design_of(task.charge, task.hold)
    world, weeks = world_of(task.charge, task.hold, task.tariff, task.seed)
    theta = np.array([p.default for p in design.problem.theta])
    plant = HousePlant(design.house, world, inside=Inside(task.seed))
    policy: LoopPolicy = RulePolicy(design, theta)
    if task.policy in (HELD, TRACKED):
        policy = Mpc(design, build_solver(design.problem, host_arch()).library, theta)
    if task.policy == NOBODY:
        policy = AtRest(design)
    follower = Follower(design, theta) if task.policy in (RULE, TRACKED) else None
    stages = round(7 * DAY_S / design.house.grid.hold_s)
    seed = int(np.random.SeedSequence([task.seed, task.week]).generate_state(1)[0])
    return run_stretch(design, plant, policy, first=weeks[task.week], stages=stages, seed=seed, follower=follower).bill


class AtRest:
    """A battery that does nothing."""

    held, forecast_error, failures, solve_time_s = False, 1.0, 0, 0.0
    plan: Array | None = None

    def __init__(self, design: HouseDesign) -> None:
        self._zero = np.zeros(design.problem.na)

    def begin(self) -> None:
        pass

    def decide(self, moment: object) -> Array:
        raise NotImplementedError("rests at each step")

    def act(self, values: object) -> Array:
        return self._zero


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", type=int, default=12, help="held-out weeks, spread over the year")
    parser.add_argument("--tariffs", nargs="+", choices=TARIFFS, default=list(TARIFFS))
    parser.add_argument("--charges", nargs="+", choices=list(CHARGES), default=list(CHARGES))
    parser.add_argument("--hold", default="15 min", help="length of a decision")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, help="write the table here too")
    args = parser.parse_args()
    text = "\n".join([HEAD, *table(args)])
    print(text)
    if args.output is not None:
        args.output.write_text(text + "\n", encoding="utf-8")


HEAD = f"""| tariff | peaks | {" | ".join(POLICIES)} | tracking saves against holding | against the rule in real time |
|---|---|{"---|" * (len(POLICIES) + 2)}"""


def table(args: argparse.Namespace) -> list[str]:
    """A row for each regime, EUR a week."""
    rows = []
    for tariff, charge in product(args.tariffs, args.charges):
        design = design_of(charge, args.hold)
        build_solver(design.problem, host_arch())
        world, weeks = world_of(charge, args.hold, tariff, args.seed)
        chosen = np.unique(np.linspace(0, len(weeks) - 1, args.weeks).round().astype(int)).tolist()
        months = [f"{world.time(weeks[k]):%Y-%m}" for k in chosen]
        tasks = [Task(tariff, charge, k, policy, args.seed, args.hold) for policy in POLICIES for k in chosen]
        with ProcessPoolExecutor(args.jobs) as pool:
            bills = np.array(list(pool.map(run, tasks))).reshape(len(POLICIES), len(chosen))
        means = bills.mean(1)
        saved = []
        for other in (HELD, RULE):
            difference = bills[POLICIES.index(other)] - bills[POLICIES.index(TRACKED)]
            interval = clustered_interval(difference, months)
            base = means[POLICIES.index(other)]
            saved.append(f"{interval.mean:.2f} ({interval.low:.2f} to {interval.high:.2f}), {interval.mean / base:.1%}")
        cells = " | ".join(f"{mean:.2f}" for mean in means)
        rows.append(f"| {tariff} | {charge} | {cells} | {saved[0]} | {saved[1]} |")
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    main()
