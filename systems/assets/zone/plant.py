"""Zones as they are: air and envelope of each as an RC network, sun, people; or the fitted ARX and its noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from systems.arx import ArxModel
from systems.asset_plant import Around, AssetPlant, Now
from systems.assets.heat_pump import heating_feeders
from systems.assets.zone.model import check_fit
from systems.assets.zone.observer import THERMOMETER_RANGE_C
from systems.assets.zone.physics import PhysicalSpec, air_exchange_kw, discretise, solar_gain_kw
from systems.problem import Signal
from systems.world import Array, Exogenous
from systems.world.weather import Conditions

if TYPE_CHECKING:
    from systems.house_file import House

AIR_SHARE = 0.25
"""Of a zone's heat capacity: air, furniture and inner surfaces; the rest is walls, floor and ceiling."""
WINDOW_SHARE = 0.4
"""Of a zone's loss at rest; the rest goes through the envelope. Air exchange comes on top."""
AIR_TO_MASS_PER_H = 0.09
"""Conductance between air and mass over the zone's capacity."""
NEIGHBOUR_SHARE = 0.016
"""Conductance to the next zone over the mean capacity, 1/h."""
M3_PER_KWH_K = 25.0
FACING_DEG = (180.0, 270.0, 0.0, 90.0)
GAINS_KW = ((0.05, 0.30, 0.10), (0.10, 0.25, 0.0), (0.03, 0.03, 0.20), (0.04, 0.18, 0.0))
"""Per kind of zone in turn (living, cooking, sleeping, working): always, when at home and awake, at night."""
WINDOW_OPENED_A_DAY = 0.45
WINDOW_OPEN_S = 600.0
USUAL_COP = 3.0
"""Of what would have to make again the heat that a zone holds."""


def physical_spec(house: House) -> PhysicalSpec:
    """Any number of zones in a ring, from what their nameplates say; the model knows less of it."""
    zones = house.of("zone")
    capacity = np.array([zone.heat_capacity_kwh_per_k for zone in zones])
    loss = np.array([zone.heat_loss_kw_per_k for zone in zones])
    n = len(zones)
    # A ring of two zones is one wall, not two.
    neighbours = NEIGHBOUR_SHARE * capacity.mean() * (0.5 if n == 2 else 1.0)
    return PhysicalSpec(
        air_kwh_per_k=tuple(AIR_SHARE * capacity),
        mass_kwh_per_k=tuple((1 - AIR_SHARE) * capacity),
        air_to_mass_kw_per_k=tuple(AIR_TO_MASS_PER_H * capacity),
        mass_to_outside_kw_per_k=tuple((1 - WINDOW_SHARE) * loss),
        windows_kw_per_k=tuple(WINDOW_SHARE * loss),
        neighbours_kw_per_k=(neighbours,) * n,
        volume_m3=tuple(M3_PER_KWH_K * capacity),
        window_m2=tuple(zone.sun_m2 for zone in zones),
        window_azimuth_deg=tuple(FACING_DEG[i % len(FACING_DEG)] for i in range(n)),
    )


