"""The site file of a run: which registers and topics of the bench the bundle's signals are, written for this bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hil.errors import ScenarioError
from hil.feeds_tables import FeedsTables
from hil.named_devices import NamedPlantDevice
from hil.plant import Plant
from hil.registers import DeviceRegister
from runtime.bundle.manifest import ForecastSpec, Manifest
from systems.house_file import House

LARGEST_AGE_S = 1800.0
FORECAST_MAX_AGE_S = 43_200
SOLVE_TIMEOUT_S = 120
"""A slow computer must not change what happens on the bench."""
METER = "grid_power"
WRITES_IN_MEMORY = 100_000
"""A day, of a set-point that follows the meter: as with most inverters, the register is kept in memory."""
LINE_TIMEOUT_S = 1
"""Real seconds: a loaded computer must not look like a silent line."""


def site_template(
    plant: Plant, manifest: Manifest, named: Sequence[NamedPlantDevice] = (), feeds: FeedsTables | None = None
) -> str:
    """The file, with $bundle, $trusted_key, $mqtt_port, $serial_port and $store to be filled in.

    named: devices that are reached by their profiles. feeds: where forecasts come from, if not from the bench.
    Raises ScenarioError for the bundle of another house.
    """
    check_bundle(plant.house, manifest)
    return "\n".join(
        [
            _head(plant),
            *(_device(device) for device in named),
            *_inputs(plant, manifest, named, feeds),
            *_forecasts(plant, manifest, feeds),
            *_outputs(plant, manifest, named),
            _rule(manifest),
            *([feeds.text] if feeds is not None else []),
        ]
    )


def check_bundle(house: House, manifest: Manifest) -> None:
    """Raises ScenarioError for a bundle that was built from another house file."""
    if manifest.system != house.name:
        raise ScenarioError(
            f"the bundle is for {manifest.system!r}, not for {house.name!r}; name the bundle of the house"
        )


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

{_tracking(plant)}
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


def _tracking(plant: Plant) -> str:
    """A plant whose steps are all one has nothing to follow inside them."""
    return "" if plant.inside_s else "[tracking]\nenabled = false\n"


def _device(named: NamedPlantDevice) -> str:
    values = ", ".join(f"{name} = {value:g}" for name, value in named.spec.values.items())
    return f"""[device.{named.spec.name}]
profile = {json.dumps(str(named.profile_file) if named.spec.profile.endswith(".toml") else named.spec.profile)}
host = "127.0.0.1"
port = ${named.port_name}
timeout_s = {LINE_TIMEOUT_S}
{f"values = {{ {values} }}" if values else ""}
"""


def _inputs(
    plant: Plant, manifest: Manifest, named: Sequence[NamedPlantDevice], feeds: FeedsTables | None
) -> list[str]:
    sensors = {sensor.name: sensor for sensor in plant.sensors}
    profiled = {what: (device, reading) for device in named for reading, what in device.spec.readings.items()}

    def text(name: str, max_age_s: float) -> str:
        if name in profiled:
            device, reading = profiled[name]
            return f'[inputs.{name}]\nsource = "{device.spec.name}"\nreading = "{reading}"\nmax_age_s = {max_age_s:g}\n'
        return _measured(name, sensors[name], max_age_s)

    texts = []
    for spec in manifest.measured:
        if spec.name not in sensors:
            raise _unknown(plant, "state", spec.name)
        texts.append(text(spec.name, max(LARGEST_AGE_S, 2 * plant.step_s)))
    wanted = [METER] if manifest.tracking is not None or _self_consumption(manifest) else []
    wanted += [] if feeds is None else feeds.measured
    own = {spec.name for spec in manifest.measured}
    known = sensors.keys() | profiled.keys()
    return texts + [text(name, 2 * plant.step_s) for name in dict.fromkeys(wanted) if name in known - own]


def _measured(name: str, sensor: DeviceRegister, max_age_s: float) -> str:
    return f"""[inputs.{name}]
source = "gateway"
register = {_register("input", sensor)}
unit = {json.dumps(sensor.unit)}
max_age_s = {max_age_s:g}
"""


def _register(kind: str, register: DeviceRegister) -> str:
    return f'{{ kind = "{kind}", address = {register.address}, type = "{register.type}", scale = {register.scale:g} }}'


def _forecasts(plant: Plant, manifest: Manifest, feeds: FeedsTables | None) -> list[str]:
    foreign = [spec.name for spec in _from_outside(manifest) if spec.name not in plant.published]
    if foreign:
        raise _unknown(plant, "forecast", foreign[0])
    if feeds is not None:
        missing = [spec.name for spec in _from_outside(manifest) if spec.name not in feeds.quantities]
        if missing:
            raise ScenarioError(f"no feed brings {missing[0]}, which the bundle needs; leave [feeds] out")
        return [f'[inputs.{spec.name}]\nsource = "feeds"\n' for spec in _from_outside(manifest)]
    return [
        f"""[inputs.{spec.name}]
source = "mqtt"
topic = "forecast/{spec.name}"
unit = {json.dumps(spec.unit)}
max_age_s = {FORECAST_MAX_AGE_S}
"""
        for spec in _from_outside(manifest)
    ]


def _outputs(plant: Plant, manifest: Manifest, named: Sequence[NamedPlantDevice]) -> list[str]:
    profiled = {what: (device, setting) for device in named for setting, what in device.spec.settings.items()}
    own = {name for point in plant.set_point_signals for name in point.factors}
    actions = {action.name for action in manifest.actions}
    if not actions <= own:
        raise _unknown(plant, "action", min(actions - own))
    texts = []
    for point, register in zip(plant.set_point_signals, plant.set_points, strict=True):
        combine = {name: factor for name, factor in point.factors.items() if name in actions}
        if not combine:
            continue
        terms = ", ".join(f"{name} = {factor:.1f}" for name, factor in combine.items())
        if point.signal.name in profiled:
            device, setting = profiled[point.signal.name]
            texts.append(
                f'[outputs.{point.signal.name}]\nsink = "{device.spec.name}"\nsetting = "{setting}"\n'
                f"combine = {{ {terms} }}\n"
            )
            continue
        texts.append(f"""[outputs.{point.signal.name}]
sink = "gateway"
register = {_register("holding", register)}
unit = {json.dumps(point.signal.unit)}
combine = {{ {terms} }}
safe = {point.safe:.1f}
readback = true
{f"writes_per_day = {WRITES_IN_MEMORY}" if plant.inside_s and len(combine) > 1 else ""}
""")
    return texts


def _self_consumption(manifest: Manifest) -> bool:
    """Whether there is a rule that goes by what is bought."""
    return any(rule.kind == "self_consumption" for rule in manifest.rules)


def _rule(manifest: Manifest) -> str:
    """The bundle's own rules; one that has none is told to leave everything as it is."""
    return "" if manifest.rules else '[rule]\nkind = "hold"\n'
