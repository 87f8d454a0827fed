"""The systems by name, for commands: how to make the problem from its nameplate, what its safety filter must know."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from systems.battery.problem import home_battery
from systems.battery.safety import battery_safety
from systems.battery.spec import BatterySpec
from systems.house.arx import ArxModel, reference_model
from systems.house.cost import HouseCost
from systems.house.observer import house_observer
from systems.house.problem import house_problem
from systems.house.theta import HouseMpc, held_moves
from systems.problem import Problem


class UnknownSystemError(ValueError):
    """A system, or a field of its nameplate, that does not exist."""

    exit_code = 2


@dataclass(frozen=True)
class Shape:
    """What a problem is built with: nameplate, time grid, fitted model. None keeps the system's own value."""

    system: str
    spec: Mapping[str, float]
    horizon: int | None = None
    dt_s: float | None = None
    discount: float | None = None
    model: str | None = None
    """Text of the model file that `nisse identify` wrote, if it is one: theta and its bounds follow it."""


@dataclass(frozen=True)
class System:
    """One entry: nameplate, problem(spec, time grid and model), safety(spec, theta, dt_s), observer(theta, model).

    observer: the state estimator as plain data, or None where every state is measured.
    takes_model: the grid may hold the text of a fitted `model`.
    """

    spec: Mapping[str, float]
    problem: Callable[[Mapping[str, float], Mapping[str, Any]], Problem]
    safety: Callable[[Mapping[str, float], Mapping[str, float], float], dict[str, Any] | None]
    observer: Callable[[Mapping[str, float], str | None], dict[str, Any] | None] = lambda theta, model: None
    takes_model: bool = False


def _house_model(text: str | None) -> ArxModel:
    return reference_model() if text is None else ArxModel.from_json(text)


def _house_mpc(spec: Mapping[str, float], grid: Mapping[str, Any]) -> HouseMpc:
    """Nameplate and time grid of stages (half hours) as the decision problem of steps (five minutes)."""
    own = HouseMpc()
    stage_s = own.apply * own.dt_s
    if grid.get("dt_s", stage_s) != stage_s:
        raise UnknownSystemError(f"the house steps {stage_s:g} s, not {grid['dt_s']:g} s; leave the step out")
    steps = own.apply * int(grid.get("horizon", own.horizon // own.apply))
    discount = grid.get("discount", own.interval_discount) ** (1 / own.apply)
    cost = {name: value for name, value in spec.items() if name in HOUSE_COST}
    rest = {name: value for name, value in spec.items() if name not in HOUSE_COST}
    moves = held_moves(steps, own.apply)
    return HouseMpc(horizon=steps, moves=moves, discount=discount, cost=HouseCost(**cost), **rest)


HOUSE_COST = asdict(HouseCost())
HOUSE_SPEC = {**HOUSE_COST, "max_power_kw": HouseMpc().max_power_kw, "regularisation": HouseMpc().regularisation}
SYSTEMS: dict[str, System] = {
    "battery": System(
        spec=asdict(BatterySpec()),
        problem=lambda spec, grid: home_battery(BatterySpec(**spec), **grid),
        safety=lambda spec, theta, dt_s: battery_safety(BatterySpec(**spec), theta, dt_s),
    ),
    # Without a fitted model the reference one is the default of theta, all of which a parameter file may replace.
    "house": System(
        spec=HOUSE_SPEC,
        problem=lambda spec, grid: house_problem(_house_model(grid.get("model")), _house_mpc(spec, grid)),
        safety=lambda spec, theta, dt_s: None,
        observer=lambda theta, model: house_observer(_house_model(model), theta),
        takes_model=True,
    ),
}


def system_named(name: str) -> System:
    """Raises UnknownSystemError."""
    if name not in SYSTEMS:
        close = difflib.get_close_matches(name, SYSTEMS, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(SYSTEMS)}"
        raise UnknownSystemError(f"unknown system {name!r}; {remedy}")
    return SYSTEMS[name]


def full_spec(shape: Shape) -> dict[str, float]:
    """The nameplate with the given values replaced. Raises UnknownSystemError for a field or a value it cannot have."""
    known = system_named(shape.system).spec
    for name in shape.spec:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known) or 'none'}"
            raise UnknownSystemError(f"{shape.system} has no nameplate value {name!r}; {remedy}")
    for name, value in shape.spec.items():
        if not 0.0 <= value < math.inf:
            raise UnknownSystemError(f"{shape.system}: {name}={value:g}: give a number from 0 up")
    return {**known, **shape.spec}


def make_problem(shape: Shape) -> Problem:
    """The problem of a shape. Raises UnknownSystemError."""
    grid = {f.name: getattr(shape, f.name) for f in fields(Shape) if f.name not in ("system", "spec")}
    given = {name: value for name, value in grid.items() if value is not None}
    system = system_named(shape.system)
    if shape.model is not None and not system.takes_model:
        raise UnknownSystemError(
            f"{shape.system} has no model file: what was identified of it is theta, so name --theta"
        )
    return system.problem(full_spec(shape), given)


def make_safety(shape: Shape, theta: Mapping[str, float], dt_s: float) -> dict[str, Any] | None:
    """The safety set as plain data, or None for a system without one."""
    return system_named(shape.system).safety(full_spec(shape), theta, dt_s)


def make_observer(shape: Shape, theta: Mapping[str, float]) -> dict[str, Any] | None:
    """The state estimator as plain data, or None for a system whose states are all measured."""
    return system_named(shape.system).observer(theta, shape.model)
