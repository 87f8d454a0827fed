"""What a battery's controllers are worth: regimes of prices and charges, real homes, months that taught nothing.

    python -m benchmarks.worth --homes FOLDER --prices FILE       # home*.csv (time, load_kw, pv_kw), hourly spot prices
    python -m benchmarks.worth --quick                            # generated homes, two months: minutes

Every policy but the last two follows the meter by the law that the daemon runs, and the data are hourly means: what
happens inside the hour is left to `benchmarks.tracking`. Forecasts of load and panels are the mean of the same hour of
the last seven days. The one-parameter fix is chosen on three months of the first half; judged are the months of the
second half. Money a month, paired by home and month; the interval is over homes and months (crossed).

The others run in pieces of ten minutes, the two of dynamic programming in whole hours, with the power limits of the
hour's beginning: near full and empty that costs them up to 1.3 % of the bill, so a gap below that is none.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from benchmarks.linear_program import LinearProgram
from benchmarks.tracking import AtRest
from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.design import HouseDesign
from systems.logs.log import Array
from systems.plant import HousePlant
from systems.tariff import Tariff
from systems.world import Column, Exogenous
from systems.world.foresight import Certain, Published, Usual
from systems.world.generate import generated_world
from systems.world.inside import Inside, Kind
from tuner.bound.house import BestPolicy, Horizon, why_not
from tuner.evaluate.statistics import crossed_interval, mean_interval
from tuner.loop.follow import Follower, Holder
from tuner.loop.policies import Mpc, Ruled
from tuner.loop.week import Policy, run_stretch

HOUSE = """[house]
name = "worth"
timezone = "Europe/Oslo"
[grid]
step = "1 h"
hold = "1 h"
horizon = "24 h"
[meter]
{charge}
[load]
[[pv]]
name = "roof"
peak_kw = 10
[[battery]]
name = "home"
capacity_kwh = 10
max_charge_kw = 5
max_discharge_kw = 5
knots = 4
"""
CHARGES = {
    "none": "",
    "peak": 'capacity = { price_per_kw = 4.2, interval = "1 h", free_kw = 2.5 }',
    "tiers": 'capacity = { tiers = [[2, 11], [5, 18], [10, 30], [15, 43], [20, 57]], interval = "1 h", days = 3 }',
}  # fmt: skip
"""A month: Flanders-like, and Norwegian tiers for the mean of the three highest days."""
FLAT_BUY, FLAT_SELL = 0.30, 0.06
USUAL_DAYS = 7
PIECE_S = 600.0
PIECES = 6
HOURS = 24
NOBODY, RULE, LP, FIT, FIXED = "no battery", "rule, real time", "linear program", "MPC", "MPC, one parameter"
CAUSAL, PERFECT, KNOWN = "best causal policy", "perfect forecast, the MPC's model", "future known, true plant"
SIMPLE = (RULE, LP, FIT, FIXED)
POLICIES = (NOBODY, *SIMPLE, CAUSAL, PERFECT, KNOWN)
FIXES = {"peak_reserve": (1.0, 2.0, 3.0, 4.0), "home_price_spread": (0.01, 0.03, 0.06, 0.1)}


@dataclass(frozen=True)
class Source:
    """Where homes and prices are from; None: generated."""

    homes: tuple[Path, ...]
    prices: Path | None
    count: int

    def names(self) -> list[str]:
        return [path.stem for path in self.homes] or [f"generated {k}" for k in range(self.count)]


@dataclass(frozen=True)
class Task:
    tariff: str
    charge: str
    home: int
    year: int
    month: int
    policy: str
    fix: tuple[str, float] | None = None


def usual(values: Array) -> Usual:
    """(n,) mean of the same hour of the days before."""
    found = values.copy()
    for hour in range(HOURS, len(values)):
        found[hour] = values[hour % HOURS : hour : HOURS][-USUAL_DAYS:].mean()
    return Usual(found)


@lru_cache(maxsize=4)
def world_of(source: Source, tariff: str, home: int) -> Exogenous:
    zone = timezone(timedelta(hours=1))
    start = datetime(2020, 8, 3, tzinfo=zone)
    if source.homes:
        with source.homes[home].open() as file:
            rows = list(csv.DictReader(file))[1:]
        load, pv = (np.array([float(row[name]) for row in rows]) for name in ("load_kw", "pv_kw"))
    else:
        made = generated_world(HouseDesign(HOUSE.format(charge="")).house, start, 364, seed=home)
        load, pv = made["load"], made["pv"]
    n = len(load)
    buy, sell, known = np.full(n, FLAT_BUY), np.full(n, FLAT_SELL), Certain() if tariff == "flat" else Published()
    if tariff == "spot":
        spot = spot_prices(source, start, n)
        hours = np.arange(n)
        buy = Tariff().buy_price(spot, hours % HOURS + 0.0, hours // HOURS % 7)
        sell = Tariff().sell_price(spot)
    columns = {
        "load": Column(load, usual(load)), "pv": Column(pv, usual(pv)), "buy": Column(buy, known),
        "sell": Column(sell, known), "outdoor": Column(np.zeros(n)), "sun": Column(np.zeros(n)),
    }  # fmt: skip
    return Exogenous(start, 3600.0, zone, columns, source.names()[home])


def spot_prices(source: Source, start: datetime, n: int) -> Array:
    if source.prices is None:
        from systems.clock import local_clock
        from systems.world.household import spot_prices as generated

        return np.asarray(generated("nordic", local_clock(start, 3600.0, n), 0))
    with source.prices.open() as file:
        rows = [(datetime.fromisoformat(row["time"]), float(row["price_eur_per_kwh"])) for row in csv.DictReader(file)]
    first = next(k for k, (time, _) in enumerate(rows) if time == start)
    return np.array([price for _, price in rows[first : first + n]])


def run(source: Source, task: Task) -> float:
    """The bill of a month, corrected for what is left in store."""
    design = HouseDesign(HOUSE.format(charge=CHARGES[task.charge]))
    world = world_of(source, task.tariff, task.home)
    begin = datetime(task.year, task.month, 1, tzinfo=world.zone)
    end = datetime(task.year + task.month // 12, task.month % 12 + 1, 1, tzinfo=world.zone)
    first, stages = world.step_at(begin), world.step_at(end) - world.step_at(begin)
    names = [p.name for p in design.problem.theta]
    theta = design.problem.theta_default()
    if task.fix is not None:
        theta[names.index(task.fix[0])] = task.fix[1]
    policy: Policy
    follower: Follower | None = Follower(design, theta.tolist())
    if task.policy in (CAUSAL, KNOWN):
        policy = BestPolicy(
            Horizon(design, world, first, stages, known=task.policy == KNOWN, follows=True, pieces=PIECES)
        )
        follower = Holder(design, theta.tolist())  # it sees the hour's net load and decides for it
    elif task.policy == LP:
        policy = LinearProgram(design)
    elif task.policy in (RULE, NOBODY):
        policy = Ruled(design, theta) if task.policy == RULE else AtRest(design)
        follower = follower if task.policy == RULE else None
    else:
        library = build_solver(design.problem, host_arch()).library
        policy = Mpc(design, library, theta, forecast_error=float(task.policy != PERFECT))
    plant = HousePlant(design.house, world, inside=Steady())
    result = run_stretch(design, plant, policy, first=first, stages=stages, seed=0, follower=follower)
    return result.energy + result.capacity if task.policy == NOBODY else result.total


class Steady(Inside):
    """A step in pieces that are all alike: the data are its means, and a battery that is empty stops within it."""

    def __init__(self) -> None:
        super().__init__(0, PIECE_S)

    def minutes(self, kind: Kind, column: str, step: int, mean: float, count: int) -> Array:
        return np.full(count, mean)


@dataclass(frozen=True)
class Plan:
    """Months (year, month) to choose on and to judge by."""

    training: tuple[tuple[int, int], ...] = ((2020, 9), (2020, 11), (2021, 1))
    judged: tuple[tuple[int, int], ...] = ((2021, 2), (2021, 3), (2021, 4), (2021, 5), (2021, 6))


def regime(source: Source, plan: Plan, tariff: str, charge: str, jobs: int) -> dict[str, Array]:
    """(homes, months) by policy; those that cannot be computed are left out."""
    homes = range(len(source.names()))
    name = "home_price_spread" if charge == "none" else "peak_reserve"
    tries: list[tuple[str, float] | None] = [None, *((name, value) for value in FIXES[name])]
    asked = [
        Task(tariff, charge, home, *month, FIXED, fix) for home, fix, month in product(homes, tries, plan.training)
    ]
    costs = np.array(_all(source, asked, jobs)).reshape(len(homes), len(tries), -1).mean(2)
    chosen = [tries[int(np.argmin(row))] for row in costs]
    reason = why_not(HouseDesign(HOUSE.format(charge=CHARGES[charge])).house)
    policies = [policy for policy in POLICIES if not reason or policy not in (CAUSAL, KNOWN)]
    tasks = [
        Task(tariff, charge, home, *month, policy, chosen[home] if policy == FIXED else None)
        for policy, home, month in product(policies, homes, plan.judged)
    ]
    found = np.array(_all(source, tasks, jobs)).reshape(len(policies), len(homes), -1)
    return dict(zip(policies, found, strict=True))


def _all(source: Source, tasks: Sequence[Task], jobs: int) -> list[float]:
    return list(Parallel(n_jobs=jobs)(delayed(run)(source, task) for task in tasks))


def table(found: dict[str, Array]) -> list[str]:
    """Rows of Markdown: mean a month, and what is saved against the rule and against the best simple controller."""
    best = min(SIMPLE, key=lambda name: found[name].mean())
    lines = [f"| policy | a month | against the rule | against the best simple ({best}) |", "|---|---|---|---|"]
    for name, costs in found.items():
        cells = [_saved(found[rival] - costs, rival == name) for rival in (RULE, best)]
        lines.append(f"| {name} | {costs.mean():.2f} | {cells[0]} | {cells[1]} |")
    return lines


def _saved(saved: Array, itself: bool) -> str:
    if itself or saved.size < 2:
        return "" if itself else f"{saved.mean():+.2f}"
    found = crossed_interval(saved) if min(saved.shape) > 1 else mean_interval(saved.ravel())
    return f"{found.mean:+.2f} ({found.low:+.2f} .. {found.high:+.2f})"


def month(text: str) -> tuple[int, int]:
    """2021-02"""
    year, number = text.split("-")
    return int(year), int(number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--homes", type=Path, help="folder with home*.csv")
    parser.add_argument("--prices", type=Path, help="hourly spot prices, with the year from 2020-08-03 on")
    parser.add_argument("--tariffs", nargs="+", choices=["spot", "flat"], default=["spot", "flat"])
    parser.add_argument("--charges", nargs="+", choices=list(CHARGES), default=list(CHARGES))
    parser.add_argument("--count", type=int, help="homes (default: all of the folder, or 2)")
    parser.add_argument("--judged", nargs="+", type=month, help="as 2021-02 (default: February to June)")
    parser.add_argument("--training", nargs="+", type=month, help="(default: September, November, January)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one generated home, one regime, two months")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    homes = tuple(sorted(args.homes.glob("home*.csv")))[: args.count] if args.homes else ()
    source, plan = Source(homes, args.prices, args.count or 2), Plan()
    plan = Plan(tuple(args.training or plan.training), tuple(args.judged or plan.judged))
    tariffs, charges = args.tariffs, args.charges
    if args.quick:
        source, plan = Source((), None, 1), Plan(((2020, 11),), ((2021, 2), (2021, 4)))
        tariffs, charges = ["flat"], ["peak"]
    document = {}
    for tariff, charge in product(tariffs, charges):
        found = regime(source, plan, tariff, charge, args.jobs)
        document[f"{tariff}, {charge}"] = {name: costs.tolist() for name, costs in found.items()}
        print(f"\n**{tariff}, {charge}**\n\n" + "\n".join(table(found)), flush=True)
        if args.json is not None:
            args.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
