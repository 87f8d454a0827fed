"""A regime: a home's load and panels under a tariff and a charge for peaks, and what a controller pays in a stretch."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks.linear_program import LinearProgram
from benchmarks.tracking import AtRest
from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.design import HouseDesign
from systems.logs.log import Array
from systems.plant import HousePlant
from systems.tariff import Tariff
from systems.world import Exogenous, WorldColumn
from systems.world.foresight import Certain, Published, Usual
from systems.world.generate import generated_world
from systems.world.inside import Inside, Kind
from tuner.bound.house import BestPolicy, Horizon, why_not
from tuner.bound.relaxed import least_cost
from tuner.bound.reserve import reserve_by_hour
from tuner.loop.follow import Follower, Holder
from tuner.loop.policies import Mpc, RulePolicy
from tuner.loop.week import LoopPolicy, run_stretch

KNOTS = 4
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
    "peak": 'capacity = { price_per_kw = 1.05, interval = "1 h", free_kw = 2.5 }',
    "tiers": 'capacity = { tiers = [[2, 2.75], [5, 4.5], [10, 7.5], [15, 11], [20, 14]], interval = "1 h", days = 3 }',
}  # fmt: skip
"""A quarter of what a month costs, Flanders-like, and Norwegian tiers for the mean of the three highest days: what is
judged are the first weeks of months."""
STANDS_IN = {"tiers": 'capacity = { price_per_kw = 0.6, interval = "1 h" }'}
"""A charge whose value function can be computed, for one whose cannot: the tiers' mean price of a kW."""
TARIFFS = ("spot", "flat")
FLAT_BUY, FLAT_SELL = 0.30, 0.06
USUAL_DAYS = 7
PIECES = 3
HOURS = 24
NOBODY, RULE, LP, MPC = "no battery", "rule, real time", "linear program", "MPC"
ONE, GRID, SEARCH, LEARNED = "MPC, best one parameter", "MPC, grid of two", "MPC, black box", "MPC, learned"
CAUSAL, PERFECT, KNOWN = "best causal policy", "MPC, perfect forecast", "known future, true plant"
FLOOR = "below every policy"
SIMPLE = (RULE, LP, MPC, ONE, GRID)
CHOSEN = (ONE, GRID, SEARCH, LEARNED)
POLICIES = (NOBODY, *SIMPLE, SEARCH, LEARNED, CAUSAL, PERFECT, KNOWN, FLOOR)
Theta = tuple[float, ...]


@dataclass(frozen=True)
class Source:
    """Where homes and prices are from; None: generated."""

    homes: tuple[Path, ...]
    prices: Path | None
    count: int

    def names(self) -> list[str]:
        return [path.stem for path in self.homes] or [f"generated {k}" for k in range(self.count)]


@dataclass(frozen=True)
class Stretch:
    """Days from a date on; a month begins without a peak."""

    begin: tuple[int, int, int]
    days: int


@dataclass(frozen=True)
class Task:
    tariff: str
    charge: str
    home: int
    stretch: Stretch
    policy: str
    theta: Theta | None = None
    """Of an MPC; None: the default."""


class Steady(Inside):
    """A step in pieces that are all alike: the data are its means, and a battery that is empty stops within it."""

    def __init__(self) -> None:
        super().__init__(0, 3600.0 / PIECES)

    def minutes(self, kind: Kind, column: str, step: int, mean: float, count: int) -> Array:
        return np.full(count, mean)


@lru_cache(maxsize=8)
def design_of(charge: str) -> HouseDesign:
    """charge: as a line of the house file."""
    return HouseDesign(HOUSE.format(charge=charge))


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
        made = generated_world(design_of("").house, start, 364, seed=home)
        load, pv = made["load"], made["pv"]
    n = len(load)
    buy, sell, known = np.full(n, FLAT_BUY), np.full(n, FLAT_SELL), Certain() if tariff == "flat" else Published()
    if tariff == "spot":
        spot = spot_prices(source, start, n)
        hours = np.arange(n)
        buy = Tariff().buy_price(spot, hours % HOURS + 0.0, hours // HOURS % 7)
        sell = Tariff().sell_price(spot)
    columns = {
        "load": WorldColumn(load, usual(load)), "pv": WorldColumn(pv, usual(pv)), "buy": WorldColumn(buy, known),
        "sell": WorldColumn(sell, known), "outdoor": WorldColumn(np.zeros(n)), "sun": WorldColumn(np.zeros(n)),
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


def place(world: Exogenous, stretch: Stretch) -> tuple[int, int]:
    """(first step, steps)."""
    return world.step_at(datetime(*stretch.begin, tzinfo=world.zone)), HOURS * stretch.days


def cost(source: Source, task: Task) -> float:
    """The bill of a stretch, corrected for what is left in store."""
    design, world = design_of(CHARGES[task.charge]), world_of(source, task.tariff, task.home)
    first, stages = place(world, task.stretch)
    theta = design.problem.theta_default() if task.theta is None else np.array(task.theta)
    policy: LoopPolicy
    follower: Follower | None = Follower(design, theta.tolist())
    if task.policy == FLOOR:
        return least_cost(Horizon(design, world, first, stages))
    if task.policy in (CAUSAL, KNOWN):
        known = task.policy == KNOWN
        policy = BestPolicy(Horizon(design, world, first, stages, known=known, follows=True, pieces=PIECES))
        follower = Holder(design, theta.tolist())  # it sees the hour's net load and decides for it
    elif task.policy == LP:
        policy = LinearProgram(design)
    elif task.policy in (RULE, NOBODY):
        policy = RulePolicy(design, theta) if task.policy == RULE else AtRest(design)
        follower = follower if task.policy == RULE else None
    else:
        library = build_solver(design.problem, host_arch()).library
        policy = Mpc(design, library, theta, forecast_error=float(task.policy != PERFECT))
    plant = HousePlant(design.house, world, inside=Steady())
    result = run_stretch(design, plant, policy, first=first, stages=stages, seed=0, follower=follower)
    return result.energy + result.capacity if task.policy == NOBODY else result.total


def reserve_of(source: Source, tariff: str, charge: str, home: int, stretch: Stretch) -> list[float]:
    """(KNOTS,) what the value function of the best causal policy keeps by the hour of the day."""
    design, world = design_of(STANDS_IN.get(charge, CHARGES[charge])), world_of(source, tariff, home)
    horizon = Horizon(design, world, *place(world, stretch), follows=True, pieces=PIECES)
    return reserve_by_hour(horizon, HousePlant(design.house, world, inside=Steady()), KNOTS).tolist()


def policies_of(charge: str) -> list[str]:
    """Those that can be computed; what is below every policy where the best one is not."""
    out = (CAUSAL, KNOWN) if why_not(design_of(CHARGES[charge]).house) else (FLOOR,)
    return [policy for policy in POLICIES if policy not in out]
