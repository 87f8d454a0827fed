"""The site file of a run: which registers and topics of the bench the bundle's signals are, written for this bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hil.errors import ScenarioError
from hil.plant import Plant
from hil.registers import Register
from hil.roles import Roles
from runtime.bundle.manifest import ForecastSpec, Manifest
from systems.house_file import House

LARGEST_AGE_S = 1800.0
FORECAST_MAX_AGE_S = 43_200
SOLVE_TIMEOUT_S = 120
"""A slow computer must not change what happens on the bench."""
METER = "grid_power"
PROGRAMMED = ("battery", "house")
"""Systems of bundles that no house file describes; their signals are known by their roles."""
LINE_TIMEOUT_S = 1
"""Real seconds: a loaded computer must not look like a silent line."""


def site_template(plant: Plant, manifest: Manifest) -> str:
    """The file, with $bundle, $trusted_key, $mqtt_port, $serial_port and $store to be filled in.

    Raises ScenarioError for the bundle of another house.
    """
    check_bundle(plant.house, manifest)
    return "\n".join(
        [
            _head(plant),
            *_inputs(plant, manifest),
            *_forecasts(plant, manifest),
            *_outputs(plant, manifest),
            _rule(manifest),
        ]
    )


def check_bundle(house: House, manifest: Manifest) -> None:
    """Raises ScenarioError for a bundle that was built from another house file."""
    if manifest.system not in (house.name, *PROGRAMMED):
        raise ScenarioError(
            f"the bundle is for {manifest.system!r}, not for {house.name!r}; name the bundle of the house"
        )


def published_as(plant: Plant, manifest: Manifest) -> Mapping[str, Mapping[str, float]]:
    """Forecasts of the bundle -> the plant's columns that they are the sum of, with factors."""
    roles, known = Roles(plant.house), dict.fromkeys(plant.published)
    found = {}
    for spec in _from_outside(manifest):
        combination = roles.of(spec.name, known)
        if combination is None:
            raise _unknown(plant, "forecast", spec.name)
        found[spec.name] = combination
    return found


def _from_outside(manifest: Manifest) -> list[ForecastSpec]:
    return [forecast for forecast in manifest.forecasts if forecast.schedule is None]


def _unknown(plant: Plant, what: str, name: str) -> ScenarioError:
    return ScenarioError(
        f"the bundle has the {what} {name!r}, and the house {plant.house.name!r} has none of that name; build the "
        "bundle from this house file"
    )


def _head(plant: Plant) -> str:
    return f"""# The site file of a run on the bench: the house {plant.house.name} behind one Modbus gateway.

[site]
name = "bench"
timezone = {json.dumps(plant.house.timezone.key)}

[controller]
bundle = "$bundle"
trusted_keys = ["$trusted_key"]
cycle_s = {plant.step_s:g}
solve_timeout_s = {SOLVE_TIMEOUT_S}

[tracking]
enabled = {json.dumps(plant.inside_s > 0.0)}      # a plant that holds its load for a whole step shows nothing to follow

[store]
path = "$store"

[mqtt]
host = "127.0.0.1"
port = $mqtt_port

[serial.gateway]
protocol = "modbus"
port = "$serial_port"
baudrate = 19200
parity = "N"          # a pty has no parity; most devices want "E"
device_id = 1
timeout_s = {LINE_TIMEOUT_S}
"""


def _inputs(plant: Plant, manifest: Manifest) -> list[str]:
    roles, sensors = Roles(plant.house), {sensor.name: sensor for sensor in plant.sensors}
    texts = []
    for spec in manifest.measured:
        found = roles.of(spec.name, sensors)
        if found is None:
            raise _unknown(plant, "state", spec.name)
        texts.append(_measured(spec.name, sensors[next(iter(found))], max(LARGEST_AGE_S, 2 * plant.step_s)))
    if METER in sensors and METER not in {spec.name for spec in manifest.measured} and _self_consumption(manifest):
        texts.append(_measured(METER, sensors[METER], 2 * plant.step_s))
    return texts


def _measured(name: str, sensor: Register, max_age_s: float) -> str:
    return f"""[inputs.{name}]
source = "gateway"
register = {_register("input", sensor)}
unit = {json.dumps(sensor.unit)}
max_age_s = {max_age_s:g}
"""


def _register(kind: str, register: Register) -> str:
    return f'{{ kind = "{kind}", address = {register.address}, type = "{register.type}", scale = {register.scale:g} }}'


def _forecasts(plant: Plant, manifest: Manifest) -> list[str]:
    combined = published_as(plant, manifest)
    return [
        f"""[inputs.{spec.name}]
source = "mqtt"
topic = "{topic(spec.name, combined[spec.name])}"
unit = {json.dumps(spec.unit)}
max_age_s = {FORECAST_MAX_AGE_S}
"""
        for spec in _from_outside(manifest)
    ]


def topic(name: str, combination: Mapping[str, float]) -> str:
    """Of a column by itself its own; a sum has one of its own name."""
    own = next(iter(combination)) if len(combination) == 1 else name
    return f"forecast/{own}"


def _outputs(plant: Plant, manifest: Manifest) -> list[str]:
    roles = Roles(plant.house)
    own = dict.fromkeys(name for point in plant.set_point_signals for name in point.factors)
    by_action: dict[str, str] = {}
    for action in manifest.actions:
        found = roles.of(action.name, own)
        if found is None:
            raise _unknown(plant, "action", action.name)
        by_action[next(iter(found))] = action.name
    texts = []
    for point, register in zip(plant.set_point_signals, plant.set_points, strict=True):
        combine = {by_action[name]: factor for name, factor in point.factors.items() if name in by_action}
        if not combine:
            continue
        terms = ", ".join(f"{name} = {factor:.1f}" for name, factor in combine.items())
        texts.append(f"""[outputs.{point.signal.name}]
sink = "gateway"
register = {_register("holding", register)}
unit = {json.dumps(point.signal.unit)}
combine = {{ {terms} }}
safe = {point.safe:.1f}
readback = true
""")
    return texts


def _self_consumption(manifest: Manifest) -> bool:
    """Whether there is a rule that goes by what is bought: the bundle's own, or the one below."""
    return any(rule.kind == "self_consumption" for rule in manifest.rules) or _is_battery(manifest)


def _is_battery(manifest: Manifest) -> bool:
    """Whether this is a bundle without rules, for a battery that is all there is to move."""
    return not manifest.rules and {action.name for action in manifest.actions} == {"charge", "discharge"}


def _rule(manifest: Manifest) -> str:
    """The bundle's own rules; one that has none is told what to do."""
    if manifest.rules:
        return ""
    if not _is_battery(manifest):
        return '[rule]\nkind = "hold"\n'
    return f"""[rule]
kind = "self_consumption"
meter = "{METER}"
meter_at = "grid"
"""
