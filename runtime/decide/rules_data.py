"""The rules as data: what a site file or a bundle may say of what controls while the MPC cannot.

Each rule owns the actions that it names. What no rule names is at rest, at the safe values of its outputs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from runtime.bundle.records import StrictRecord

Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Size = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Text = Annotated[str, Field(min_length=1, max_length=64)]
Wish = Number | Text
"""A number, or the forecast that says it: a set-point that follows the week and whoever turns the knob."""


def _several(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


Wishes = Annotated[tuple[Wish, ...], BeforeValidator(_several), Field(min_length=1, max_length=100)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_several), Field(min_length=1, max_length=100)]


class HoldRule(StrictRecord):
    """Fixed actions."""

    kind: Literal["hold"] = "hold"
    values: dict[Text, Number] = Field(default_factory=dict)

    @property
    def actions(self) -> tuple[str, ...]:
        return tuple(self.values)

    @property
    def inputs(self) -> tuple[str, ...]:
        return ()


def _terms(value: Any) -> Any:
    return {value: 1.0} if isinstance(value, str) else value


class SelfConsumptionRule(StrictRecord):
    """Charge with the surplus, cover the load from the battery: charge = (-net_load)+, discharge = (net_load)+."""

    kind: Literal["self_consumption"]
    net_load: Annotated[dict[Text, Number], BeforeValidator(_terms), Field(min_length=1)] = {"net_load": 1.0}  # noqa: RUF012
    """What the house takes without this battery: a forecast, or factors on forecasts and on other actions."""
    meter: Text | None = None
    """An input that measures it now: with it the rule works when the forecast has grown old."""
    meter_at: Literal["house", "grid"] = "house"
    """`grid`: the meter stands at the connection to the grid and sees the battery too, which is then taken off."""
    charge: Text = "charge"
    discharge: Text = "discharge"
    soc: Text | None = None
    """The battery's state of charge, where it has limits; while it is not known they are left to the safety filter."""
    soc_min: Number = 0.0
    soc_max: Number = 1.0

    @property
    def actions(self) -> tuple[str, ...]:
        return (self.charge, self.discharge)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self.net_load)


class _Heat(StrictRecord):
    """What follows thermometers: the mean of those that are heard, each less its set-point."""

    action: Text
    measurement: Texts
    set_point: Wishes
    """One for all, or one each."""

    @model_validator(mode="after")
    def _one_each(self) -> _Heat:
        if len(self.set_point) not in {1, len(self.measurement)}:
            raise ValueError(
                f"set_point has {len(self.set_point)} entries for {len(self.measurement)} measurements; give one, or "
                "one each"
            )
        return self

    @property
    def wishes(self) -> Mapping[str, Wish]:
        """Measurement -> its set-point."""
        each = self.set_point * len(self.measurement) if len(self.set_point) == 1 else self.set_point
        return dict(zip(self.measurement, each, strict=True))

    @property
    def actions(self) -> tuple[str, ...]:
        return (self.action,)

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*self.measurement, *(wish for wish in self.set_point if isinstance(wish, str)))


class ThermostatRule(_Heat):
    """Full power below set_point - band / 2, none above set_point + band / 2, as before in between.

    One of which nothing is heard is heated as much as the others are on the mean.
    """

    kind: Literal["thermostat"]
    band: Size = 1.0
    on: Number
    off: Number = 0.0


class HeatingCurveRule(_Heat):
    """Power by the outdoor temperature below `balance`, trimmed by the error of the zone."""

    kind: Literal["heating_curve"]
    outdoor: Text = "outdoor"
    balance: Number = 15.0
    """Outdoor temperature at which sun and people suffice."""
    slope: Size
    """Power per K below it."""
    trim: Size = 0.3
    """Power per K that the zone is too cold."""
    outdoor_unknown: Number = 0.0
    """What counts while the outdoor temperature is not known."""

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*super().inputs, self.outdoor)


class TankRule(StrictRecord):
    """Full power below the lower bound and a reserve, none a band further up; the bound may follow the week."""

    kind: Literal["tank"]
    action: Text
    measurement: Text
    lower: Wish
    upper: Wish | None = None
    """Heating ends there at the latest."""
    reserve: Size = 3.0
    band: Size = 5.0
    on: Number
    off: Number = 0.0

    @property
    def actions(self) -> tuple[str, ...]:
        return (self.action,)

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.measurement, *(wish for wish in (self.lower, self.upper) if isinstance(wish, str)))


class ThermostatsRule(StrictRecord):
    """One thermostat per room, in one table: `zones` names the measurement that switches each action."""

    kind: Literal["thermostats"]
    zones: dict[Text, Text] = Field(min_length=1)
    set_point: Number
    band: Size = 1.0
    on: Number
    off: Number = 0.0

    def each(self) -> tuple[ThermostatRule, ...]:
        return tuple(
            ThermostatRule(
                kind="thermostat",
                action=action,
                measurement=(room,),
                set_point=(self.set_point,),
                band=self.band,
                on=self.on,
                off=self.off,
            )
            for action, room in self.zones.items()
        )


Rule = HoldRule | SelfConsumptionRule | ThermostatRule | HeatingCurveRule | TankRule
AnyRule = Annotated[Rule, Field(discriminator="kind")]
WrittenRule = Annotated[Rule | ThermostatsRule, Field(discriminator="kind")]
KINDS = ("hold", "self_consumption", "thermostat", "thermostats", "heating_curve", "tank")


def as_many(value: Any) -> Any:
    """`[rule]` is one `[[rule]]`."""
    return [value] if isinstance(value, dict) else value


WrittenRules = Annotated[tuple[WrittenRule, ...], BeforeValidator(as_many), Field(max_length=100)]


def one_by_one(written: Sequence[Rule | ThermostatsRule]) -> tuple[Rule, ...]:
    """Several thermostats in one table are as many rules."""
    return tuple(r for rule in written for r in (rule.each() if isinstance(rule, ThermostatsRule) else (rule,)))


def owned_twice(rules: Sequence[Rule]) -> tuple[int, str] | None:
    """The first rule (its index) that moves an action which one before it moves."""
    seen: set[str] = set()
    for i, rule in enumerate(rules):
        for action in rule.actions:
            if action in seen:
                return i, action
            seen.add(action)
    return None


def unknown_name(rule: Rule, actions: Collection[str], inputs: Collection[str]) -> tuple[str, str] | None:
    """What a rule names and a bundle has not: ("action", its name) or ("input", its name)."""
    wrong = next((name for name in rule.actions if name not in actions), None)
    if wrong is not None:
        return "action", wrong
    known = {*inputs, *actions} if isinstance(rule, SelfConsumptionRule) else {*inputs}
    limited = (rule.soc,) if isinstance(rule, SelfConsumptionRule) and rule.soc is not None else ()
    missing = next((name for name in (*rule.inputs, *limited) if name not in known), None)
    return None if missing is None else ("input", missing)
