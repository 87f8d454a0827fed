"""The rules of a site: those of its file, the bundle's for what they leave, and what inputs both need besides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runtime.actuate.set_points import resting
from runtime.bundle.manifest import Manifest, SignalSpec
from runtime.bundle.safety_set import PowerLimit
from runtime.decide.rules import Rulebook
from runtime.decide.rules_data import HeatingCurveRule, Rule, SelfConsumptionRule, ThermostatRule
from runtime.site.config import SiteFile


def rules_in_force(site: SiteFile, manifest: Manifest) -> tuple[Rule, ...]:
    """The site's own rules, and those of the bundle that move nothing of theirs."""
    owned = {action for rule in site.rules for action in rule.actions}
    return (*site.rules, *(_wired(rule, site) for rule in manifest.rules if owned.isdisjoint(rule.actions)))


def _wired(rule: Rule, site: SiteFile) -> Rule:
    """A bundle offers to go by a meter; whether there is one is up to the site."""
    if isinstance(rule, SelfConsumptionRule) and rule.meter is not None and rule.meter not in site.inputs:
        return rule.model_copy(update={"meter": None})
    return rule


def rulebook(site: SiteFile, manifest: Manifest) -> Rulebook:
    """What no rule moves is at rest; a set-point that nobody says is what its week usually has."""
    usual = {f.name: f.schedule.default for f in manifest.forecasts if f.schedule is not None}
    bounds = {action.name: (action.lower, action.upper) for action in manifest.actions}
    return Rulebook(rules_in_force(site, manifest), bounds, resting(site.outputs, manifest.actions), usual)


def wishes(site: SiteFile, manifest: Manifest) -> dict[str, float]:
    """Measurement -> the temperature at which a rule keeps it, where that is known without asking anybody."""
    book, found = rulebook(site, manifest), {}
    for rule in book.rules:
        if isinstance(rule, ThermostatRule | HeatingCurveRule):
            for name, wish in rule.wishes.items():
                value = book.usual.get(wish) if isinstance(wish, str) else wish
                if value is not None:
                    found[name] = value
    return found


MOST_KW = 1000.0
"""Of a power that nothing but the feeds go by: what the device's own range leaves."""


def meters(site: SiteFile, manifest: Manifest) -> tuple[SignalSpec, ...]:
    """Inputs that only rules, limits on power and feeds go by: measured powers, with the most that they may show.

    What an observer of the bundle measures anyway is none of them.
    """
    found: dict[str, SignalSpec] = {}
    for rule in rules_in_force(site, manifest):
        if isinstance(rule, SelfConsumptionRule) and rule.meter is not None:
            own = {rule.charge: 1.0, rule.discharge: -1.0} if rule.meter_at == "grid" else {}
            _add(found, rule.meter, [*rule.net_load.items(), *own.items()], manifest)
    for limit in () if manifest.safety is None else manifest.safety.power:
        if limit.meter is not None and limit.meter in site.inputs:
            _add(found, limit.meter, list(_terms(limit, manifest)), manifest)
    for name in () if site.feeds is None else site.feeds.measured:
        if name in site.inputs:
            found.setdefault(name, SignalSpec(name=name, unit="kW", lower=-MOST_KW, upper=MOST_KW))
    observed = {spec.name for spec in (*manifest.measured, *manifest.forecasts)}
    return tuple(spec for name, spec in found.items() if name not in observed)


def _terms(limit: PowerLimit, manifest: Manifest) -> Iterable[tuple[str, float]]:
    """Factors on signals, at the most that a forecast which multiplies them may say."""
    most = {f.name: max(abs(f.lower), abs(f.upper)) for f in manifest.forecasts}
    for term in (*limit.actions, *limit.forecasts):
        yield term.signal, term.factor * (1.0 if term.by is None else most[term.by])


def _add(found: dict[str, SignalSpec], name: str, terms: Sequence[tuple[str, float]], manifest: Manifest) -> None:
    specs = {s.name: s for s in (*manifest.forecasts, *manifest.actions)}
    known = [(specs[signal], factor) for signal, factor in terms if signal in specs]
    if not known:
        return
    lower = sum(min(f * s.lower, f * s.upper) for s, f in known)
    upper = sum(max(f * s.lower, f * s.upper) for s, f in known)
    before = found.get(name)
    if before is not None:
        lower, upper = min(lower, before.lower), max(upper, before.upper)
    found[name] = SignalSpec(name=name, unit=known[0][0].unit, lower=lower, upper=upper)


def all_inputs(site: SiteFile, manifest: Manifest) -> tuple[SignalSpec, ...]:
    """What a site delivers: what the bundle measures and forecasts, and what rules and limits go by besides."""
    return (*manifest.measured, *manifest.forecasts, *meters(site, manifest))
