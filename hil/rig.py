"""The rig of a bench: broker, lines, devices, services and site file around a house. All real but the plant."""

from __future__ import annotations

import json
import string
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from hil.broker import Broker
from hil.device import PlantDevices, plant_devices
from hil.errors import ScenarioError
from hil.faults import Shown
from hil.feeds_tables import TOKEN_FILE, FeedsTables, feeds_tables
from hil.lockstep import LockstepDaemon
from hil.modbus_plant import ModbusDevice
from hil.mqtt_side import MqttSide
from hil.named_devices import NamedPlantDevice
from hil.outside import Outside
from hil.patience import HANG_S
from hil.plant import Plant
from hil.scenario import Scenario
from hil.serial_line import SerialLine
from hil.services import TOKEN
from hil.serving import serving
from hil.site import site_template
from runtime.bundle.archive import Bundle
from runtime.formats.plain_files import read_text


@dataclass
class Elapsed:
    """The bench's clock, seconds since the scenario began."""

    seconds: float = 0.0

    def get(self) -> float:
        return self.seconds


@dataclass(frozen=True)
class Rig:
    """What a daemon that is told `site` finds: a broker, devices at the end of a line and on the network, services."""

    plant: Plant
    device: PlantDevices
    line: SerialLine
    server: ModbusDevice
    broker: Broker
    mqtt: MqttSide
    site: Path
    here: Mapping[str, str]
    """What the site file says of this run alone: port, paths, key; by its name in the template."""
    elapsed: Elapsed = field(default_factory=Elapsed)
    outside: Outside | None = None
    """What services know, where forecasts come from them."""
    measured: tuple[str, ...] = ()
    """Inputs from which the feeds learn."""

    def show(self) -> None:
        """What the sensors show now."""
        self.device.show({name: Shown(np.array([value])) for name, value in self.plant.measured().items()})

    def publish(self) -> None:
        """All forecasts as of now."""
        forecasts = self.plant.forecasts()
        self.mqtt.publish(forecasts, {name: Shown(np.array(f.values)) for name, f in forecasts.items()})

    def messages(self, later_s: float = 0.0) -> dict[str, str]:
        """The forecasts as they are published, topic -> text. later_s: as if it were so much later."""
        return {
            f.topic: json.dumps({"start": f.start_s + later_s, "step_s": f.step_s, "values": list(f.values)})
            for f in self.plant.forecasts().values()
        }

    def retain(self, later_s: float) -> None:
        """Give the broker the forecasts to keep, as if it were so much later."""
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", self.broker.port)
        client.loop_start()
        for topic, text in self.messages(later_s).items():
            client.publish(topic, text, qos=1, retain=True).wait_for_publish(HANG_S)
        client.disconnect()
        client.loop_stop()

    def step(self, daemon: LockstepDaemon, *, forecasts: bool = True) -> dict[str, Any]:
        """One cycle of a daemon in lockstep and one step of the plant, without faults; what the daemon reports."""
        self.show()
        if forecasts:
            self.publish()
        since_s = self.plant.step_s if self.elapsed.seconds else 0.0
        event = daemon.cycle(self.plant.time_s(), since_s, self.mqtt.barrier())
        self.server.settle(HANG_S)
        self.device.collect_writes()
        self.plant.advance(self.device.held())
        self.elapsed.seconds += self.plant.step_s
        return event


def set_up(stack: ExitStack, scenario: Scenario, plant: Plant, bundle_path: Path, bundle: Bundle, folder: Path) -> Rig:
    """All of it, in a folder that is there; the stack takes it down. Raises ScenarioError for a site template."""
    head, elapsed = scenario.head, Elapsed()
    line = SerialLine(folder / "serial-plant")
    stack.callback(line.close)
    named = [NamedPlantDevice(spec, scenario, plant, elapsed.get) for spec in scenario.devices]
    for one in named:
        stack.callback(one.close)
    device = plant_devices(plant, named, head.set_point_timeout, elapsed.get)
    server = ModbusDevice(line, device.gateway.registers, elapsed.get, seed=head.seed)
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
        **{one.port_name: str(one.server.port) for one in named},
    }
    outside, tables = None, None
    if scenario.feeds is not None:
        outside = Outside(plant)
        here["services"] = stack.enter_context(serving(outside.world))
        told = {*plant.measured(), *(what for spec in scenario.devices for what in spec.readings.values())}
        tables = feeds_tables(plant, outside.place, told)
        (folder / TOKEN_FILE).write_text(TOKEN + "\n", encoding="utf-8")
    site = folder / "site.toml"
    source = _template(scenario, plant, bundle, named, tables)
    mqtt = MqttSide(broker.port, _write_site(scenario, source, site, here))
    stack.callback(mqtt.close)
    measured = () if tables is None else tables.measured
    return Rig(plant, device, line, server, broker, mqtt, site, here, elapsed, outside, measured)


def _template(
    scenario: Scenario,
    plant: Plant,
    bundle: Bundle,
    named: Sequence[NamedPlantDevice],
    tables: FeedsTables | None,
) -> str:
    """The scenario's own, or the bench's. Raises ScenarioError."""
    if scenario.head.site is None:
        return site_template(plant, bundle.manifest, named, tables)
    file = scenario.path(scenario.head.site)
    try:
        return read_text(file)
    except OSError as error:
        raise ScenarioError(f"{file}: {error.strerror}: name the site template in [scenario] site") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{file}: not a site template ({error}): write it in UTF-8") from error


def _write_site(scenario: Scenario, source: str, target: Path, values: Mapping[str, str]) -> str:
    """Fill in a site template; returns the site's name. Raises ScenarioError."""
    template = target if scenario.head.site is None else scenario.path(scenario.head.site)
    # Between the quotes of a TOML text, whose escapes are those of JSON: a folder's name may hold a quote itself.
    quoted = {name: json.dumps(value, ensure_ascii=False)[1:-1] for name, value in values.items()}
    try:
        text = string.Template(source).substitute(quoted)
        name = str(tomllib.loads(text)["site"]["name"])
    except (KeyError, ValueError) as error:
        raise ScenarioError(
            f"{template}: not a site template ({error}): it may use {', '.join('$' + v for v in values)}"
        ) from error
    target.write_text(text, encoding="utf-8")
    return name
