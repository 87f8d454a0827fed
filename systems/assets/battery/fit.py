"""What a log teaches of a battery: its two efficiencies and, as a check, its capacity.

    soc[k+w] - soc[k] = (eta_c E_charge - E_discharge / eta_d) / capacity + e

with the energies of a window of w steps, by least squares. Windows make the signal large against the quantisation of
the reported soc, and being disjoint they share no reading but the one at their seam. Windows whose balance is beyond
chance (six robust standard deviations) are left out: what no rule of cleaning knows shows there. The round trip
eta_c eta_d does not depend on the capacity; a capacity that would share its loss evenly is what the log shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from systems.assets.battery import Battery
from systems.assets.battery.soc import soc_suspects
from systems.grid import HOUR_S
from systems.logs.cleaning import cleaned
from systems.logs.lesson import Curve, Fitted, Lesson, LessonPlot
from systems.logs.log import Array, Log, LogError, runs

WINDOW_S = 2 * HOUR_S
MIN_WINDOWS = 24
MAX_DEVIATIONS = 6.0
LEVEL = 0.95
BOUNDS = (0.70, 1.0)
"""Of an efficiency, those of theta."""
ERRORS_OUTSIDE = 3.0
"""Standard errors by which an efficiency may lie outside its bounds by chance."""
CAPACITY_OFF = 0.15
"""Share by which the capacity that the log shows may differ from the nameplate's."""


@dataclass(frozen=True, eq=False)
class Windows:
    """(n,) what each window changed of the soc, and the energies through the battery, kWh."""

    soc: Array
    charged_kwh: Array
    discharged_kwh: Array


def learn_battery(battery: Battery, log: Log) -> Lesson:
    """Raises LogError where the log does not determine the efficiencies."""
    name = battery.name
    # Coarser logs are held on the grid; the balance is asked of what was read.
    every = max(1, round(log.step_s[f"{name}_soc"] / log.dt_s))
    dt_s, row = log.dt_s * every, log.rows[f"{name}_soc"][::every]
    soc, power = log[f"{name}_soc"][::every], log[f"{name}_kw"][::every]
    charge, discharge = np.maximum(power, 0.0), np.maximum(-power, 0.0)
    table, faults = cleaned(
        soc[:, None],
        [f"{name}_soc"],
        row,
        lambda values, signal: soc_suspects(values, charge, discharge, dt_s, battery, log.source, signal),
    )
    found = windows(table[:, 0], charge, discharge, max(1, round(WINDOW_S / dt_s)), dt_s / HOUR_S)
    _refuse_idle(battery, log, found)
    regressors = np.column_stack([found.charged_kwh, -found.discharged_kwh])
    kept = np.ones(len(found.soc), dtype=bool)
    for _ in range(3):
        (a, b), covariance, residual_std = least_squares(regressors[kept], found.soc[kept])
        residuals = found.soc - regressors @ np.array([a, b])
        # 1.4826 median absolute deviations are a standard deviation of normal residuals.
        usual = 1.4826 * float(np.median(np.abs(residuals - np.median(residuals))))
        kept = np.abs(residuals) <= max(MAX_DEVIATIONS * usual, 0.01)
    if min(a, b) <= 0.0:
        raise LogError(
            f"{log.source}: the state of charge falls while {name!r} charges; {name}_kw counts charging positive: "
            "turn its sign"
        )
    capacity = battery.capacity_kwh
    quantile = float(stdtrit(int(kept.sum()) - 2, (1 + LEVEL) / 2))
    raw = {"charge": a * capacity, "discharge": 1.0 / (b * capacity)}
    error = {
        "charge": float(np.sqrt(covariance[0, 0])) * capacity,
        "discharge": float(np.sqrt(covariance[1, 1])) / (b**2 * capacity),
    }
    findings = [
        Fitted(f"{what} efficiency", "1", value, value - quantile * error[what], value + quantile * error[what])
        for what, value in raw.items()
    ]
    round_trip = a / b
    shown_kwh = float(np.sqrt(min(round_trip, 1.0))) / a
    findings.append(Fitted("round trip", "1", round_trip, text="what comes back of a kWh, whatever the capacity"))
    findings.append(Fitted("capacity", "kWh", shown_kwh, text=f"that the log shows; the house file says {capacity:g}"))
    theta = {f"{name}_{what}_efficiency": float(np.clip(value, *BOUNDS)) for what, value in raw.items()}
    left_out = int((~kept).sum())
    notes = [f"{left_out} windows are left out: their energies do not match the state of charge"] if left_out else []
    return Lesson(
        asset=name,
        summary=f"{round_trip:.0%} of what goes in comes back; {int(kept.sum())} windows, residual {residual_std:.3f}",
        theta=theta,
        findings=tuple(findings),
        problems=tuple(_problems(battery, raw, error, round_trip, shown_kwh)),
        notes=tuple(notes),
        panels=(_panel(found, kept, a, b),),
        faults=tuple(faults),
    )


