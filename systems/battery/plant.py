"""What a home battery really does: the plant behind the controller, as a Gymnasium environment.

It is not the model of `problem.py`, and each difference is one that real batteries show:
  losses     an active inverter loses idle + linear * p + quadratic * p**2, so efficiency is poor at part load;
             standby power drains the cells all the time
  limits     charging tapers near full, discharging near empty
  net load   forecast + AR(1) deviation + short spikes (a kettle, a car), so its mean lies above the forecast
  sensing    the state of charge is reported in steps of `soc_resolution`
Power is positive into the battery and positive from the grid, as in the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from systems.battery.exogenous import Exogenous, generated
from systems.battery.spec import BatterySpec

PUBLICATION_HOUR = 13.0
"""Local hour from which the prices of tomorrow are known."""
LOOKAHEAD_DAYS = 3


@dataclass(frozen=True)
class PlantSpec:
    """The physics and the disturbances; `battery` is the nameplate that the model shares."""

    battery: BatterySpec = field(default_factory=BatterySpec)
    idle_loss_kw: float = 0.05
    """Lost while the inverter is active, at any power."""
    linear_loss: float = 0.02
    quadratic_loss_per_kw: float = 0.004
    standby_kw: float = 0.015
    """Drained from the cells all the time."""
    active_above_kw: float = 0.02
    """Set-points below this leave the inverter asleep."""
    taper_soc: float = 0.20
    """Width of the soc bands at both ends in which the power limit falls linearly ..."""
    taper_floor: float = 0.10
    """... to this fraction of the nameplate."""
    soc_resolution: float = 0.01
    deviation_std_kw: float = 0.35
    """Stationary standard deviation of the AR(1) part of net load minus forecast."""
    deviation_memory: float = 0.9
    """AR(1) coefficient over one step."""
    spikes_per_day: float = 3.0
    spike_min_kw: float = 1.0
    spike_max_kw: float = 3.5
    spike_max_steps: int = 4


class BatteryPlant(gymnasium.Env[NDArray[np.float64], NDArray[np.float64]]):
    """Action: [charge_kw, discharge_kw] >= 0; the inverter follows the difference. Reward: minus the cost in EUR.

    Observation: measured soc, buy and sell price of the coming step in EUR/kWh, net load of the past step in kW.
    `reset(seed=..., options={"step": k, "soc": s})` starts at step k of the exogenous series; the disturbance depends
    on the seed alone, so two policies with the same seed and start meet the same net load.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own convention

    def __init__(
        self,
        physics: PlantSpec | None = None,
        exogenous: Exogenous | None = None,
        *,
        episode_steps: int = 672,
        start_step: int = 0,
        initial_soc: float = 0.5,
    ) -> None:
        # Not `spec`: that name is Gymnasium's own.
        self.physics = physics or PlantSpec()
        self.exogenous = exogenous or generated()
        self.episode_steps = episode_steps
        self.start_step = start_step
        self.initial_soc = initial_soc
        battery = self.physics.battery
        self.action_space = gymnasium.spaces.Box(
            np.zeros(2), np.array([battery.max_charge_kw, battery.max_discharge_kw]), dtype=np.float64
        )
        self.observation_space = gymnasium.spaces.Box(
            np.array([0.0, -10.0, -10.0, -1000.0]), np.array([1.0, 10.0, 10.0, 1000.0]), dtype=np.float64
        )
        # Plain floats and lists: element access on arrays would dominate a step.
        self._buy = self.exogenous.buy_price.tolist()
        self._sell = self.exogenous.sell_price.tolist()
        self._rows = np.column_stack(
            [self.exogenous.buy_price, self.exogenous.sell_price, self.exogenous.net_load_forecast]
        )
        self._dt_h = self.exogenous.dt_s / 3600.0
        self._day = self.exogenous.steps_per_day
        self._clock = self.exogenous.clock
        self._step = self._start = start_step
        self._soc = initial_soc
        self._deviation: NDArray[np.float64] = np.zeros(0)
        self._net: list[float] = []
        self._last_net = float(self.exogenous.net_load_forecast[start_step])

    # -- Gymnasium ---------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        super().reset(seed=seed)
        options = options or {}
        self._start = self._step = int(options.get("step", self.start_step))
        self._soc = float(options.get("soc", self.initial_soc))
        if not 0 <= self._start < len(self.exogenous):
            raise ValueError(f"start step {self._start} is outside the series of {len(self.exogenous)} steps")
        if not 0.0 <= self._soc <= 1.0:
            raise ValueError(f"initial soc {self._soc} is outside 0..1")
        n = min(self.episode_steps + LOOKAHEAD_DAYS * self._day, len(self.exogenous) - self._start)
        self._deviation = net_load_deviation(self.physics, n, self._day, self.np_random)
        self._net = (self._rows[self._start : self._start + n, 2] + self._deviation).tolist()
        self._last_net = float(self._rows[self._start, 2])
        return self._observation(), self._info(0.0, 0.0, 0.0)

    def step(self, action: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        k = self._step - self._start
        if k >= len(self._net):
            raise RuntimeError("the episode is over: call reset()")
        power = limited_power(self.physics, self._soc, float(action[0]) - float(action[1]), self._dt_h)
        cell_kw = cell_power(self.physics, power)
        self._soc = min(1.0, max(0.0, self._soc + self._dt_h * cell_kw / self.physics.battery.capacity_kwh))
        net = self._net[k]
        grid = net + power
        price = self._buy[self._step] if grid > 0.0 else self._sell[self._step]
        cost = self._dt_h * price * grid
        self._last_net = net
        self._step += 1
        ended = k + 1 >= self.episode_steps or self._step >= len(self._buy)
        return self._observation(), -cost, False, ended, self._info(cost, grid, power)

    # -- what a controller gets --------------------------------------------------------------------------------------

    @property
    def step_index(self) -> int:
        """Index into the exogenous series of the step that comes next."""
        return self._step

    @property
    def time(self) -> datetime:
        return self.exogenous.time(self._step)

    def measured_state(self) -> NDArray[np.float64]:
        """State of charge (1,) as the battery reports it."""
        return np.array([self._measured_soc()])

    @property
    def measured_net_load_kw(self) -> float:
        """Mean over the step that has just ended."""
        return self._last_net

    def forecast(self, horizon: int) -> NDArray[np.float64]:
        """(horizon + 1, 3): buy price, sell price, net load, as known at this moment.

        Prices are known until the end of today, after 13:00 until the end of tomorrow; beyond that, the same time of
        the last known day. Net load is the day-ahead forecast, beyond the series the same time of its last day.
        """
        now = min(self._step, len(self._rows) - 1)
        days_known = 2 if self._clock.hour[now] >= PUBLICATION_HOUR else 1
        known_end = int(np.searchsorted(self._clock.day, self._clock.day[now] + days_known))
        rows = self._rows_ahead(horizon, len(self._rows))
        if known_end < self._step + horizon + 1:
            rows[:, :2] = self._rows_ahead(horizon, min(known_end, len(self._rows)))[:, :2]
        return rows

    def true_forecast(self, horizon: int) -> NDArray[np.float64]:
        """(horizon + 1, 3) with the prices and the net load that will come: what the perfect-forecast baseline sees."""
        rows = self._rows_ahead(horizon, len(self._rows))
        deviation = self._deviation[self._step - self._start : self._step - self._start + horizon + 1]
        rows[: len(deviation), 2] += deviation
        return rows

    # -- parts -------------------------------------------------------------------------------------------------------

    def _rows_ahead(self, horizon: int, end: int) -> NDArray[np.float64]:
        """Rows of the coming horizon + 1 steps; from `end` on, those at the same time of the last day before it."""
        steps = np.arange(self._step, self._step + horizon + 1)
        if steps[-1] >= end:
            steps -= np.maximum(0, (steps - end) // self._day + 1) * self._day
            # Within the first day of a series there may be no day before: its first row has to do.
            np.clip(steps, 0, len(self._rows) - 1, out=steps)
        return self._rows[steps]

    def _measured_soc(self) -> float:
        return reported_soc(self.physics, self._soc)

    def _observation(self) -> NDArray[np.float64]:
        k = min(self._step, len(self._buy) - 1)
        return np.array([self._measured_soc(), self._buy[k], self._sell[k], self._last_net])

    def _info(self, cost_eur: float, grid_kw: float, power_kw: float) -> dict[str, Any]:
        return {
            "cost_eur": cost_eur,
            "grid_kw": grid_kw,
            "power_kw": power_kw,
            "net_load_kw": self._last_net,
            "soc_true": self._soc,
        }


def _taper(spec: PlantSpec, distance: float) -> float:
    """Fraction of the nameplate power at a soc distance from the end that is being approached."""
    if distance >= spec.taper_soc:
        return 1.0
    return spec.taper_floor + (1.0 - spec.taper_floor) * max(0.0, distance) / spec.taper_soc


def reported_soc(spec: PlantSpec, soc: float) -> float:
    """As the battery's own display rounds it."""
    resolution = spec.soc_resolution
    return min(1.0, max(0.0, round(soc / resolution) * resolution)) if resolution > 0 else soc


def limited_power(spec: PlantSpec, soc: float, power_kw: float, hours: float) -> float:
    """AC power after nameplate, taper and what the cells can take or give within a step of so many hours."""
    battery = spec.battery
    if abs(power_kw) < spec.active_above_kw:
        return 0.0
    if power_kw > 0.0:
        limit = battery.max_charge_kw * _taper(spec, 1.0 - soc)
        return min(power_kw, limit, (1.0 - soc) * battery.capacity_kwh / hours)
    limit = battery.max_discharge_kw * _taper(spec, soc)
    stored_kw = soc * battery.capacity_kwh / hours
    return -min(-power_kw, limit, max(0.0, stored_kw - inverter_loss(spec, min(-power_kw, stored_kw))))


def inverter_loss(spec: PlantSpec, ac_kw: float) -> float:
    """kW lost in the active inverter at an AC power >= 0."""
    return spec.idle_loss_kw + spec.linear_loss * ac_kw + spec.quadratic_loss_per_kw * ac_kw * ac_kw


def cell_power(spec: PlantSpec, ac_kw: float) -> float:
    """kW into the cells (negative: out of them) at an AC power into the battery."""
    active = inverter_loss(spec, abs(ac_kw)) if ac_kw != 0.0 else 0.0
    return ac_kw - active - spec.standby_kw


def net_load_deviation(spec: PlantSpec, n: int, steps_per_day: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Net load minus its forecast, kW (n,): stationary AR(1) plus spikes of one to a few steps."""
    noise = rng.standard_normal(n).tolist()
    memory = spec.deviation_memory
    innovation = spec.deviation_std_kw * (1.0 - memory * memory) ** 0.5
    path, value = [], spec.deviation_std_kw * float(rng.standard_normal())
    for z in noise:
        path.append(value)
        value = memory * value + innovation * z
    deviation = np.array(path)
    count = int(rng.poisson(spec.spikes_per_day * n / steps_per_day))
    starts = rng.integers(0, n, count)
    lengths = rng.integers(1, spec.spike_max_steps + 1, count)
    heights = rng.uniform(spec.spike_min_kw, spec.spike_max_kw, count)
    for start, length, height in zip(starts, lengths, heights, strict=True):
        deviation[start : start + length] += height
    return deviation
