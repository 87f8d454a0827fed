"""The feeds as a device of Home Assistant: of each forecast its age, its source, and its error a day ahead.

Source: Home Assistant, "MQTT" integration, section "Device discovery payload".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.site.feeds import topic_of
from runtime.version import VERSION


def discovery_topic(prefix: str, site: str) -> str:
    return f"{prefix}/device/nisse_feeds_{site}/config"


def discovery(site: str, units: Mapping[str, str]) -> dict[str, Any]:
    """All is read from `status` by templates."""
    identity, status = f"nisse_feeds_{site}", topic_of(site, "status")
    components: dict[str, dict[str, Any]] = {}
    for name, unit in units.items():
        found = f"value_json.forecasts.{name}"
        components[f"{name}_age"] = {
            "p": "sensor",
            "name": f"Age of {name}",
            "device_class": "duration",
            "unit_of_measurement": "min",
            "value_template": f"{{{{ ({found}.age_s / 60) | round(0) if {found}.age_s is number else None }}}}",
        }
        components[f"{name}_origin"] = {
            "p": "sensor",
            "name": f"Source of {name}",
            "value_template": f"{{{{ {found}.origin or 'none' }}}}",
            "icon": "mdi:source-branch",
        }
        components[f"{name}_error"] = {
            "p": "sensor",
            "name": f"Error of {name}",
            "state_class": "measurement",
            "unit_of_measurement": "°C" if unit == "degC" else "W/m²" if unit == "W/m2" else unit,
            "value_template": f"{{{{ {found}.error if {found}.error is number else None }}}}",
            "icon": "mdi:plus-minus-variant",
        }
    components["problem"] = {
        "p": "binary_sensor",
        "name": "Problem",
        "device_class": "problem",
        "value_template": "{{ 'ON' if value_json.notices else 'OFF' }}",
    }
    for key, component in components.items():
        component |= {"unique_id": f"{identity}_{key}", "entity_category": "diagnostic"}
    return {
        "dev": {"ids": [identity], "name": f"nisse feeds {site}", "mf": "nisse", "mdl": "forecasts", "sw": VERSION},
        "o": {"name": "nisse", "sw": VERSION},
        "state_topic": status,
        "availability": [{"topic": topic_of(site, "availability")}],
        "qos": 1,
        "cmps": components,
    }
