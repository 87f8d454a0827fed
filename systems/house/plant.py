"""What really happens in the house: the ARX with innovations, and the physical house, behind one Gymnasium interface.

Action: electrical power asked of each heat pump (kW), held for five minutes. Observation: measured room temperatures
(°C). Reward: minus the stage cost of `systems.house.cost` over the step, at the temperatures the step ends with.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from systems.house.arx import ArxModel
from systems.house.cost import HouseCost
from systems.house.heat_pump import HeatPump, HeatPumpSpec
from systems.house.physical import PhysicalSpec, air_exchange_kw, discretise, occupancy, solar_gain_kw
from systems.house.weather import HOUR_S, Conditions

Array = NDArray[np.float64]
HISTORY = 12
"""Measurements kept for the observer: one hour."""


@dataclass(frozen=True)
class ForecastError:
    """Error of the weather service: a Gauss-Markov path that starts at 0 and tends to `std_k`."""

    std_k: float = 0.0
    time_h: float = 8.0

    def draw(self, rng: np.random.Generator, count: int, dt_s: float) -> Array:
        """(count,) error for lead times 0, dt, ..., K."""
        memory = float(np.exp(-dt_s / HOUR_S / self.time_h))
        shocks = rng.standard_normal(count) * self.std_k * np.sqrt(1.0 - memory**2)
        # e_h = sum_j memory^(h-j) shock_j, as a cumulative sum: lead times are short, so memory^-h stays tame.
        growth = memory ** -np.arange(count)
        return (np.cumsum(shocks * growth) - shocks[0]) / growth


class HousePlant(gymnasium.Env[Array, Array]):
    """Season, clock, accounts and history; the two houses add `_begin` and `_advance`."""

    metadata = {"render_modes": []}  # noqa: RUF012 - the name and kind are Gymnasium's

    def __init__(
        self,
        conditions: Conditions,
        *,
        rooms: int,
        max_power_kw: float,
        cost: HouseCost | None,
        steps: int | None,
        forecast_error: ForecastError,
    ) -> None:
        """`steps`: length of an episode, by default the whole season."""
        self.conditions = conditions
        self.cost = cost or HouseCost()
        self.steps = len(conditions) if steps is None else steps
        self.rooms = rooms
        self.max_power_kw = max_power_kw
        self.forecast_error = forecast_error
        self.observation_space = gymnasium.spaces.Box(-50.0, 80.0, (rooms,), np.float64)
        self.action_space = gymnasium.spaces.Box(0.0, max_power_kw, (rooms,), np.float64)
        self.k = 0
        """Sample of the season that the next step will use."""

    @property
    def dt_s(self) -> float:
        return self.conditions.dt_s

    @property
    def time_s(self) -> float:
        """Unix time of the present state."""
        return self.conditions.start_s + self.k * self.conditions.dt_s

    @abstractmethod
    def _begin(self, temperature_c: Array) -> tuple[Array, Array]:
        """Start at rest at these temperatures; (measured °C, true °C), each (rooms,)."""

    @abstractmethod
    def _advance(self, power_kw: Array) -> tuple[Array, Array, Array]:
        """(measured °C, true °C, electrical power drawn kW), each (rooms,)."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """options: `first` (sample of the season, default 0), `initial_c` (a number or (rooms,), default 21)."""
        super().reset(seed=seed)
        options = options or {}
        self.k = self.first = int(options.get("first", 0))
        if self.first < 0 or self.first + self.steps > len(self.conditions):
            raise ValueError(
                f"an episode of {self.steps} steps from sample {self.first} leaves the season of {len(self.conditions)}"
                "; start earlier or make the season longer"
            )
        initial = np.broadcast_to(
            np.asarray(options.get("initial_c", self.cost.setpoint_c), dtype=float), (self.rooms,)
        )
        self._forecast_seed = int(self.np_random.integers(2**63))
        self.energy_kwh = self.cost_eur = 0.0
        y, true = self._begin(initial.copy())
        idle = np.array([self.conditions.outdoor_c[self.k], *self._rest_power])
        self._outputs = deque([y.copy() for _ in range(HISTORY)], HISTORY)
        self._inputs = deque([idle.copy() for _ in range(HISTORY - 1)], HISTORY - 1)
        return y, self._info(np.zeros(self.rooms), true, 0.0)

    def step(self, action: ArrayLike) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        asked = np.clip(np.asarray(action, dtype=float), 0.0, self.max_power_kw)
        if not np.isfinite(asked).all():
            raise ValueError(f"action {action} is not finite; the plant takes powers in kW")
        outdoor, price = self.conditions.outdoor_c[self.k], self.conditions.price_eur_kwh[self.k]
        measured, true, drawn = self._advance(asked)
        self._outputs.append(measured)
        self._inputs.append(np.concatenate([[outdoor], drawn]))
        self.k += 1
        hours = self.dt_s / HOUR_S
        energy = float(drawn.sum()) * hours
        self.energy_kwh += energy
        self.cost_eur += float(price) * energy
        reward = -hours * float(self.cost.price_rate(drawn, price) + self.cost.comfort_rate(true))
        truncated = self.k >= self.first + self.steps
        return measured, reward, False, truncated, self._info(drawn, true, float(price))

    def _info(self, drawn_kw: Array, true_c: Array, price: float) -> dict[str, Any]:
        hours = self.dt_s / HOUR_S
        return {
            "power_kw": drawn_kw,
            "temperature_c": true_c,
            "energy_kwh": float(drawn_kw.sum()) * hours,
            "cost_eur": price * float(drawn_kw.sum()) * hours,
            "outside_band_kh": self.cost.outside_band_k(true_c) * hours,
        }

    def history(self) -> tuple[Array, Array]:
        """The last hour: measured outputs (12, rooms), newest last, and inputs (11, 1 + rooms) between them."""
        return np.array(self._outputs), np.array(self._inputs)

    def measured_state(self, model: ArxModel) -> Array:
        """Observer-form state (nx,) of `model` from the last hour; it depends on the model's coefficients."""
        return model.state_from_history(*self.history())

    def forecast(self, horizon: int) -> Array:
        """(horizon + 1, 2): outdoor °C with the weather service's error, price as published; repeatable."""
        table = self.true_forecast(horizon)
        if self.forecast_error.std_k > 0.0:
            rng = np.random.default_rng((self._forecast_seed, self.k))
            table[:, 0] += self.forecast_error.draw(rng, horizon + 1, self.dt_s)
        table[:, 1] = self.conditions.known_prices(self.k, horizon)
        return table

    def true_forecast(self, horizon: int) -> Array:
        """(horizon + 1, 2): outdoor °C and price EUR/kWh as they will be."""
        return self.conditions.true_forecast(self.k, horizon)

    _rest_power: Array


