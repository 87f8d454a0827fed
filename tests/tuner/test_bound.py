"""The best causal policy of a battery: against the tree of all that can happen, and against the newsvendor's rule."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from statistics import NormalDist

import numpy as np
import pytest

from systems.design import HouseDesign
from systems.house_file import SHIPPED, parse_house
from systems.logs.log import Array
from systems.plant import HousePlant
from systems.world.generate import generated_world
from systems.world.inside import Inside, Kind
from tuner.bound.chain import even, learn_chain
from tuner.bound.house import BestPolicy, Horizon, why_not
from tuner.bound.plant_table import Cells
from tuner.bound.program import PeakStates, Stakes, StoreTable, solve
from tuner.loop.follow import Follower, Holder
from tuner.loop.policies import RulePolicy
from tuner.loop.week import run_stretch

SOC = np.array([0.0, 0.5, 1.0])
POWERS = np.array([-1.0, 0.0, 1.0])
KWH = 2.0


def lossless(soc: Array = SOC, powers: Array = POWERS, kwh: float = KWH) -> StoreTable:
    """An hour's stage; a battery gives and takes what it has."""
    real = np.clip(powers[None, :], -soc[:, None] * kwh, (1 - soc[:, None]) * kwh)
    return StoreTable(soc, powers, real[:, :, None], soc[:, None] + real / kwh)


