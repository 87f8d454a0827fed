"""The bound of a described house with one battery: its plant in a table, its world as a chain, policies that run.

The battery knows prices, and what a weather service says comes true; of what is only usual (the load) it knows how the
error of the forecast follows that of the step before. So the best causal policy costs no more than anybody can reach
who does not see the future, but for the bins of the chain and the grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from systems.design import HouseDesign
from systems.grid import HOUR_S
from systems.house_file import House
from systems.logs.log import Array
from systems.world import Exogenous
from systems.world.foresight import Usual
from tuner.bound.chain import Chain, even, learn_chain
from tuner.bound.plant_table import Cells, tabulated
from tuner.bound.program import NO_PEAK, BoundSolution, PeakStates, Stakes, solve
from tuner.loop.view import Moment
from tuner.loop.week import peak_so_far_kw, warm_up_stages

EDGES = even(7)
EDGES_WITH_PEAKS = (1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 0.92, 0.97)
"""A month's peak is made by what is rare."""
CHAIN_DAYS = 45.0
"""Before and after a stretch: errors of another season are others."""


@dataclass(frozen=True)
class Grid:
    """Points of each state, and powers; odd numbers, so that half of them are among them."""

    soc: int
    powers: int
    peaks: int

    def halved(self) -> Grid:
        return Grid(self.soc // 2 + 1, self.powers // 2 + 1, self.peaks // 2 + 1)


FINE, FINE_WITH_PEAKS = Grid(61, 61, 1), Grid(41, 41, 17)


def why_not(house: House) -> str:
    """Why a house has no bound that can be computed; empty where it has one."""
    batteries, meter = house.of("battery"), house.only("meter")
    others = [table for table in ("heat_pump", "zone", "tank") if house.of(table)]
    if len(batteries) != 1:
        return f"it is computed for one battery, and {house.name} has {len(batteries) or 'none'}"
    if others:
        return f"it is computed where a battery is all that is controlled, and {house.name} has a {others[0]} too"
    if meter is None:
        return f"{house.name} has no [meter]"
    if any(pv.curtailable for pv in house.of("pv")):
        return "panels that can be curtailed are decided on too"
    if house.grid.steps != 1:
        return "a decision of several model steps meets a net load that changes within it; make hold equal to step"
    if meter.capacity is not None and meter.capacity.days > 1:
        return f"the charge counts the mean of {meter.capacity.days} days, each a state of its own"
    if meter.capacity is not None and meter.capacity.interval_s > house.grid.hold_s:
        return "the charge counts longer intervals than a decision, and what was drawn of one would be a state"
    return ""


@dataclass(frozen=True, eq=False)
class Horizon:
    """A stretch as `run_stretch` counts it, from its warm-up on."""

    design: HouseDesign
    world: Exogenous
    first: int
    stages: int
    known: bool = False
    """The net load that comes is known: the ceiling of every controller."""
    follows: bool = False
    pieces: int = 1
    """Of a step, in each of which the battery does what its limits allow: as many as the plant tells apart."""

    @property
    def begin(self) -> int:
        return self.first - warm_up_stages(self.design.house, self.first)

    @property
    def count(self) -> int:
        return self.first + self.stages - self.begin

    @cached_property
    def net_kw(self) -> Array:
        """(n,) of the world: what is drawn without the battery."""
        return np.asarray(sum(sign * self.world[name] for name, sign in self._drawn().items()))

    @cached_property
    def usual_kw(self) -> Array:
        """(n,) what is foreseen of it."""
        total = np.zeros(len(self.world))
        for name, sign in self._drawn().items():
            foresight = self.world.columns[name].foresight
            total += sign * (foresight.values if isinstance(foresight, Usual) else self.world[name])
        return total

    def _drawn(self) -> Mapping[str, float]:
        names = {"load": 1.0} | {name: -1.0 for name in self.world.columns if name == "pv" or name.startswith("pv_")}
        return {name: sign for name, sign in names.items() if name in self.world.columns}

    @cached_property
    def slots(self) -> NDArray[np.int64]:
        per_slot = round(self.world.dt_s / 60.0)
        return np.asarray(self.world.minute_of_week % 1440 // per_slot)

    @cached_property
    def chain(self) -> Chain:
        errors = self.net_kw - self.usual_kw
        if self.known or not errors.any():
            return Chain(np.zeros((int(self.slots.max()) + 1, 1)), np.ones((int(self.slots.max()) + 1, 1, 1)))
        edges = EDGES if self.design.house.only("meter").capacity is None else EDGES_WITH_PEAKS
        around = round(CHAIN_DAYS * 24 * HOUR_S / self.world.dt_s)
        part = slice(max(0, self.begin - around), self.begin + self.count + around)
        return learn_chain(errors[part], self.slots[part], edges)

    def stakes(self, grid: Grid) -> Stakes:
        house, world, chain = self.design.house, self.world, self.chain
        steps = np.arange(self.begin, self.begin + self.count)
        meter, battery = house.only("meter"), house.only("battery")
        foreseen = self.net_kw if self.known else self.usual_kw
        price = float(world["buy"][self.first : self.first + self.stages].mean())
        full_kwh = Cells(self.design).full_kwh
        times = [world.time(int(k)) for k in steps] if meter.capacity is not None else []
        return Stakes(
            hours=house.grid.hold_h,
            buy=world["buy"][steps],
            sell=world["sell"][steps],
            net_kw=foreseen[steps, None] + chain.values[self.slots[steps]],
            transition=chain.transition[self.slots[steps]],
            end_worth=lambda soc: price * full_kwh * soc,
            wear_per_kwh=battery.wear_per_kwh,
            peaks=self._peaks(grid),
            month=np.array([12 * time.year + time.month for time in times], dtype=np.int64),
            import_limit_kw=meter.import_limit_kw,
            export_limit_kw=meter.export_limit_kw,
            follows=self.follows,
        )

    def _peaks(self, grid: Grid) -> PeakStates:
        meter = self.design.house.only("meter")
        capacity = meter.capacity
        if capacity is None:
            return NO_PEAK
        if capacity.tiers:
            levels = np.array(sorted({*capacity.edges, max(capacity.edges[-1], meter.import_limit_kw)}))
        else:
            battery = self.design.house.only("battery")
            drawn = float(self.net_kw[self.begin : self.begin + self.count].max()) + battery.max_charge_kw
            levels = np.linspace(capacity.free_kw, max(drawn, capacity.free_kw + 1.0), grid.peaks)
        return PeakStates(levels, np.array([capacity.fee(kw) for kw in levels]), tiers=bool(capacity.tiers))

    def solved(self, grid: Grid | None = None) -> BoundSolution:
        grid = grid or self.grid
        return solve(tabulated(self.design, grid.soc, grid.powers, self.pieces), self.stakes(grid))

    @property
    def grid(self) -> Grid:
        return FINE if self.design.house.only("meter").capacity is None else FINE_WITH_PEAKS

    def grid_error(self) -> float:
        """Of the expected cost of the stretch: what a grid half as fine changes, which is more than what is left."""
        at = (0.5, self.bin_before(self.begin), peak_so_far_kw(self.design.house, self.world, self.begin) or 0.0)
        return abs(self.solved().value(*at) - self.solved(self.grid.halved()).value(*at))

    def bin_before(self, step: int) -> int:
        before = max(step - 1, 0)
        error = 0.0 if self.known else float(self.net_kw[before] - self.usual_kw[before])
        return self.chain.bin_of(int(self.slots[before]), error)


class BestPolicy:
    """Decides by the values of a solved stretch from what is measured; see `tuner.loop.week.LoopPolicy`."""

    held, forecast_error, failures = True, 1.0, 0
    plan: Array | None = None

    def __init__(self, horizon: Horizon) -> None:
        self.solve_time_s = 0.0
        self._horizon, self.solution, self._cells = horizon, horizon.solved(), Cells(horizon.design, horizon.pieces)
        self._battery = horizon.design.house.only("battery").name
        names = [action.name for action in horizon.design.problem.actions]
        self._in, self._out = names.index(f"{self._battery}_charge"), names.index(f"{self._battery}_discharge")
        self._step = horizon.begin

    def begin(self) -> None:
        self._step = self._horizon.begin

    def decide(self, moment: Moment) -> Array:
        h, t = self._horizon, self._step - self._horizon.begin
        seen = float(h.net_kw[self._step]) if h.follows else None
        soc, peak = moment.measured[f"{self._battery}_soc"], moment.measured.get("month_peak", 0.0)
        lowest, highest = self._cells.within(soc)
        power = min(max(self.solution.decide(t, soc, h.bin_before(self._step), peak, seen), lowest), highest)
        self._step += 1
        action = np.zeros(h.design.problem.na)
        action[self._in], action[self._out] = max(power, 0.0), max(-power, 0.0)
        return action

    def act(self, values: Mapping[str, float]) -> Array:
        raise NotImplementedError("it decides for a stage")
