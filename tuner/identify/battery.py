"""Battery: least-squares fit of the energy balance and of the net-load bias from a log.

    capacity * (soc[k+w] - soc[k]) = eta_c * E_charge - (1 / eta_d) * E_discharge + e

with the energies of a window of w steps. Windows make the signal large against the quantisation of the reported soc,
and being disjoint they share no reading but the one at their seam. Standard errors are those of ordinary least
squares (delta method for 1 / eta_d); those of the bias come from daily means, since deviations last for hours.

Log format: CSV as in systems/series.py with the columns of LOG_COLUMNS; powers are means over the step, soc is the
reading at its begin.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from systems.battery.exogenous import DAY_S
from systems.battery.plant import BatteryPlant
from systems.battery.problem import home_battery
from systems.battery.spec import BatterySpec
from systems.series import DEFAULT_MAX_GAP_S, TimeSeries, load_csv

LOG_COLUMNS = ("soc", "charge_kw", "discharge_kw", "net_load_kw", "net_load_forecast_kw")
WINDOW_S = 2 * 3600.0
MIN_WINDOWS = 24
IDENTIFICATION_DAYS = 28
"""Length of a log that is simulated."""
MIN_DAYS = 3
MAX_POWER_KW = 100.0
"""No home draws, charges or feeds in more; a log in watts does."""
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


@dataclass(frozen=True)
class BatteryFit:
    """The data-fitted model."""

    estimates: tuple[Estimate, ...]
    residual_std_kwh: float
    """Of the energy balance over one window."""
    windows: int
    days: float
    clipped: tuple[str, ...] = ()
    """Parameters whose estimate lay outside their bounds and was moved there."""

    @property
    def theta(self) -> dict[str, float]:
        return {e.name: e.value for e in self.estimates}


def load_log(path: Path | str, max_gap_s: float = DEFAULT_MAX_GAP_S) -> TimeSeries:
    """A battery log. Raises SeriesError for the file's form and IdentificationError for impossible values."""
    log = load_csv(path, LOG_COLUMNS, max_gap_s=max_gap_s)
    soc = log["soc"]
    if soc.min() < 0.0 or soc.max() > 1.0:
        remedy = "is it in percent? divide by 100" if soc.max() > 1.5 else "correct the log"
        _refuse(log, "soc", int(np.argmax(np.abs(soc - 0.5))), "is not within 0..1", remedy)
    for column in ("charge_kw", "discharge_kw"):
        if log[column].min() < 0.0:
            remedy = "split signed power into a charge and a discharge column, both >= 0"
            _refuse(log, column, int(np.argmin(log[column])), "is negative", remedy)
    for column in LOG_COLUMNS[1:]:
        largest = int(np.argmax(np.abs(log[column])))
        if abs(log[column][largest]) > MAX_POWER_KW:
            _refuse(log, column, largest, f"is above {MAX_POWER_KW:g} kW", "is it in watts? divide by 1000")
    return log


def _refuse(log: TimeSeries, column: str, step: int, problem: str, remedy: str) -> NoReturn:
    row = f", row {log.rows[step]}" if log.rows is not None else ""
    raise IdentificationError(f"{log.source}{row}, column {column!r}: {log[column][step]:g} {problem}; {remedy}")


def fit_battery(log: TimeSeries, spec: BatterySpec | None = None, *, window_s: float = WINDOW_S) -> BatteryFit:
    """Efficiencies and net-load bias. Raises IdentificationError where the log does not determine them."""
    spec = spec or BatterySpec()
    dt_h = log.dt_s / 3600.0
    w = max(1, round(window_s / log.dt_s))
    count = (len(log) - 1) // w
    days = len(log) * log.dt_s / DAY_S
    if count < MIN_WINDOWS or days < MIN_DAYS:
        needed = max(MIN_WINDOWS * w * log.dt_s / DAY_S, MIN_DAYS)
        raise IdentificationError(f"{log.source}: {days:.1f} days of log; at least {needed:g} days are needed")
    stored_kwh = spec.capacity_kwh * np.diff(log["soc"][: count * w + 1 : w])
    charged_kwh = dt_h * log["charge_kw"][: count * w].reshape(count, w).sum(1)
    discharged_kwh = dt_h * log["discharge_kw"][: count * w].reshape(count, w).sum(1)
    for name, energy in (("charges", charged_kwh), ("discharges", discharged_kwh)):
        if energy.sum() < spec.capacity_kwh:
            raise IdentificationError(
                f"{log.source}: the battery {name} only {energy.sum():.1f} kWh in the whole log; "
                f"at least one full cycle ({spec.capacity_kwh:g} kWh) is needed"
            )
    (eta_c, inverse_eta_d), covariance, residual_std = least_squares(
        np.column_stack([charged_kwh, -discharged_kwh]), stored_kwh
    )
    if inverse_eta_d <= 0.0:
        raise IdentificationError(
            f"{log.source}: soc rises while discharging; exchange the columns charge_kw and discharge_kw"
        )
    bias, bias_error = daily_mean(log["net_load_kw"] - log["net_load_forecast_kw"], round(DAY_S / log.dt_s))
    raw = {
        "charge_efficiency": (float(eta_c), float(np.sqrt(covariance[0, 0]))),
        "discharge_efficiency": (
            1.0 / float(inverse_eta_d),
            float(np.sqrt(covariance[1, 1])) / float(inverse_eta_d) ** 2,
        ),
        "net_load_bias": (bias, bias_error),
    }
    parameters = {p.name: p for p in home_battery(spec).theta}
    estimates, clipped = [], []
    for name, (value, error) in raw.items():
        p = parameters[name]
        if name != "net_load_bias" and max(p.lower - value, value - p.upper) > max(MAX_ERRORS_OUTSIDE * error, 0.01):
            raise IdentificationError(
                f"{log.source}: {name} comes out as {value:.2f} ± {error:.2f}, outside {p.lower:g}..{p.upper:g}; "
                f"check --capacity-kwh ({spec.capacity_kwh:g}) and that powers are in kW, at the battery's terminals"
            )
        inside = min(max(value, p.lower), p.upper)
        clipped += [name] if inside != value else []
        estimates.append(Estimate(name, p.unit, inside, error))
    return BatteryFit(tuple(estimates), residual_std, count, days, tuple(clipped))


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


def daily_mean(values: NDArray[np.float64], steps_per_day: int) -> tuple[float, float]:
    """Mean over whole days, and its standard error from the spread between days."""
    days = len(values) // steps_per_day
    means = values[: days * steps_per_day].reshape(days, steps_per_day).mean(1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(days))


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
    """Write a log in the format that `load_log` reads."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *log.values])
        for k, row in enumerate(zip(*log.values.values(), strict=True)):
            time = log.start + timedelta(seconds=k * log.dt_s)
            writer.writerow([time.isoformat(), *(f"{value:.6g}" for value in row)])
