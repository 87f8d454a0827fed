"""What a bundle says of its controller: signals with units and bounds, limits, safety set, provenance, file hashes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from runtime.bundle.limited_outputs import LimitedOutput, limited_outputs
from runtime.bundle.records import Finite, Name, NonNegative, Positive, Row, StrictRecord
from runtime.bundle.safety_set import SafetySet, check_safety
from runtime.bundle.tracking import Tracking, check_tracking
from runtime.decide.pulses import Compressor
from runtime.decide.rules_data import AnyRule, SelfConsumptionRule, owned_twice, unknown_name
from runtime.formats.weekly import Weekly
from runtime.inputs.correction import Carries

FORMAT_VERSION: Final = 3
"""The newest that is read and written; what needs less is written as less, which older daemons read too."""
ABI_VERSION: Final = 1

Serial = Annotated[int, Field(ge=0, le=2**53, strict=True)]


def new_serial(now_s: float) -> int:
    """Milliseconds since 1970: larger than any before, as long as the clocks of those who build are right."""
    return int(now_s * 1000)


def serial_number(text: str) -> int:
    """What somebody chose. Raises ValueError."""
    number = int(text)
    if not 1 <= number <= 2**53:
        raise ValueError(f"{number} is not between 1 and 2^53")
    return number


def raised_serial(document: Any) -> Any:
    """A document as it is written, with its serial number beside the other fields.

    Written, it stands under `provenance`, which may hold anything: readers from before would refuse it anywhere else.
    """
    provenance = document.get("provenance") if isinstance(document, dict) else None
    if not isinstance(provenance, dict) or "serial" not in provenance:
        return document
    rest = {name: value for name, value in provenance.items() if name != "serial"}
    return {**document, "provenance": rest, "serial": provenance["serial"]}


def lowered_serial(document: dict[str, Any]) -> dict[str, Any]:
    """The other way round; 0 is not written."""
    serial = document.pop("serial")
    return {**document, "provenance": {**document["provenance"], "serial": serial}} if serial else document


class SignalSpec(StrictRecord):
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


class ForecastSpec(SignalSpec):
    """What is known ahead. `steps` values a stage, of equal length, one column of the forecast row each."""

    steps: Annotated[int, Field(ge=1, le=1000)] = 1
    schedule: Weekly | None = None
    """What it is where the site file names no source for it: a set-point or a band that follows the week."""
    carries: Carries | None = None
    """How a deviation from that schedule goes on, where what was drawn is measured."""

    @model_serializer(mode="wrap")
    def _plainly(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = write(self)
        if self.steps == 1:
            del document["steps"]
        if self.schedule is None:
            del document["schedule"]
        if self.carries is None:
            del document["carries"]
        return document


def _as_forecast(value: object) -> object:
    """A signal that says nothing of steps has one of them."""
    return value.model_dump() if type(value) is SignalSpec else value


class ParameterSpec(SignalSpec):
    """One entry of theta and the range it may take."""


class ActionLimit(StrictRecord):
    """What the hardware allows beyond the bounds of the action signal."""

    name: Name
    ramp_per_s: Positive | None = None
    """Largest change per second, in the action's unit."""
    dwell_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Shortest time between two changes."""


class DirectEstimator(StrictRecord):
    """Every state is measured: the state estimate is the input of the same name."""

    type: Literal["direct"] = "direct"


class InputGain(StrictRecord):
    """An input of an observer is a signal times a gain: heat from electric power by the COP at the present temperature.

    Piecewise linear over `points` ((x, gain), ...) in the present value x of the forecast `by`, constant beyond the
    ends; a single point is a constant gain.
    """

    input: Name
    by: Name | None = None
    points: Annotated[tuple[tuple[Finite, Finite], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _ascending(self) -> InputGain:
        if any(a[0] >= b[0] for a, b in pairwise(self.points)):
            raise ValueError(f"the points of the gain of {self.input} do not ascend")
        if len(self.points) > 1 and self.by is None:
            raise ValueError(f"the gain of {self.input} changes with a forecast that is not named")
        return self


class ArxObserver(StrictRecord):
    """The states are those of an ARX model in observer form; `runtime.decide.estimator_arx` takes them from `outputs`.

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
    input_gains: tuple[InputGain, ...] = ()
    """Of those inputs that are not the signal itself."""

    @model_serializer(mode="wrap")
    def _plainly(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = write(self)
        if not self.input_gains:
            del document["input_gains"]
        return document


class PeakObserver(StrictRecord):
    """The state is the import that raises nothing: a capacity charge counts from it (`runtime.inputs.peaks`), in kW."""

    type: Literal["peak"]
    meter: SignalSpec
    """What is measured: power from the grid, negative into it."""
    interval_s: Positive
    """Over which import is averaged."""
    days: Annotated[int, Field(ge=1, le=31)] = 1
    """The mean of the highest intervals of so many days is charged."""
    free: NonNegative = 0.0
    """Charged in any case."""
    edges: Row = ()
    """Where tiers end, ascending: up to the end of its tier a peak costs no more."""


class StateGroup(StrictRecord):
    """Some of the states, in the manifest's order, and how they are estimated."""

    states: Annotated[tuple[Name, ...], Field(min_length=1)]
    estimator: Annotated[DirectEstimator | ArxObserver | PeakObserver, Field(discriminator="type")]


class GroupedEstimator(StrictRecord):
    """A house of several assets: each group of states has its own estimator; together they are all states in order."""

    type: Literal["groups"] = "groups"
    groups: Annotated[tuple[StateGroup, ...], Field(min_length=1)]


class Manifest(StrictRecord):
    """`manifest.json`. `files` maps every other file of the bundle, but the signature, to its SHA-256 (hex)."""

    format_version: Literal[1, 2, 3] = 1
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
    forecasts: tuple[Annotated[ForecastSpec, BeforeValidator(_as_forecast)], ...]
    theta: tuple[ParameterSpec, ...]
    limits: tuple[ActionLimit, ...] = ()
    safety: SafetySet | None = None
    rules: Annotated[tuple[AnyRule, ...], Field(max_length=100)] = ()
    """What controls while the program cannot, where the site says nothing else."""
    compressors: Annotated[tuple[Compressor, ...], Field(max_length=100)] = ()
    """What turns on and off as a whole: the actions that share it, and what it can do."""
    tracking: Tracking | None = None
    """What follows the meter between decisions; None: set-points are held."""
    residual_limit: Positive = 1e-6
    """Largest KKT residual of a solution that may be actuated."""
    estimator: DirectEstimator | ArxObserver | GroupedEstimator = Field(default=DirectEstimator(), discriminator="type")
    provenance: dict[str, Any] = Field(default_factory=dict)
    created: str = ""
    """When, ISO 8601; passed in by the builder."""
    serial: Serial = 0
    """Larger than that of any bundle before; 0 where the builder knew of none. Stands under `provenance`."""
    files: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _with_its_serial(cls, document: Any) -> Any:
        return raised_serial(document)

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
            states, forecasts = [s.name for s in self.states], [f.name for f in self.forecasts]
            check_safety(self.safety, states, actions, forecasts, self.forecast_columns)
        if self.tracking is not None:
            own = {s.name for s in self.states}
            check_tracking(self.tracking, own, actions, {f.name for f in self.forecasts})
        self._check_rules(actions)
        shared = [action for compressor in self.compressors for action in compressor.actions]
        wrong = next((action for action in shared if action not in actions or shared.count(action) > 1), None)
        if wrong is not None:
            raise ValueError(f"compressors name {wrong!r}, which is no action, or another's")
        if tuple(name for group in self.groups for name in group.states) != tuple(s.name for s in self.states):
            raise ValueError("the groups of the estimator are not the states in their order")
        for group in self.groups:
            if isinstance(group.estimator, PeakObserver) and len(group.states) != 1:
                raise ValueError(f"a peak is one state, and there are {len(group.states)}: {', '.join(group.states)}")
            if isinstance(group.estimator, ArxObserver):
                _check_observer(group.estimator, len(group.states), actions | {f.name for f in self.forecasts})
        if self.format_version < self.oldest_format:
            raise ValueError(f"what this manifest says needs format_version {self.oldest_format}")
        return self

    def _check_rules(self, actions: Collection[str]) -> None:
        inputs = {s.name for s in (*self.measured, *self.forecasts)}
        meters = {g.estimator.meter.name for g in self.groups if isinstance(g.estimator, PeakObserver)}
        for i, rule in enumerate(self.rules):
            wrong = unknown_name(rule, actions, inputs)
            if wrong is not None:
                raise ValueError(f"rule {i + 1} names {wrong[1]!r}, which is no {wrong[0]}")
            if isinstance(rule, SelfConsumptionRule) and rule.meter in {*inputs, *actions} - meters:
                raise ValueError(f"the meter of rule {i + 1}, {rule.meter!r}, is a signal already")
        twice = owned_twice(self.rules)
        if twice is not None:
            raise ValueError(f"rule {twice[0] + 1} moves {twice[1]!r}, which a rule before it moves")

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A field that came later is left out where it says nothing: daemons from before it refuse unknown fields."""
        document: dict[str, Any] = lowered_serial(write(self))
        if self.decide_every_s is None:
            del document["decide_every_s"]
        for later in ("rules", "compressors", "tracking"):
            if not document[later]:
                del document[later]
        return document

    @property
    def oldest_format(self) -> Literal[1, 2, 3]:
        """The format that says all of this; an older one is read by more daemons."""
        if self.tracking is not None:
            return 3
        gained = any(isinstance(g.estimator, ArxObserver) and g.estimator.input_gains for g in self.groups)
        stepped = any(f.steps > 1 or f.schedule is not None for f in self.forecasts)
        kept = self.safety is not None and bool(self.safety.action_gains or self.safety.power)
        said = gained or stepped or kept or self.rules or self.compressors
        return 2 if said or isinstance(self.estimator, GroupedEstimator) else 1

    @property
    def groups(self) -> tuple[StateGroup, ...]:
        """The states by estimator; one group where all have the same."""
        if isinstance(self.estimator, GroupedEstimator):
            return self.estimator.groups
        return (StateGroup(states=tuple(s.name for s in self.states), estimator=self.estimator),)

    @property
    def measured(self) -> tuple[SignalSpec, ...]:
        """The signals, besides forecasts, that must be read every cycle."""
        states = {s.name: s for s in self.states}
        found: list[SignalSpec] = []
        for group in self.groups:
            match group.estimator:
                case ArxObserver() as observer:
                    found += observer.outputs
                case PeakObserver() as observer:
                    found.append(observer.meter)
                case _:
                    found += [states[name] for name in group.states]
        return tuple(found)

    @property
    def directly_measured(self) -> bool:
        """Whether every state is the input of its name."""
        return all(isinstance(group.estimator, DirectEstimator) for group in self.groups)

    @property
    def forecast_columns(self) -> int:
        """Columns of the forecast row, nd."""
        return sum(forecast.steps for forecast in self.forecasts)

    @cached_property
    def limited_outputs(self) -> tuple[LimitedOutput, ...]:
        """Of the safety set, for the filter."""
        return () if self.safety is None else limited_outputs(self.safety, [s.name for s in self.states])

    def action_gains(self, forecast: Sequence[float]) -> Row:
        """(na) factors on the columns of the safety set's action matrix under a forecast row (nd)."""
        if self.safety is None or not self.safety.action_gains:
            return (1.0,) * len(self.actions)
        first = accumulate((f.steps for f in self.forecasts), initial=0)
        present = {f.name: forecast[column] for f, column in zip(self.forecasts, first, strict=False)}
        gains = {gain.action: gain.at(present[gain.by]) for gain in self.safety.action_gains}
        return tuple(gains.get(action.name, 1.0) for action in self.actions)

    def limit(self, action: str) -> ActionLimit:
        """The limit of an action; a limit without effect where the manifest has none."""
        return next((limit for limit in self.limits if limit.name == action), ActionLimit(name=action))


def _check_observer(observer: ArxObserver, nx: int, known: set[str]) -> None:
    lags, ny, nu = len(observer.output_coefficients), len(observer.outputs), len(observer.inputs)
    if lags * ny != nx:
        raise ValueError(f"estimator has {lags} lags of {ny} outputs, which is not the number of states, {nx}")
    unknown = set(observer.inputs) - known
    if unknown:
        raise ValueError(f"estimator inputs {sorted(unknown)} are neither forecasts nor actions")
    for gain in observer.input_gains:
        if gain.input not in observer.inputs or (gain.by is not None and gain.by not in known):
            raise ValueError(f"the gain of {gain.input!r} by {gain.by!r} names a signal that is not there")
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
