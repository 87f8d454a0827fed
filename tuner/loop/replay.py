"""The daemon's log lived through once more by the rules: same weather, prices and people, other decisions.

A counterfactual in three steps. What the model of the house did not foresee is taken out of the log, step by step:
w_k = x_{k+1} - f(x_k, a_k, d_k), and what the meter showed beyond the model's power. Then the rules decide in the place
of nisse. Then the model moves on with their decisions and with the same w_k: sun, people and draws come as they came.
So the log itself is replayed exactly, and a wrong model errs only in what the difference of two decisions does.
What the meter bills comes from the house's own meter, peaks of the month included.

Source of the three steps: Pearl, Causality (2009), section 7.1 (abduction, action, prediction).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.inputs.uncharged import days_left_in_month
from systems.asset_plant import Around, Flow, Now
from systems.assets.meter.plant import MeterPlant
from systems.design import HouseDesign
from systems.grid import HOUR_S
from systems.logs.log import Array, LogError
from systems.plant import HousePlant
from systems.world import Exogenous, WorldColumn
from systems.world.generate import generated_world
from tuner.loop.field_log import METER, LoggedCycle, read_cycles
from tuner.loop.model_step import FineProgram
from tuner.loop.policies import RulePolicy

PEAK = "month_peak"
LEAST_STEPS = 12
"""Of an unbroken stretch: less teaches nothing of a rule."""


@dataclass(frozen=True, eq=False)
class Way:
    """What one way of deciding drew, cost and left behind, by model step."""

    grid_kw: Array
    """(T,)"""
    energy: Array
    """(T,) money"""
    capacity: Array
    """(T,) money: by how much the month's charge rose"""
    drawn_kw: Array
    """(T, na) actions"""
    worth_kwh: Array
    """(T,) electric energy that what is stored at the end of the step would save"""
    outside_kh: Array
    """(T, zones and tanks) kelvin outside the band times hours"""
    start_kwh: Array
    """(stretches,) what was stored as each began; the same for both ways"""


@dataclass(frozen=True, eq=False)
class Replay:
    """T steps that count, in order, with gaps between stretches."""

    time_s: Array
    """(T,) Unix time at which each begins"""
    stretch: NDArray[np.int64]
    """(T,) number of the unbroken stretch"""
    nisse: Way
    """What the log shows."""
    rule: Way
    residual_kwh: Array
    """(T, kinds of store) what the model did not foresee of each store, as electric energy"""
    effect_kwh: Array
    """(T, kinds of store, na) what the model says that each action did to each store"""
    explored_kwh: Array
    """(T, kinds of store, na) the part of it that does not follow from what the controller saw"""
    decision: NDArray[np.int64]
    """(T,) number of the decision that was in force"""
    moves_kwh: Array
    """(T, na) what each action was over the step, times hours"""
    buy: Array
    """(T,) price"""
    stores: tuple[str, ...]
    outside: tuple[str, ...]
    left_out: int
    """Steps between the first and the last that do not count: a gap, or a state or action that is not known."""
    metered: bool
    """Whether the meter, if there is one, was read; without it the model says what was drawn."""


def replay_log(path: Path, design: HouseDesign) -> Replay:
    """Raises LogError for the log of another house, or one without an unbroken stretch."""
    cycles = read_cycles(path, design.problem)
    step_s = design.house.grid.step_s
    stretches = [s for s in _stretches(cycles, step_s) if len(s) > LEAST_STEPS]
    if not stretches:
        raise LogError(
            f"{path}: no {LEAST_STEPS * step_s / 60:.0f} minutes without a gap, with all states and actions known; let "
            "the daemon run for some days"
        )
    house = _House(design)
    parts = [part for number, stretch in enumerate(stretches) for part in house.lived(stretch, number)]
    span = round((stretches[-1][-1].time_s - stretches[0][0].time_s) / step_s)
    return house.joined(parts, max(0, span - len(parts)))


def _stretches(cycles: Sequence[LoggedCycle], step_s: float) -> list[list[LoggedCycle]]:
    """Cycles on the grid of model steps, one a step, without a gap, all of them known."""
    found: list[list[LoggedCycle]] = [[]]
    for cycle in cycles:
        off = abs((cycle.time_s + 0.5 * step_s) % step_s - 0.5 * step_s) > 0.1 * step_s
        known = all(np.isfinite(part).all() for part in (cycle.state, cycle.action, cycle.row))
        if off:
            continue
        last = found[-1][-1] if found[-1] else None
        if last is not None and abs(cycle.time_s - last.time_s - step_s) > 0.1 * step_s:
            found.append([])
        if known:
            found[-1].append(cycle)
        elif found[-1]:
            found.append([])
    return [stretch for stretch in found if stretch]


