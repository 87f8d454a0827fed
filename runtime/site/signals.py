"""The tables of a site file that say where signals come from and go to: serial devices, registers, inputs, outputs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
MQTT = "mqtt"
FEEDS = "feeds"
FILE = "file"
BOARD_HOLD_S = 60.0
WRITES_PER_DAY = 200
DeviceId = Annotated[int, Field(ge=0, le=255, strict=True)]
Gap = Annotated[int, Field(ge=0, le=100, strict=True)]
"""Modbus: how many registers that nobody asked for may be read along, so that two others come in one answer."""


def zone(name: str) -> tzinfo:
    """The time zone; UTC needs no database. Raises KeyError, ValueError or OSError for an unknown one."""
    return UTC if name == "UTC" else ZoneInfo(name)


def known_zone(name: str) -> str:
    """The name itself. Raises ValueError with a remedy."""
    try:
        zone(name)
    except (OSError, ValueError, KeyError):
        raise ValueError("no time zone of that name on this machine; write it like Europe/Oslo") from None
    return name


class Section(BaseModel):
    """A table of the site file: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SerialSection(Section):
    """A serial line, with one device or several behind it."""

    protocol: Literal["modbus", "framed"]
    port: str
    baudrate: Annotated[int, Field(gt=0, strict=True)] = 19200
    parity: Literal["N", "E", "O"] = "E"
    stopbits: Literal[1, 2] = 1
    device_id: Annotated[int, Field(ge=1, le=247, strict=True)] = 1
    """Modbus only: of registers that name no device of their own."""
    timeout_s: Positive = 0.5
    pause_s: NonNegative = 0.0
    """Modbus only: silence that the device wants between two requests."""
    gap: Gap = 0


class ModbusSection(Section):
    """A device, or a gateway to several, that speaks Modbus TCP."""

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:%-]{1,253}$")]
    port: Annotated[int, Field(gt=0, lt=65536, strict=True)] = 502
    device_id: DeviceId = 1
    """Of registers that name no device of their own; what some manuals call unit or slave."""
    timeout_s: Positive = 1.0
    pause_s: NonNegative = 0.0
    """Silence that the device wants between two requests."""
    gap: Gap = 0


