"""House: from a cleaned log to the data-fitted ARX model, and to what a person must know before trusting it.

Errors are out of sample: every block of the log is predicted by the model fitted without it. Gains come with jackknife
standard errors over the same blocks. A log that cannot tell what a heat pump does is said to be one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systems.assets.zone.arx_fit import (
    ArxFit,
    ArxOptions,
    build_regression,
    fit_arx,
    predict_ahead,
    window_starts,
)
from systems.assets.zone.excitation import Excitation, excitations
from systems.house.arx import ArxModel
from systems.logs.log import LogError
from tuner.identify.cleaning import CleaningLimits, CleanLog, clean_house_log
from tuner.identify.house_log import HouseLog

Array = NDArray[np.float64]
MIN_DAYS = 7.0
"""Usable days below which twelve lags of nine signals are not worth fitting."""
GAIN_HOURS = 12.0


@dataclass(frozen=True, eq=False)
class Errors:
    """Root mean square errors per room, K, out of sample; `bias` is mean prediction minus truth."""

    hours: float
    model_rmse_k: Array
    persistence_rmse_k: Array
    bias_k: Array


@dataclass(frozen=True, eq=False)
class HouseIdentification:
    """The result; `problems` is empty for a model that may be used."""

    fit: ArxFit
    clean: CleanLog
    usable_rows: int
    one_step: Errors
    ahead: Errors
    gain: Array
    """(rooms, 1 + rooms) rise after GAIN_HOURS of a unit step: K/K of outdoor temperature, K/kW of each heat pump."""
    gain_std: Array
    excitation: tuple[Excitation, ...]
    problems: tuple[str, ...]

    @property
    def model(self) -> ArxModel:
        return self.fit.model

    @property
    def usable_share(self) -> float:
        """Rows of the regression over samples of the log."""
        return self.usable_rows / len(self.clean.log)

    def document(self) -> dict[str, Any]:
        """For `--json`: numbers with units in the names."""
        m, log = self.model, self.clean.log

        def errors(e: Errors) -> dict[str, Any]:
            return {
                "hours": e.hours,
                "model_rmse_k": e.model_rmse_k.tolist(),
                "persistence_rmse_k": e.persistence_rmse_k.tolist(),
                "bias_k": e.bias_k.tolist(),
            }

        return {
            "system": "house",
            "log": log.source,
            "days": log.days,
            "usable_rows": self.usable_rows,
            "usable_share": self.usable_share,
            "excluded_share": self.clean.share_excluded,
            "faults": [fault.__dict__ for fault in log.faults],
            "ridge_strength": self.fit.strength,
            "one_step": errors(self.one_step),
            "ahead": errors(self.ahead),
            "innovation_mean_k": m.innovation_mean.tolist(),
            "innovation_covariance_k2": m.innovation_covariance.tolist(),
            "spectral_radius": m.spectral_radius,
            "stable": m.spectral_radius < 1.0,
            "slowest_time_constant_h": m.slowest_time_constant_h if m.spectral_radius < 1.0 else None,
            "steady_state_gain": m.steady_state_gain().tolist(),
            "gain_hours": GAIN_HOURS,
            "gain": self.gain.tolist(),
            "gain_standard_error": self.gain_std.tolist(),
            "excitation_kw": [e.unexplained_kw for e in self.excitation],
            "excited": [e.sufficient for e in self.excitation],
            "problems": list(self.problems),
        }


def identify_house(
    log: HouseLog, *, options: ArxOptions | None = None, limits: CleaningLimits | None = None
) -> HouseIdentification:
    """Clean, fit and judge. Raises LogError where there is too little to fit, and says how much more is needed."""
    options = options or ArxOptions()
    clean = clean_house_log(log, limits)
    y, u = clean.log.outputs, clean.log.inputs
    rows = len(build_regression(y, u, options.lags).rows)
    refuse_short_log(clean.log, rows)
    try:
        fit = fit_arx(y, u, dt_s=log.dt_s, options=options)
    except ValueError as error:
        raise LogError(f"{log.source}: {error}") from error
    gain = fit.model.response_gain(GAIN_HOURS)
    gain_std = fit.jackknife_std([model.response_gain(GAIN_HOURS) for model in fit.leave_one_out])
    powers = u[:, 1:]
    excitation = excitations(y, u, powers, [[i] for i in range(powers.shape[1])], options.lags, log.dt_s)
    return HouseIdentification(
        fit=fit,
        clean=clean,
        usable_rows=rows,
        one_step=held_out_errors(fit, y, u, 1),
        ahead=held_out_errors(fit, y, u, options.horizon),
        gain=gain,
        gain_std=gain_std,
        excitation=excitation,
        problems=tuple(find_problems(fit.model, gain, gain_std, excitation)),
    )


def refuse_short_log(log: HouseLog, rows: int, min_days: float = MIN_DAYS) -> None:
    """Raises LogError below `min_days` of usable rows."""
    needed = round(min_days * 86400.0 / log.dt_s)
    if rows >= needed:
        return
    share = rows / len(log)
    usable = f"{log.source}: {rows * log.dt_s / 86400:.1f} of {log.days:.1f} days are usable, {min_days:g} are needed"
    if share < 0.1:
        worst = max(log.faults, key=lambda fault: fault.values, default=None)
        cause = f" (most is lost to {worst})" if worst else ""
        raise LogError(f"{usable}; mend the log first{cause}")
    more = (needed - rows) / share * log.dt_s / 86400.0
    raise LogError(f"{usable}; log about {more:.1f} more days ({share:.0%} of the rows are usable so far)")


def held_out_errors(fit: ArxFit, outputs: Array, inputs: Array, horizon: int) -> Errors:
    """Errors at `horizon` steps ahead, each block predicted by the model that has not seen it."""
    lags = fit.model.lags
    starts = window_starts(outputs, inputs, lags, horizon, every=1 if horizon == 1 else 6)
    blocks = np.array_split(fit.rows, len(fit.leave_one_out))
    misses, standstill = [], []
    for block, model in zip(blocks, fit.leave_one_out, strict=True):
        inside = starts[(starts - lags >= block[0]) & (starts + horizon <= block[-1])]
        if len(inside) == 0:
            continue
        predicted, truth = predict_ahead(model, outputs, inputs, inside, horizon)
        misses.append(predicted[:, -1] - truth[:, -1])
        standstill.append(outputs[inside] - truth[:, -1])
    miss, still = np.concatenate(misses), np.concatenate(standstill)
    return Errors(
        hours=horizon * fit.model.dt_s / 3600.0,
        model_rmse_k=np.sqrt(np.nanmean(miss**2, axis=0)),
        persistence_rmse_k=np.sqrt(np.nanmean(still**2, axis=0)),
        bias_k=np.nanmean(miss, axis=0),
    )


# -- judging -----------------------------------------------------------------------------------------------------------


def find_problems(model: ArxModel, gain: Array, gain_std: Array, excitation: tuple[Excitation, ...]) -> list[str]:
    """What forbids the use of the model, in words with a remedy; empty when nothing does."""
    problems = []
    causes: dict[str, list[str]] = {}
    for i, e in enumerate(excitation, start=1):
        if not e.sufficient:
            causes.setdefault(e.cause, []).append(f"power{i}_kw")
    for cause, signals in causes.items():
        problems.append(
            f"{', '.join(signals)}: {cause}, so the log cannot tell what the heat pump does; log a week in which the "
            "set-point of each room is moved by about 2 K a few times a day, at different times in different rooms"
        )
    # The gain of a power that was not excited is chance: what it seems to say would only mislead.
    told = [e.sufficient for e in excitation]
    own = np.diag(gain[:, 1:])
    for i, (value, std) in enumerate(zip(own, np.diag(gain_std[:, 1:]), strict=True), start=1):
        if told[i - 1] and value <= 0.0:
            problems.append(
                f"power{i}_kw: heating gain of room {i} is {value:+.2f} ± {std:.2f} K/kW after {GAIN_HOURS:g} h, "
                "of the wrong sign: more power would cool the room; check that the columns belong to the same room, "
                "that power is positive when drawn, and that the unit was heating"
            )
    for i in range(len(own)):
        for j in range(i):
            if not (told[i] and told[j]):
                continue
            if gain[i, 1 + j] > 2 * max(own[i], 0.0) and gain[j, 1 + i] > 2 * max(own[j], 0.0):
                problems.append(
                    f"power{j + 1}_kw, power{i + 1}_kw: each warms the other's room more than its own; swap the columns"
                )
    for i, value in enumerate(gain[:, 0], start=1):
        if value <= 0.0:
            problems.append(
                f"outdoor_c: gain of room {i} is {value:+.2f} K/K after {GAIN_HOURS:g} h, of the wrong sign; check the "
                "outdoor sensor and its unit, or log over warmer and colder days"
            )
    if model.spectral_radius >= 1.0:
        problems.append(
            f"the model is unstable (spectral radius {model.spectral_radius:.4f}); log for longer, over warmer and "
            "colder days"
        )
    return problems
