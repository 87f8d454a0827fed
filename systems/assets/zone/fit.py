"""What a log teaches of the zones: their ARX, and what a person must know before trusting it.

Errors are out of sample: every block of the log is predicted by the model fitted without it. Gains come with jackknife
standard errors over the same blocks. A log that cannot tell what a heat pump does is said to be one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from systems.arx import ArxModel
from systems.assets.heat_pump import HeatPump, heating_feeders
from systems.assets.zone.arx_fit import ArxFit, ArxOptions, build_regression, fit_arx, predict_ahead, window_starts
from systems.assets.zone.excitation import Excitation, measure_excitation
from systems.assets.zone.model import inputs_of, lags_of
from systems.grid import HOUR_S
from systems.house_file import House
from systems.logs.lesson import Curve, Fitted, Lesson, LessonPlot
from systems.logs.log import DAY_S, Array, Log, LogError

MIN_DAYS = 7.0
"""Usable days below which an hour of lags is not worth fitting."""
GAIN_HOURS = 12.0
BIAS_BOUND_K = 0.1
"""Of theta."""


@dataclass(frozen=True, eq=False)
class ZonesData:
    """Outputs (T, zones) degC; inputs (T, nu) in the model's order: outdoor, sun kW/m2, heat or power kW."""

    outputs: Array
    inputs: Array
    powers: Array
    """(T, feeders) electric, kW"""


def zones_data(house: House, log: Log) -> ZonesData:
    """Heat where the COP is known, power where the fitted model has it inside."""
    feeders = heating_feeders(house)
    outputs = log.table([f"{zone.name}_c" for zone in house.of("zone")])
    powers = log.table([f"{pump.name}_kw" for pump in feeders])
    outdoor = log["outdoor_c"]
    columns = [outdoor]
    if "sun" in inputs_of(house):
        columns.append(np.maximum(log["sun_w_m2"], 0.0) / 1000.0)
    for i, pump in enumerate(feeders):
        cop = pump.zone_cop()
        columns.append(powers[:, i] if cop is None else np.interp(outdoor, *np.transpose(cop)) * powers[:, i])
    return ZonesData(outputs, np.column_stack(columns), powers)


def learn_zones(house: House, log: Log) -> Lesson:
    """Raises LogError where there is too little to fit, and says how much more is needed."""
    data, zones = zones_data(house, log), house.of("zone")
    coarsest = max(log.step_s[name] for name in (*(f"{zone.name}_c" for zone in zones), "outdoor_c"))
    if coarsest > 1.2 * house.grid.step_s:
        raise LogError(
            f"{log.source}: one row per {coarsest / 60:g} min; the model of the zones steps "
            f"{house.grid.step_s / 60:g} min, so log at least that often, or set [grid] step in the house file"
        )
    _refuse_warm_outside(house, log, data)
    options = ArxOptions(lags=lags_of(house), horizon=round(GAIN_HOURS * HOUR_S / log.dt_s))
    rows = len(build_regression(data.outputs, data.inputs, options.lags).rows)
    _refuse_short_log(log, rows)
    try:
        fit = fit_arx(data.outputs, data.inputs, dt_s=log.dt_s, options=options)
    except ValueError as error:
        raise LogError(f"{log.source}: {error}") from error
    model = fit.model
    gain = model.response_gain(GAIN_HOURS)
    gain_std = fit.jackknife_std([other.response_gain(GAIN_HOURS) for other in fit.leave_one_out])
    excitation = measure_excitation(house, data.outputs, data.inputs, data.powers, options.lags, log.dt_s)
    ahead = lead_errors(fit, data, options.horizon)
    findings = []
    for i, zone in enumerate(zones):
        findings += [
            Fitted(f"{zone.name}, error {GAIN_HOURS:g} h ahead", "K", float(ahead.model[-1, i]),
                    text=f"root mean square, held out; {ahead.still[-1, i]:.2f} if nothing changed"),
            Fitted(f"{zone.name}, mean of the innovations", "K/step", float(model.innovation_mean[i]),
                    text="what sun and people add"),
        ]  # fmt: skip
        for j, source in enumerate(inputs_of(house)):
            value, std = float(gain[i, j]), float(gain_std[i, j])
            unit = {"outdoor": "K/K", "sun": "K m2/kW"}.get(source, "K/kW")
            text = f"rise after {GAIN_HOURS:g} h"
            name = f"{zone.name}, by {source}"
            findings.append(Fitted(name, unit, value, value - 1.96 * std, value + 1.96 * std, text))
    notes = [f"{name} varies by itself by {1000 * e.unexplained_kw:.0f} W" for name, e in excitation.items()]
    bias = np.clip(model.innovation_mean, -BIAS_BOUND_K, BIAS_BOUND_K)
    worst = float(ahead.model[-1].max())
    return Lesson(
        asset="zones",
        summary=f"foretold to {worst:.2f} K over {GAIN_HOURS:g} h by a model that has not seen those days",
        theta={f"{zone.name}_bias": float(value) for zone, value in zip(zones, bias, strict=True)},
        findings=tuple(findings),
        problems=tuple(find_problems(house, model, gain, gain_std, excitation)),
        notes=tuple(notes),
        panels=(_lead_panel(house, ahead, log.dt_s), _step_panel(house, model)),
        table="zone",
        model=model.to_json(),
    )


