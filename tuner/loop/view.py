"""What the controller of a house sees of its plant: states from sensors and history, forecasts as they are known."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.bundle.tracking import Tracking
from runtime.inputs.correction import Deviation
from runtime.track.planned import planned_grid_kw
from systems.arx import ArxModel
from systems.block import Forecast
from systems.design import HouseDesign
from systems.house_file import House
from systems.logs.log import Array
from systems.plant import HousePlant

WEEK_MIN = 10_080
SCHEDULE_MIN = 5
"""Schedules change on full multiples of it, near enough."""


@dataclass(frozen=True, eq=False)
class Moment:
    """All that a decision is made from, whatever theta: it stays true when theta changes."""

    measured: Mapping[str, float]
    outputs: tuple[Array, ...]
    """(lags, ny) of each ARX group, the newest last."""
    inputs: tuple[Array, ...]
    """(lags - 1, nu)"""
    forecast: Array
    """(N + 1, nd)"""


class ThetaEstimator:
    """x_0 of the program at one theta: what is measured as it is, ARX groups by their exact state of an hour."""

    def __init__(self, design: HouseDesign, theta: Array) -> None:
        names = {p.name: float(v) for p, v in zip(design.problem.theta, theta, strict=True)}
        data = design.estimator(names)
        states = [state.name for state in design.problem.states]
        groups = data.get("groups", [{"states": states, "estimator": data}])
        self._groups = [(group["states"], _arx_of(group["estimator"])) for group in groups]

    def state(self, moment: Moment) -> Array:
        parts, number = list[Array](), 0
        for states, arx in self._groups:
            if arx is None:
                parts.append(np.array([moment.measured[name] for name in states]))
            else:
                parts.append(arx.state_from_history(moment.outputs[number], moment.inputs[number]))
                number += 1
        return np.concatenate(parts)


def _arx_of(estimator: Mapping[str, Any]) -> ArxModel | None:
    if estimator["type"] != "arx":
        return None
    y, u = (np.array(estimator[key]) for key in ("output_coefficients", "input_coefficients"))
    mean, covariance = (np.array(estimator[key]) for key in ("innovation_mean", "innovation_covariance"))
    return ArxModel(y, u, mean, covariance, float(estimator["dt_s"]))


class View:
    """Keeps the history that ARX groups need, and makes moments; `after` is told of every model step."""

    def __init__(self, design: HouseDesign, plant: HousePlant) -> None:
        self._house, self._plant, self._grid = design.house, plant, design.house.grid
        defaults = {p.name: p.default for p in design.problem.theta}
        data = design.estimator(defaults)
        groups = data.get("groups", [{"estimator": data}])
        self._arx = [group["estimator"] for group in groups if group["estimator"]["type"] == "arx"]
        self._forecasts, self._stages = design.forecasts, design.problem.horizon
        self._schedules = {f.name: _table(f.schedule) for f in self._forecasts if f.schedule is not None}
        tracking = design.tracking(defaults)
        self._tracking = None if tracking is None else Tracking.model_validate(tracking)
        self._deviation = Deviation(self._grid.hold_s)
        self._foreseen: dict[str, float] | None = None
        """Of the stage that is on, before it was corrected."""
        self._drawn: dict[str, float] = {}
        self._outputs: list[deque[Array]] = []
        self._inputs: list[deque[Array]] = []

    def begin(self) -> None:
        """After the plant's reset: the hour before is taken as one at rest, with nothing drawn."""
        self._drawn, self._foreseen, self._deviation = {}, None, Deviation(self._grid.hold_s)
        self._outputs, self._inputs = [], []
        world = self._plant.world.row(self._plant.step_index)
        for arx in self._arx:
            lags = len(arx["output_coefficients"])
            resting = self._inputs_now(arx, world, {})
            self._outputs.append(deque([self._outputs_now(arx)] * lags, maxlen=lags))
            self._inputs.append(deque([resting] * max(lags - 1, 0), maxlen=max(lags - 1, 0)))

    def after(self, action: Array, info: Mapping[str, Any]) -> None:
        """A model step: what was asked, and the truth of it."""
        self._drawn = drawn_powers(self._house, self._plant, action, info, self._drawn)
        if self._tracking is not None and self._foreseen is not None:
            drawn = self._drawn | battery_powers(self._house, info)
            unforeseen = float(info["grid_kw"]) - planned_grid_kw(self._tracking, drawn, self._foreseen)
            self._deviation.observe(self._plant.time_s, unforeseen)
        for arx, outputs, inputs in zip(self._arx, self._outputs, self._inputs, strict=True):
            inputs.append(self._inputs_now(arx, info, self._drawn))
            outputs.append(self._outputs_now(arx))

    def moment(self, *, error: float = 1.0) -> Moment:
        """error: of forecasts, in units of their own; 0 is the perfect forecast."""
        return Moment(
            self._plant.measured(),
            tuple(np.array(outputs) for outputs in self._outputs),
            tuple(np.array(inputs).reshape(len(inputs), -1) for inputs in self._inputs),
            self._forecast(error),
        )

    def values(self) -> dict[str, float]:
        """What is known of now, by name: sensors, set-points and bounds, and what lasts."""
        step = self._plant.step_index
        minute = int(self._plant.world.minute_of_week[step])
        said = {name: float(table[minute // SCHEDULE_MIN]) for name, table in self._schedules.items()}
        return {**self._plant.world.row(step), **said, **self._plant.measured()}

    def _outputs_now(self, arx: Mapping[str, Any]) -> Array:
        shown = self._plant.measured()
        return np.array([shown[output["name"]] for output in arx["outputs"]])

    def _inputs_now(self, arx: Mapping[str, Any], world: Mapping[str, Any], drawn: Mapping[str, float]) -> Array:
        known = {**world, **drawn}
        values = {name: float(known.get(name, 0.0)) for name in arx["inputs"]}
        raw = dict(values)
        for gain in arx["input_gains"]:
            x, factors = np.transpose(gain["points"])
            values[gain["input"]] *= float(np.interp(raw.get(gain.get("by", ""), 0.0), x, factors))
        return np.array([values[name] for name in arx["inputs"]])

    def _forecast(self, error: float) -> Array:
        """(N + 1, nd); what has one value a stage is the mean of it."""
        grid, rows, plant = self._grid, self._stages + 1, self._plant
        step, columns = plant.step_index, []
        middle = step + grid.steps * np.arange(rows) + (grid.steps - 1) // 2
        minutes = plant.world.minute_of_week
        # Beyond the world's end the clock goes on.
        last = len(minutes) - 1
        beyond = np.maximum(middle - last, 0) * round(grid.step_s / 60.0)
        minute = (minutes[np.minimum(middle, last)] + beyond) % WEEK_MIN
        self._foreseen = {} if error > 0.0 else None
        for forecast in self._forecasts:
            if forecast.name in self._schedules:
                column = self._schedules[forecast.name][minute // SCHEDULE_MIN]
                columns.append(self._corrected(forecast, column, error)[:, None])
                continue
            fine = plant.forecast(forecast.name, rows * grid.steps, error=error).reshape(rows, grid.steps)
            columns.append(fine if forecast.steps == grid.steps else fine.mean(1, keepdims=True))
            if self._foreseen is not None:
                self._foreseen[forecast.name] = float(columns[-1][0, 0])
        return np.hstack(columns)

    def _corrected(self, forecast: Forecast, column: Array, error: float) -> Array:
        """(N + 1,) as the daemon corrects what its bundle foretells; a perfect forecast is what comes."""
        grid = self._grid
        if error == 0.0 and forecast.name in self._plant.world.columns:
            fine = self._plant.forecast(forecast.name, len(column) * grid.steps, error=0.0)
            return np.asarray(fine.reshape(len(column), -1).mean(1))
        if self._foreseen is not None:
            self._foreseen[forecast.name] = float(column[0])
        if forecast.carries is None or self._tracking is None:
            return column
        now_s, lower, upper = self._plant.time_s, forecast.lower, forecast.upper
        return np.array(self._deviation.carried(column.tolist(), grid.hold_s, forecast.carries, now_s, lower, upper))


def _table(schedule: Any) -> Array:
    return np.array([schedule.at(minute) for minute in range(0, WEEK_MIN, SCHEDULE_MIN)])


def battery_powers(house: House, info: Mapping[str, Any]) -> dict[str, float]:
    """By action, what the batteries really took and gave."""
    found = dict[str, float]()
    for battery in house.of("battery"):
        power = float(info[f"{battery.name}_kw"])
        found |= {f"{battery.name}_charge": max(power, 0.0), f"{battery.name}_discharge": max(-power, 0.0)}
    return found


def drawn_powers(
    house: House, plant: HousePlant, action: Array, info: Mapping[str, Any], before: Mapping[str, float]
) -> dict[str, float]:
    """By action, what a meter at each heat pump says of it: its power by the shares that it was last asked for."""
    asked = dict(zip([a.name for a in plant.actions], np.asarray(action).tolist(), strict=True))
    drawn = dict(asked)
    for pump in house.of("heat_pump"):
        own = [f"{pump.name}_power"] if pump.zones(house) else []
        own += [f"{pump.name}_{tank}_power" for tank in pump.tanks(house)]
        weights: Sequence[float] = [asked[name] for name in own]
        if sum(weights) <= 0.0:
            weights = [before.get(name, 1.0) for name in own]
        total = sum(weights)
        shares = [w / total if total > 0.0 else 1.0 / len(own) for w in weights]
        drawn |= {name: float(info[f"{pump.name}_kw"]) * share for name, share in zip(own, shares, strict=True)}
    return drawn
