"""A log of a described house from its plants, under a policy that makes it worth learning from.

Zones follow set-points that jump at random, with pulses on top; batteries move random powers for random times, within
their bands; tanks are heated in random pieces between their bounds. What no table here names moves at random.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from systems.assets.heat_pump import HeatPump
from systems.grid import HOUR_S
from systems.house_file import House
from systems.logs.log import Array, LogColumn, Quantity
from systems.plant import HousePlant
from systems.portrait import log_columns
from systems.world import Exogenous

PULSE_H, SETPOINT_H, HOLD_H = 0.5, 4.0, 1.25
"""Length of a pulse, mean time between jumps of a set-point, and of a random power."""
GAIN_PER_K = 0.35
"""Share of the largest power for a kelvin below the wanted temperature."""
COMFORT_K = 1.6
"""Half width of what set-points jump within."""
BALANCE_C, FULL_C = 15.0, -15.0
"""Outdoor temperatures without heating, and with all of it."""


@dataclass(frozen=True, eq=False)
class SimulatedLog:
    """Values (T, columns) by the names of `log_columns`; times are those of the world."""

    names: tuple[str, ...]
    values: Array
    world: Exogenous
    first: int

    def write(self, path: Path, extra: Sequence[str] = ("buy", "sell")) -> None:
        """CSV that `load_log` reads, with the prices beside it."""
        there = [name for name in extra if name in self.world.columns]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["time", *self.names, *there])
            for k, row in enumerate(self.values):
                prices = (float(self.world[name][self.first + k]) for name in there)
                time = self.world.time(self.first + k).isoformat()
                writer.writerow([time, *(f"{v:.4f}" for v in row), *(f"{v:.5f}" for v in prices)])


class Exciting:
    """A decision for each action of the plant, every model step; random numbers are its own."""

    def __init__(self, house: House, plant: HousePlant, seed: int) -> None:
        self._house, self._plant = house, plant
        self._rng = np.random.default_rng([seed, 77])
        self._low = np.array([a.lower for a in plant.actions])
        self._high = np.array([a.upper for a in plant.actions])
        self._level = np.zeros(len(plant.actions))
        self._pulse: dict[str, float] = {}
        self._wanted: dict[str, float] = {}
        self._hold = np.zeros(len(plant.actions), dtype=np.int64)
        self._step = 0

    def act(self, outdoor_c: float) -> Array:
        names = [action.name for action in self._plant.actions]
        action = np.array([0.0 if name.endswith("_curtailment") else self._random(i) for i, name in enumerate(names)])
        shown = self._plant.measured()
        for battery in self._house.of("battery"):
            i, o = names.index(f"{battery.name}_charge"), names.index(f"{battery.name}_discharge")
            soc = shown[f"{battery.name}_soc"]
            up = soc < battery.soc_min + 0.05 or (soc < battery.soc_max - 0.05 and action[i] > action[o])
            action[i], action[o] = (action[i], 0.0) if up else (0.0, action[o])
        for pump in self._house.of("heat_pump"):
            if pump.zones(self._house):
                action[names.index(f"{pump.name}_power")] = self._for_zones(pump, outdoor_c)
            for tank in self._house.of("tank"):
                name = f"{pump.name}_{tank.name}_power"
                if name in names:
                    water, i = shown[f"{tank.name}_temperature"], names.index(name)
                    too_hot, too_cold = water > tank.upper.lowest - 2.0, water < tank.lower.highest + 2.0
                    action[i] = (
                        self._high[i] if too_cold else 0.0 if too_hot or self._level[i] < 0.7 else self._level[i]
                    )
                    action[i] *= self._high[i] if action[i] < 1.0 else 1.0
        self._step += 1
        return np.asarray(np.clip(action, self._low, self._high))

    def _steps(self, hours: float) -> int:
        return max(1, round(hours * HOUR_S / self._house.grid.step_s))

    def _random(self, i: int) -> float:
        """A share of the range, held for a random time."""
        if self._hold[i] == 0:
            self._level[i] = self._rng.uniform(0.1, 1.0)
            self._hold[i] = self._rng.integers(1, 2 * self._steps(HOLD_H))
        self._hold[i] -= 1
        return float(self._level[i] * self._high[i])

    def _for_zones(self, pump: HeatPump, outdoor_c: float) -> float:
        shown, zones = self._plant.measured(), pump.zones(self._house)
        if self._step % self._steps(PULSE_H) == 0:
            self._pulse[pump.name] = float(self._rng.uniform(-0.35, 0.35))
            for zone in self._house.of("zone"):
                jumps = self._rng.random() < PULSE_H / SETPOINT_H
                if zone.name in zones and (jumps or zone.name not in self._wanted):
                    away = float(self._rng.uniform(-COMFORT_K, COMFORT_K))
                    self._wanted[zone.name] = zone.set_point.default + away
        missing = np.mean([self._wanted[name] - shown[f"{name}_temperature"] for name in zones])
        base = 0.5 * max(0.0, BALANCE_C - outdoor_c) / (BALANCE_C - FULL_C)
        return float(pump.max_power_kw * (base + GAIN_PER_K * missing + self._pulse[pump.name]))


def simulate_log(
    house: House,
    world: Exogenous,
    *,
    seed: int,
    first: int = 0,
    steps: int | None = None,
    on_step: Callable[[int], None] | None = None,
) -> SimulatedLog:
    """What the sensors and meters of a house show while it is used at random. `on_step` hears of each simulated day."""
    plant = HousePlant(house, world)
    steps = len(world) - first if steps is None else steps
    plant.reset(seed=seed, options={"first": first, "steps": steps})
    policy, columns = Exciting(house, plant, seed), log_columns(house)
    day = round(24 * HOUR_S / house.grid.step_s)
    rows = np.empty((steps, len(columns)))
    shares: dict[str, float] = {}
    for k in range(steps):
        shown, seen = plant.measured(), first + k
        action = policy.act(float(world["outdoor"][seen]))
        foreseen = {c.name: c.name.removesuffix("_forecast_kw") for c in columns if c.name.endswith("_forecast_kw")}
        forecasts = {name: plant.forecast(_column(house, world, of), 1)[0] for name, of in foreseen.items()}
        _, _, _, _, info = plant.step(action)
        shares = _shares(house, plant, action, shares)
        for i, column in enumerate(columns):
            rows[k, i] = forecasts[column.name] if column.name in forecasts else _value(column, shown, info, shares)
        if on_step is not None and k % day == 0:
            on_step(k)
    return SimulatedLog(tuple(c.name for c in columns), rows, world, first)


def _column(house: House, world: Exogenous, asset: str) -> str:
    """Of the world, that an asset's forecast is."""
    return next(name for name in (asset, f"pv_{asset}", "pv") if name in world.columns)


