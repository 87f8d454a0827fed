"""A heat pump as it is: a COP that falls with lift and load, a smallest power, run and rest of its own, and defrost.

The nameplate's COP holds at full load and rated water (or room) temperature; elsewhere it is multiplied by the ratio of
Carnot's: COP = map(outdoor) carnot(sink, load) / carnot(rated sink, 1), carnot = T_hot / (T_hot - T_cold), refrigerant
temperatures an approach away from sink and air that grows with load. The loss of a start is that of EN 14825
(Cd = 0.25); what is asked below the smallest power is met on the average, by switching on and off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from systems.asset_plant import AssetPlant, Flow, Now, SetPoint
from systems.assets.heat_pump.physics import KELVIN, HeatPumpSpec
from systems.block import Block
from systems.grid import HOUR_S
from systems.problem import Signal
from systems.world import Exogenous

if TYPE_CHECKING:
    from systems.assets.heat_pump import CopMap, HeatPump
    from systems.house_file import House

SPEC = HeatPumpSpec()
"""Approaches, frost and start of a unit of any size."""
LEAST_LIFT_K = 15.0
NOMINAL_OUTDOOR_C = 7.0
RATED_SINK_C = {"air-air": 20.0, "air-water": 35.0, "electric": 20.0}
RATED_TANK_C = 55.0
FLOW_RISE_K = 20.0
"""Of the water above the rooms at full load: floors and large radiators."""
COIL_K = 5.0
"""Of the water above the tank that it heats."""
TANK_LIMIT_K = 8.0
"""Above the tank's upper bound its own thermostat cuts out."""
START_S = 300.0
MODEST = 1 / 3
DEFROST_POWER, DEFROST_HEAT = 0.4, -0.13
"""Shares of the largest power, for five minutes."""


def carnot(outdoor_c: float, sink_c: float, load: float) -> float:
    """With the approaches of a real machine at `load` in [0, 1]; expansion and fans keep a least lift."""
    hot = sink_c + KELVIN + SPEC.hot_approach_k[0] + SPEC.hot_approach_k[1] * load
    cold = outdoor_c + KELVIN - SPEC.cold_approach_k[0] - SPEC.cold_approach_k[1] * load
    return hot / max(hot - cold, LEAST_LIFT_K)


@dataclass
class SimulatedCompressor:
    """What it is asked for and what it does: smallest power, shortest run and rest; powers in kW, times in hours."""

    min_kw: float
    min_run_h: float
    min_rest_h: float
    owed_kwh: float = 0.0
    """Asked for below the smallest power and not drawn yet."""
    running: bool = False
    since_h: float = 1e9
    """How long it has been running, or resting."""

    def step(self, asked_kw: float, hours: float) -> float:
        """Mean power over the step."""
        below = asked_kw < self.min_kw
        burst_kwh = self.min_kw * max(hours, self.min_run_h)
        if below and asked_kw > 0.0:
            self.owed_kwh = float(np.clip(self.owed_kwh + asked_kw * hours, -burst_kwh, 2 * burst_kwh))
            wants = self.owed_kwh > 1e-9 if self.running else self.owed_kwh >= burst_kwh - 1e-9
        else:
            self.owed_kwh = min(self.owed_kwh, 0.0) if below else 0.0
            wants = not below and asked_kw > 0.0
        if self.running and not wants:
            wants = self.since_h < self.min_run_h - 1e-9
        elif not self.running and wants:
            wants = self.since_h >= self.min_rest_h - 1e-9
        if wants != self.running:
            self.running, self.since_h = wants, 0.0
        self.since_h += hours
        power = max(asked_kw, self.min_kw) if self.running else 0.0
        if below:
            self.owed_kwh = max(self.owed_kwh - power * hours, -burst_kwh)
        return power