class ArxHouse(HousePlant):
    """The paper's "real system": eq. (37), innovations and their mean included. Temperatures are measured exactly."""

    def __init__(
        self,
        model: ArxModel,
        conditions: Conditions,
        *,
        max_power_kw: float = 1.5,
        cost: HouseCost | None = None,
        steps: int | None = None,
        forecast_error: ForecastError | None = None,
    ) -> None:
        if abs(model.dt_s - conditions.dt_s) > 1e-9:
            raise ValueError(f"the model steps {model.dt_s} s and the season {conditions.dt_s} s; make them equal")
        super().__init__(
            conditions,
            rooms=model.ny,
            max_power_kw=max_power_kw,
            cost=cost,
            steps=steps,
            forecast_error=forecast_error or ForecastError(),
        )
        self.model = model

    def _begin(self, temperature_c: Array) -> tuple[Array, Array]:
        self._rest_power = rest_power(self.model, temperature_c, self.conditions.outdoor_c[self.k], self.max_power_kw)
        self.state = self.model.resting_state(temperature_c, [self.conditions.outdoor_c[self.k], *self._rest_power])
        self._innovations = self.model.sample_innovations(self.np_random, (self.steps,))
        return temperature_c, temperature_c

    def _advance(self, power_kw: Array) -> tuple[Array, Array, Array]:
        inputs = np.concatenate([[self.conditions.outdoor_c[self.k]], power_kw])
        self.state = self.model.step(self.state, inputs, self._innovations[self.k - self.first])
        y = self.state[: self.rooms].copy()
        return y, y, power_kw

    def measured_state(self, model: ArxModel | None = None) -> Array:
        """As in the base class; without a model, the plant's own state."""
        return self.state.copy() if model is None else super().measured_state(model)


