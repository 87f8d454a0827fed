"""A stretch of a policy on a house's plant, and what it cost: bill by part, comfort, and what is left in store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from systems.design import HouseDesign
from systems.grid import HOUR_S
from systems.house_file import House
from systems.logs.log import Array
from systems.plant import HousePlant
from systems.world import Exogenous
from tuner.loop.follow import Follower
from tuner.loop.view import Moment, View

WARM_UP_H = 24.0
"""Before what is counted: histories fill and walls settle."""


class LoopPolicy(Protocol):
    """Decides once for each stage, or at each model step by what is known of now; counts what failed."""

    held: bool

    forecast_error: float
    """Of the forecasts that it is shown: 1 as they are, 0 perfect."""
    failures: int
    solve_time_s: float
    plan: Array | None
    """(N, na) of the last decision, where there is one."""

    def begin(self) -> None:
        """A new stretch."""
        ...

    def decide(self, moment: Moment) -> Array:
        """(na,) in the order of the problem's actions, for a stage."""
        ...

    def act(self, values: Mapping[str, float]) -> Array:
        """(na,) for a model step, where `held` is false."""
        ...


@dataclass(frozen=True, eq=False)
class Result:
    """Money of a counted stretch, in the currency of the house."""

    energy: float
    capacity: float
    unbilled: Mapping[str, float]
    """Discomfort, cold showers and wear, by asset, as the MPC prices them."""
    stored: float
    """Worth of what is left in store more than at the start, at the mean price of what is bought."""
    discomfort_kh: Mapping[str, float]
    cold_litres: float
    import_kwh: float
    export_kwh: float
    peak_kw: float
    failures: int = 0
    solves: int = 0
    solve_time_s: float = 0.0
    trace: Mapping[str, Array] = field(default_factory=dict)
    """(T,) by name, where asked for."""

    @property
    def bill(self) -> float:
        """What is paid, corrected for what is left in store."""
        return self.energy + self.capacity - self.stored

    @property
    def total(self) -> float:
        return self.bill + sum(self.unbilled.values())


TRACED = ("buy", "sell", "outdoor", "sun", "grid_kw", "load_kw")


def run_stretch(
    design: HouseDesign,
    plant: HousePlant,
    policy: LoopPolicy,
    *,
    first: int,
    stages: int,
    seed: int,
    traced: bool = False,
    follower: Follower | None = None,
    on_stage: Callable[[Moment, Array, float], None] | None = None,
) -> Result:
    """`stages` counted stages from step `first` of the plant's world on, after a warm-up where the world has one.

    follower: has batteries follow the meter inside a step; without one a decision's powers are held.
    on_stage hears of each counted stage: its moment, the action, and its cost without what is left in store.
    """
    grid = design.house.grid
    warm = warm_up_stages(design.house, first)
    begin = first - warm * grid.steps
    peak = peak_so_far_kw(design.house, plant.world, begin)
    initial = {"month_peak": peak} if peak is not None else {}
    plant.reset(seed=seed, options={"first": begin, "steps": (warm + stages) * grid.steps, "initial": initial})
    view = View(design, plant)
    view.begin()
    policy.begin()
    order = [[a.name for a in design.problem.actions].index(a.name) for a in plant.actions]
    rows: list[Mapping[str, Any]] = []
    before: Mapping[str, Any] = plant.truth()
    for stage in range(warm + stages):
        if stage == warm:
            before, rows = plant.truth(), []
        paid = 0.0
        if policy.held:
            moment = view.moment(error=policy.forecast_error)
            action = policy.decide(moment)
            if follower is not None:
                follower.decide(action, policy.plan, moment.forecast, moment.measured)
        for _ in range(grid.steps):
            if not policy.held:
                action = policy.act(view.values())
                if follower is not None:
                    follower.rule()
            asked = action[order]
            plant.begin_step(asked)
            for _ in range(plant.minutes):
                plant.minute(asked if follower is None else follower.minute(plant, asked))
            _, _, _, _, info = plant.end_step()
            view.after(asked, info)
            rows.append(info)
            paid += stage_cost(info)
        if on_stage is not None and policy.held and stage >= warm:
            on_stage(moment, action, paid)
    return _counted(rows, before, grid.step_h, traced, policy, (warm + stages) * policy.held)


def warm_up_stages(house: House, first: int) -> int:
    """Before a stretch that is counted from step `first` of its world on."""
    return min(round(WARM_UP_H * HOUR_S / house.grid.hold_s), first // house.grid.steps)


def stage_cost(info: Mapping[str, Any]) -> float:
    """Of a model step: what is billed, and what is not."""
    unbilled = sum(float(v) for name, v in info.items() if name.startswith("cost."))
    return float(info["energy_cost"]) + float(info["capacity_cost"]) + unbilled


def _counted(
    rows: list[Mapping[str, Any]], before: Mapping[str, Any], dt_h: float, traced: bool, policy: LoopPolicy, solves: int
) -> Result:
    def sums(prefix: str) -> dict[str, float]:
        names = [name for name in rows[0] if name.startswith(prefix)]
        return {name.removeprefix(prefix): float(sum(row[name] for row in rows)) for name in names}

    buy = float(np.mean([row["buy"] for row in rows]))
    end = rows[-1]
    gained = sum(float(end[name]) - float(before[name]) for name in end if name.startswith("worth_kwh."))
    grid = np.array([float(row["grid_kw"]) for row in rows])
    litres = [name for name in end if name.endswith("_cold_litres")]
    trace = {}
    if traced:
        kept = [n for n in end if n in TRACED or n.endswith(("_temperature", "_soc", "_kw")) or n.startswith("cost.")]
        trace = {name: np.array([float(row[name]) for row in rows]) for name in kept}
    return Result(
        energy=float(sum(row["energy_cost"] for row in rows)),
        capacity=float(sum(row["capacity_cost"] for row in rows)),
        unbilled=sums("cost."),
        stored=gained * buy,
        discomfort_kh=sums("discomfort_kh."),
        cold_litres=float(sum(row[name] for row in rows for name in litres)),
        import_kwh=dt_h * float(np.maximum(grid, 0.0).sum()),
        export_kwh=dt_h * float(np.maximum(-grid, 0.0).sum()),
        peak_kw=float(grid.max()),
        failures=policy.failures,
        solves=solves,
        solve_time_s=policy.solve_time_s,
        trace=trace,
    )


def peak_so_far_kw(house: House, world: Exogenous, step: int) -> float | None:
    """The month's highest hourly mean of the load before a step, None where there is no charge for it.

    So the month did not begin with the stretch: what a peak costs is what it adds to those that were there.
    """
    meter = house.only("meter")
    if meter is None or meter.capacity is None:
        return None
    if "load" not in world.columns:
        return float(meter.capacity.free_kw)
    now = world.time(step)
    start = max(0, world.step_at(now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)))
    per_hour = max(1, round(HOUR_S / world.dt_s))
    hours = (step - start) // per_hour
    if hours < 1:
        return float(meter.capacity.free_kw)
    means = world["load"][step - hours * per_hour : step].reshape(hours, per_hour).mean(1)
    return max(float(meter.capacity.free_kw), float(means.max()))
