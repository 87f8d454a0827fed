"""A device as data: how it is reached, what can be read of it, what it can be told, and whence each fact is.

A profile is one TOML file. Numbers that differ from house to house are parameters, which the site file gives.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, ValidationError, field_validator, model_validator

from runtime.errors import ConfigError
from runtime.formats.plain_files import read_text
from runtime.formats.toml_lines import did_you_mean, line_of
from runtime.formats.units import is_known
from runtime.site.errors import describe
from runtime.site.register import DeviceId, Gap, Register
from runtime.site.section import Finite, NonNegative, Positive, Section
from runtime.site.signals import Mode, Write

MAX_PROFILE_BYTES = 256 << 10
NAME = r"^[a-z0-9][a-z0-9_]{0,62}$"
TOPIC = "$topic"
"""In a topic of a profile: where in the broker this one device is."""

Kind = Literal["inverter", "battery", "meter", "heat pump", "relay", "thermometer"]
Reach = Literal["tcp", "serial", "mqtt"]


class FactSource(Section):
    """Where facts of a profile were read; its date is that of the text, or else of the day on which it was read."""

    title: str
    place: str
    """An address, or a repository with path and commit."""
    date: date


class Device(Section):
    name: str
    """As its maker calls it."""
    kind: Kind
    reached: tuple[Reach, ...] = Field(min_length=1)
    setup: str
    """What must be switched on or set in the device itself."""
    wear: str
    """What is known of how often it may be written to."""
    port: Annotated[int, Field(gt=0, lt=65536, strict=True)] = 502
    device_id: DeviceId = 1
    timeout_s: Positive = 2.0
    pause_s: NonNegative = 0.0
    connect_s: NonNegative = 0.0
    gap: Gap = 0
    baudrate: Annotated[int, Field(gt=0, strict=True)] = 9600
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1
    topic: str = ""
    """Where in the broker it is, if its owner has not changed that."""


class ProfileParameter(Section):
    """A number that differs from house to house."""

    text: str
    unit: str
    example: Finite
    default: Finite | None = None
    """Without one the site file must give it."""


class _Fact(Section):
    text: str
    unit: str
    range: tuple[Finite, Finite]
    """What can be: a reading beyond it is no reading of this quantity, a set-point beyond it is not sent."""
    source: tuple[str, ...] = Field(min_length=1)
    register_: Annotated[Register | None, Field(alias="register")] = None
    topic: str | None = None

    @field_validator("unit")
    @classmethod
    def _is_known(cls, unit: str) -> str:
        if not is_known(unit):
            raise ValueError("no unit that is known here, so it cannot be converted; write W, kW, %, degC, kWh, s or 1")
        return unit

    @field_validator("range")
    @classmethod
    def _in_order(cls, span: tuple[float, float]) -> tuple[float, float]:
        if span[0] >= span[1]:
            raise ValueError("range = [least, most]; turn them round")
        return span


class DeviceReading(_Fact):
    """What can be read."""

    sum: tuple[Register, ...] = ()
    pointer: str = ""
    timestamp_pointer: str = ""
    """Where a message says from when it is."""
    max_age_s: Positive = 120.0
    optional: StrictBool = False
    """Not every one of these devices has it."""

    @model_validator(mode="after")
    def _is_somewhere(self) -> DeviceReading:
        if (self.register_ is not None) + bool(self.sum) + (self.topic is not None) != 1:
            raise ValueError("give one of register, sum and topic")
        return self

    @property
    def registers(self) -> tuple[Register, ...]:
        return self.sum if self.register_ is None else (self.register_,)


class DeviceSetting(_Fact):
    """What it can be told."""

    safe: Finite
    modes: dict[str, Mode] = Field(default_factory=dict)
    release: tuple[Write, ...] = ()
    step: Positive | None = None
    refresh_s: Positive = 1800.0
    writes_per_day: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] = 200
    readback: StrictBool = True
    device_timeout_s: Annotated[float | None, Field(ge=3, le=65535, strict=True)] = None
    timeout_register: Register | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> DeviceSetting:
        if (self.register_ is not None) + bool(self.modes) + (self.topic is not None) != 1:
            raise ValueError("give one of register, modes and topic")
        if not self.range[0] <= self.safe <= self.range[1]:
            raise ValueError(f"safe = {self.safe:g} is outside its range")
        return self


class DeviceProfile(Section):
    """The whole file, its parameters put in."""

    device: Device
    source: dict[str, FactSource] = Field(min_length=1)
    parameter: dict[str, ProfileParameter] = Field(default_factory=dict)
    read: dict[Annotated[str, Field(pattern=NAME)], DeviceReading] = Field(min_length=1)
    write: dict[Annotated[str, Field(pattern=NAME)], DeviceSetting] = Field(default_factory=dict)


def load_profile(path: Path, values: Mapping[str, float] | None = None, topic: str | None = None) -> DeviceProfile:
    """A profile with the parameters `values`; where None, with those that it gives as examples.

    Raises ConfigError, one line with a remedy.
    """
    try:
        text = read_text(path, MAX_PROFILE_BYTES)
        document = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a profile that is there") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}; correct the line") from error
    try:
        parameters = {
            name: ProfileParameter.model_validate(entry) for name, entry in dict(document.get("parameter", {})).items()
        }
        chosen = _chosen(parameters, values)
        place = topic or str(dict(document.get("device", {})).get("topic", ""))
        profile = DeviceProfile.model_validate(_put_in(document, chosen, place))
    except ValidationError as error:
        raise ConfigError(describe(DeviceProfile, path, text, error)) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    _check(profile, path, text)
    return profile


def _chosen(parameters: Mapping[str, ProfileParameter], values: Mapping[str, float] | None) -> dict[str, float]:
    """Raises ValueError."""
    if values is None:
        return {n: one.example if one.default is None else one.default for n, one in parameters.items()}
    for name in values:
        if name not in parameters:
            raise ValueError(f"has no parameter {name!r}{did_you_mean(name, parameters) if parameters else ''}")
    found = {}
    for name, one in parameters.items():
        value = values.get(name, one.default)
        if value is None:
            raise ValueError(f"needs {name}, {one.text}; give values = {{ {name} = {one.example:g} }}")
        found[name] = value
    return found


def _put_in(entry: Any, values: Mapping[str, float], topic: str) -> Any:
    """`{ of = "rated_w", times = 0.01 }` is a number, `$topic` the device's place in the broker."""
    if isinstance(entry, dict):
        if "of" in entry and entry.keys() <= {"of", "times"}:
            if entry["of"] not in values:
                raise ValueError(f"names a parameter {entry['of']!r} that it does not have; add it under [parameter]")
            number = float(values[entry["of"]]) * float(entry.get("times", 1.0))
            return int(number) if number.is_integer() else number  # an address is a whole number
        return {key: _put_in(value, values, topic) for key, value in entry.items()}
    if isinstance(entry, list):
        return [_put_in(value, values, topic) for value in entry]
    return entry.replace(TOPIC, topic) if isinstance(entry, str) else entry