RegisterKind = Literal["input", "holding", "coil", "discrete"]
RegisterType = Literal["uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
WRITABLE = frozenset({"holding", "coil"})
FUNCTIONS: Mapping[RegisterKind, tuple[int, ...]] = {"holding": (6, 16), "coil": (5, 15)}
"""How a kind may be written."""


class Register(Section):
    """A Modbus register: value = scale * raw * 10^(scale_register) + offset, in the signal's configured unit.

    A coil or discrete input is one bit, 0 or 1, whatever its type.
    """

    kind: RegisterKind
    address: Annotated[int, Field(ge=0, le=65535, strict=True)]
    type: RegisterType = "uint16"
    scale: Finite = 1.0
    offset: Finite = 0.0
    word_order: Literal["big", "little"] = "big"
    """Which word of several comes first: the one of the high bits, or that of the low ones."""
    byte_order: Literal["big", "little"] = "big"
    """Which byte of a word comes first; Modbus says the high one, a few devices swap them."""
    scale_register: Annotated[int | None, Field(ge=0, le=65535, strict=True)] = None
    """Address, of the same kind, of an int16 power of ten that the value is multiplied by (SunSpec)."""
    mask: Annotated[int | None, Field(gt=0, lt=2**64, strict=True)] = None
    """The bits that hold the value, where a word holds several: they are shifted down and have no sign."""
    not_implemented: tuple[Annotated[int, Field(ge=-(2**63), lt=2**64, strict=True)], ...] | None = None
    """Raw numbers that mean "no value"; by default those of SunSpec for the type, [] for none."""
    device_id: DeviceId | None = None
    """Whose register it is, where several devices share the line; the line's own by default."""
    function: Literal[5, 6, 15, 16] | None = None
    """How it is written: 6 one register, 16 several; by default 6 for a register of one word."""

    @field_validator("scale")
    @classmethod
    def _not_zero(cls, scale: float) -> float:
        if scale == 0:
            raise ValueError("scale must not be 0")
        return scale

    @model_validator(mode="after")
    def _consistent(self) -> Register:
        if self.function is not None and self.function not in FUNCTIONS.get(self.kind, ()):
            known = " or ".join(map(str, FUNCTIONS.get(self.kind, ())))
            raise ValueError(
                f"function {self.function} does not write a register of kind {self.kind!r}; "
                + (f"give {known}" if known else "it can only be read, leave function out")
            )
        if self.function == 6 and self.type not in {"uint16", "int16"}:
            raise ValueError(f"function 6 writes one word, and a {self.type} has more; give function = 16")
        if self.mask is not None and (self.type.startswith("float") or self.kind in {"coil", "discrete"}):
            raise ValueError("mask is for whole numbers; leave it out")
        return self


class Channel(Section):
    """An input or output of a board with the framed protocol: value = scale * raw + offset, raw a whole number."""

    number: Annotated[int, Field(ge=0, le=255, strict=True)]
    scale: Finite = 1.0
    offset: Finite = 0.0

    @field_validator("scale")
    @classmethod
    def _not_zero(cls, scale: float) -> float:
        if scale == 0:
            raise ValueError("scale must not be 0")
        return scale

    def value(self, raw: int) -> float:
        return self.scale * raw + self.offset

    def raw(self, value: float) -> int:
        """The nearest number that the board can be told."""
        return round((value - self.offset) / self.scale)


class InputSection(Section):
    """Where a state or forecast of the bundle comes from; the table's name is the signal's."""

    source: str
    unit: str
    max_age_s: Positive
    feed: str = ""
    """With `source = "feeds"`: which of its quantities, by default the one that is called like the input."""
    topic: str | None = None
    path: Path | None = None
    """With `source = "file"`: a file that another program replaces as a whole, in any shape of a message."""
    pointer: str = ""
    """JSON pointer (RFC 6901) into the message."""
    value_key: str = ""
    """The field of the value in each entry of a list, where several might be meant."""
    timezone: str | None = None
    """Of times without an offset, where the message names no zone; the site's by default."""
    timestamp_pointer: str = ""
    """JSON pointer to the time of a measurement: its age counts from there, also where the message was retained."""
    accept_retained: StrictBool | None = None
    """Whether a retained message counts as fresh on arrival. By default a forecast does, which says its own times, and
    a number does not: nobody knows how long the broker has had it."""
    flat: StrictBool = False
    """A number is the whole forecast: a tariff that does not change, and so has no age, also where it was retained."""
    register_: Annotated[Register | None, Field(alias="register")] = None
    channel: Channel | None = None
    unit_pointer: str = ""
    """JSON pointer to the unit that the message itself names: another one is converted, a foreign one refused."""
    frozen_after_s: Positive | None = None
    """A number that arrives unchanged for so long comes from a sensor that has stopped measuring."""
    hold_s: NonNegative = 0.0
    """A bad value is replaced by the last good one while that is not older than this."""
    estimate_s: NonNegative = 0.0
    """A bad state is replaced by the model's while the last good value is not older than this; then the level falls."""

    @model_validator(mode="after")
    def _complete(self) -> InputSection:
        if self.source == MQTT and (self.topic is None or not _is_plain_topic(self.topic)):
            raise ValueError('an input from mqtt needs topic = "..." without wildcards')
        if self.source == FILE and self.path is None:
            raise ValueError('an input from a file needs path = "..."')
        if self.source not in {MQTT, FEEDS, FILE} and self.register_ is None and self.channel is None:
            raise ValueError(
                "an input from a device needs register = {kind, address, type, scale} or, from a board with the framed "
                "protocol, channel = {number, scale}"
            )
        if any(p and not p.startswith("/") for p in (self.pointer, self.unit_pointer, self.timestamp_pointer)):
            raise ValueError('a pointer starts with "/"')
        if self.unit_pointer and self.source not in {MQTT, FILE}:
            raise ValueError("unit_pointer is for inputs from mqtt or a file: a register does not name its unit")
        if self.timestamp_pointer and self.source not in {MQTT, FILE}:
            raise ValueError(
                "timestamp_pointer is for inputs from mqtt or a file: a register does not say from when it is"
            )
        return self

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str | None) -> str | None:
        return name if name is None else known_zone(name)

    def zone(self, otherwise: tzinfo) -> tzinfo:
        """Of its times without an offset, where `otherwise` is the site's."""
        return otherwise if self.timezone is None else zone(self.timezone)


