"""The rig of a bench: broker, serial line, device and site file around the plant of a house. All real but the plant."""

from __future__ import annotations

import json
import string
import tomllib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from hil.broker import Broker
from hil.device import SimulatedDevice
from hil.errors import ScenarioError
from hil.modbus_plant import ModbusDevice
from hil.mqtt_side import MqttSide
from hil.plant import Plant
from hil.scenario import Scenario
from hil.serial_line import SerialLine
from hil.site import site_template
from runtime.bundle.archive import Bundle


@dataclass
class Elapsed:
    """The bench's clock, seconds since the scenario began."""

    seconds: float = 0.0

    def get(self) -> float:
        return self.seconds


@dataclass(frozen=True)
class Rig:
    """What a daemon that is told `site` finds: a broker, and a device at the end of a line."""

    plant: Plant
    device: SimulatedDevice
    line: SerialLine
    server: ModbusDevice
    broker: Broker
    mqtt: MqttSide
    site: Path
    here: Mapping[str, str]
    """What the site file says of this run alone: port, paths, key; by its name in the template."""
    elapsed: Elapsed = field(default_factory=Elapsed)


def set_up(stack: ExitStack, scenario: Scenario, plant: Plant, bundle_path: Path, bundle: Bundle, folder: Path) -> Rig:
    """All of it, in a folder that is there; the stack takes it down. Raises ScenarioError for a site template."""
    head, elapsed = scenario.head, Elapsed()
    line = SerialLine(folder / "serial-plant")
    stack.callback(line.close)
    device = SimulatedDevice(plant.sensors, plant.set_points, head.set_point_timeout, elapsed.get)
    server = ModbusDevice(line, device.registers, elapsed.get, seed=head.seed)
    stack.callback(server.close)
    broker = Broker(folder, head.broker)
    stack.callback(broker.stop)
    broker.start()
    here = {
        "serial_port": str(line.link.absolute()),
        "mqtt_port": str(broker.port),
        "bundle": str(bundle_path.absolute()),
        "trusted_key": bundle.signer,
        "store": str((folder / "nisse.db").absolute()),
    }
    site = folder / "site.toml"
    mqtt = MqttSide(broker.port, _write_site(scenario, plant, bundle, site, here))
    stack.callback(mqtt.close)
    return Rig(plant, device, line, server, broker, mqtt, site, here, elapsed)


def _write_site(scenario: Scenario, plant: Plant, bundle: Bundle, target: Path, values: Mapping[str, str]) -> str:
    """Fill in the scenario's site template, or the bench's own; returns the site's name."""
    own = scenario.head.site
    template = target if own is None else scenario.path(own)
    try:
        # Between the quotes of a TOML text, whose escapes are those of JSON: a folder's name may hold a quote itself.
        quoted = {name: json.dumps(value, ensure_ascii=False)[1:-1] for name, value in values.items()}
        source = site_template(plant, bundle.manifest) if own is None else template.read_text(encoding="utf-8")
        text = string.Template(source).substitute(quoted)
        name = str(tomllib.loads(text)["site"]["name"])
    except OSError as error:
        raise ScenarioError(f"{template}: {error.strerror}: name the site template in [scenario] site") from error
    except (KeyError, ValueError) as error:
        raise ScenarioError(
            f"{template}: not a site template ({error}): it may use {', '.join('$' + v for v in values)}"
        ) from error
    target.write_text(text, encoding="utf-8")
    return name
