"""The `rule` level: what controls when the MPC cannot, simple enough to be trusted without a solver."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from runtime.config import HoldRule, SelfConsumptionRule, ThermostatRule, ThermostatsRule
from runtime.manifest import Manifest, SignalSpec

AnyRule = HoldRule | SelfConsumptionRule | ThermostatRule | ThermostatsRule


class RuleUnavailableError(Exception):
    """A signal that the rule needs is not there; the text names it."""


def rule_action(
    rule: AnyRule, values: Mapping[str, float], last: tuple[float, ...] | None, manifest: Manifest
) -> tuple[float, ...]:
    """The rule's actions, inside their bounds. `values` are the valid signals now. Raises RuleUnavailableError."""
    match rule:
        case HoldRule():
            wanted = dict(rule.values)
        case SelfConsumptionRule():
            source = rule.meter if rule.meter is not None and rule.meter in values else rule.net_load
            net_load = _value(source, values)
            if source == rule.meter and rule.meter_at == "grid" and last is not None:
                net_load -= _of(last, rule.charge, manifest) - _of(last, rule.discharge, manifest)
            wanted = {rule.charge: max(0.0, -net_load), rule.discharge: max(0.0, net_load)}
        case ThermostatRule():
            wanted = {rule.action: _thermostat(rule, rule.action, _value(rule.measurement, values), last, manifest)}
        case ThermostatsRule():
            heard = {action: values[name] for action, name in rule.zones.items() if name in values}
            if not heard:
                raise RuleUnavailableError(f"rule needs one of {', '.join(rule.zones.values())}")
            known = {action: _thermostat(rule, action, value, last, manifest) for action, value in heard.items()}
            # A room whose thermometer is not heard is heated as the others are: off, it would freeze.
            wanted = {**dict.fromkeys(rule.zones, fmean(known.values())), **known}
    return tuple(_clipped(spec, wanted.get(spec.name, 0.0)) for spec in manifest.actions)


def rule_signals(rule: AnyRule) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(actions, states or forecasts) that the rule names, for checking a site file against its bundle."""
    match rule:
        case HoldRule():
            return tuple(rule.values), ()
        case SelfConsumptionRule():
            return (rule.charge, rule.discharge), (rule.net_load,)
        case ThermostatRule():
            return (rule.action,), (rule.measurement,)
        case ThermostatsRule():
            return tuple(rule.zones), tuple(rule.zones.values())


def wishes(rule: AnyRule) -> dict[str, float]:
    """Measurement -> the temperature at which the rule keeps it."""
    match rule:
        case ThermostatRule():
            return {rule.measurement: rule.set_point}
        case ThermostatsRule():
            return dict.fromkeys(rule.zones.values(), rule.set_point)
    return {}


def meters(rule: AnyRule, manifest: Manifest) -> tuple[SignalSpec, ...]:
    """Inputs that only the rule needs, each with unit and bounds of the forecast whose present value it measures.

    A meter at the grid has the battery on top of that.
    """
    if not isinstance(rule, SelfConsumptionRule) or rule.meter is None:
        return ()
    most = {a.name: a.upper for a in manifest.actions} if rule.meter_at == "grid" else {}
    return tuple(
        spec.model_copy(
            update={
                "name": rule.meter,
                "lower": spec.lower - most.get(rule.discharge, 0.0),
                "upper": spec.upper + most.get(rule.charge, 0.0),
            }
        )
        for spec in manifest.forecasts
        if spec.name == rule.net_load
    )


def all_inputs(rule: AnyRule, manifest: Manifest) -> tuple[SignalSpec, ...]:
    """What a site must deliver: what the bundle measures and forecasts, and what its rule needs besides."""
    return (*manifest.measured, *manifest.forecasts, *meters(rule, manifest))


def _thermostat(
    rule: ThermostatRule | ThermostatsRule,
    action: str,
    measured: float,
    last: tuple[float, ...] | None,
    manifest: Manifest,
) -> float:
    if measured < rule.set_point - rule.band / 2:
        return rule.on
    if measured > rule.set_point + rule.band / 2 or last is None:
        return rule.off
    return _of(last, action, manifest)


def _of(actions: tuple[float, ...], name: str, manifest: Manifest) -> float:
    return actions[[a.name for a in manifest.actions].index(name)]


def _value(name: str, values: Mapping[str, float]) -> float:
    if name not in values:
        raise RuleUnavailableError(f"rule needs {name}")
    return values[name]


def _clipped(spec: SignalSpec, value: float) -> float:
    return min(max(value, spec.lower), spec.upper)
