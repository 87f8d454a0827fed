"""The site as one device of Home Assistant: the payload of MQTT device discovery.

Source: Home Assistant, "MQTT" integration, section "Device discovery payload". Everything is read from `state` by
templates, so the daemon publishes one document for everybody. An entity is available while the daemon is online and,
where it stands for a signal, while that signal is valid.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from runtime.bundle.manifest import Manifest, SignalSpec
from runtime.decide.ladder import Level
from runtime.inputs.signals import USABLE
from runtime.publish.homeassistant_comfort import comfort_components
from runtime.publish.operator_commands import CAP_PREFIX, MODES
from runtime.site.config import SiteFile
from runtime.site.rules import all_inputs
from runtime.site.signals import OutputSection

Component = dict[str, Any]

# One state lost is nothing, three in a row are: then a value is called unknown.
MISSED_STATES = 3
LEAST_EXPIRY_S = 60
_USABLE = sorted(validity.value for validity in USABLE)
CAP_STEPS = 100


@dataclass(frozen=True)
class _Shown:
    """How Home Assistant shows a unit of ours: value * factor, in `unit`."""

    unit: str | None = None
    device_class: str | None = None
    factor: float = 1.0


_SHOWN = {
    **{unit: _Shown(unit, "power") for unit in ("W", "kW", "MW")},
    **{unit: _Shown(unit, "energy_storage") for unit in ("Wh", "kWh", "MWh")},
    **{unit: _Shown("°C", "temperature") for unit in ("C", "degC", "°C")},
    **{unit: _Shown(unit, "temperature") for unit in ("°F", "K")},
    "W/m2": _Shown("W/m²", "irradiance"),
    "1": _Shown(),
}
# The class `battery` is for per cent only.
_STATE_OF_CHARGE = _Shown("%", "battery", 100.0)


def discovery_topic(site: SiteFile) -> str:
    return f"{site.homeassistant.prefix}/device/nisse_{site.site.name}/config"


def discovery(site: SiteFile, manifest: Manifest, version: str) -> dict[str, Any]:
    """The payload; `version` is the software's."""
    identity, prefix = f"nisse_{site.site.name}", f"nisse/{site.site.name}"
    expiry_s = max(LEAST_EXPIRY_S, round(MISSED_STATES * site.controller.cycle_s))
    components = {
        "level": _level(manifest, prefix),
        **{f"input_{s.name}": _input(s, prefix) for s in all_inputs(site, manifest)},
        **{f"action_{a.name}": _action(a) for a in manifest.actions},
        **{f"output_{_key(name)}": _output(name, output, prefix) for name, output in site.outputs.items()},
        **{f"writes_{_key(name)}": _writes(name) for name in site.outputs},
        "mode": _mode(prefix),
        **{CAP_PREFIX + a.name: _cap(a, prefix) for a in manifest.actions if a.lower < a.upper},
        **comfort_components(manifest, prefix),
        "decide_now": _button(prefix),
        "bundle": _update(prefix),
        **_diagnostics(),
        **({} if site.rhythm(manifest.decide_every_s).every_cycle else _next_decision()),
    }
    for key, component in components.items():
        component["unique_id"] = f"{identity}_{key}"
        if component["p"] in {"sensor", "binary_sensor"}:
            component["expire_after"] = expiry_s
    return {
        "dev": {
            "ids": [identity],
            "name": f"nisse {site.site.name}",
            "mf": "nisse",
            "mdl": f"{manifest.system} controller",
            "sw": version,
        },
        "o": {"name": "nisse", "sw": version},
        "state_topic": f"{prefix}/state",
        **_available(prefix),
        "qos": 1,
        "cmps": components,
    }


def _level(manifest: Manifest, prefix: str) -> Component:
    """Who decides, with the plan as its attributes: what is measured and what is moved, for charts.

    Not the whole plan: Home Assistant's recorder keeps no attributes of more than 16 kB.
    """
    states = {s.name for s in manifest.states}
    names = [*(m.name for m in manifest.measured if m.name in states), *(a.name for a in manifest.actions)]
    series = ", ".join(f"'{name}': value_json.signals.{name}['values']" for name in names)
    return {
        "p": "sensor",
        "name": "Level",
        "device_class": "enum",
        "options": [level.label for level in Level],
        "value_template": "{{ value_json.level }}",
        "json_attributes_topic": f"{prefix}/plan",
        "json_attributes_template": (
            f"{{{{ {{'start': value_json.start, 'step_s': value_json.step_s, {series}}} | tojson }}}}"
        ),
        "icon": "mdi:stairs",
    }


def _input(spec: SignalSpec, prefix: str) -> Component:
    shown = _shown(spec)
    value = f"value_json.inputs.{spec.name}.value"
    times = "" if shown.factor == 1.0 else f" * {shown.factor:g}"
    valid = f"{{{{ 'online' if value_json.inputs.{spec.name}.validity in {_USABLE} else 'offline' }}}}"
    return {
        "p": "sensor",
        "name": _title(spec),
        **_measured_in(shown),
        "value_template": f"{{{{ {value}{times} if {value} is number else None }}}}",
        **_available(prefix, valid),
    }


def _action(spec: SignalSpec) -> Component:
    """What the controller decided; unknown while the devices' own defaults apply."""
    return {
        "p": "sensor",
        "name": f"Action {_title(spec)}",
        **_measured_in(_shown(spec)),
        "value_template": f"{{{{ value_json.action.get('{spec.name}') }}}}",
    }


