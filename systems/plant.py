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

from collections.abc import Mapping
from itertools import chain
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.formats.toml_lines import did_you_mean
from runtime.inputs.uncharged import days_left_in_month
from systems.asset_plant import Around, AssetPlant, Now
from systems.assets import asset_kinds
from systems.grid import HOUR_S
from systems.house_file import House
from systems.problem import Signal
from systems.world import Exogenous

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

    def __init__(self, house: House, world: Exogenous, *, fits: Mapping[str, Any] | None = None) -> None:
        """fits: fitted models by table, as for `compose`. Raises PlantError for a world on another grid."""
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
        self.step_index, self._end = first, first + steps
        self._seed = int(self.np_random.integers(2**63))
        for number, plant in enumerate(self.plants):
            plant.begin(np.random.default_rng((self._seed, number)), self.world, first, steps, initial)
        return self._observation(), self.truth()

    def step(self, action: ArrayLike) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        if self.step_index >= self._end:
            raise PlantError("the episode is over: call reset()")
        asked = np.asarray(action, dtype=np.float64)
        if asked.shape != (len(self.actions),) or not np.isfinite(asked).all():
            raise PlantError(f"action {action!r} is not {len(self.actions)} finite numbers; give one for each action")
        bounded = np.clip(asked, self._low, self._high).tolist()
        now = self._now()
        flows = {}
        for plant in self.plants:
            own, bounded = bounded[: len(plant.actions)], bounded[len(plant.actions) :]
            flows[plant.asset] = plant.draw(own, now)
        around = Around(flows)
        for plant in self.plants:
            plant.advance(now, around)
        self.step_index += 1
        info = {**self.truth(), **now.world}
        for name in [name for name in info if name.startswith("discomfort_k.")]:
            info[name.replace("_k.", "_kh.", 1)] = info[name] * now.hours
        reward = -(info["energy_cost"] + info["capacity_cost"])
        return self._observation(), reward, False, self.step_index >= self._end, info

    @property
    def time_s(self) -> float:
        """Unix time of the present state."""
        return self.world.time_s(self.step_index)

    def measured(self) -> dict[str, float]:
        """What the sensors show now, by name of the signal."""
        return {name: value for plant in self.plants for name, value in plant.measured().items()}

    def states(self) -> dict[str, float]:
        """What is true now, by name."""
        return {name: value for plant in self.plants for name, value in plant.states().items()}

    def flows(self) -> dict[str, float]:
        """What was true over the last step, by name."""
        return {name: value for plant in self.plants for name, value in plant.flows().items()}

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
