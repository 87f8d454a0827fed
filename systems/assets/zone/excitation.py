"""What a log asked of each heat pump: power that its own past and the temperatures do not explain identifies it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from systems.assets.heat_pump import heating_feeders
from systems.assets.zone.arx_fit import build_regression, moments
from systems.house_file import House
from systems.logs.log import DAY_S, Array

MIN_EXCITATION_KW = 0.03
"""Standard deviation of a power that its own past and the temperatures do not explain."""
CHANGE_KW = 0.05


@dataclass(frozen=True, eq=False)
class Excitation:
    """What the log asked of one heat pump."""

    unexplained_kw: float
    """Standard deviation of the power (or heat) that temperatures and past powers do not explain."""
    changes_per_day: float
    fixed_thermostat: bool
    """Switched on at one temperature and off at another, always."""

    @property
    def sufficient(self) -> bool:
        return self.unexplained_kw >= MIN_EXCITATION_KW and not self.fixed_thermostat

    @property
    def cause(self) -> str:
        """Why it is not sufficient."""
        if self.changes_per_day < 1.0:
            return "the power hardly ever changes"
        if self.fixed_thermostat:
            return "a thermostat at a fixed set-point switched it at the same two temperatures all the time"
        return "the power follows the temperatures and next to nothing of it varies by itself"


def measure_excitation(
    house: House, outputs: Array, inputs: Array, powers: Array, lags: int, dt_s: float
) -> dict[str, Excitation]:
    """By name of the heat pump; arrays as for `excitations`."""
    feeders, zones = heating_feeders(house), list(enumerate(house.of("zone")))
    fed = [[i for i, zone in zones if zone.name in pump.feeds] for pump in feeders]
    found = excitations(outputs, inputs, powers, fed, lags, dt_s)
    return {pump.name: one for pump, one in zip(feeders, found, strict=True)}


def excitations(
    outputs: Array, inputs: Array, powers: Array, fed: Sequence[Sequence[int]], lags: int, dt_s: float
) -> tuple[Excitation, ...]:
    """One for each column of powers (T, heaters), kW electric; inputs (T, nu) of the model end with their heat.

    outputs (T, ny) are temperatures, and `fed` says which of them each heater feeds. Under linear feedback from the
    temperatures the newest power is a combination of the other regressors, and least squares cannot tell its effect
    from theirs; what is left of it after regressing it on them is what identifies it.
    """
    regression = build_regression(outputs, inputs, lags)
    ny, nu, heaters = regression.ny, regression.nu, powers.shape[1]
    m = moments(regression.phi, regression.change)
    mean = m.sum_phi / m.n
    covariance = m.gram / m.n - np.outer(mean, mean)
    newest = lags * ny + nu - heaters + np.arange(heaters)
    rest = np.setdiff1d(np.arange(len(mean)), newest)
    normal = covariance[np.ix_(rest, rest)] + 1e-9 * np.diag(np.maximum(np.diag(covariance)[rest], 1e-9))
    cross = covariance[np.ix_(rest, newest)]
    left = np.diag(covariance)[newest] - np.einsum("ij,ij->j", cross, np.linalg.solve(normal, cross))
    days = len(regression.rows) * dt_s / DAY_S
    result = []
    for unexplained, power, zones in zip(left, powers.T, fed, strict=True):
        with np.errstate(invalid="ignore"):
            changes = float((np.abs(np.diff(power)) > CHANGE_KW).sum()) / max(days, 1e-9)
        fixed = any(follows_fixed_thermostat(outputs[:, i], power) for i in zones)
        result.append(Excitation(float(np.sqrt(max(unexplained, 0.0))), changes, fixed))
    return tuple(result)


def follows_fixed_thermostat(temperature_c: Array, power_kw: Array, *, band_std_k: float = 0.2) -> bool:
    """Whether every switch-on happens at one temperature and every switch-off at another, higher one."""
    on = np.where(np.isfinite(power_kw), power_kw > CHANGE_KW, False)
    known = np.isfinite(power_kw[1:]) & np.isfinite(power_kw[:-1]) & np.isfinite(temperature_c[1:])
    switched_on = temperature_c[1:][known & on[1:] & ~on[:-1]]
    switched_off = temperature_c[1:][known & ~on[1:] & on[:-1]]
    if min(len(switched_on), len(switched_off)) < 10:
        return False
    narrow = max(np.std(switched_on), np.std(switched_off)) < band_std_k
    return bool(narrow and np.mean(switched_off) > np.mean(switched_on))