def _output(name: str, output: OutputSection, prefix: str) -> Component:
    found = f"value_json.outputs[{json.dumps(name)}]"
    in_force = f"{{{{ 'online' if {found}.problem == '' else 'offline' }}}}"
    return {
        "p": "sensor",
        "name": f"Set-point {name} ({direction(output)})",
        **_measured_in(_SHOWN.get(output.unit, _Shown(output.unit))),
        "value_template": f"{{{{ {found}.value }}}}",
        **_available(prefix, in_force),
    }


def _writes(name: str) -> Component:
    """How often the device was written today; the budget and the writes that keep it alive are in `state`."""
    return {
        "p": "sensor",
        "name": f"Writes today {name}",
        "state_class": "total_increasing",
        "value_template": f"{{{{ (value_json.outputs[{json.dumps(name)}].writes | default({{}}, true)).today }}}}",
        "entity_category": "diagnostic",
        "icon": "mdi:counter",
    }


def direction(output: OutputSection) -> str:
    """Which way the set-point counts positive: `+ charge, - discharge`."""
    return ", ".join(f"{'+' if factor >= 0 else '−'} {action}" for action, factor in output.combine.items())


def _mode(prefix: str) -> Component:
    return {
        "p": "select",
        "name": "Mode",
        "options": list(MODES),
        "value_template": "{{ value_json.control.mode }}",
        "command_topic": f"{prefix}/set/mode",
        "icon": "mdi:home-automation",
    }


def _cap(spec: SignalSpec, prefix: str) -> Component:
    """The largest value that the operator allows."""
    shown = _SHOWN.get(spec.unit, _Shown(spec.unit))
    return {
        "p": "number",
        "name": f"Limit of {_title(spec)}",
        "min": spec.lower,
        "max": spec.upper,
        "step": max(0.001, (spec.upper - spec.lower) / CAP_STEPS),
        "mode": "box",
        "value_template": f"{{{{ value_json.control.caps['{spec.name}'] }}}}",
        "command_topic": f"{prefix}/set/{CAP_PREFIX}{spec.name}",
        "entity_category": "config",
        **({} if shown.unit is None else {"unit_of_measurement": shown.unit}),
    }


def _button(prefix: str) -> Component:
    return {
        "p": "button",
        "name": "Decide now",
        "command_topic": f"{prefix}/request/cycle",
        "entity_category": "config",
        "icon": "mdi:refresh",
    }


def _update(prefix: str) -> Component:
    """The bundle in force, and the one that lies in its place for the next reload."""
    return {
        "p": "update",
        "name": "Controller bundle",
        "title": "Controller bundle",
        "value_template": "{{ value_json.bundle.name }} {{ value_json.bundle.digest }}",
        "latest_version_topic": f"{prefix}/state",
        "latest_version_template": "{{ value_json.bundle.name }} {{ value_json.bundle.available }}",
        "command_topic": f"{prefix}/request/reload",
        "payload_install": "install",
        "entity_category": "config",
    }


def _diagnostics() -> dict[str, Component]:
    components: dict[str, Component] = {
        "reason": {"p": "sensor", "name": "Reason", "value_template": "{{ value_json.reason[:250] or 'none' }}"},
        "solve_time": {
            "p": "sensor",
            "name": "Solver time",
            "device_class": "duration",
            "unit_of_measurement": "ms",
            "state_class": "measurement",
            "value_template": ("{{ value_json.timing.decision_solve_s | default(value_json.timing.solve_s) * 1000 }}"),
        },
        "problem": {
            "p": "binary_sensor",
            "name": "Problem",
            "device_class": "problem",
            "value_template": "{{ 'ON' if value_json.level != 'mpc' or value_json.notices else 'OFF' }}",
        },
        "filter": {
            "p": "binary_sensor",
            "name": "Safety filter at work",
            "value_template": "{{ 'ON' if value_json.filter.changed else 'OFF' }}",
        },
        "decided": {
            "p": "sensor",
            "name": "Last decision",
            "device_class": "timestamp",
            "value_template": "{{ (value_json.decision | default({}, true)).made | default(value_json.time) }}",
        },
    }
    return {key: {**component, "entity_category": "diagnostic"} for key, component in components.items()}


def _next_decision() -> dict[str, Component]:
    """Where decisions are rarer than cycles."""
    return {
        "next_decision": {
            "p": "sensor",
            "name": "Next decision",
            "device_class": "timestamp",
            "value_template": "{{ (value_json.decision | default({}, true)).next | default(None) }}",
            "entity_category": "diagnostic",
        }
    }


def _available(prefix: str, template: str | None = None) -> Component:
    """Both must say online: the daemon, by its last will, and the signal, by its validity."""
    topics = [{"topic": f"{prefix}/availability"}]
    if template is not None:
        topics.append({"topic": f"{prefix}/state", "value_template": template})
    return {"availability": topics, "availability_mode": "all"}


def _shown(spec: SignalSpec) -> _Shown:
    if spec.unit == "1" and (spec.name == "soc" or spec.name.endswith("_soc")):
        return _STATE_OF_CHARGE
    return _SHOWN.get(spec.unit, _Shown(spec.unit))


def _key(name: str) -> str:
    """As it may stand in an identifier: outputs are named by the user."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def _measured_in(shown: _Shown) -> Component:
    found: Component = {"state_class": "measurement"}
    if shown.unit is not None:
        found["unit_of_measurement"] = shown.unit
    if shown.device_class is not None:
        found["device_class"] = shown.device_class
    return found


def _title(spec: SignalSpec) -> str:
    """The name, and what it means where the bundle says: that is also which way a power counts positive."""
    name = spec.name.replace("_", " ")
    return f"{name}: {spec.description}" if spec.description else name
