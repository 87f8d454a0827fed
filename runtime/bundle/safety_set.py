"""The safety set of a bundle as data: limits on states with their one-step model, limits on power, and their checks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from runtime.bundle.records import Finite, Name, Row, StrictRecord


class StateLimit(StrictRecord):
    """A limit on y = row . s that the safety filter keeps: lower <= y <= upper.

    `disturbance` is the set W of that output: y+ = row . F(s, a, d) + w with w in [disturbance[0], disturbance[1]].
    """

    name: Name
    lower: Finite | None = None
    upper: Finite | None = None
    row: Row = ()
    """Coefficients over the states; empty: the state called `name`."""
    disturbance: tuple[Finite, Finite] = (0.0, 0.0)


class ActionGain(StrictRecord):
    """A column of the action matrix times a factor: what a kW is worth depends on the weather, by the COP.

    Piecewise linear over `points` ((x, factor), ...) in the present value x of the forecast `by`, constant beyond the
    ends.
    """

    action: Name
    by: Name
    points: Annotated[tuple[tuple[Finite, Finite], ...], Field(min_length=2, max_length=1000)]

    @model_validator(mode="after")
    def _ascending(self) -> ActionGain:
        if any(a[0] >= b[0] for a, b in pairwise(self.points)):
            raise ValueError(f"the points of the gain of {self.action} do not ascend")
        return self

    def at(self, x: float) -> float:
        """The factor at x."""
        (first, value), *rest = self.points
        if x <= first:
            return value
        for end, at_end in rest:
            if x <= end:
                return value + (at_end - value) * (x - first) / (end - first)
            first, value = end, at_end
        return value


class PowerTerm(StrictRecord):
    """factor * signal, or factor * signal * by where `by` is named: the present value of a forecast."""

    signal: Name
    factor: Finite
    by: Name | None = None


class PowerLimit(StrictRecord):
    """lower <= sum of `actions` + sum of `forecasts` + offset <= upper, in kW. To keep it actions are made smaller, and
    nothing is switched on but what only gives power up (`gives_up`).

    With a `meter` that is read, what it shows less what the actions drew stands in for forecasts and offset. Where
    neither is known, nothing is known to be beyond the limit.
    """

    name: Name
    upper: Finite | None = None
    lower: Finite | None = None
    actions: Annotated[tuple[PowerTerm, ...], Field(min_length=1)]
    forecasts: tuple[PowerTerm, ...] = ()
    offset: Finite = 0.0
    meter: Name | None = None
    """A measured power, kW: an input that the site may have."""
    gives_up: tuple[Name, ...] = ()
    """Actions that may be raised to keep it."""

    @model_validator(mode="after")
    def _limits(self) -> PowerLimit:
        if self.upper is None and self.lower is None:
            raise ValueError(f"safety limit {self.name!r} has neither end")
        return self

    @model_serializer(mode="wrap")
    def _plainly(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(write(self), upper=None, lower=None, gives_up=())


def _without(document: dict[str, Any], **nothing: Any) -> dict[str, Any]:
    """What came later is left out where it says nothing."""
    return {key: value for key, value in document.items() if key not in nothing or value not in (nothing[key], [])}


class SafetySet(StrictRecord):
    """The one-step model of the filter, s+ = A s + B a + E d + c over one dt, and the limits it must keep.

    Shapes: state_matrix A (nx, nx), action_matrix B (nx, na), forecast_matrix E (nx, nd), offset c (nx).
    """

    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the distance to a limit that must be left after one step; 0 allows going up to the limit at once."""
    limits: tuple[StateLimit, ...]
    state_matrix: tuple[Row, ...]
    action_matrix: tuple[Row, ...]
    forecast_matrix: tuple[Row, ...] = ()
    offset: Row = ()
    action_gains: tuple[ActionGain, ...] = ()
    power: tuple[PowerLimit, ...] = ()

    @model_serializer(mode="wrap")
    def _plainly(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(write(self), action_gains=(), power=())

    @property
    def meters(self) -> tuple[str, ...]:
        """Inputs that a site may have for it."""
        return tuple(dict.fromkeys(limit.meter for limit in self.power if limit.meter is not None))


def check_safety(
    safety: SafetySet, states: Sequence[str], actions: Collection[str], forecasts: Collection[str], columns: int
) -> None:
    """Raises ValueError where shapes or names are not those of the manifest. columns: of its forecast row."""
    nx = len(states)
    for title, matrix, width in (
        ("state_matrix", safety.state_matrix, nx),
        ("action_matrix", safety.action_matrix, len(actions)),
        ("forecast_matrix", safety.forecast_matrix, columns),
    ):
        if title == "forecast_matrix" and not matrix:
            continue
        if len(matrix) != nx or any(len(row) != width for row in matrix):
            raise ValueError(f"safety.{title} is not of shape ({nx}, {width})")
    if safety.offset and len(safety.offset) != nx:
        raise ValueError(f"safety.offset is not of length {nx}")
    for limit in safety.limits:
        if not limit.row and limit.name not in states:
            raise ValueError(f"safety limit {limit.name!r} is no state and has no row")
        if limit.row and len(limit.row) != nx:
            raise ValueError(f"row of safety limit {limit.name!r} is not of length {nx}")
        if limit.disturbance[0] > limit.disturbance[1]:
            raise ValueError(f"disturbance of safety limit {limit.name!r} is empty")
    gained = [gain.action for gain in safety.action_gains]
    if len(set(gained)) != len(gained):
        raise ValueError(f"safety.action_gains names {next(a for a in gained if gained.count(a) > 1)!r} twice")
    named: list[tuple[str, str, str | None]] = [
        (f"the gain of {g.action!r}", g.action, g.by) for g in safety.action_gains
    ]
    named += [(f"safety limit {p.name!r}", term.signal, term.by) for p in safety.power for term in p.actions]
    for what, action, by in named:
        if action not in actions:
            raise ValueError(f"{what} names {action!r}, which is no action")
        if by is not None and by not in forecasts:
            raise ValueError(f"{what} names {by!r}, which is no forecast")
    for power in safety.power:
        for action in power.gives_up:
            if action not in actions:
                raise ValueError(f"safety limit {power.name!r} names {action!r}, which is no action")
        for term in power.forecasts:
            for name in (term.signal, term.by):
                if name is not None and name not in forecasts:
                    raise ValueError(f"safety limit {power.name!r} names {name!r}, which is no forecast")
        if power.meter in {*states, *actions, *forecasts}:
            raise ValueError(f"the meter of safety limit {power.name!r}, {power.meter!r}, is a signal already")