def windows(soc: Array, charge: Array, discharge: Array, steps: int, dt_h: float) -> Windows:
    """The disjoint windows of `steps` that miss nothing."""
    whole = np.isfinite(soc) & np.isfinite(charge) & np.isfinite(discharge)
    # The last reading of a window needs no power of its own.
    starts = [k for first, end in runs(whole) for k in range(first, end + 1 - steps, steps) if k + steps < len(soc)]
    begin = np.array([k for k in starts if np.isfinite(soc[k + steps])], dtype=np.int64)
    within = begin[:, None] + np.arange(steps)
    return Windows(soc[begin + steps] - soc[begin], dt_h * charge[within].sum(1), dt_h * discharge[within].sum(1))


def least_squares(regressors: Array, target: Array) -> tuple[Array, Array, float]:
    """Coefficients (m,), their covariance (m, m) and the residual standard deviation, for regressors (n, m)."""
    n, m = regressors.shape
    coefficients, _, rank, _ = np.linalg.lstsq(regressors, target, rcond=None)
    if rank < m:
        raise LogError("charge and discharge are proportional in the log; it must charge and discharge by turns")
    residuals = target - regressors @ coefficients
    variance = float(residuals @ residuals) / (n - m)
    inverse = np.linalg.inv(regressors.T @ regressors)
    return np.asarray(coefficients), np.asarray(variance * inverse), float(np.sqrt(variance))


def _refuse_idle(battery: Battery, log: Log, found: Windows) -> None:
    name = battery.name
    if len(found.soc) < MIN_WINDOWS:
        lost = {column: float(np.mean(~np.isfinite(log[column]))) for column in (f"{name}_soc", f"{name}_kw")}
        worst = max(lost, key=lambda column: lost[column])
        mend = f", of which {worst!r} lacks {lost[worst]:.0%}: mend that column first" if lost[worst] > 0.1 else ""
        raise LogError(
            f"{log.source}: {log.days:.1f} days of log ({len(found.soc)} windows of {WINDOW_S / HOUR_S:g} h without a "
            f"gap) for {name!r}; at least {MIN_WINDOWS} windows are needed{mend}"
        )
    for what, energy in (("charges", found.charged_kwh), ("discharges", found.discharged_kwh)):
        if energy.sum() < battery.capacity_kwh:
            raise LogError(
                f"{log.source}: {name!r} {what} only {energy.sum():.1f} kWh in the whole log; at least one full cycle "
                f"({battery.capacity_kwh:g} kWh) is needed"
            )


def _problems(
    battery: Battery, raw: dict[str, float], error: dict[str, float], round_trip: float, shown_kwh: float
) -> list[str]:
    name, capacity = battery.name, battery.capacity_kwh
    off = abs(shown_kwh / capacity - 1.0) > CAPACITY_OFF
    if off and BOUNDS[0] ** 2 <= round_trip <= 1.05:
        return [
            f"{name}: the house file says {capacity:g} kWh, and the energy that went through shows about "
            f"{shown_kwh:.1f} kWh; set capacity_kwh = {shown_kwh:.1f}, or check that {name}_kw is in kW"
        ]
    return [
        f"{name}: the {what} efficiency comes out as {value:.2f} ± {error[what]:.2f}, outside {BOUNDS[0]:g}.."
        f"{BOUNDS[1]:g}; check capacity_kwh ({capacity:g}) and that {name}_kw is in kW, at the battery's terminals"
        for what, value in raw.items()
        if max(BOUNDS[0] - value, value - BOUNDS[1]) > max(ERRORS_OUTSIDE * error[what], 0.01)
    ]


def _panel(found: Windows, kept: np.ndarray, a: float, b: float) -> LessonPlot:
    net = found.charged_kwh - found.discharged_kwh
    line = np.array([min(net.min(), 0.0), 0.0, max(net.max(), 0.0)])
    change = np.where(line < 0, b * line, a * line)
    return LessonPlot(
        "State of charge against the energy that went in or out, in windows of two hours",
        "energy into the battery (kWh)",
        "change of the state of charge",
        (
            Curve("measured", net[kept], found.soc[kept], "points"),
            Curve("left out", net[~kept], found.soc[~kept], "points"),
            Curve("model", line, change),
        ),
    )