class _Zones(AssetPlant):
    """What both have: names, thermometers, and the count of discomfort."""

    asset = "zones"

    def __init__(self, house: House) -> None:
        self._house, self._zones = house, house.of("zone")
        self._names = [zone.name for zone in self._zones]
        self._true_c = np.zeros(len(self._zones))
        self._shown_c = np.zeros(len(self._zones))
        self._outside_k = np.zeros(len(self._zones))
        self._cost = np.zeros(len(self._zones))

    def initial_names(self) -> tuple[str, ...]:
        return tuple(f"{name}_temperature" for name in self._names)

    def _initial_c(self, world: Exogenous, first: int, initial: Mapping[str, float]) -> Array:
        minute = int(world.minute_of_week[first])
        return np.array([initial.get(f"{zone.name}_temperature", zone.set_point.at(minute)) for zone in self._zones])

    def _count(self, now: Now) -> None:
        """K outside the band with which the step ends, and the price that the MPC puts on it and on the set-point."""
        band = [(zone.lower.at(now.minute_of_week), zone.upper.at(now.minute_of_week)) for zone in self._zones]
        self._outside_k = np.array(
            [max(low - t, t - high, 0.0) for t, (low, high) in zip(self._true_c, band, strict=True)]
        )
        off_k = self._true_c - [zone.set_point.at(now.minute_of_week) for zone in self._zones]
        weight, band_weight = np.array([(z.weight_per_k2h, z.band_weight_per_k2h) for z in self._zones]).T
        self._cost = now.hours * (weight * off_k**2 + band_weight / 2 * self._outside_k**2)

    def _heat_kwh(self) -> Array:
        """(n,) above 0 degC."""
        return np.asarray(self._true_c * [zone.heat_capacity_kwh_per_k for zone in self._zones])

    def temperatures(self) -> Mapping[str, float]:
        return dict(zip(self._names, self._true_c.tolist(), strict=True))

    def sensors(self) -> tuple[Signal, ...]:
        return tuple(Signal(f"{name}_temperature", "degC", *THERMOMETER_RANGE_C) for name in self._names)

    def measured(self) -> Mapping[str, float]:
        return {f"{name}_temperature": float(c) for name, c in zip(self._names, self._shown_c, strict=True)}

    def states(self) -> Mapping[str, float]:
        heat = zip(self._names, self._heat_kwh(), strict=True)
        worth = {f"worth_kwh.{name}": float(kwh) / USUAL_COP for name, kwh in heat}
        return {f"{name}_temperature": c for name, c in self.temperatures().items()} | worth

    def flows(self) -> Mapping[str, float]:
        outside = {f"discomfort_k.{name}": float(k) for name, k in zip(self._names, self._outside_k, strict=True)}
        return outside | {f"cost.{name}": float(cost) for name, cost in zip(self._names, self._cost, strict=True)}


class PhysicalZones(_Zones):
    """C dT/dt = -L T + G T_out + q of `systems.assets.zone.physics`, for the zones of this house."""

    def __init__(self, house: House) -> None:
        super().__init__(house)
        self._spec = physical_spec(house)
        self._rc = discretise(self._spec, house.grid.step_s)

    def begin(
        self, rng: np.random.Generator, world: Exogenous, first: int, steps: int, initial: Mapping[str, float]
    ) -> None:
        spec, n = self._spec, len(self._zones)
        part = slice(first, first + steps)
        columns = world["outdoor"][part], world["sun"][part], np.zeros(steps)
        weather = Conditions(world.time_s(first), world.dt_s, *columns)
        sun = solar_gain_kw(spec, weather)
        people, self._windows = occupancy(world, first, steps, n, rng)
        self._gains = np.hstack([people + spec.solar_to_air * sun, (1.0 - spec.solar_to_air) * sun])
        self._noise = spec.sensor_std_k * rng.standard_normal((steps + 1, n))
        self._row = 0
        # Masses settle between the room and the outside as they would after days at this temperature.
        start, outdoor = self._initial_c(world, first, initial), float(world["outdoor"][first])
        to_mass, out = np.array(spec.air_to_mass_kw_per_k), np.array(spec.mass_to_outside_kw_per_k)
        self._nodes_c = np.concatenate([start, (to_mass * start + out * outdoor) / (to_mass + out)])
        self._outside_k = np.zeros(n)
        self._show()

    def _heat_kwh(self) -> Array:
        n, spec = len(self._zones), self._spec
        air, mass = np.array(spec.air_kwh_per_k), np.array(spec.mass_kwh_per_k)
        return np.asarray(air * self._nodes_c[:n] + mass * self._nodes_c[n : 2 * n])

    def _show(self) -> None:
        n, step = len(self._zones), self._spec.sensor_step_k
        self._true_c = self._nodes_c[:n].copy()
        self._shown_c = np.round((self._true_c + self._noise[self._row]) / step) * step

    def advance(self, now: Now, around: Around) -> None:
        n, outdoor = len(self._zones), now.world["outdoor"]
        heat = self._gains[self._row].copy()
        heat[:n] += [around.heat_kw(name) for name in self._names]
        heat[:n] += air_exchange_kw(self._spec, self._nodes_c[:n], outdoor, self._windows[self._row])
        self._nodes_c = self._rc.phi @ self._nodes_c + self._rc.gamma_out * outdoor + self._rc.gamma_heat @ heat
        self._row += 1
        self._show()
        self._count(now)


