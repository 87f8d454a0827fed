"""House -> one Gymnasium environment: the plants of its assets, the world around them, and the meter's bill.

    house = load_house("villa")
    world = generated_world(house, start, days=10, seed=0)          # systems.world.generate
    plant = HousePlant(house, world)            # fits={"zone": arx} makes the ARX the truth
    plant.reset(seed=0, options={"first": 0, "steps": 2016, "initial": {"home_soc": 0.5}})
    _, reward, _, ended, info = plant.step([...])                   # kW (or shares), in the order of plant.actions

A step is one model step of the house ([grid] step). `plant.actions` are those of the problem, in its order; a decision
is held by whoever makes it. `plant.measured()` is what sensors show now, by name of the signal; `plant.forecast(name,
count)` a column as it is known now; `info` is the truth of the step, by name: states with which it ends, flows as means
over it (kW), `energy_cost` and `capacity_cost` in the currency of the house, `discomfort_kh.ZONE`, `TANK_cold_litres`,
and the world's columns. `cost.NAME` is what no meter bills (discomfort, cold showers, wear) at the price that the MPC
puts on it; `worth_kwh.NAME` the electric energy that what an asset has stored would save. Reward: minus the two costs.
Disturbances depend on the seed and the start alone, so two policies with the same ones meet the same weather, people
and draws.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.formats.toml_lines import did_you_mean
from runtime.inputs.uncharged import days_left_in_month
from systems.asset_plant import Around, AssetPlant, Flow, Now
from systems.assets import asset_kinds
from systems.grid import HOUR_S
from systems.house_file import House
from systems.problem import Signal
from systems.world import Exogenous
from systems.world.inside import Inside

Array = NDArray[np.float64]


class PlantError(ValueError):
    """A plant that cannot be set up or asked so."""

    exit_code = 78


def house_plants(house: House, fits: Mapping[str, Any] | None = None) -> tuple[AssetPlant, ...]:
    """Those of all assets, by rank of their kinds: the order of the blocks."""
    return tuple(plant for kind in asset_kinds() for plant in kind.plants(house, fits or {}))


class HousePlant(gymnasium.Env[Array, Array]):
    """See the module. Observation: `measured()` as a vector, in its order."""

    metadata = {"render_modes": []}  # noqa: RUF012 - the name and kind are Gymnasium's

    def __init__(
        self, house: House, world: Exogenous, *, fits: Mapping[str, Any] | None = None, inside: Inside | None = None
    ) -> None:
        """fits: fitted models by table, as for `compose`. inside: what varies within a step; None: nothing does.

        Raises PlantError for a world on another grid.
        """
        if abs(world.dt_s - house.grid.step_s) > 1e-9:
            raise PlantError(f"the world steps {world.dt_s:g} s and the house {house.grid.step_s:g} s; make them equal")
        self.house, self.world = house, world
        self.plants = house_plants(house, fits)
        self.actions: tuple[Signal, ...] = tuple(chain.from_iterable(plant.actions for plant in self.plants))
        self._low = np.array([a.lower for a in self.actions])
        self._high = np.array([a.upper for a in self.actions])
        self.action_space = gymnasium.spaces.Box(self._low, self._high, dtype=np.float64)
        count = len(self.measured())
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (count,), np.float64)
        self.step_index = self._end = 0
        """Of the world: the step that comes next."""
        self._seed = 0
        self._inside = inside
        self.minutes = 1 if inside is None else inside.count(house.grid.step_s)
        """In a step, of those that are told apart."""
        self._minute = 0
        self._sums: dict[str, float] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """options: `first` step of the world (0), `steps` of the episode (to its end), `initial` states by name.

        Raises PlantError for an episode that the world does not hold, or a state that there is not.
        """
        super().reset(seed=seed)
        options = options or {}
        first = int(options.get("first", 0))
        steps = int(options.get("steps", len(self.world) - first))
        if first < 0 or steps < 1 or first + steps > len(self.world):
            raise PlantError(
                f"{steps} steps from step {first} on leave the {len(self.world)} of the world; start earlier or make "
                "the world longer"
            )
        initial = dict(options.get("initial", {}))
        known = [name for plant in self.plants for name in plant.initial_names()]
        for name in initial:
            if name not in known:
                raise PlantError(f"nothing of {self.house.name!r} begins at {name!r}{did_you_mean(name, known)}")
        self.step_index, self._end, self._sums = first, first + steps, {}
        self._seed = int(self.np_random.integers(2**63))
        for number, plant in enumerate(self.plants):
            plant.begin(np.random.default_rng((self._seed, number)), self.world, first, steps, initial)
        return self._observation(), self.truth()

    def step(self, action: ArrayLike) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        self.begin_step(action)
        for _ in range(self.minutes):
            self.minute(action)
        return self.end_step()

    def begin_step(self, action: ArrayLike) -> None:
        """What does not change inside the step is asked for `action`; then come its `minutes`, then `end_step`."""
        if self.step_index >= self._end:
            raise PlantError("the episode is over: call reset()")
        parts = self._parts(action)
        now = self._step = self._now()
        self._minute, self._sums = 0, {}
        self._outer = {plant.asset: plant.draw(parts[plant.asset], now) for plant in self.plants if not plant.inner}
        self._inner: dict[str, list[Flow]] = {plant.asset: [] for plant in self.plants if plant.inner}
        self._worlds = [now.world] * self.minutes
        if self._inside is not None and self.minutes > 1:
            rows = {
                name: self._inside.minutes(kind, name, self.step_index, now.world[name], self.minutes).tolist()
                for plant in self.plants
                for name, kind in plant.inside.items()
            }
            self._worlds = [{**now.world, **{name: row[j] for name, row in rows.items()}} for j in range(self.minutes)]

    def minute(self, action: ArrayLike) -> None:
        """One of the step's minutes: batteries, panels, load and meter, with the power of the others as it is."""
        parts, now = self._parts(action), self._now_in_step()
        flows = {plant.asset: plant.draw(parts[plant.asset], now) for plant in self.plants if plant.inner}
        around = Around({plant.asset: {**self._outer, **flows}[plant.asset] for plant in self.plants})
        for plant in self.plants:
            if plant.inner:
                plant.advance(now, around)
                self._inner[plant.asset].append(flows[plant.asset])
                for name, value in plant.flows().items():
                    share = 1.0 / self.minutes if name.endswith("_kw") else 1.0
                    self._sums[name] = self._sums.get(name, 0.0) + share * value
        self._minute += 1

    def others_kw(self, action: ArrayLike, without: Collection[str]) -> float:
        """What the coming minute draws besides the assets `without`; the last minute's where the step is over."""
        parts, now = self._parts(action), self._now_in_step()
        inner = [p for p in self.plants if p.inner and p.asset not in without]
        drawn = sum(plant.draw(parts[plant.asset], now).electric_kw for plant in inner)
        return drawn + sum(flow.electric_kw for name, flow in self._outer.items() if name not in without)

    def end_step(self) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """As `step` returns."""
        now = self._step
        means = {name: _mean(flows) for name, flows in self._inner.items()}
        around = Around({plant.asset: {**self._outer, **means}[plant.asset] for plant in self.plants})
        for plant in self.plants:
            if not plant.inner:
                plant.advance(now, around)
        self.step_index += 1
        info = {**self.truth(), **now.world}
        for name in [name for name in info if name.startswith("discomfort_k.")]:
            info[name.replace("_k.", "_kh.", 1)] = info[name] * now.hours
        reward = -(info["energy_cost"] + info["capacity_cost"])
        return self._observation(), reward, False, self.step_index >= self._end, info

    def _parts(self, action: ArrayLike) -> dict[str, list[float]]:
        """Of an action, within its bounds, what each asset is asked for."""
        asked = np.asarray(action, dtype=np.float64)
        if asked.shape != (len(self.actions),) or not np.isfinite(asked).all():
            raise PlantError(f"action {action!r} is not {len(self.actions)} finite numbers; give one for each action")
        bounded, parts = np.clip(asked, self._low, self._high).tolist(), {}
        for plant in self.plants:
            parts[plant.asset], bounded = bounded[: len(plant.actions)], bounded[len(plant.actions) :]
        return parts

    def _now_in_step(self) -> Now:
        hours, j = self._step.hours / self.minutes, min(self._minute, self.minutes - 1)
        return replace(self._step, hours=hours, time_s=self._step.time_s + j * hours * HOUR_S, world=self._worlds[j])

    @property
    def episode_seed(self) -> int:
        """Of what is foreseen in this episode."""
        return self._seed

    @property
    def time_s(self) -> float:
        """Unix time of the present state."""
        return self.world.time_s(self.step_index)

    @property
    def minute_s(self) -> float:
        """Seconds of a minute: the whole step where nothing is told apart."""
        return self.world.dt_s / self.minutes

    @property
    def minute_time_s(self) -> float:
        """Unix time at which the coming minute of the step begins."""
        return self._step.time_s + self._minute * self.minute_s

    def measured(self) -> dict[str, float]:
        """What the sensors show now, by name of the signal."""
        return {name: value for plant in self.plants for name, value in plant.measured().items()}

    def states(self) -> dict[str, float]:
        """What is true now, by name."""
        return {name: value for plant in self.plants for name, value in plant.states().items()}

    def flows(self) -> dict[str, float]:
        """What was true over the last step, by name."""
        last = {name: value for plant in self.plants for name, value in plant.flows().items()}
        return {name: self._sums.get(name, value) for name, value in last.items()}

    def truth(self) -> dict[str, Any]:
        return {**self.states(), **self.flows()}

    def forecast(self, name: str, count: int, *, error: float = 1.0) -> Array:
        """(count,) a column of the world from the coming step on, as it is foreseen now; error 0: as it will be."""
        return self.world.forecast(name, self.step_index, count, seed=self._seed, error=error)

    def _now(self) -> Now:
        k = self.step_index
        time = self.world.time(k)
        return Now(
            hours=self.world.dt_s / HOUR_S,
            minute_of_week=int(self.world.minute_of_week[k]),
            month=12 * time.year + time.month,
            days_left=days_left_in_month(time.date()),
            time_s=self.world.time_s(k),
            world=self.world.row(k),
            temperature_c={name: c for plant in self.plants for name, c in plant.temperatures().items()},
        )

    def _observation(self) -> Array:
        return np.array(list(self.measured().values()))


def _mean(flows: Sequence[Flow]) -> Flow:
    """Of minutes; what happens minute by minute delivers no heat."""
    return flows[0] if len(flows) == 1 else Flow(sum(flow.electric_kw for flow in flows) / len(flows))