def _refuse_short_log(log: Log, rows: int) -> None:
    """Raises LogError below MIN_DAYS of usable rows."""
    needed = round(MIN_DAYS * DAY_S / log.dt_s)
    if rows >= needed:
        return
    share = rows / max(len(log), 1)
    usable = f"{log.source}: {rows * log.dt_s / DAY_S:.1f} of {log.days:.1f} days are usable, {MIN_DAYS:g} are needed"
    if share < 0.1:
        worst = max(log.faults, key=lambda fault: fault.values, default=None)
        cause = f" (most is lost to {worst})" if worst else ""
        raise LogError(f"{usable}; mend the log first{cause}")
    more = (needed - rows) / share * log.dt_s / DAY_S
    raise LogError(f"{usable}; log about {more:.1f} more days ({share:.0%} of the rows are usable so far)")


def _refuse_warm_outside(house: House, log: Log, data: ZonesData) -> None:
    """Outdoor Fahrenheit in winter looks like a Celsius summer; but nobody heats a house that is warmer outside."""
    heating = np.nan_to_num(data.powers).sum(1) > 0.1 * data.powers.shape[1]
    with np.errstate(invalid="ignore"):
        warmer = log["outdoor_c"] > data.outputs.min(1) + 2.0
    if heating.sum() * log.dt_s > DAY_S and warmer[heating].mean() > 0.3:
        raise LogError(
            f"{log.source}: column 'outdoor_c' is above the zones in {warmer[heating].mean():.0%} of the heating "
            'hours; it looks like degrees Fahrenheit: name the column outdoor_f, or map it with unit = "F"'
        )


# -- judging -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LeadErrors:
    """(horizon, zones) root mean square errors by lead time, K: of the model, and if nothing changed."""

    model: Array
    still: Array


def lead_errors(fit: ArxFit, data: ZonesData, horizon: int) -> LeadErrors:
    """Each block predicted by the model that has not seen it."""
    lags, ny = fit.model.lags, fit.model.ny
    starts = window_starts(data.outputs, data.inputs, lags, horizon, every=18)
    squares, still, count = np.zeros((horizon, ny)), np.zeros((horizon, ny)), np.zeros((horizon, ny))
    for block, model in zip(np.array_split(fit.rows, len(fit.leave_one_out)), fit.leave_one_out, strict=True):
        inside = starts[(starts - lags >= block[0]) & (starts + horizon <= block[-1])]
        if len(inside) == 0:
            continue
        predicted, truth = predict_ahead(model, data.outputs, data.inputs, inside, horizon)
        good = np.isfinite(truth)
        squares += np.where(good, (predicted - truth) ** 2, 0.0).sum(0)
        still += np.where(good, (data.outputs[inside][:, None, :] - truth) ** 2, 0.0).sum(0)
        count += good.sum(0)
    count = np.maximum(count, 1.0)
    return LeadErrors(np.sqrt(squares / count), np.sqrt(still / count))


