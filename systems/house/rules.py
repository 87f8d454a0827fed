"""Rules without a model: the thermostat and the heating curve most houses have, and a policy that makes a good log.

A rule sees measured room temperatures (°C) and the outdoor temperature (°C) and answers with powers (kW), every step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.decide.rules_laws import heating_curve, thermostat

Array = NDArray[np.float64]


class Rule(Protocol):
    """One decision per step; a rule may remember, so make a fresh one per episode."""

    def act(self, temperature_c: Array, outdoor_c: float) -> Array:
        """(rooms,) electrical powers, kW."""
        ...


@dataclass
class Thermostat:
    """On at full set power below the set-point minus the band, off above it: what a cheap unit does by itself."""

    setpoint_c: float = 21.0
    band_k: float = 0.5
    """Half width of the hysteresis."""
    power_kw: float = 1.0
    _last: Array | None = field(default=None, repr=False)

    def act(self, temperature_c: Array, outdoor_c: float) -> Array:
        before = np.zeros(len(temperature_c)) if self._last is None else self._last
        warmth = zip(temperature_c - self.setpoint_c, before, strict=True)
        self._last = np.array([thermostat(w, 2.0 * self.band_k, self.power_kw, 0.0, b) for w, b in warmth])
        return self._last


@dataclass
class HeatingCurve:
    """Weather compensation: power from the outdoor temperature along a line, trimmed by each room's own error."""

    setpoint_c: float = 21.0
    balance_c: float = 15.0
    """Outdoor temperature at which sun and people suffice."""
    slope_kw_per_k: float = 0.02
    """Per room and K below the balance temperature."""
    trim_kw_per_k: float = 0.3
    max_power_kw: float = 1.5

    def act(self, temperature_c: Array, outdoor_c: float) -> Array:
        law = {"balance": self.balance_c, "slope": self.slope_kw_per_k, "trim": self.trim_kw_per_k}
        wanted = [heating_curve(outdoor_c, warmth, **law) for warmth in temperature_c - self.setpoint_c]
        return np.clip(wanted, 0.0, self.max_power_kw)


@dataclass
class Exciting:
    """A log worth fitting: every room follows a set-point that jumps at random, and random half-hour pulses on top.

    The jumps move the slow masses and the pulses show the fast response; both are independent between rooms, which is
    what tells the rooms apart. Rooms stay within about 18..24 °C.
    """

    seed: int
    low_c: float = 18.7
    high_c: float = 22.8
    gain_kw_per_k: float = 0.5
    pulse_kw: float = 0.5
    steps_per_pulse: int = 6
    mean_steps_per_setpoint: float = 48.0
    max_power_kw: float = 1.5

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._step = 0

    def act(self, temperature_c: Array, outdoor_c: float) -> Array:
        rooms = len(temperature_c)
        if self._step == 0:
            self._setpoint = self._rng.uniform(self.low_c, self.high_c, rooms)
        if self._step % self.steps_per_pulse == 0:
            self._pulse = self.pulse_kw * self._rng.uniform(-1.0, 1.0, rooms)
            jumps = self._rng.random(rooms) < self.steps_per_pulse / self.mean_steps_per_setpoint
            self._setpoint = np.where(jumps, self._rng.uniform(self.low_c, self.high_c, rooms), self._setpoint)
        self._step += 1
        feedforward = 0.02 * max(0.0, 15.0 - outdoor_c)
        wanted = feedforward + self.gain_kw_per_k * (self._setpoint - temperature_c) + self._pulse
        return np.clip(wanted, 0.0, self.max_power_kw)
