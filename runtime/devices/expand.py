"""From `[device.NAME]` to lines, inputs and outputs: a site file as if every register stood in it.

What the site file says itself counts more than what the profile says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from runtime.devices.catalogue import profile_of
from runtime.devices.profile import DeviceProfile, DeviceReading, DeviceSetting
from runtime.errors import ConfigError
from runtime.formats.toml_lines import did_you_mean
from runtime.site.register import DeviceId
from runtime.site.section import Finite, NonNegative, Positive, Section
from runtime.site.signals import MQTT

Refuse = Callable[[tuple[str | int, ...], str], ConfigError]


class DeviceSection(Section):
    """A device of the site by its profile."""

    profile: str
    """The name of a shipped one, or a file of one's own, by a path that ends with .toml."""
    host: str | None = None
    """Where it is reached by Modbus TCP."""
    port: Annotated[int | None, Field(gt=0, lt=65536, strict=True)] = None
    serial: str | None = None
    """Or the serial port that it has for itself."""
    line: str | None = None
    """Or a `[serial.NAME]` or `[modbus.NAME]` of this file that it shares with others."""
    topic: str | None = None
    """Or its place in the broker."""
    device_id: DeviceId | None = None
    baudrate: Annotated[int | None, Field(gt=0, strict=True)] = None
    timeout_s: Positive | None = None
    pause_s: NonNegative | None = None
    values: dict[str, Finite] = Field(default_factory=dict)
    """What the profile must know of this house."""

    @model_validator(mode="after")
    def _is_somewhere(self) -> DeviceSection:
        if sum(place is not None for place in (self.host, self.serial, self.line, self.topic)) > 1:
            raise ValueError("give one of host, serial, line and topic")
        return self


def with_devices(document: Mapping[str, Any], folder: Path, refuse: Refuse) -> dict[str, Any]:
    """The document with what its devices mean. folder: where paths count from. Raises what `refuse` makes.

    What is wrong in other tables stays as it is: the validation that follows says so.
    """
    tables = document.get("device")
    if tables is None:
        return dict(document)
    if not isinstance(tables, dict):
        raise refuse(("device",), "write a table for each device, [device.inverter]")
    expanded = {**document, **{t: dict(document.get(t, {})) for t in ("modbus", "serial", "inputs", "outputs")}}
    for name, entry in tables.items():
        try:
            section = DeviceSection.model_validate(entry)
        except ValidationError:
            continue  # said by the validation of the whole file
        profile = loaded(name, section, folder, refuse)
        expanded[_table(profile, section, name, refuse)] |= _line(profile, section, name)
        for table, key, known in (("inputs", "reading", profile.read), ("outputs", "setting", profile.write)):
            link = "source" if table == "inputs" else "sink"
            for signal, one in expanded[table].items():
                if isinstance(one, dict) and one.get(link) == name:
                    wanted = one.get(key, signal)
                    if wanted not in known:
                        hint = did_you_mean(str(wanted), known) if known else "; it has none"
                        where = (table, signal, key if key in one else link)
                        raise refuse(where, f"{section.profile} has no {key} {str(wanted)!r}{hint}")
                    place = section_of(known[wanted], profile, section, name)
                    own = {k: v for k, v in one.items() if k != link}
                    expanded[table][signal] = {**place, **own, "device": name, key: wanted}
    return {key: value for key, value in expanded.items() if value or key in document}


def loaded(name: str, section: DeviceSection, folder: Path, refuse: Refuse) -> DeviceProfile:
    """Its profile. Raises what `refuse` makes."""
    try:
        profile = profile_of(section.profile, folder, section.values, section.topic)
    except ConfigError as error:
        raise refuse(("device", name, "profile"), str(error)) from error
    wanted = {"host": "tcp", "serial": "serial", "topic": "mqtt"}
    for key, reach in wanted.items():
        if getattr(section, key) is not None and reach not in profile.device.reached:
            ways = [k for k, way in wanted.items() if way in profile.device.reached]
            raise refuse(("device", name, key), f"{section.profile} is not reached so; give {' or '.join(ways)}")
    return profile


def _table(profile: DeviceProfile, section: DeviceSection, name: str, refuse: Refuse) -> str:
    """Where its line stands, if it has one of its own."""
    if section.serial is not None:
        return "serial"
    if section.host is None and section.line is None and "mqtt" not in profile.device.reached:
        ways = {"tcp": 'host = "192.168.1.20"', "serial": 'serial = "/dev/serial/by-id/..."'}
        raise refuse(
            ("device", name), f"says not where it is; add {' or '.join(ways[w] for w in profile.device.reached)}"
        )
    return "modbus"


def _line(profile: DeviceProfile, section: DeviceSection, name: str) -> dict[str, Any]:
    device = profile.device
    common = {
        "device_id": _id(profile, section),
        "timeout_s": section.timeout_s or device.timeout_s,
        "pause_s": device.pause_s if section.pause_s is None else section.pause_s,
        "gap": device.gap,
    }
    if section.host is not None:
        reached = {"host": section.host, "port": section.port or device.port, "connect_s": device.connect_s}
        return {name: {**reached, **common}}
    if section.serial is not None:
        speed = {"baudrate": section.baudrate or device.baudrate, "parity": device.parity, "stopbits": device.stopbits}
        return {name: {"protocol": "modbus", "port": section.serial, **speed, **common}}
    return {}


def _id(profile: DeviceProfile, section: DeviceSection) -> int:
    return profile.device.device_id if section.device_id is None else section.device_id


def section_of(
    fact: DeviceReading | DeviceSetting, profile: DeviceProfile, section: DeviceSection, name: str
) -> dict[str, Any]:
    """The keys of an input or output that a reading or setting of a profile stands for."""
    line = section.line or (MQTT if "mqtt" in profile.device.reached else name)
    given = {"text", "range", "source", "optional"}
    keys = fact.model_dump(by_alias=True, exclude_unset=True, exclude=given)
    keys |= {"max_age_s": fact.max_age_s} if isinstance(fact, DeviceReading) else {"limits": fact.range}
    if section.line is not None:
        keys = _owned(keys, _id(profile, section))
    return {("source" if isinstance(fact, DeviceReading) else "sink"): line, **keys}


def _owned(entry: Any, device: int) -> Any:
    """Every register named as the device's own, on a line that others share."""
    if isinstance(entry, dict):
        own = {"device_id": device} if {"kind", "address"} <= entry.keys() else {}
        return {**own, **{key: _owned(value, device) for key, value in entry.items()}}
    return [_owned(value, device) for value in entry] if isinstance(entry, list | tuple) else entry