def _shares(house: House, plant: HousePlant, action: Array, before: dict[str, float]) -> dict[str, float]:
    """Of each heat pump's power, by log column: a machine that runs on does what it was last asked for."""
    named = dict(zip([a.name for a in plant.actions], action.tolist(), strict=True))
    shares = dict(before)
    for pump in house.of("heat_pump"):
        own = [f"{pump.name}_power"] if pump.zones(house) else []
        own += [f"{pump.name}_{tank}_power" for tank in pump.tanks(house)]
        total = sum(named[name] for name in own)
        for name in own:
            if total > 0.0 or name not in shares:
                shares[name] = named[name] / total if total > 0.0 else 1.0 / len(own)
    return shares


def _value(column: LogColumn, shown: dict[str, float], info: dict[str, float], shares: dict[str, float]) -> float:
    name = column.name
    if column.quantity in (Quantity.INDOOR, Quantity.WATER):
        return float(shown[f"{name.removesuffix('_c')}_temperature"])
    if column.quantity is Quantity.OUTDOOR:
        return float(info["outdoor"])
    if column.quantity is Quantity.SUN:
        return float(info["sun"])
    if column.quantity is Quantity.SHARE:
        return float(shown[name])
    if name in ("import_kw", "export_kw"):
        grid = float(info["grid_kw"])
        return max(grid, 0.0) if name == "import_kw" else max(-grid, 0.0)
    power = f"{name.removesuffix('_kw')}_power"
    if power in shares:
        pump = name.removesuffix("_kw") if name in info else name.removesuffix("_kw").rpartition("_")[0]
        return float(info[f"{pump}_kw"]) * shares[power]
    return float(info[name])
