"""One device by itself: every reading once, and, where asked, one set-point and back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runtime.actuate.actuator import meant
from runtime.clock import SystemClock
from runtime.devices.expand import DeviceSection, loaded, with_devices
from runtime.devices.profile import DeviceProfile, DeviceReading
from runtime.errors import ConfigError
from runtime.inputs.signals import Arrival
from runtime.links.modbus import ModbusLink, Telling
from runtime.links.wiring import Links, ModbusSink, open_links
from runtime.site.config import SiteFile
from runtime.site.register import Register
from runtime.site.signals import MQTT, OutputSection

SWAPPED = " "
"""After a reading's name: the same words the other way round."""
MQTT_WAIT_S = 0.2
SETTLE_S = 3.0


@dataclass(frozen=True)
class TrialReading:
    """One reading as the device gave it."""

    name: str
    value: float | None
    unit: str
    text: str
    problem: str = ""
    optional: bool = False

    @property
    def good(self) -> bool:
        return self.value is not None and not self.problem


@dataclass(frozen=True)
class DeviceTrial:
    """A device that can be asked and told."""

    site: SiteFile
    profile: DeviceProfile
    links: Links

    def readings(self, patience_s: float) -> list[TrialReading]:
        """Every reading; over MQTT what has come within patience_s."""
        deadline = time.monotonic() + patience_s
        arrivals = self.links.read()
        while self.links.mqtt is not None and not self._complete(arrivals) and time.monotonic() < deadline:
            time.sleep(MQTT_WAIT_S)
            arrivals = self.links.read()
        return [_found(name, reading, arrivals) for name, reading in self.profile.read.items()]

    def _complete(self, arrivals: Mapping[str, Arrival]) -> bool:
        return all(name in arrivals for name, reading in self.profile.read.items() if not reading.optional)

    def write(self, setting: str, value: float) -> Iterator[str]:
        """Bring a set-point into force and take it back; what was done, step by step, and what became of it."""
        output = self.site.outputs[setting]
        sink = self.links.sinks(dry=False)[output.sink]
        before = self._held(output)
        told = meant(output, value, None)
        problem = sink.write(setting, output, told, released=False).problem
        yield f"{setting} = {told:g} {output.unit}: {problem or 'in force'}"
        time.sleep(SETTLE_S)
        for one in self.readings(0.0):
            if one.good:
                yield f"  {one.name} = {one.value:g} {one.unit}"
        if output.release or not before:
            back = sink.write(setting, output, output.safe, released=True)
            how = "given back to its own control" if output.release else f"{output.safe:g} {output.unit}, which is safe"
            yield f"back: {how}: {back.problem or 'done'}"
            return
        problems = [problem for register, held in before.items() if (problem := self._restore(register, held))]
        yield f"back: what was there before: {'; '.join(problems) or 'done'}"

    def _held(self, output: OutputSection) -> dict[Register, float]:
        """What is in its registers now, as far as they can be read."""
        if output.sink == MQTT:
            return {}
        registers = {f"r{k}": register for k, register in enumerate(output.registers)}
        arrivals = self._modbus(output.sink).read({name: [register] for name, register in registers.items()})
        return {registers[n]: a.value for n, a in arrivals.items() if isinstance(a.value, float) and not a.problem}

    def _restore(self, register: Register, value: float) -> str:
        (name,) = self.site.lines
        return self._modbus(name).write(Telling(register, value)).problem

    def _modbus(self, line: str) -> ModbusLink:
        sink = self.links.devices[line].sink
        assert isinstance(sink, ModbusSink)
        return sink.link


def _found(name: str, reading: DeviceReading, arrivals: Mapping[str, Arrival]) -> TrialReading:
    """With what is odd about it."""
    arrival = arrivals.get(name, Arrival(None, 0.0, "nothing came"))
    value = arrival.value if isinstance(arrival.value, float) else None
    problem = arrival.problem
    least, most = reading.range
    if value is not None and not problem and not least <= value <= most:
        problem = f"beyond {least:g} to {most:g} {reading.unit}"
        other = arrivals.get(name + SWAPPED)
        if other is not None and isinstance(other.value, float) and least <= other.value <= most:
            problem += f"; its words the other way round are {other.value:g}: see word_order"
    return TrialReading(name, value, reading.unit, reading.text, problem, reading.optional)


@contextmanager
def trial(
    name: str, section: DeviceSection, around: Mapping[str, Any], folder: Path, setting: str | None
) -> Iterator[DeviceTrial]:
    """The device opened, with every reading and the one setting that is to be tried. Raises ConfigError.

    around: tables of a site file that it needs: mqtt, and the line that it shares.
    """

    def refuse(where: tuple[str | int, ...], message: str) -> ConfigError:
        return ConfigError(f"{'.'.join(map(str, where))}: {message}")

    profile = loaded(name, section, folder, refuse)
    document: dict[str, Any] = {
        "site": {"name": "device-try"},
        "controller": {"bundle": "none", "trusted_keys": [], "cycle_s": 60.0},
        "device": {name: section.model_dump(exclude_unset=True)},
        "inputs": {reading: {"source": name, "reading": reading} for reading in profile.read},
        "outputs": {} if setting is None else {setting: {"sink": name, "setting": setting, "combine": {"power": 1.0}}},
        "homeassistant": {"discovery": False},
        **around,
    }
    expanded = with_devices(document, folder, refuse)
    for reading, fact in profile.read.items():
        if fact.register_ is not None and fact.register_.kind in {"input", "holding"} and _is_wide(fact.register_):
            entry = expanded["inputs"][reading]
            other = "little" if fact.register_.word_order == "big" else "big"
            expanded["inputs"][reading + SWAPPED] = {**entry, "register": {**entry["register"], "word_order": other}}
    try:
        site = SiteFile.model_validate({**expanded, "path": folder / "try", "text": ""})
    except ValidationError as error:
        raise ConfigError(f"{name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
    links = open_links(site, SystemClock(), lockstep=True, dry=setting is None)
    try:
        if links.mqtt is not None:
            links.mqtt.start()
            if not links.mqtt.wait_tried(10.0):
                raise ConfigError("the broker cannot be reached; start it, or correct [mqtt] or --broker")
        yield DeviceTrial(site, profile, links)
    finally:
        links.close()


def _is_wide(register: Register) -> bool:
    return register.type not in {"uint16", "int16"}
