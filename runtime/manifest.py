"""What a bundle says of its controller: signals with units and bounds, limits, safety set, provenance, file hashes."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

FORMAT_VERSION: Final = 1
ABI_VERSION: Final = 1

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Row = tuple[Finite, ...]


class Record(BaseModel):
    """Strict about its fields and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SignalSpec(Record):
    """A named quantity: hard bounds for an action, the valid range for a state or forecast."""

    name: Name
    unit: str
    lower: Finite
    upper: Finite
    description: str = ""

    @model_validator(mode="after")
    def _ordered(self) -> SignalSpec:
        if self.lower > self.upper:
            raise ValueError(f"lower bound {self.lower} of {self.name} is above its upper bound {self.upper}")
        return self


class ParameterSpec(SignalSpec):
    """One entry of theta and the range it may take."""


class ActionLimit(Record):
    """What the hardware allows beyond the bounds of the action signal."""

    name: Name
    ramp_per_s: Positive | None = None
    """Largest change per second, in the action's unit."""
    dwell_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Shortest time between two changes."""


class StateLimit(Record):
    """A limit on y = row . s that the safety filter keeps: lower <= y <= upper.

    `disturbance` is the set W of that output: y+ = row . F(s, a, d) + w with w in [disturbance[0], disturbance[1]].
    """

    name: Name
    lower: Finite | None = None
    upper: Finite | None = None
    row: Row = ()
    """Coefficients over the states; empty: the state called `name`."""
    disturbance: tuple[Finite, Finite] = (0.0, 0.0)


class SafetySet(Record):
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


class DirectEstimator(Record):
    """Every state is measured: the state estimate is the input of the same name."""

    type: Literal["direct"] = "direct"


class ArxObserver(Record):
    """The states are those of an ARX model in observer form, estimated from `outputs` by `runtime.estimator_arx`.

    Shapes: output_coefficients (L, ny, ny), input_coefficients (L, ny, nu); L ny is the number of states. They belong
    to the theta of the bundle: a theta with other ARX coefficients needs a bundle of its own.
    """

    type: Literal["arx"]
    dt_s: Positive
    """Step of the ARX model; not longer than that of the controller."""
    outputs: tuple[SignalSpec, ...]
    """What is measured, in the order of y."""
    inputs: tuple[Name, ...]
    """In the order of u: names of forecasts (their present value) or of actions (as actuated)."""
    output_coefficients: tuple[tuple[Row, ...], ...]
    input_coefficients: tuple[tuple[Row, ...], ...]
    innovation_mean: Row
    innovation_covariance: tuple[Row, ...]
    measurement_std: Row
    """Of the sensors, in the unit of each output."""
    input_std: Row
    """Of each input while it is not known."""
    parameters: tuple[Name, ...] = ()
    """The entries of theta that the coefficients are; a theta update must leave them as they are."""


class Manifest(Record):
    """`manifest.json`. `files` maps every other file of the bundle, but the signature, to its SHA-256 (hex)."""

    format_version: Literal[1] = FORMAT_VERSION
    name: str
    system: str
    abi_version: Literal[1] = ABI_VERSION
    dt_s: Positive
    horizon: Annotated[int, Field(gt=0)]
    discount: Annotated[float, Field(gt=0, le=1)]
    decide_every_s: Positive | None = None
    """How often the program decides; its first move is held that long. None: in every cycle of the site."""
    states: tuple[SignalSpec, ...]
    actions: tuple[SignalSpec, ...]
    forecasts: tuple[SignalSpec, ...]
    theta: tuple[ParameterSpec, ...]
    limits: tuple[ActionLimit, ...] = ()
    safety: SafetySet | None = None
    residual_limit: Positive = 1e-6
    """Largest KKT residual of a solution that may be actuated."""
    estimator: DirectEstimator | ArxObserver = Field(default=DirectEstimator(), discriminator="type")
    provenance: dict[str, Any] = Field(default_factory=dict)
    created: str = ""
    """When, ISO 8601; passed in by the builder."""
    files: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if not self.states or not self.actions:
            raise ValueError("a controller needs at least one state and one action")
        if self.decide_every_s is not None and self.decide_every_s > self.dt_s:
            raise ValueError(
                f"decide_every_s, {self.decide_every_s:g}, is longer than the first move of a plan, {self.dt_s:g} s"
            )
        names = [s.name for s in (*self.states, *self.actions, *self.forecasts)]
        if len(set(names)) != len(names):
            raise ValueError(f"signal names are not unique: {sorted(n for n in set(names) if names.count(n) > 1)}")
        actions = {a.name for a in self.actions}
        for limit in self.limits:
            if limit.name not in actions:
                raise ValueError(f"limits name {limit.name!r}, which is no action")
        if self.safety is not None:
            _check_safety(self.safety, [s.name for s in self.states], len(self.actions), len(self.forecasts))
        if isinstance(self.estimator, ArxObserver):
            _check_observer(self.estimator, len(self.states), actions | {f.name for f in self.forecasts})
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A field that came later is left out where it says nothing: daemons from before it refuse unknown fields."""
        document: dict[str, Any] = write(self)
        if self.decide_every_s is None:
            del document["decide_every_s"]
        return document

    @property
    def measured(self) -> tuple[SignalSpec, ...]:
        """The signals, besides forecasts, that must be read every cycle."""
        return self.estimator.outputs if isinstance(self.estimator, ArxObserver) else self.states

    def limit(self, action: str) -> ActionLimit:
        """The limit of an action; a limit without effect where the manifest has none."""
        return next((limit for limit in self.limits if limit.name == action), ActionLimit(name=action))


