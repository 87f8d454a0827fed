"""What is wanted of zones and tanks, as entities of Home Assistant: thermostats, water heaters, being away.

Source: Home Assistant, "MQTT" integration, sections "MQTT climate", "MQTT water heater", "MQTT switch", "MQTT text",
"MQTT number".
"""

from __future__ import annotations

from typing import Any

from runtime.bundle.manifest import ForecastSpec, Manifest
from runtime.decide.overrides import AUTO, AWAY, AWAY_RANGE_C, AWAY_TEMPERATURE, HOLD, HOT_WATER, OFF, Comfort, comforts

DEGREES = "°C"
STEP_K = 0.5
SCHEDULED, BY_HAND = "auto", "heat"
USUAL_WATER, HOT = "eco", "performance"


def comfort_components(manifest: Manifest, prefix: str) -> dict[str, dict[str, Any]]:
    """By key; none for a bundle without zones and tanks. `prefix` begins all topics of the site."""
    found = comforts(manifest)
    if not found:
        return {}
    measured = {spec.name for spec in manifest.measured}
    components: dict[str, dict[str, Any]] = {}
    for comfort in found:
        named = f"{comfort.asset}_temperature"
        current = f"{{{{ value_json.inputs.{named}.value }}}}" if named in measured else None
        make = _climate if comfort.set_point else _water_heater
        components[f"{'climate' if comfort.set_point else 'water_heater'}_{comfort.asset}"] = {
            **make(comfort, prefix),
            **(
                {}
                if current is None
                else {"current_temperature_topic": f"{prefix}/state", "current_temperature_template": current}
            ),
        }
        for spec in comfort.specs:
            if spec is not comfort.target:
                components[spec.name] = _number(comfort, spec, prefix)
    components |= {AWAY: _away(prefix), "back": _back(prefix), AWAY_TEMPERATURE: _away_temperature(prefix)}
    if any(comfort.set_point is None for comfort in found):
        components[HOT_WATER] = _hot_water(prefix)
    return components


def _wanted(comfort: Comfort, spec: ForecastSpec) -> str:
    """Where in `state` the value in force is."""
    return f"value_json.control.comfort.{comfort.asset}.{spec.name.removeprefix(comfort.asset + '_')}"


def _temperatures(comfort: Comfort, prefix: str, lowest: float, highest: float) -> dict[str, Any]:
    return {
        "name": comfort.asset.replace("_", " ").capitalize(),
        "temperature_unit": "C",
        "precision": 0.1,
        "min_temp": lowest,
        "max_temp": highest,
        "temperature_state_topic": f"{prefix}/state",
        "temperature_state_template": f"{{{{ {_wanted(comfort, comfort.target)} }}}}",
        "temperature_command_topic": f"{prefix}/set/{comfort.target.name}",
        "mode_state_topic": f"{prefix}/state",
    }


def _climate(comfort: Comfort, prefix: str) -> dict[str, Any]:
    """A thermostat. `auto`: as scheduled, also while away; `heat`: by hand, until the schedule switches; `off`: heated
    against frost alone, until one of the others is chosen."""
    target = comfort.target
    by = f"value_json.control.comfort.{comfort.asset}.by"
    return {
        "p": "climate",
        **_temperatures(comfort, prefix, target.lower, target.upper),
        "temp_step": STEP_K,
        "modes": [SCHEDULED, BY_HAND, OFF],
        "mode_state_template": f"{{{{ {{'command': '{BY_HAND}', '{OFF}': '{OFF}'}}.get({by}, '{SCHEDULED}') }}}}",
        "mode_command_topic": f"{prefix}/set/{target.name}",
        "mode_command_template": f"{{{{ {{'{SCHEDULED}': '{AUTO}', '{BY_HAND}': '{HOLD}'}}.get(value, value) }}}}",
    }


def _water_heater(comfort: Comfort, prefix: str) -> dict[str, Any]:
    """Its temperature is the one below which a shower is cold. `performance` is hot water now."""
    schedule = comfort.upper.schedule
    return {
        "p": "water_heater",
        **_temperatures(comfort, prefix, comfort.lower.lower, schedule.highest if schedule else comfort.upper.upper),
        "modes": [USUAL_WATER, HOT],
        "mode_state_template": f"{{{{ '{HOT}' if value_json.control.hot_water.on else '{USUAL_WATER}' }}}}",
        "mode_command_topic": f"{prefix}/set/{HOT_WATER}",
        "mode_command_template": f"{{{{ 'on' if value == '{HOT}' else 'off' }}}}",
    }


def _number(comfort: Comfort, spec: ForecastSpec, prefix: str) -> dict[str, Any]:
    """A bound of the band."""
    return {
        "p": "number",
        "name": spec.name.replace("_", " ").capitalize(),
        "min": spec.lower,
        "max": spec.upper,
        "step": STEP_K,
        "mode": "box",
        "value_template": f"{{{{ {_wanted(comfort, spec)} }}}}",
        "command_topic": f"{prefix}/set/{spec.name}",
        "unit_of_measurement": DEGREES,
        "entity_category": "config",
    }


def _away(prefix: str) -> dict[str, Any]:
    return {
        "p": "switch",
        "name": "Away",
        "payload_on": "on",
        "payload_off": "off",
        "value_template": "{{ 'on' if value_json.control.away.on else 'off' }}",
        "command_topic": f"{prefix}/set/{AWAY}",
        "icon": "mdi:home-export-outline",
    }


def _back(prefix: str) -> dict[str, Any]:
    """When somebody is at home again. To say it is to be away; empty where that is not known."""
    return {
        "p": "text",
        "name": "Away until",
        "max": 64,
        "value_template": "{{ value_json.control.away.until or '' }}",
        "command_topic": f"{prefix}/set/{AWAY}",
        "icon": "mdi:home-import-outline",
    }


def _away_temperature(prefix: str) -> dict[str, Any]:
    low, high = AWAY_RANGE_C
    return {
        "p": "number",
        "name": "Away temperature",
        "min": low,
        "max": high,
        "step": STEP_K,
        "mode": "box",
        "value_template": "{{ value_json.control.away.temperature }}",
        "command_topic": f"{prefix}/set/{AWAY_TEMPERATURE}",
        "unit_of_measurement": DEGREES,
        "entity_category": "config",
    }


def _hot_water(prefix: str) -> dict[str, Any]:
    return {
        "p": "button",
        "name": "Hot water now",
        "payload_press": "on",
        "command_topic": f"{prefix}/set/{HOT_WATER}",
        "icon": "mdi:water-boiler",
    }