class PhysicalHouse(HousePlant):
    """The RC network with sun, people, air exchange and real heat pumps; none of it known to the controller."""

    def __init__(
        self,
        conditions: Conditions,
        *,
        house: PhysicalSpec | None = None,
        pump: HeatPumpSpec | None = None,
        cost: HouseCost | None = None,
        steps: int | None = None,
        forecast_error: ForecastError | None = None,
    ) -> None:
        self.house, self.pump = house or PhysicalSpec(), pump or HeatPumpSpec()
        super().__init__(
            conditions,
            rooms=self.house.rooms,
            max_power_kw=self.pump.max_power_kw,
            cost=cost,
            steps=steps,
            forecast_error=forecast_error or ForecastError(std_k=1.0),
        )
        self._rc = discretise(self.house, conditions.dt_s)

    def _begin(self, temperature_c: Array) -> tuple[Array, Array]:
        n, outdoor = self.rooms, self.conditions.outdoor_c[self.k]
        window = self.conditions.window(self.first, self.steps)
        sun = solar_gain_kw(self.house, window)
        people, self._windows = occupancy(self.house, window, self.np_random)
        share = self.house.solar_to_air
        self._gains = np.hstack([people + share * sun, (1.0 - share) * sun])
        self._noise = self.house.sensor_std_k * self.np_random.standard_normal((self.steps + 1, n))
        self._pumps = [HeatPump(self.pump) for _ in range(n)]
        # Masses settle between the room and the outside as they would after days at this temperature.
        to_mass = np.array(self.house.air_to_mass_kw_per_k)
        out = np.array(self.house.mass_to_outside_kw_per_k)
        self.nodes_c = np.concatenate([temperature_c, (to_mass * temperature_c + out * outdoor) / (to_mass + out)])
        loss = out * to_mass / (out + to_mass) + np.array(self.house.windows_kw_per_k)
        self._rest_power = np.clip(loss * (temperature_c - outdoor) / 3.0, 0.0, self.max_power_kw)
        return self._measure(self._noise[0]), temperature_c

    def _measure(self, noise_k: Array) -> Array:
        step = self.house.sensor_step_k
        return np.round((self.nodes_c[: self.rooms] + noise_k) / step) * step

    def _advance(self, power_kw: Array) -> tuple[Array, Array, Array]:
        n, outdoor, row = self.rooms, float(self.conditions.outdoor_c[self.k]), self.k - self.first
        air = self.nodes_c[:n]
        drawn, heat = np.empty(n), self._gains[row].copy()
        for i, (unit, asked, room) in enumerate(zip(self._pumps, power_kw.tolist(), air.tolist(), strict=True)):
            drawn[i], warmth = unit.step(asked, outdoor, room)
            heat[i] += warmth
        heat[:n] += air_exchange_kw(self.house, air, outdoor, self._windows[row])
        self.nodes_c = self._rc.phi @ self.nodes_c + self._rc.gamma_out * outdoor + self._rc.gamma_heat @ heat
        return self._measure(self._noise[row + 1]), self.nodes_c[:n].copy(), drawn


def rest_power(model: ArxModel, temperature_c: ArrayLike, outdoor_c: float, max_power_kw: float) -> Array:
    """(ny,) powers that would hold these temperatures in the model, clipped to what the heat pumps can draw, kW."""
    gain = model.steady_state_gain()
    needed = np.linalg.solve(gain[:, 1:], np.asarray(temperature_c, dtype=float) - gain[:, 0] * outdoor_c)
    return np.clip(needed, 0.0, max_power_kw)


class ArxHouses:
    """Many ARX houses side by side, for learning: one matrix product per step for all of them."""

    def __init__(self, model: ArxModel, outdoor_c: Array, innovations: Array, *, initial_c: float = 21.0) -> None:
        """outdoor_c: (batch, T) °C. innovations: (batch, T, ny) K, from `ArxModel.sample_innovations`."""
        if innovations.shape != (*outdoor_c.shape, model.ny):
            raise ValueError(f"innovations {innovations.shape} must have shape {(*outdoor_c.shape, model.ny)}")
        self.model, self.outdoor_c, self.innovations = model, outdoor_c, innovations
        self.k = 0
        batch = len(outdoor_c)
        outputs = np.full((batch, model.lags, model.ny), initial_c)
        inputs = np.empty((batch, model.lags - 1, model.nu))
        for row, outdoor in enumerate(outdoor_c[:, 0]):
            inputs[row] = [outdoor, *rest_power(model, np.full(model.ny, initial_c), float(outdoor), np.inf)]
        self.outputs, self.inputs = outputs, inputs
        self.state = model.state_from_history(outputs, inputs)

    def step(self, power_kw: Array) -> Array:
        """Temperatures (batch, ny) after one step under powers (batch, ny)."""
        return self.hold(power_kw[:, None, :])[:, -1, :]

    def hold(self, power_kw: Array) -> Array:
        """Temperatures (batch, n, ny) over n steps under powers (batch, n, ny)."""
        steps = slice(self.k, self.k + power_kw.shape[1])
        inputs = np.concatenate([self.outdoor_c[:, steps, None], power_kw], axis=-1)
        y, self.state = self.model.simulate(self.state, inputs, self.innovations[:, steps])
        self.outputs = np.concatenate([self.outputs, y], axis=1)[:, -self.model.lags :]
        self.inputs = np.concatenate([self.inputs, inputs], axis=1)[:, 1 - self.model.lags :]
        self.k = steps.stop
        return y

    def measured_state(self, model: ArxModel) -> Array:
        """(batch, nx) observer states of `model` from the last hour."""
        return model.state_from_history(self.outputs, self.inputs)