class ArxZones(_Zones):
    """The fitted model as the truth, innovations and their mean included; temperatures are measured exactly."""

    def __init__(self, house: House, model: ArxModel) -> None:
        super().__init__(house)
        self._model = check_fit(house, model)
        self._feeders = [(pump.name, pump.zones(house), pump.zone_cop() is None) for pump in heating_feeders(house)]
        self._sun = model.nu > 1 + len(self._feeders)

    def begin(
        self, rng: np.random.Generator, world: Exogenous, first: int, steps: int, initial: Mapping[str, float]
    ) -> None:
        model, start = self._model, self._initial_c(world, first, initial)
        outdoor, sun = float(world["outdoor"][first]), float(world["sun"][first]) / 1000.0
        weather = [outdoor, *([sun] if self._sun else [])]
        gain = model.steady_state_gain()
        rest = np.linalg.lstsq(gain[:, len(weather) :], start - gain[:, : len(weather)] @ weather, rcond=None)[0]
        self._state = model.resting_state(start, [*weather, *np.maximum(rest, 0.0)])
        self._innovations = model.sample_innovations(rng, (steps,))
        self._row = 0
        self._outside_k = np.zeros(len(self._zones))
        self._show()

    def _show(self) -> None:
        self._true_c = self._state[: len(self._zones)].copy()
        self._shown_c = self._true_c

    def advance(self, now: Now, around: Around) -> None:
        heats = []
        for pump, zones, learned in self._feeders:
            flow = around.flows[pump]
            heats.append(
                flow.power_kw.get("zones", 0.0) if learned else sum(flow.heat_kw.get(zone, 0.0) for zone in zones)
            )
        inputs = [now.world["outdoor"], *([now.world["sun"] / 1000.0] if self._sun else []), *heats]
        self._state = self._model.step(self._state, np.array(inputs), self._innovations[self._row])
        self._row += 1
        self._show()
        self._count(now)


def occupancy(world: Exogenous, first: int, steps: int, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """((steps, n) gains of people and appliances kW, (steps, n) open windows 0 or 1), by the clock on the wall.

    A daily pattern per kind of zone, a random activity that holds for an hour, cooking, and windows opened briefly.
    """
    hour = world.clock.hour[first : first + steps]
    home = np.where((hour < 8) | (hour > 16), 1.0, 0.35)
    awake = ((hour > 6.5) & (hour < 23)).astype(float)
    pattern = np.column_stack(
        [
            always + present * home * awake + night * (1.0 - awake)
            for always, present, night in (GAINS_KW[i % len(GAINS_KW)] for i in range(n))
        ]
    )
    per_hour = max(1, round(3600.0 / world.dt_s))
    blocks = steps // per_hour + 1
    activity = np.repeat(rng.gamma(2.0, 0.5, size=(blocks, n)), per_hour, axis=0)[:steps]
    cooking = np.repeat(rng.random(blocks) < 0.6, per_hour)[:steps] * ((hour > 16.5) & (hour < 18.5))
    gains = pattern * activity
    gains[:, min(1, n - 1)] += 0.5 * cooking
    opening = (rng.random((steps, n)) < WINDOW_OPENED_A_DAY * world.dt_s / 86_400.0) & (awake[:, None] > 0)
    windows = opening.astype(float)
    for lag in range(1, max(1, round(WINDOW_OPEN_S / world.dt_s))):
        windows[lag:] = np.maximum(windows[lag:], opening[:-lag])
    return gains, windows
