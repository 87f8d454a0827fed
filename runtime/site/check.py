"""A site file against its bundle: every signal has a source, every name and unit fits, every output can be moved."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from pathlib import Path

from runtime.actuate.set_points import ranges, resting
from runtime.actuate.shaping import power_of
from runtime.bundle.archive import Bundle, open_bundle
from runtime.bundle.manifest import Manifest
from runtime.decide.rules_data import HeatingCurveRule, SelfConsumptionRule, ThermostatRule, owned_twice, unknown_name
from runtime.errors import ConfigError
from runtime.formats.toml_lines import did_you_mean
from runtime.formats.units import conversion
from runtime.links.registers import encode
from runtime.site.config import SiteFile
from runtime.site.rules import all_inputs, meters, rules_in_force
from runtime.site.signals import OutputSection

DAY_S = 86400.0


def open_site_bundle(site: SiteFile, unpack_dir: Path | None = None) -> Bundle:
    """The verified bundle of a site, checked against the site file. Raises BundleError and ConfigError.

    A packed bundle is unpacked beside the log, where the daemon may write; whoever only looks names another folder.
    """
    folder = bundle_folder(site) if unpack_dir is None else unpack_dir
    bundle = open_bundle(site.relative(site.controller.bundle), site.controller.trusted_keys, unpack_dir=folder)
    check_against(site, bundle.manifest)
    return bundle


def bundle_folder(site: SiteFile) -> Path:
    """Where the daemon keeps its own copies of bundles: beside the log."""
    store = site.relative(site.store.path)
    return store.parent / f"{store.stem}.bundles"


def lock_file(site: SiteFile) -> Path:
    """What the one daemon that works with this log holds: beside the log itself, by whatever link it is named."""
    store = Path(os.path.realpath(site.relative(site.store.path)))
    return store.parent / f"{store.stem}.lock"


def check_against(site: SiteFile, manifest: Manifest) -> None:
    """Raises ConfigError at the first thing that does not fit."""
    inputs = {s.name: s for s in all_inputs(site, manifest)}
    actions = {a.name: a for a in manifest.actions}
    wanted = dict.fromkeys(action for output in site.outputs.values() for action in output.combine)
    read = {spec.name for spec in manifest.measured} & site.inputs.keys()
    if wanted and not read and not wanted.keys() & actions.keys():
        raise site.error(
            ("controller", "bundle"),
            f"a controller of {manifest.system!r}, which moves {', '.join(actions)} and nothing that this site has, "
            f"{', '.join(wanted)}; name the bundle of this house, or write its site file with nisse init --bundle",
        )
    _check_learning(site, site.inputs.keys() | actions.keys())
    for name, section in site.inputs.items():
        if name not in inputs:
            raise site.error(("inputs", name), f"the bundle has no such signal{did_you_mean(name, inputs)}")
        _check_unit(site, ("inputs", name, "unit"), section.unit, inputs[name].unit)
    scheduled = {s.name for s in manifest.forecasts if s.schedule is not None}
    for name, spec in inputs.items():
        if name not in site.inputs and name in scheduled:
            continue
        if name not in site.inputs:
            who = "rule" if name in {meter.name for meter in meters(site, manifest)} else "bundle"
            raise site.error(("inputs",), f"the {who} needs {name} in {spec.unit}; add [inputs.{name}]")
        if site.inputs[name].flat and name not in {s.name for s in manifest.forecasts}:
            raise site.error(("inputs", name, "flat"), f"{name} is measured, not forecast; leave flat out")
        estimated = site.inputs[name].estimate_s > 0.0
        if estimated and (manifest.safety is None or name not in {s.name for s in manifest.states}):
            raise site.error(
                ("inputs", name, "estimate_s"),
                f"the bundle has no one-step model of {name}; use hold_s, or leave it to the bundle's observer",
            )
    for name, output in site.outputs.items():
        for action in output.combine:
            if action not in actions:
                raise site.error(
                    ("outputs", name, "combine"), f"the bundle has no action {action!r}{did_you_mean(action, actions)}"
                )
            _check_unit(site, ("outputs", name, "unit"), output.planned_unit, actions[action].unit)
    for action in site.exploration.std if site.exploration is not None else ():
        if action not in actions:
            raise site.error(
                ("exploration", "std"), f"the bundle has no action {action!r}{did_you_mean(action, actions)}"
            )
    moved = {action for output in site.outputs.values() for action in output.combine}
    for action in actions:
        if action not in moved:
            raise site.error(("outputs",), f"no output uses the action {action}; name it under combine")
    _check_rules(site, manifest)
    if site.controller.cycle_s > manifest.dt_s:
        raise site.error(
            ("controller", "cycle_s"),
            f"{site.controller.cycle_s:g} s is longer than the bundle's step, {manifest.dt_s:g} s; use at most that",
        )
    every_s = site.controller.decide_every_s
    if every_s is not None and every_s > manifest.dt_s:
        raise site.error(
            ("controller", "decide_every_s"),
            f"{every_s:g} s is longer than the bundle plans to hold a move, {manifest.dt_s:g} s; use at most that",
        )


def warnings(site: SiteFile, manifest: Manifest) -> list[str]:
    """What may be run but should be known."""
    found = []
    if site.mqtt is not None and not site.mqtt.tls and not site.mqtt.is_local:
        found.append(f"mqtt: plain text to {site.mqtt.host}; set tls = true where the broker can")
    if manifest.safety is None:
        found.append(f"bundle {manifest.name} has no safety set; only the bounds of its actions are kept")
    found += _left_alone(site, manifest)
    found += [f"outputs.{name}: {text}" for name, output in site.outputs.items() if (text := _too_often(output))]
    found += _follows_coarsely(site, manifest)
    within = ranges(site.outputs, manifest.actions)
    found += [f"outputs.{n}: {text}" for n, output in site.outputs.items() if (text := _unreachable(output, within[n]))]
    rest = resting(site.outputs, manifest.actions)
    for unit in manifest.compressors:
        power = sum(rest.get(action, 0.0) for action in unit.actions)
        if 0.0 < power < unit.least_kw - 1e-9:
            found.append(
                f"{unit.name} is left at {power:g} kW by the safe values of its outputs, and turns at no less than "
                f"{unit.least_kw:g} kW; give that, or 0"
            )
    rhythm = site.rhythm(manifest.decide_every_s)
    if not rhythm.on_cycles and not rhythm.every_cycle:
        found.append(
            f"bundle {manifest.name} decides every {rhythm.every_s:g} s, which is no multiple of cycle_s = "
            f"{rhythm.cycle_s:g}: it will with the next cycle"
        )
    return found


def _left_alone(site: SiteFile, manifest: Manifest) -> list[str]:
    """What the house does without when an input is lost, where the file could say better."""
    rules = rules_in_force(site, manifest)
    found = []
    for rule in rules:
        if isinstance(rule, SelfConsumptionRule) and rule.meter is None:
            offered = next((r for r in manifest.rules if r.actions == rule.actions and rule not in site.rules), None)
            meter = getattr(offered, "meter", None)
            remedy = (
                f"add [inputs.{meter}], which measures it at the connection to the grid"
                if meter is not None
                else 'name an input that measures it under meter (meter_at = "grid" for the meter at the connection)'
            )
            inputs = ", ".join(name for name in rule.net_load if name in {f.name for f in manifest.forecasts})
            found.append(f"rule: without a forecast of {inputs} there is no self-consumption; {remedy}")
    heats = {r.action for r in rules if isinstance(r, ThermostatRule | HeatingCurveRule)}
    return found + [
        f"outputs.{name}: safe = 0 leaves the house cold while no thermometer is heard; give a modest power"
        for name, output in site.outputs.items()
        if _nothing(output) and heats & set(output.combine)
    ]


def _nothing(output: OutputSection) -> bool:
    """Whether its safe value is no power."""
    return (output.safe if output.shape is None else power_of(output, output.safe, {})) == 0.0


def _too_often(output: OutputSection) -> str:
    """What an unchanged set-point alone takes of the budget of writes, where that is more than all of it."""
    a_day, budget = round(DAY_S / output.refresh_due_s), output.write_budget
    if budget is None or a_day <= budget:
        return ""
    least_s = math.ceil(DAY_S / budget)
    if output.kept_alive and output.hold_s / 3 <= output.refresh_s:
        return (
            f"device_timeout_s = {output.hold_s:g} takes {a_day} writes a day to keep the device alive, beside a "
            f"budget of {budget}; see in its manual that the register is kept in memory and not in EEPROM or flash, "
            f"or give device_timeout_s = {3 * least_s} if it can be told"
        )
    return (
        f"refresh_s = {output.refresh_s:g} asks for {a_day} writes a day of a budget of {budget}; "
        f"give refresh_s = {least_s} or more, or writes_per_day where the device's manual allows it"
    )


def _follows_coarsely(site: SiteFile, manifest: Manifest) -> list[str]:
    """Which batteries follow the meter with fewer writes than a house has minutes in a day."""
    tracking = manifest.tracking
    if tracking is None or not site.tracking.enabled or tracking.meter not in site.inputs:
        return []
    powers = {name for battery in tracking.batteries for name in (battery.charge, battery.discharge)}
    return [
        f"outputs.{name}: {output.write_budget} writes a day are one in {DAY_S / 60 / output.write_budget:.0f} min, "
        "and what follows the meter moves in seconds; where the device's manual says that the register is kept in "
        "memory, give writes_per_day = 100000"
        for name, output in site.outputs.items()
        if powers & set(output.combine) and output.write_budget and output.write_budget < DAY_S / 60
    ]


def _unreachable(output: OutputSection, within: tuple[float, float]) -> str:
    """Which set-points of the bundle the register cannot hold."""
    for value in within:
        try:
            for write in () if output.channel is not None else output.writes(value):
                if write.register_ is not None and write.register_.scale_register is None:
                    encode(write.number(value), write.register_)
        except ValueError as error:
            return f"{error}, and the bundle may ask for it; see type and scale in the device's manual"
    return ""


def _check_rules(site: SiteFile, manifest: Manifest) -> None:
    own = {s.name for s in (*manifest.measured, *manifest.forecasts)}
    foreign = {s.name for s in (*manifest.states, *manifest.forecasts, *manifest.actions)}
    actions, inputs = {a.name for a in manifest.actions}, own | {meter.name for meter in meters(site, manifest)}
    for i, rule in enumerate(site.rules):
        where = ("rule", min(i, len(site.rule) - 1))
        wrong = unknown_name(rule, actions, inputs)
        if wrong is not None:
            kind, name = wrong
            hint = did_you_mean(name, actions if kind == "action" else inputs)
            raise site.error(where, f"the bundle has no {kind} {name!r}{hint}")
        if isinstance(rule, SelfConsumptionRule) and rule.meter in foreign:
            raise site.error((*where, "meter"), f"{rule.meter} is a signal of the bundle; name an input of its own")
    twice = owned_twice(site.rules)
    if twice is not None:
        where = ("rule", min(twice[0], len(site.rule) - 1))
        raise site.error(where, f"{twice[1]} is moved by a rule before this one; name each action in one rule")


def _check_learning(site: SiteFile, known: Collection[str]) -> None:
    """What the feeds learn from is told by this site."""
    for name, table in () if site.feeds is None else site.feeds.measured.items():
        if name not in known:
            hint = did_you_mean(name, known)
            raise site.error(
                ("feeds", table.partition(".")[0]),
                f"measured names {name!r}, and no input or action is called so{hint}; add [inputs.{name}] in kW",
            )


def _check_unit(site: SiteFile, path: tuple[str, ...], source: str, target: str) -> None:
    try:
        conversion(source, target)
    except ConfigError as error:
        raise site.error(path, str(error)) from error
