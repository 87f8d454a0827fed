"""Battery: least-squares fit of the energy balance and of the net-load bias from a log.

    capacity * (soc[k+w] - soc[k]) = eta_c * E_charge - (1 / eta_d) * E_discharge + e

with the energies of a window of w steps. Windows make the signal large against the quantisation of the reported soc,
and being disjoint they share no reading but the one at their seam. Standard errors are those of ordinary least
squares (delta method for 1 / eta_d); those of the bias come from daily means, since deviations last for hours.

Windows lie within stretches in which nothing is missing: one that touches a gap does not count. Windows whose balance
is beyond chance (six robust standard deviations) are left out and reported: what no rule of cleaning knows shows there.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from systems.battery.exogenous import DAY_S
from systems.battery.plant import BatteryPlant
from systems.battery.problem import home_battery
from systems.battery.spec import BatterySpec
from systems.logs.log import runs
from systems.series import TimeSeries
from tuner.evaluate.statistics import LEVEL, mean_interval
from tuner.identify.battery_log import LOG_COLUMNS

WINDOW_S = 2 * 3600.0
MIN_WINDOWS = 24
IDENTIFICATION_DAYS = 28
"""Length of a log that is simulated."""
MIN_DAYS = 3
BIAS = "net_load_bias"
LEAST_OF_DAY = 0.5
"""Share of a day's samples from which its mean counts."""
MAX_DEVIATIONS = 6.0
MAX_ERRORS_OUTSIDE = 3.0
"""Standard errors by which an efficiency may lie outside its bounds by chance."""


class IdentificationError(ValueError):
    """A log from which the model cannot be fitted; the message says what is missing."""

    exit_code = 65


@dataclass(frozen=True)
class Estimate:
    """One fitted parameter of theta."""

    name: str
    unit: str
    value: float
    standard_error: float
    low: float
    """Of the 95 % interval."""
    high: float


@dataclass(frozen=True)
class BatteryFit:
    """The data-fitted model."""

    estimates: tuple[Estimate, ...]
    residual_std_kwh: float
    """Of the energy balance over one window."""
    windows: int
    days: float
    """Of log without what is missing."""
    windows_left_out: int = 0
    """Whose balance is beyond chance."""
    clipped: tuple[str, ...] = ()
    """Parameters whose estimate lay outside their bounds and was moved there."""

    @property
    def theta(self) -> dict[str, float]:
        return {e.name: e.value for e in self.estimates}


def fit_battery(log: TimeSeries, spec: BatterySpec | None = None, *, window_s: float = WINDOW_S) -> BatteryFit:
    """Efficiencies and net-load bias from a log in which NaN is missing.

    Raises IdentificationError where the log does not determine them.
    """
    spec = spec or BatterySpec()
    w = max(1, round(window_s / log.dt_s))
    stored_kwh, charged_kwh, discharged_kwh = windows(log, w, spec.capacity_kwh)
    days = float(np.isfinite(np.array(list(log.values.values()))).all(0).sum()) * log.dt_s / DAY_S
    if len(stored_kwh) < MIN_WINDOWS or days < MIN_DAYS:
        needed = max(MIN_WINDOWS * w * log.dt_s / DAY_S, MIN_DAYS)
        lost = {name: float(np.mean(~np.isfinite(values))) for name, values in log.values.items()}
        worst = max(lost, key=lambda name: lost[name])
        mend = f", of which {worst!r} lacks {lost[worst]:.0%}: mend that column first" if lost[worst] > 0.1 else ""
        raise IdentificationError(
            f"{log.source}: {days:.1f} days of log ({len(stored_kwh)} windows of {window_s / 3600:g} h without a gap); "
            f"at least {needed:g} days are needed{mend}"
        )
    for name, energy in (("charges", charged_kwh), ("discharges", discharged_kwh)):
        if energy.sum() < spec.capacity_kwh:
            raise IdentificationError(
                f"{log.source}: the battery {name} only {energy.sum():.1f} kWh in the whole log; "
                f"at least one full cycle ({spec.capacity_kwh:g} kWh) is needed"
            )
    regressors = np.column_stack([charged_kwh, -discharged_kwh])
    kept = np.ones(len(stored_kwh), dtype=bool)
    for _ in range(2):
        (eta_c, inverse_eta_d), covariance, residual_std = least_squares(regressors[kept], stored_kwh[kept])
        residuals = stored_kwh - regressors @ np.array([eta_c, inverse_eta_d])
        # 1.4826 median absolute deviations are a standard deviation of normal residuals.
        usual = 1.4826 * float(np.median(np.abs(residuals - np.median(residuals))))
        kept = np.abs(residuals) <= max(MAX_DEVIATIONS * usual, 0.01 * spec.capacity_kwh)
    (eta_c, inverse_eta_d), covariance, residual_std = least_squares(regressors[kept], stored_kwh[kept])
    if inverse_eta_d <= 0.0:
        raise IdentificationError(
            f"{log.source}: soc rises while discharging; exchange the columns charge_kw and discharge_kw"
        )
    daily = daily_means(log["net_load_kw"] - log["net_load_forecast_kw"], round(DAY_S / log.dt_s))
    bias = mean_interval(daily)
    quantile = float(stdtrit(int(kept.sum()) - 2, (1 + LEVEL) / 2))
    raw = {
        "charge_efficiency": (float(eta_c), float(np.sqrt(covariance[0, 0]))),
        "discharge_efficiency": (
            1.0 / float(inverse_eta_d),
            float(np.sqrt(covariance[1, 1])) / float(inverse_eta_d) ** 2,
        ),
        BIAS: (bias.mean, float(daily.std(ddof=1) / np.sqrt(len(daily)))),
    }
    parameters = {p.name: p for p in home_battery(spec).theta}
    estimates, clipped = [], []
    for name, (value, error) in raw.items():
        p = parameters[name]
        if name != BIAS and max(p.lower - value, value - p.upper) > max(MAX_ERRORS_OUTSIDE * error, 0.01):
            raise IdentificationError(
                f"{log.source}: {name} comes out as {value:.2f} ± {error:.2f}, outside {p.lower:g}..{p.upper:g}; "
                f"check --capacity-kwh ({spec.capacity_kwh:g}) and that powers are in kW, at the battery's terminals"
            )
        inside = min(max(value, p.lower), p.upper)
        clipped += [name] if inside != value else []
        low, high = (bias.low, bias.high) if name == BIAS else (value - quantile * error, value + quantile * error)
        estimates.append(Estimate(name, p.unit, inside, error, low, high))
    left_out = int((~kept).sum())
    return BatteryFit(tuple(estimates), residual_std, int(kept.sum()), days, left_out, tuple(clipped))