def find_problems(
    house: House, model: ArxModel, gain: Array, gain_std: Array, excitation: dict[str, Excitation]
) -> list[str]:
    """What forbids the use of the model, in words with a remedy; empty when nothing does."""
    zones, feeders, inputs = house.of("zone"), heating_feeders(house), inputs_of(house)
    problems = []
    causes: dict[str, list[str]] = {}
    for name, found in excitation.items():
        if not found.sufficient:
            causes.setdefault(found.cause, []).append(f"{name}_kw")
    for cause, columns in causes.items():
        problems.append(
            f"{', '.join(columns)}: {cause}, so the log cannot tell what it does; log a week in which the set-point of "
            "each zone is moved by about 2 K a few times a day, at different times in different zones"
        )

    def own(pump: HeatPump) -> list[int]:
        return [i for i, zone in enumerate(zones) if zone.name in pump.feeds]

    # The gain of a power that was not excited is chance: what it seems to say would only mislead.
    told = [pump for pump in feeders if excitation[pump.name].sufficient]
    for pump in told:
        j = inputs.index(pump.name)
        for i in own(pump):
            if gain[i, j] <= 0.0:
                problems.append(
                    f"{pump.name}_kw: heating gain of zone {zones[i].name} is {gain[i, j]:+.2f} ± {gain_std[i, j]:.2f} "
                    f"K/kW after {GAIN_HOURS:g} h, of the wrong sign: more power would cool it; check that `feeds` is "
                    "right, that power is positive when drawn, and that the unit was heating"
                )
    single = [(pump, own(pump)[0]) for pump in told if len(own(pump)) == 1]
    for k, (one, i) in enumerate(single):
        for other, o in single[:k]:
            a, b = inputs.index(one.name), inputs.index(other.name)
            if i != o and gain[i, b] > 2 * max(gain[i, a], 0.0) and gain[o, a] > 2 * max(gain[o, b], 0.0):
                problems.append(
                    f"{other.name}_kw, {one.name}_kw: each warms the other's zone more than its own; swap the columns"
                )
    for i, zone in enumerate(zones):
        if gain[i, 0] <= 0.0:
            problems.append(
                f"outdoor_c: gain of zone {zone.name} is {gain[i, 0]:+.2f} K/K after {GAIN_HOURS:g} h, of the wrong "
                "sign; check the outdoor sensor and its unit, or log over warmer and colder days"
            )
    if model.spectral_radius >= 1.0:
        problems.append(
            f"the model of the zones is unstable (spectral radius {model.spectral_radius:.4f}); log for longer, over "
            "warmer and colder days"
        )
    return problems


# -- drawing -----------------------------------------------------------------------------------------------------------


def _lead_panel(house: House, errors: LeadErrors, dt_s: float) -> LessonPlot:
    hours = np.arange(1, len(errors.model) + 1) * dt_s / HOUR_S
    curves: list[Curve] = []
    for i, zone in enumerate(house.of("zone")):
        curves.append(Curve(zone.name, hours, errors.model[:, i]))
        curves.append(Curve(f"{zone.name}, if nothing changed", hours, errors.still[:, i], "dotted"))
    title = "How far ahead the model can be trusted: error on days it has not seen"
    return LessonPlot(title, "hours ahead", "root mean square error (K)", tuple(curves))


def _step_panel(house: House, model: ArxModel) -> LessonPlot:
    steps = round(24 * HOUR_S / model.dt_s)
    unit = np.broadcast_to(np.eye(model.nu)[:, None, :], (model.nu, steps, model.nu))
    response, _ = model.simulate(np.zeros((model.nu, model.nx)), unit)
    hours, inputs = np.arange(1, steps + 1) * model.dt_s / HOUR_S, inputs_of(house)
    curves = tuple(
        Curve(f"{zone.name} by {pump.name}", hours, response[inputs.index(pump.name), :, i])
        for pump in heating_feeders(house)
        for i, zone in enumerate(house.of("zone"))
        if zone.name in pump.feeds
    )
    return LessonPlot("What a kilowatt does to the zone it is meant for", "hours", "K per kW", curves)