def _check(profile: DeviceProfile, path: Path, text: str) -> None:
    """Sources are named, registers are one quantity each, and everything can be reached as the device says."""

    def fail(where: tuple[str | int, ...], what: str) -> ConfigError:
        return ConfigError(f"{path}:{line_of(text, where)}: {'.'.join(map(str, where))}: {what}")

    for table, facts in (("read", profile.read), ("write", profile.write)):
        for name, fact in facts.items():
            for source in fact.source:
                if source not in profile.source:
                    raise fail((table, name, "source"), f"no source {source!r}{did_you_mean(source, profile.source)}")
            modes = isinstance(fact, DeviceSetting) and any(
                w.topic for mode in fact.modes.values() for w in mode.writes
            )
            by_broker = fact.topic is not None or modes
            if by_broker != ("mqtt" in profile.device.reached):
                reached = " and ".join(profile.device.reached)
                raise fail(
                    (table, name), f"cannot be reached by {reached}; give a register for Modbus, a topic for mqtt"
                )
    taken: dict[tuple[object, ...], str] = {}
    for name, reading in profile.read.items():
        if reading.register_ is None:
            continue
        r = reading.register_
        place = (r.device_id, r.kind, r.model, r.address, r.mask)
        if taken.setdefault(place, name) != name:
            raise fail(("read", name, "register"), f"read.{taken[place]} is the same register; leave one of them out")
