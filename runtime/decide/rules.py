"""The `rule` level: what controls when the MPC cannot, simple enough to be trusted without a solver.

Every rule is asked by itself, so that what one of them lacks costs only what that one moves.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from runtime.decide.rules_data import (
    HeatingCurveRule,
    HoldRule,
    Rule,
    SelfConsumptionRule,
    TankRule,
    ThermostatRule,
    Wish,
)
from runtime.decide.rules_laws import heating_curve, hot_water, self_consumption, thermostat

Wanted = Mapping[str, float]


class RuleUnavailableError(Exception):
    """A signal that the rule needs is not there; the text names it."""


@dataclass(frozen=True)
class Ruled:
    """What the rules want of every action, in order; `problems`: what some of them lack, by the actions they move."""

    action: tuple[float, ...]
    problems: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rulebook:
    """The rules of a house, each action's bounds in order, and what stands in where something is not said.

    idle: where an action rests that no rule moves; 0 or its nearest bound by default. usual: set-points and bounds
    while their forecasts are not known.
    """

    rules: tuple[Rule, ...]
    bounds: Mapping[str, tuple[float, float]]
    idle: Mapping[str, float] = field(default_factory=dict)
    usual: Mapping[str, float] = field(default_factory=dict)

    def act(
        self,
        values: Mapping[str, float],
        *,
        last: Sequence[float] | None = None,
        before: Sequence[float] | None = None,
        blocked: Collection[str] = (),
    ) -> Ruled:
        """The actions now, inside their bounds. Raises RuleUnavailableError where there are rules and none can act.

        values: valid signals of now. last: what was actuated last, if known; before: what the rules wanted last, if it
        was they who acted. blocked: actions that must rest.
        """
        names = list(self.bounds)
        done = {} if last is None else dict(zip(names, last, strict=True))
        said = done if before is None else dict(zip(names, before, strict=True))
        wanted: dict[str, float] = {}
        problems: dict[str, str] = {}
        unheard: list[ThermostatRule] = []
        for rule in sorted(self.rules, key=lambda rule: isinstance(rule, SelfConsumptionRule)):
            title = ", ".join(rule.actions)
            if not set(blocked).isdisjoint(rule.actions):
                problems[title] = "its limits cannot be checked"
                continue
            try:
                wanted |= self._wanted(rule, values, done, said, wanted)
            except RuleUnavailableError as error:
                problems[title] = str(error)
                if isinstance(rule, ThermostatRule):
                    unheard.append(rule)
        # A room whose thermometer is not heard is heated as the others are: off, it would freeze.
        heard = [rule for rule in self.rules if isinstance(rule, ThermostatRule) and rule.action in wanted]
        if heard:
            share = fmean(_share(rule, wanted[rule.action]) for rule in heard)
            wanted |= {rule.action: rule.off + share * (rule.on - rule.off) for rule in unheard}
        if self.rules and not wanted and problems:
            raise RuleUnavailableError(_together(problems))
        return Ruled(tuple(self._within(name, wanted.get(name, self.idle.get(name, 0.0))) for name in names), problems)

    def _wanted(self, rule: Rule, values: Wanted, last: Wanted, before: Wanted, wanted: Wanted) -> dict[str, float]:
        match rule:
            case HoldRule():
                return dict(rule.values)
            case SelfConsumptionRule():
                charge, discharge = self_consumption(self._net_load(rule, values, last, wanted))
                soc = math.nan if rule.soc is None else values.get(rule.soc, math.nan)
                charge, discharge = 0.0 if soc >= rule.soc_max else charge, 0.0 if soc <= rule.soc_min else discharge
                return {rule.charge: charge, rule.discharge: discharge}
            case ThermostatRule():
                warmth = self._warmth(rule, values)
                return {rule.action: thermostat(warmth, rule.band, rule.on, rule.off, before.get(rule.action))}
            case HeatingCurveRule():
                outdoor = values.get(rule.outdoor, rule.outdoor_unknown)
                heard = any(name in values for name in rule.measurement)
                warmth = self._warmth(rule, values) if heard or rule.outdoor not in values else 0.0
                law = {"balance": rule.balance, "slope": rule.slope, "trim": rule.trim}
                return {rule.action: heating_curve(outdoor, warmth, **law)}
            case TankRule():
                power = hot_water(
                    _value(rule.measurement, values),
                    self._wish(rule.lower, values),
                    None if rule.upper is None else self._wish(rule.upper, values),
                    reserve=rule.reserve,
                    band=rule.band,
                    on=rule.on,
                    off=rule.off,
                    before=before.get(rule.action),
                )
                return {rule.action: power}

    def _net_load(self, rule: SelfConsumptionRule, values: Wanted, last: Wanted, wanted: Wanted) -> float:
        """Of the house without this battery, under what the other rules want now."""
        others = {name: factor for name, factor in rule.net_load.items() if name in self.bounds}
        if rule.meter is not None and rule.meter in values:
            own = {rule.charge: 1.0, rule.discharge: -1.0} if rule.meter_at == "grid" else {}
            changes = sum(f * (wanted.get(name, last[name]) - last[name]) for name, f in others.items() if name in last)
            return values[rule.meter] + changes - sum(f * last.get(name, 0.0) for name, f in own.items())
        given = sum(f * _value(name, values) for name, f in rule.net_load.items() if name not in others)
        return given + sum(f * wanted.get(name, self.idle.get(name, 0.0)) for name, f in others.items())

    def _warmth(self, rule: ThermostatRule | HeatingCurveRule, values: Wanted) -> float:
        """Mean of temperature less set-point, of the thermometers that are heard."""
        heard = [values[name] - self._wish(wish, values) for name, wish in rule.wishes.items() if name in values]
        if not heard:
            raise RuleUnavailableError(f"rule needs {_one_of(rule.measurement)}")
        return fmean(heard)

    def _wish(self, wish: Wish, values: Wanted) -> float:
        if not isinstance(wish, str):
            return wish
        return values[wish] if wish in values else _value(wish, self.usual)

    def _within(self, name: str, value: float) -> float:
        lower, upper = self.bounds[name]
        return min(max(value, lower), upper)


def _share(rule: ThermostatRule, value: float) -> float:
    """How much of its power a thermostat gives."""
    return (value - rule.off) / (rule.on - rule.off) if rule.on != rule.off else 1.0


def _value(name: str, values: Mapping[str, float]) -> float:
    if name not in values:
        raise RuleUnavailableError(f"rule needs {name}")
    return values[name]


def _one_of(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def _together(problems: Mapping[str, str]) -> str:
    """One text for all; what several rules need is one of theirs."""
    texts = list(dict.fromkeys(problems.values()))
    if len(texts) > 1 and all(text.startswith("rule needs ") for text in texts):
        return f"rule needs one of {', '.join(text.removeprefix('rule needs ') for text in texts)}"
    return "; ".join(texts)