@dataclass(frozen=True, eq=False)
class _LoggedStep:
    time_s: float
    stretch: int
    buy: float
    metered: bool
    made_s: float
    residual_kwh: Array
    effect_kwh: Array
    explored_kwh: Array
    ways: tuple[tuple[float, float, float, Array, float, Array], tuple[float, float, float, Array, float, Array]]


class _House:
    """The identified house and its two meters: what it did, and what it would have done."""

    def __init__(self, design: HouseDesign) -> None:
        house, problem = design.house, design.problem
        self._design, self._fine = design, FineProgram(design, fitted=True)
        self._names, self._actions = [s.name for s in problem.states], [a.name for a in problem.actions]
        self._forecasts = [f.name for f in design.forecasts]
        self._hours = house.grid.step_s / HOUR_S
        self._worth = _worth_kwh(design)
        self.stores = tuple(name for name, worth in zip(self._names, self._worth, strict=True) if worth)
        self.outside = tuple(a.name for table in ("zone", "tank") for a in house.of(table))
        self._peak = self._names.index(PEAK) if PEAK in self._names else None
        meter = house.only("meter")
        self._has_meter = meter is not None
        capacity = None if meter is None else meter.capacity
        self._meters = [MeterPlant(self._has_meter, capacity) for _ in range(2)]
        self._starts: list[float] = []
        self._rule = RulePolicy(design, problem.theta_default())
        defaults = {p.name: p.default for p in problem.theta}
        limits = [limit for block in design.blocks for limit in block.limits(defaults)]
        bands = {limit["name"]: (limit["lower"], limit["upper"]) for limit in limits}
        self._batteries = [
            (self._names.index(f"{b.name}_soc"), self._actions.index(f"{b.name}_charge"),
             self._actions.index(f"{b.name}_discharge"), bands.get(f"{b.name}_soc", (0.0, 1.0)))
            for b in house.of("battery")
        ]  # fmt: skip

    def lived(self, stretch: Sequence[LoggedCycle], number: int) -> Iterator[_LoggedStep]:
        if not self._starts:
            self._begin(stretch[0])
        self._starts.append(float(self._worth @ stretch[0].state))
        x = stretch[0].state.copy()
        self._rule.begin()
        for now, after in pairwise(stretch):
            yield self._step(now, after, x, number)
            x = self._x

    def _begin(self, first: LoggedCycle) -> None:
        start = datetime.fromtimestamp(first.time_s, self._design.house.timezone)
        zeros = WorldColumn(np.zeros(1))
        world = Exogenous(start, self._hours * HOUR_S, self._design.house.timezone, {"buy": zeros})
        initial = {} if self._peak is None else {PEAK: float(first.state[self._peak])}
        for meter in self._meters:
            meter.begin(np.random.default_rng(0), world, 0, 1, initial)

    def _step(self, now: LoggedCycle, after: LoggedCycle, x: Array, number: int) -> _LoggedStep:
        d = np.array(
            [
                now.values.get(name, now.row[first])
                for name, first in zip(self._forecasts, self._fine.firsts, strict=True)
            ]
        )
        done = self._netted(now.action)
        thought = self._fine.kw(done, d)
        seen = after.grid_kw if self._has_meter else np.nan
        metered = bool(np.isfinite(seen))
        beyond = seen - thought if metered else 0.0
        z = self._features(now)
        w = after.state - self._fine.after(now.state, done, d, z)
        ruled = self._ruled(now, x, d, z, beyond)
        following = self._fine.after(x, ruled, d, z) + w
        for soc, *_ in self._batteries:
            following[soc] = min(max(following[soc], 0.0), 1.0)
        grid = (thought + beyond, self._fine.kw(ruled, d) + beyond)
        paid = [self._billed(meter, now, d, kw) for meter, kw in zip(self._meters, grid, strict=True)]
        if self._peak is not None:
            following[self._peak] = self._meters[1].states()[PEAK]
            w[self._peak] = 0.0
        self._x = following
        prices = dict(zip(self._forecasts, d.tolist(), strict=True))
        ways = tuple(
            (kw, *money, action, float(self._worth @ state), self._outside_kh(now, state))
            for kw, money, action, state in zip(grid, paid, (done, ruled), (after.state, following), strict=True)
        )
        kept = [self._names.index(name) for name in self.stores]
        per_unit = self._worth[kept, None] * self._fine.slopes(now.state, done, d, z)[kept]
        meant = self._netted(now.nominal) if np.isfinite(now.nominal).all() else done
        return _LoggedStep(
            now.time_s, number, float(prices["buy"]), metered, now.made_s, (self._worth * w)[kept], per_unit * done,
            per_unit * (done - meant), (ways[0], ways[1]),
        )  # fmt: skip

    def _ruled(self, now: LoggedCycle, x: Array, d: Array, z: Array, beyond: float) -> Array:
        """What the rules do, within what the batteries hold."""
        states = {name: float(v) for name, v in zip(self._names, x, strict=True)}
        values = {**dict(zip(self._forecasts, d.tolist(), strict=True)), **now.values, **states}
        values.pop(METER, None)
        # The rule sees the load as it comes: a house follows its own meter by itself.
        if "load" in values:
            values["load"] += beyond
        action = self._rule.act(values)
        for soc, charge, discharge, (lower, upper) in self._batteries:
            if not action[charge] and not action[discharge]:
                continue
            rest = action.copy()
            rest[charge] = rest[discharge] = 0.0
            idle, moved = (float(self._fine.after(x, a, d, z)[soc]) for a in (rest, action))
            end = min(max(moved, min(lower, idle)), max(upper, idle))
            share = 0.0 if moved == idle else (end - idle) / (moved - idle)
            action[charge] *= share
            action[discharge] *= share
        return action

    def _netted(self, action: Array) -> Array:
        """Of a power in and a power out at most one is above 0, as the inverter has it."""
        found = action.copy()
        for _, charge, discharge, _ in self._batteries:
            net = found[charge] - found[discharge]
            found[charge], found[discharge] = max(net, 0.0), max(-net, 0.0)
        return found

    def _features(self, now: LoggedCycle) -> Array:
        """(nz,) of the horizon that was seen then: what costs need of it, and states do not."""
        features = self._design.problem.features
        if features is None or not np.isfinite(now.forecast).all():
            return np.zeros(self._design.problem.nz)
        return np.array(features(now.forecast, now.state)).ravel()

    def _billed(self, meter: MeterPlant, now: LoggedCycle, d: Array, kw: float) -> tuple[float, float]:
        """(energy, capacity) of the step."""
        local = datetime.fromtimestamp(now.time_s, self._design.house.timezone)
        meter.advance(
            Now(
                hours=self._hours,
                minute_of_week=local.weekday() * 1440 + local.hour * 60 + local.minute,
                month=12 * local.year + local.month,
                days_left=days_left_in_month(local.date()),
                time_s=now.time_s,
                world=dict(zip(self._forecasts, d.tolist(), strict=True)),
                temperature_c={},
            ),
            Around({"house": Flow(kw)}),
        )
        flows = meter.flows()
        return flows["energy_cost"], flows["capacity_cost"]

    def _outside_kh(self, now: LoggedCycle, state: Array) -> Array:
        found = []
        for name in self.outside:
            shown = float(state[self._names.index(f"{name}_temperature")])
            low, high = (now.values.get(f"{name}_{end}", shown) for end in ("lower", "upper"))
            found.append(self._hours * max(low - shown, shown - high, 0.0))
        return np.array(found)

    def joined(self, parts: Sequence[_LoggedStep], left_out: int) -> Replay:
        ways = []
        for which in range(2):
            columns = (np.array(column) for column in zip(*(part.ways[which] for part in parts), strict=True))
            grid, energy, capacity, drawn, worth, outside = columns
            ways.append(Way(grid, energy, capacity, drawn, worth, outside, np.array(self._starts)))
        return Replay(
            time_s=np.array([part.time_s for part in parts]),
            stretch=np.array([part.stretch for part in parts]),
            nisse=ways[0],
            rule=ways[1],
            residual_kwh=np.array([part.residual_kwh for part in parts]),
            effect_kwh=np.array([part.effect_kwh for part in parts]),
            explored_kwh=np.array([part.explored_kwh for part in parts]),
            decision=np.unique([part.made_s for part in parts], return_inverse=True)[1].astype(np.int64),
            moves_kwh=self._hours * ways[0].drawn_kw,
            buy=np.array([part.buy for part in parts]),
            stores=self.stores,
            outside=self.outside,
            left_out=left_out,
            metered=not self._has_meter or all(part.metered for part in parts),
        )


def _worth_kwh(design: HouseDesign) -> Array:
    """(nx,) electric energy that one unit more of each state would save, as its plant says; 0 where nothing is kept."""
    house = design.house
    plant = HousePlant(house, generated_world(house, datetime(2024, 1, 1, tzinfo=house.timezone), 1.0))
    names = {name for part in plant.plants for name in part.initial_names()} - {PEAK}

    def kept(name: str, value: float) -> float:
        _, truth = plant.reset(seed=0, options={"initial": {name: value}})
        return float(sum(v for key, v in truth.items() if key.startswith("worth_kwh.")))

    found = []
    for state in design.problem.states:
        low = state.lower + 0.4 * (state.upper - state.lower)
        high = state.lower + 0.6 * (state.upper - state.lower)
        slope = (kept(state.name, high) - kept(state.name, low)) / (high - low) if state.name in names else 0.0
        found.append(slope)
    return np.array(found)
