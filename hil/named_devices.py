"""Devices of the plant by their profiles, on loopback ports of Modbus TCP: what they show, and what they were told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hil.errors import ScenarioError
from hil.faults import Display, Garbage, Shown
from hil.modbus_tcp import Answer, ModbusTcpServer
from hil.plant import Plant
from hil.profile_device import ProfileDevice
from hil.scenario import NamedDevice, Scenario
from runtime.devices.catalogue import find
from runtime.devices.profile import load_profile
from runtime.errors import ConfigError
from runtime.formats.units import Conversion, conversion

SAME = Conversion()


@dataclass(frozen=True)
class Shows:
    """A reading of the profile, and what of the plant it shows."""

    reading: str
    quantity: str
    convert: Conversion


@dataclass(frozen=True)
class Takes:
    """A setting of the profile, and which set-point of the plant it is."""

    setting: str
    set_point: str
    convert: Conversion
    timeout_s: float | None


class NamedPlantDevice:
    """One device; a set-point that it does not hold, or not any more, is 0: its own control does nothing here."""

    def __init__(self, spec: NamedDevice, scenario: Scenario, plant: Plant, clock: Callable[[], float]) -> None:
        """Raises ScenarioError for a profile, reading, setting or quantity that there is not."""
        self.spec, self._clock = spec, clock
        try:
            self.profile_file = find(spec.profile, scenario.directory).absolute()
            profile = load_profile(self.profile_file, spec.values)
            if "tcp" not in profile.device.reached:
                raise ScenarioError(
                    f"[[device]] {spec.name}: {spec.profile} is not reached by Modbus TCP; take one that is"
                )
            units = {**{s.name: s.unit for s in plant.sensors}, **dict.fromkeys(plant.shown(), "")}
            self.shows = [
                Shows(name, what, conversion(_unit(what, plant), profile.read[name].unit))
                for name, what in _known(spec, "readings", spec.readings, profile.read, units)
            ]
            points = {p.name: p.unit for p in plant.set_points}
            self.takes = [
                Takes(
                    name, what, conversion(profile.write[name].unit, points[what]), profile.write[name].device_timeout_s
                )
                for name, what in _known(spec, "settings", spec.settings, profile.write, points)
            ]
        except ConfigError as error:
            raise ScenarioError(f"[[device]] {spec.name}: {error}") from error
        self.device = ProfileDevice(profile)
        self.server = ModbusTcpServer(self.device.slaves, clock)
        self._written_s = -1e9

    @property
    def port_name(self) -> str:
        """In the site's template."""
        return f"{self.spec.name}_port"

    def show(self, displays: Mapping[str, Display]) -> None:
        """What is missing reads as not implemented; garbage as its bytes."""
        for shows in self.shows:
            match displays.get(shows.quantity):
                case Shown(value=value) if value[0] == value[0]:
                    self.device.show(shows.reading, shows.convert(float(value[0])))
                case Garbage(payload=payload):
                    for register in self.device.profile.read[shows.reading].registers:
                        count = self.device.count(register)
                        word = int.from_bytes((payload * 2)[:2], "big")
                        self.device.store(register, [word] * count)
                case None:
                    pass
                case _:
                    self.device.hide(shows.reading)

    def collect_writes(self) -> int:
        """How many registers were written since the last call."""
        written = [one for slave in self.device.slaves.values() for one in slave.take_writes()]
        self._written_s = max((time_s for time_s, _, _ in written), default=self._written_s)
        return len(written)

    def held(self, span_s: float = 0.0) -> dict[str, float]:
        """Set-points of the plant, as means over the coming span, in which the device's time-out may strike."""
        found = {}
        for takes in self.takes:
            told = self.device.told(takes.setting)
            value = 0.0 if told is None else takes.convert(told)
            left_s = float("inf") if takes.timeout_s is None else self._written_s + takes.timeout_s - self._clock()
            share = float(left_s > 0.0) if span_s == 0.0 else min(1.0, max(0.0, left_s / span_s))
            found[takes.set_point] = value * share
        return found

    def misbehave(self, answer: Answer, delay_s: float) -> None:
        self.server.answer, self.server.delay_s = answer, delay_s

    def close(self) -> None:
        self.server.close()


def _known(
    spec: NamedDevice, table: str, pairs: Mapping[str, str], facts: Mapping[str, object], quantities: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Raises ScenarioError."""
    for name, what in pairs.items():
        if name not in facts:
            raise ScenarioError(
                f"[[device]] {spec.name}: {spec.profile} has no {name!r} among its {table}: {', '.join(facts)}"
            )
        if what not in quantities:
            raise ScenarioError(f"[[device]] {spec.name}: the plant has no {what!r}: there are {', '.join(quantities)}")
    return list(pairs.items())


def _unit(quantity: str, plant: Plant) -> str:
    """Of a sensor its own; what is told besides are powers."""
    return next((s.unit for s in plant.sensors if s.name == quantity), "kW")
