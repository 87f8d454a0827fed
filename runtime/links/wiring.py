"""The links of a site file, opened; one place to read all inputs from and one sink per link to write to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from runtime.actuate.actuator import Sink
from runtime.actuate.delivery import IN_FORCE, Delivery, unsent
from runtime.clock import Clock
from runtime.inputs.signals import Arrival
from runtime.links.local_file import FileInput, FileLink
from runtime.links.modbus_blocks import owner
from runtime.site.config import SiteFile
from runtime.site.credentials import mqtt_password, mqtt_section
from runtime.site.register import SerialSection
from runtime.site.signals import FILE, MQTT, OutputSection

if TYPE_CHECKING:
    from runtime.links.framed import FramedLink
    from runtime.links.modbus import ModbusLink
    from runtime.links.mqtt import MqttLink


Entry = TypeVar("Entry")
# How long the broker may take to confirm a set-point at the end.
SETTLE_S = 1.0


@dataclass(frozen=True)
class MqttSink:
    """Set-points as plain numbers on their topics, not retained: nobody should act on an old one."""

    link: MqttLink

    def session_of(self, output: OutputSection) -> int:
        """The link itself says again what it said, after every reconnect."""
        return 0

    def write(self, name: str, output: OutputSection, value: float, *, released: bool = False) -> Delivery:
        for one in output.writes(value, released=released):
            assert one.topic is not None  # validated with the site file
            text = one.payload.replace("$value", f"{one.number(value):.12g}")
            self.link.say(one.topic, text, retain=False)
        return IN_FORCE if self.link.connected else unsent("no connection to the broker")

    def insist(self) -> None:
        """The link tries on by itself."""

    def settled(self) -> str:
        return "" if self.link.wait_acknowledged(SETTLE_S) else "the broker has not confirmed it"


@dataclass(frozen=True)
class ModbusSink:
    """Set-points in holding registers and coils."""

    link: ModbusLink

    def session_of(self, output: OutputSection) -> int:
        return self.link.session_of(output.registers[0])

    def write(self, name: str, output: OutputSection, value: float, *, released: bool = False) -> Delivery:
        timeout = None
        if output.timeout_register is not None and output.device_timeout_s is not None:
            timeout = (output.timeout_register, output.device_timeout_s)
        from runtime.links.modbus import Telling

        within = None if output.step is None else output.step / 2
        told = [
            Telling(
                one.register_, one.number(value), one.readback and output.readback,
                within if one.value == "set_point" else None,
            )
            for one in output.writes(value, released=released)
            if one.register_ is not None
        ]  # fmt: skip
        return self.link.write(*told, timeout=timeout).of(self.link.name)

    def insist(self) -> None:
        self.link.insist()

    def settled(self) -> str:
        return ""


@dataclass(frozen=True)
class FramedSink:
    """Set-points in the outputs of an I/O board, which holds each for a stated time."""

    link: FramedLink

    def session_of(self, output: OutputSection) -> int:
        return self.link.session

    def write(self, name: str, output: OutputSection, value: float, *, released: bool = False) -> Delivery:
        assert output.channel is not None  # validated with the site file
        return self.link.write(output.channel, value, hold_s=output.hold_s).of(self.link.name)

    def insist(self) -> None:
        self.link.insist()

    def settled(self) -> str:
        return ""


@dataclass(frozen=True)
class DrySink:
    """Takes every set-point and tells no device."""

    def session_of(self, output: OutputSection) -> int:
        return 0

    def write(self, name: str, output: OutputSection, value: float, *, released: bool = False) -> Delivery:
        return IN_FORCE

    def insist(self) -> None:
        pass

    def settled(self) -> str:
        return ""


@dataclass(frozen=True)
class WiredLine:
    """A line as the daemon uses it: `ask` begins to read its inputs, `sink` takes its set-points."""

    ask: Callable[[str | None], Callable[[], dict[str, Arrival]]]
    """All of its inputs, or the one that is named; what then waits for them."""
    sink: Sink
    close: Callable[[], None]


@dataclass(frozen=True)
class Links:
    """All links of a site, the lines by name."""

    mqtt: MqttLink | None
    devices: Mapping[str, WiredLine]
    files: FileLink | None = None

    def read(self) -> dict[str, Arrival]:
        """The last arrival of every input that ever had one."""
        arrivals = {} if self.mqtt is None else self.mqtt.read()
        # All lines at once: they do not wait for each other.
        for ended in [device.ask(None) for device in self.devices.values()]:
            arrivals.update(ended())
        return arrivals if self.files is None else arrivals | self.files.read()

    def read_one(self, name: str, source: str) -> Arrival | None:
        """One input, from the link that has it: nothing else is asked."""
        if source == MQTT:
            return None if self.mqtt is None else self.mqtt.read().get(name)
        if source == FILE:
            return None if self.files is None else self.files.read().get(name)
        return self.devices[source].ask(name)().get(name)

    def sinks(self, *, dry: bool) -> dict[str, Sink]:
        """By link name. A dry run reads everything and moves nothing."""
        sinks: dict[str, Sink] = {name: DrySink() if dry else device.sink for name, device in self.devices.items()}
        if self.mqtt is not None:
            sinks[MQTT] = DrySink() if dry else MqttSink(self.mqtt)
        return sinks

    def close(self) -> None:
        for device in self.devices.values():
            device.close()
        if self.mqtt is not None:
            self.mqtt.stop()


def open_links(
    site: SiteFile, clock: Clock, *, lockstep: bool, dry: bool = False, credentials: Path | None = None
) -> Links:
    """Open every link; none of them needs to be there yet. Raises ConfigError for a password that is not.

    dry: only read; nothing is said to the broker either. credentials: the service manager's folder of secrets.
    """
    mqtt = None
    section = mqtt_section(site)
    if section is not None:
        # Each link brings its libraries: only those that the site uses are loaded.
        from runtime.links.mqtt import MqttLink, Subscription

        subscriptions = {
            name: Subscription(
                topic=entry.topic,
                pointer=entry.pointer,
                accept_retained=entry.accept_retained if entry.accept_retained is not None or not entry.flat else True,
                unit=entry.unit,
                unit_pointer=entry.unit_pointer,
                value_key=entry.value_key,
                timestamp_pointer=entry.timestamp_pointer,
                zone=entry.zone(site.zone),
            )
            for name, entry in site.inputs.items()
            if entry.source == MQTT and entry.topic is not None
        }
        mqtt = MqttLink(
            site.site.name,
            section,
            mqtt_password(site, credentials),
            subscriptions,
            clock,
            lockstep=lockstep,
            spectator=dry,
            birth_topic=f"{site.homeassistant.prefix}/status" if site.homeassistant.discovery else None,
        )
    # The cycle waits for a device at most this long; what it misses, the next cycle finds.
    deadline_s = None if lockstep else min(2.0, site.controller.cycle_s / 2)
    devices = {name: _line(site, name, clock, deadline_s) for name in site.lines}
    return Links(mqtt, devices, _files(site, clock))


def _files(site: SiteFile, clock: Clock) -> FileLink | None:
    """The inputs that lie on this machine; None where there are none."""
    inputs = {
        name: FileInput(
            site.relative(entry.path), entry.pointer, entry.unit, entry.unit_pointer, entry.value_key,
            entry.timestamp_pointer, entry.zone(site.zone),
        )
        for name, entry in site.inputs.items()
        if entry.source == FILE and entry.path is not None
    }  # fmt: skip
    return FileLink(inputs, clock) if inputs else None


def _line(site: SiteFile, name: str, clock: Clock, deadline_s: float | None) -> WiredLine:
    """The line `name` with the inputs that come over it."""
    section = site.lines[name]
    inputs = {signal: entry for signal, entry in site.inputs.items() if entry.source == name}
    if site.speaks(name) == "framed":
        from runtime.links.framed import FramedLink

        assert isinstance(section, SerialSection)
        board = FramedLink(name, section, clock, deadline_s=deadline_s)
        channels = {signal: entry.channel for signal, entry in inputs.items() if entry.channel is not None}
        return WiredLine(lambda one: board.begin(_chosen(channels, one)), FramedSink(board), board.close)
    from runtime.links.modbus import ModbusLink

    registers = {signal: entry.registers for signal, entry in inputs.items()}
    told = (output.registers for output in site.outputs.values() if output.sink == name)
    devices = {owner(r, section.device_id) for r in chain(*registers.values(), *told)}
    link = ModbusLink(name, section, clock, deadline_s=deadline_s, devices=devices)
    return WiredLine(lambda one: link.begin(_chosen(registers, one)), ModbusSink(link), link.close)


def _chosen(entries: Mapping[str, Entry], one: str | None) -> Mapping[str, Entry]:
    return entries if one is None else {name: entry for name, entry in entries.items() if name == one}