def windows(
    log: TimeSeries, steps: int, capacity_kwh: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Energies (n,) stored, charged and discharged, kWh, in the disjoint windows of `steps` that miss nothing."""
    soc, charge, discharge = (log[name] for name in LOG_COLUMNS[:3])
    whole = np.isfinite(soc) & np.isfinite(charge) & np.isfinite(discharge)
    # The last reading of a window needs no power of its own.
    starts = [k for a, b in runs(whole) for k in range(a, b + 1 - steps, steps) if k + steps < len(soc)]
    begin = np.array([k for k in starts if np.isfinite(soc[k + steps])], dtype=np.int64)
    within = begin[:, None] + np.arange(steps)
    dt_h = log.dt_s / 3600.0
    stored = capacity_kwh * (soc[begin + steps] - soc[begin])
    return stored, dt_h * charge[within].sum(1), dt_h * discharge[within].sum(1)


def least_squares(
    regressors: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Coefficients (m,), their covariance (m, m) and the residual standard deviation, for regressors (n, m)."""
    n, m = regressors.shape
    coefficients, _, rank, _ = np.linalg.lstsq(regressors, target, rcond=None)
    if rank < m:
        raise IdentificationError(
            "charge and discharge are proportional in the log; it must charge and discharge by turns"
        )
    residuals = target - regressors @ coefficients
    variance = float(residuals @ residuals) / (n - m)
    return coefficients, variance * np.linalg.inv(regressors.T @ regressors), float(np.sqrt(variance))


def daily_means(values: NDArray[np.float64], steps_per_day: int) -> NDArray[np.float64]:
    """Means (days,) over whole days of which at least half is there."""
    days = len(values) // steps_per_day
    table = values[: days * steps_per_day].reshape(days, steps_per_day)
    there = np.isfinite(table)
    table, there = (part[there.mean(1) >= LEAST_OF_DAY] for part in (table, there))
    if len(table) < MIN_DAYS:
        raise IdentificationError(
            f"{len(table)} days with net load and its forecast; at least {MIN_DAYS} are needed for the bias"
        )
    return np.where(there, np.nan_to_num(table), 0.0).sum(1) / there.sum(1)


# -- a log from the plant ----------------------------------------------------------------------------------------------


def simulate_log(plant: BatteryPlant, *, steps: int, seed: int) -> TimeSeries:
    """A log of the plant under an exciting policy: powers of random size, held for half an hour to two hours.

    The direction turns at the soft ends of the soc band, so that the log covers it. `plant` needs episodes of at least
    `steps` steps.
    """
    rng = np.random.default_rng([seed, 3])
    battery = plant.physics.battery
    rows = np.zeros((steps, len(LOG_COLUMNS)))
    _, info = plant.reset(seed=seed)
    start = plant.time
    hold, charge, discharge = 0, 0.0, 0.0
    for k in range(steps):
        soc = float(plant.measured_state()[0])
        too_full, too_empty = soc > battery.soc_max, soc < battery.soc_min
        if hold == 0 or (too_full and charge > 0) or (too_empty and discharge > 0):
            hold = int(rng.integers(2, 9))
            upwards = too_empty or (not too_full and rng.random() < 0.5)
            level = float(rng.uniform(0.1, 1.0))
            charge = level * battery.max_charge_kw if upwards else 0.0
            discharge = 0.0 if upwards else level * battery.max_discharge_kw
        hold -= 1
        net_forecast = float(plant.forecast(0)[0, 2])
        _, _, _, _, info = plant.step(np.array([charge, discharge]))
        power = info["power_kw"]
        rows[k] = soc, max(power, 0.0), max(-power, 0.0), info["net_load_kw"], net_forecast
    values = {name: rows[:, i] for i, name in enumerate(LOG_COLUMNS)}
    return TimeSeries(start, plant.exogenous.dt_s, values, source=f"simulated log, seed {seed}")


def write_log(log: TimeSeries, path: Path | str) -> None:
    """Write a log in the format that `load_battery_log` reads."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *log.values])
        for k, row in enumerate(zip(*log.values.values(), strict=True)):
            time = log.start + timedelta(seconds=k * log.dt_s)
            writer.writerow([time.isoformat(), *(f"{value:.6g}" for value in row)])