class OutputSection(Section):
    """A set-point of a device: the weighted sum of the bundle's actions."""

    sink: str
    unit: str
    combine: dict[str, Finite]
    """Action -> factor."""
    safe: Finite
    """What is written when nothing else is sure, and at the end."""
    topic: str | None = None
    register_: Annotated[Register | None, Field(alias="register")] = None
    channel: Channel | None = None
    refresh_s: Positive = 1800.0
    """A value that did not change is written again after this; a change is written at once."""
    writes_per_day: Annotated[int | None, Field(ge=1, le=1_000_000, strict=True)] = None
    """The budget of a day; by default WRITES_PER_DAY, and none for a board, which holds its outputs in memory."""
    step: Positive | None = None
    """The device takes multiples of this, in the output's unit; by default whatever the register can hold."""
    readback: StrictBool = True
    device_timeout_s: Annotated[float | None, Field(ge=3, le=65535, strict=True)] = None
    """How long the device keeps a set-point that is not written again; a board with the framed protocol is told."""
    timeout_register: Register | None = None
    """Where a Modbus device wants to be told its time-out."""

    @model_validator(mode="after")
    def _complete(self) -> OutputSection:
        if self.sink == MQTT and (self.topic is None or not _is_plain_topic(self.topic)):
            raise ValueError('an output to mqtt needs topic = "..." without wildcards')
        writable = self.register_ is not None and self.register_.kind in WRITABLE
        if self.sink != MQTT and self.channel is None and not writable:
            raise ValueError(
                'an output to a device needs register = {kind = "holding" or "coil", address, type, scale} or, to a '
                "board with the framed protocol, channel = {number, scale}"
            )
        if self.register_ is not None and self.register_.mask is not None:
            raise ValueError("a register with a mask can only be read; leave mask out, the whole word is written")
        if self.timeout_register is not None:
            if self.device_timeout_s is None:
                raise ValueError("timeout_register needs device_timeout_s, the time-out to write there")
            if self.timeout_register.kind != "holding":
                raise ValueError('timeout_register must be of kind "holding"')
        if not self.combine:
            raise ValueError("combine names at least one action")
        return self

    @property
    def registers(self) -> tuple[Register, ...]:
        """All that it writes."""
        return tuple(r for r in (self.register_, self.timeout_register) if r is not None)

    @property
    def write_budget(self) -> int | None:
        """Writes a day; None for any number."""
        if self.writes_per_day is not None:
            return self.writes_per_day
        return None if self.channel is not None else WRITES_PER_DAY

    @property
    def kept_alive(self) -> bool:
        """The device must hear its set-point in time: it lets go of it by itself, so it does not keep it in flash."""
        return self.channel is not None or self.device_timeout_s is not None

    @property
    def hold_s(self) -> float:
        """How long a board with the framed protocol is asked to hold a set-point."""
        return BOARD_HOLD_S if self.device_timeout_s is None else self.device_timeout_s

    @property
    def refresh_due_s(self) -> float:
        """A set-point is said again after this: three times within the device's own time-out, where it has one."""
        return min(self.refresh_s, self.hold_s / 3) if self.kept_alive else self.refresh_s


def _is_plain_topic(topic: str) -> bool:
    return bool(topic) and not any(mark in topic for mark in "+#\0") and len(topic) < 1024