def check_theta(specs: tuple[ParameterSpec, ...], theta: dict[str, float]) -> None:
    """Raises ValueError unless theta has exactly the named parameters, finite and inside their bounds."""
    missing, unknown = {s.name for s in specs} - set(theta), set(theta) - {s.name for s in specs}
    if missing or unknown:
        raise ValueError(f"theta lacks {sorted(missing)} and has unknown {sorted(unknown)}")
    for spec in specs:
        value = theta[spec.name]
        if not math.isfinite(value) or not spec.lower <= value <= spec.upper:
            raise ValueError(f"theta {spec.name} = {value} is outside [{spec.lower}, {spec.upper}]")


def _check_observer(observer: ArxObserver, nx: int, known: set[str]) -> None:
    lags, ny, nu = len(observer.output_coefficients), len(observer.outputs), len(observer.inputs)
    if lags * ny != nx:
        raise ValueError(f"estimator has {lags} lags of {ny} outputs, which is not the number of states, {nx}")
    unknown = set(observer.inputs) - known
    if unknown:
        raise ValueError(f"estimator inputs {sorted(unknown)} are neither forecasts nor actions")
    shapes = {
        "output_coefficients": all(len(m) == ny and all(len(r) == ny for r in m) for m in observer.output_coefficients),
        "input_coefficients": len(observer.input_coefficients) == lags
        and all(len(m) == ny and all(len(r) == nu for r in m) for m in observer.input_coefficients),
        "innovation_mean": len(observer.innovation_mean) == ny,
        "innovation_covariance": len(observer.innovation_covariance) == ny
        and all(len(r) == ny for r in observer.innovation_covariance),
        "measurement_std": len(observer.measurement_std) == ny and min(observer.measurement_std, default=0.0) > 0.0,
        "input_std": len(observer.input_std) == nu and min(observer.input_std, default=0.0) >= 0.0,
    }
    wrong = [name for name, right in shapes.items() if not right]
    if wrong:
        raise ValueError(f"estimator.{wrong[0]} does not fit {lags} lags, {ny} outputs and {nu} inputs")


def _check_safety(safety: SafetySet, states: list[str], na: int, nd: int) -> None:
    nx = len(states)
    for title, matrix, columns in (
        ("state_matrix", safety.state_matrix, nx),
        ("action_matrix", safety.action_matrix, na),
        ("forecast_matrix", safety.forecast_matrix, nd),
    ):
        if title == "forecast_matrix" and not matrix:
            continue
        if len(matrix) != nx or any(len(row) != columns for row in matrix):
            raise ValueError(f"safety.{title} is not of shape ({nx}, {columns})")
    if safety.offset and len(safety.offset) != nx:
        raise ValueError(f"safety.offset is not of length {nx}")
    for limit in safety.limits:
        if not limit.row and limit.name not in states:
            raise ValueError(f"safety limit {limit.name!r} is no state and has no row")
        if limit.row and len(limit.row) != nx:
            raise ValueError(f"row of safety limit {limit.name!r} is not of length {nx}")
        if limit.disturbance[0] > limit.disturbance[1]:
            raise ValueError(f"disturbance of safety limit {limit.name!r} is empty")