def tree(stakes: Stakes, t: int, soc: float, before: int, peak: float) -> float:
    """All histories, one by one: no state is ever met twice."""
    if t == len(stakes):
        place = int(np.searchsorted(stakes.peaks.levels_kw, peak - 1e-9))
        return float(stakes.peaks.fee[place]) - float(stakes.end_worth(np.array([soc]))[0])

    def after(power: float, e: int) -> float:
        power = min(max(power, -soc * KWH), (1 - soc) * KWH)
        grid = float(stakes.net_kw[t, e]) + power
        paid = (stakes.buy[t] if grid > 0 else stakes.sell[t]) * grid
        return float(paid) + tree(stakes, t + 1, soc + power / KWH, e, max(peak, grid))

    chances = stakes.transition[t, before]
    bins = range(len(chances))
    if stakes.follows:
        return float(sum(chances[e] * min(after(a, e) for a in POWERS) for e in bins))
    return float(min(sum(chances[e] * after(a, e) for e in bins) for a in POWERS))


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("tiers", [False, True])
def test_it_is_the_best_of_the_tree_of_all_that_can_happen(follows: bool, tiers: bool) -> None:
    """Whole kW: every state that can be reached is a point of the grid, so equality is exact."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        levels = np.arange(5.0)
        peaks = PeakStates(levels, np.cumsum(rng.uniform(0, 1, 5)) if tiers else 0.7 * levels, tiers=tiers)
        stakes = Stakes(
            hours=1.0,
            buy=rng.uniform(0.1, 1.0, 4),
            sell=rng.uniform(-0.1, 0.6, 4),
            net_kw=rng.integers(-2, 4, (4, 2)).astype(float),
            transition=rng.dirichlet([1.0, 1.0], (4, 2)),
            end_worth=lambda soc: 0.4 * KWH * soc,
            peaks=peaks,
            follows=follows,
        )
        found = solve(lossless(), stakes)
        for soc, before in itertools.product(SOC, (0, 1)):
            fee = float(peaks.fee[1])
            assert found.value(soc, before, 1.0) == pytest.approx(tree(stakes, 0, soc, before, 1.0) - fee, abs=1e-9)


def test_seeing_the_meter_and_seeing_the_future_are_worth_something_and_in_that_order() -> None:
    rng = np.random.default_rng(3)
    net = np.sort(rng.uniform(-2, 3, (24, 3)), axis=1)
    store, buy = lossless(np.linspace(0, 1, 41), np.linspace(-1, 1, 21)), rng.uniform(0.1, 0.5, 24)

    def cost(net_kw: Array, *, follows: bool = False) -> float:
        bins = net_kw.shape[1]
        chances = np.full((24, bins, bins), 1 / bins)
        worth, sell = (lambda soc: 0.2 * KWH * soc), np.full(24, 0.05)
        return solve(store, Stakes(1.0, buy, sell, net_kw, chances, worth, follows=follows)).value(0.5, 0)

    paths = rng.integers(0, 3, (100, 24))
    known = np.mean([cost(net[np.arange(24), path][:, None]) for path in paths])
    assert cost(net) - 0.1 > cost(net, follows=True) > known


def test_one_stage_is_the_newsvendor() -> None:
    """With load N ~ normal, F(discharge) = (buy - worth) / (buy - sell)."""
    buy, sell, worth = 0.30, 0.06, 0.15
    load = NormalDist(2.0, 0.5)
    count = 200
    net = np.array([[load.inv_cdf((k + 0.5) / count) for k in range(count)]])
    stakes = Stakes(
        1.0, np.array([buy]), np.array([sell]), net, np.full((1, count, count), 1 / count),
        lambda soc: worth * 10.0 * soc,
    )  # fmt: skip
    found = solve(lossless(np.linspace(0, 1, 51), np.linspace(-5, 5, 101), kwh=10.0), stakes)
    assert -found.decide(0, 0.8, 0) == pytest.approx(load.inv_cdf((buy - worth) / (buy - sell)), abs=0.01)


def test_a_month_that_turns_pays_for_its_peak_and_begins_without_one() -> None:
    peaks = PeakStates(np.linspace(0.0, 4.0, 9), 2.0 * np.linspace(0.0, 4.0, 9))
    net = np.array([[3.0], [1.0]])
    stakes = Stakes(
        1.0, np.full(2, 0.2), np.zeros(2), net, np.ones((2, 1, 1)), lambda soc: np.zeros_like(soc), peaks=peaks,
        month=np.array([1, 2]),
    )  # fmt: skip
    # A kWh is in store: it takes 1 kW off either peak, and energy is the same.
    assert solve(lossless(), stakes).value(0.5, 0) == pytest.approx(2.0 * 3.0 + 0.2 * 3.0)
    stayed = Stakes(
        1.0, np.full(2, 0.2), np.zeros(2), net, np.ones((2, 1, 1)), lambda soc: np.zeros_like(soc), peaks=peaks
    )
    assert solve(lossless(), stayed).value(0.5, 0) == pytest.approx(2.0 * 2.0 + 0.2 * 3.0)


def test_the_chain_knows_how_errors_last() -> None:
    rng = np.random.default_rng(0)
    errors, memory = np.zeros(24 * 300), 0.8
    for k in range(1, len(errors)):
        errors[k] = memory * errors[k - 1] + np.sqrt(1 - memory**2) * rng.standard_normal()
    chain = learn_chain(errors * 0.5, np.arange(len(errors)) % 24, even(7))
    np.testing.assert_allclose(chain.transition.sum(2), 1.0)
    ahead = np.einsum("kij,kj->ki", chain.transition, chain.values)
    before = np.roll(chain.values, 1, axis=0)
    slope = (ahead * before).sum() / (before**2).sum()
    assert slope == pytest.approx(memory, abs=0.1)
    assert chain.values.std() == pytest.approx(0.5, abs=0.05)


HOURLY = (SHIPPED / "battery.toml").read_text().replace('"15 min"', '"1 h"')


def test_on_the_plant_of_a_house_it_comes_to_what_it_promised() -> None:
    """What is known comes: the promise is kept but for the grid, in its band, and nobody blind does better."""
    design = HouseDesign(HOURLY)
    world = generated_world(design.house, datetime(2022, 4, 3, tzinfo=UTC), 12, seed=1, prices="continental")
    first, stages = 96, 72
    known, blind = (Horizon(design, world, first, stages, known=known) for known in (True, False))
    solution, cells = known.solved(), Cells(design)
    soc, cost = 0.5, 0.0
    for t in range(known.count):
        step = known.begin + t
        power = min(max(solution.decide(t, soc, 0), cells.within(soc)[0]), cells.within(soc)[1])
        (real,), soc = cells.stage(soc, power)
        assert cells.lowest - 0.01 < soc < cells.highest + 1e-3
        grid = known.net_kw[step] + real
        cost += world["buy" if grid > 0 else "sell"][step] * grid
    cost -= float(solution.stakes.end_worth(np.array([soc]))[0])
    assert cost == pytest.approx(solution.value(0.5, 0), abs=0.05)
    assert 0.0 < known.grid_error() < 0.05
    totals = [
        run_stretch(design, HousePlant(design.house, world), BestPolicy(h), first=first, stages=stages, seed=0).total
        for h in (known, blind)
    ]
    assert totals[0] < totals[1]


class Steady(Inside):
    """All pieces of a step are alike."""

    def minutes(self, kind: Kind, column: str, step: int, mean: float, count: int) -> Array:
        return np.full(count, mean)


def test_a_battery_that_acts_in_pieces_of_a_step_does_no_better_than_who_knows_the_future_in_the_same_pieces() -> None:
    """In whole steps the rule in real time beat the bound, and what nets within a step beat what a meter bills."""
    design = HouseDesign(HOURLY)
    world = generated_world(design.house, datetime(2022, 3, 1, tzinfo=UTC), 10, seed=2, prices="continental")
    flat = {
        name: replace(world.columns[name], values=np.full(len(world), v)) for name, v in (("buy", 0.3), ("sell", 0.06))
    }
    world = replace(world, columns={**world.columns, **flat})
    theta = design.problem.theta_default()
    horizon = Horizon(design, world, 96, 120, known=True, follows=True, pieces=6)
    rule, known = (
        run_stretch(
            design, HousePlant(design.house, world, inside=Steady(0, 600.0)), policy, first=96, stages=120, seed=0,
            follower=follower,
        ).total
        for policy, follower in (
            (RulePolicy(design, theta), Follower(design, theta.tolist())),
            (BestPolicy(horizon), Holder(design, theta.tolist())),
        )
    )  # fmt: skip
    assert known < rule < 1.02 * known


def test_what_is_rare_has_a_bin_of_its_own() -> None:
    errors = np.tile(np.r_[np.zeros(99), 10.0], 24)
    slots = np.repeat(np.arange(24), 100)
    chain = learn_chain(errors, slots, (0.5, 0.99))
    assert chain.values[:, -1] == pytest.approx(10.0) and chain.values[:, :-1] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("house", "reason"),
    [
        ("villa", "has a heat_pump too"),
        ("flat", "and flat has none"),
        (HOURLY.replace("export_limit_kw = 25", "capacity = { price_per_kw = 4, days = 3 }"), "mean of 3"),
        (HOURLY.replace("peak_kw = 6", "peak_kw = 6\ncurtailable = true"), "curtailed"),
        (HOURLY, ""),
    ],
)  # fmt: skip
def test_where_there_is_none_it_says_why(house: str, reason: str) -> None:
    text = house if "\n" in house else (SHIPPED / f"{house}.toml").read_text()
    assert reason in why_not(parse_house(text)) and bool(reason) == bool(why_not(parse_house(text)))