class HeatPumpPlant(AssetPlant):
    """Actions: power for the zones together, then for each tank. Within a step the machine divides its time."""

    def __init__(self, house: House, pump: HeatPump, block: Block) -> None:
        self.asset, self.actions, self._pump = pump.name, block.actions, pump
        self._zones, self._tanks = pump.zones(house), pump.tanks(house)
        loss = {zone.name: zone.heat_loss_kw_per_k for zone in house.of("zone")}
        self._share: dict[str, float] = {name: loss[name] / sum(loss[n] for n in self._zones) for name in self._zones}
        self._cutout_c = {tank.name: tank.upper.highest + TANK_LIMIT_K for tank in house.of("tank")}
        self._purposes = [*(["zones"] if self._zones else []), *self._tanks]
        self._is_electric = pump.kind == "electric"
        zone_map = pump.zone_cop() or _rated(pump)
        self._maps = {"zones": zone_map, **dict.fromkeys(self._tanks, pump.tank_cop_map())}
        main = self._maps[self._purposes[0]]
        self._nominal_heat_kw = pump.max_power_kw * _at(main, NOMINAL_OUTDOOR_C)
        self._start()

    def _start(self) -> None:
        run_s, rest_s = self._pump.min_run or 0.0, self._pump.min_rest or 0.0
        self._compressor = SimulatedCompressor(self._pump.min_power_kw, run_s / HOUR_S, rest_s / HOUR_S)
        self._frost, self._last = 0.0, [1.0 / len(self._purposes)] * len(self._purposes)
        self._seen: dict[str, float] = dict.fromkeys(self.flow_names(), 0.0)

    def flow_names(self) -> tuple[str, ...]:
        return (f"{self.asset}_kw", f"{self.asset}_heat_kw", f"{self.asset}_cop")

    def begin(
        self, rng: np.random.Generator, world: Exogenous, first: int, steps: int, initial: Mapping[str, float]
    ) -> None:
        self._start()

    def draw(self, action: Sequence[float], now: Now) -> Flow:
        asked = [
            0.0 if now.temperature_c.get(purpose, 0.0) > self._cutout_c.get(purpose, np.inf) else max(0.0, value)
            for purpose, value in zip(self._purposes, action, strict=True)
        ]
        total = min(sum(asked), self._pump.max_power_kw)
        if total > 0.0:
            self._last = [value / sum(asked) for value in asked]
        was_running = self._compressor.running
        power = self._compressor.step(total, now.hours)
        outdoor, seconds = now.world["outdoor"], now.hours * HOUR_S
        standby = 0.0 if self._is_electric else SPEC.standby_kw
        if power == 0.0:
            self._frost = max(0.0, self._frost - 0.02 * seconds / START_S) if outdoor > 2.0 else self._frost
            return self._told(Flow(standby))
        load = power / self._pump.max_power_kw
        powers = {purpose: power * share for purpose, share in zip(self._purposes, self._last, strict=True)}
        heats = {p: kw * self._cop(p, load, outdoor, now.temperature_c) for p, kw in powers.items()}
        factor = min(1.0, self._full_heat_kw(outdoor) / max(sum(heats.values()), 1e-9))
        kept = 1.0 if was_running or self._is_electric else 1.0 - SPEC.start_loss * min(1.0, START_S / seconds)
        powers, heats = {p: kw * factor for p, kw in powers.items()}, {p: kw * factor * kept for p, kw in heats.items()}
        return self._told(self._frosted(powers, heats, load, outdoor, seconds, now))

    def _frosted(
        self, powers: dict[str, float], heats: dict[str, float], load: float, outdoor: float, seconds: float, now: Now
    ) -> Flow:
        """Ice grows with load in humid cold; at its fullness five minutes go into melting it, with the house's heat."""
        if not self._is_electric:
            self._frost += load * SPEC.frost_rate(outdoor) * seconds / START_S / SPEC.steps_between_defrosts
        if self._frost >= 1.0:
            self._frost, share = 0.0, min(1.0, START_S / seconds)
            most = self._pump.max_power_kw
            for purpose, part in zip(self._purposes, self._last, strict=True):
                powers[purpose] = (1 - share) * powers[purpose] + share * part * DEFROST_POWER * most
                heats[purpose] = (1 - share) * heats[purpose] + share * part * DEFROST_HEAT * most
        delivered = {tank: heats[tank] for tank in self._tanks}
        if self._zones:
            delivered |= {name: heats["zones"] * part for name, part in self._parts(load, now).items()}
        return Flow(sum(powers.values()), delivered, powers)

    def _parts(self, load: float, now: Now) -> Mapping[str, float]:
        """Of the zones in their heat: warm water gives less to a zone that is warm already."""
        if self._pump.kind != "air-water" or len(self._zones) == 1:
            return self._share
        flow_c = self._sink_c("zones", load, now.temperature_c)
        given = {name: self._share[name] * max(flow_c - now.temperature_c[name], 0.5) for name in self._zones}
        return {name: value / sum(given.values()) for name, value in given.items()}

    def _sink_c(self, purpose: str, load: float, temperature_c: Mapping[str, float]) -> float:
        if purpose != "zones":
            return temperature_c[purpose] + COIL_K
        rooms = sum(self._share[name] * temperature_c[name] for name in self._zones)
        return rooms + FLOW_RISE_K * load if self._pump.kind == "air-water" else rooms

    def _cop(self, purpose: str, load: float, outdoor: float, temperature_c: Mapping[str, float]) -> float:
        rated = _at(self._maps[purpose], outdoor)
        if self._is_electric or (purpose != "zones" and self._pump.kind == "air-air"):
            return rated
        rated_c = RATED_SINK_C[self._pump.kind] if purpose == "zones" else RATED_TANK_C
        return rated * carnot(outdoor, self._sink_c(purpose, load, temperature_c), load) / carnot(outdoor, rated_c, 1.0)

    def _full_heat_kw(self, outdoor: float) -> float:
        if self._is_electric:
            return math.inf
        return self._nominal_heat_kw * max(0.4, 1.0 + SPEC.heat_slope_per_k * (min(outdoor, 15.0) - NOMINAL_OUTDOOR_C))

    def _told(self, flow: Flow) -> Flow:
        heat = sum(flow.heat_kw.values())
        values = (flow.electric_kw, heat, heat / flow.electric_kw if flow.electric_kw > 0.0 else 0.0)
        self._seen = dict(zip(self.flow_names(), values, strict=True))
        return flow

    def sensors(self) -> tuple[Signal, ...]:
        return (Signal(f"{self.asset}_meter", "kW", 0.0, 2 * self._pump.max_power_kw, "what it draws"),)

    def set_points(self) -> tuple[SetPoint, ...]:
        """Modest heat for zones of which nothing is known; a tank can wait."""
        modest = {"zones": max(self._pump.min_power_kw, round(self._pump.max_power_kw * MODEST, 1))}
        return tuple(
            SetPoint(action, {action.name: 1.0}, modest.get(purpose, 0.0))
            for action, purpose in zip(self.actions, self._purposes, strict=True)
        )

    def measured(self) -> Mapping[str, float]:
        return {f"{self.asset}_meter": self._seen[f"{self.asset}_kw"]}

    def flows(self) -> Mapping[str, float]:
        return self._seen


def _rated(pump: HeatPump) -> CopMap:
    """Of a pump whose nameplate leaves the COP to the fitted model."""
    from systems.assets.heat_pump import COP_BY_KIND

    return COP_BY_KIND[pump.kind]


def _at(cop: CopMap, outdoor_c: float) -> float:
    return float(np.interp(outdoor_c, *np.transpose(cop)))
