"""The tables of a site file that say where signals come from and go to: inputs and outputs."""

from __future__ import annotations

import math
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictBool, field_validator, model_validator

from runtime.site.register import Channel, Register, writable
from runtime.site.section import Finite, NonNegative, Positive, Section, known_zone, zone
from runtime.site.shape import PLANNED, LevelsShape, ResponseShape, Shape

MQTT = "mqtt"
FEEDS = "feeds"
FILE = "file"
BOARD_HOLD_S = 60.0
WRITES_PER_DAY = 200


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
    device: str = ""
    """The device with a profile that it comes from; `source` is then the line or broker that leads there."""
    reading: str = ""
    """Where `source` is a device with a profile: which of its readings, by default the one called like the input."""
    register_: Annotated[Register | None, Field(alias="register")] = None
    sum: tuple[Register, ...] = ()
    """Several registers whose values are added, each with a scale of its own: a power in less a power out."""
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
        if self.sum and self.register_ is not None:
            raise ValueError("give register or sum, not both")
        if self.source not in {MQTT, FEEDS, FILE} and not self.registers and self.channel is None:
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

    @property
    def registers(self) -> tuple[Register, ...]:
        """Those whose values add up to the input's."""
        return self.sum if self.register_ is None else (self.register_,)

    def zone(self, otherwise: tzinfo) -> tzinfo:
        """Of its times without an offset, where `otherwise` is the site's."""
        return otherwise if self.timezone is None else zone(self.timezone)


class Write(Section):
    """One thing that a device is told: a register, or a message on a topic."""

    register_: Annotated[Register | None, Field(alias="register")] = None
    topic: str | None = None
    value: Finite | Literal["set_point"] = "set_point"
    payload: str = "$value"
    """Of a message; $value stands for the number."""
    readback: StrictBool = True

    @model_validator(mode="after")
    def _complete(self) -> Write:
        if (self.register_ is None) == (self.topic is None):
            raise ValueError("give a register or a topic")
        if self.topic is not None and not _is_plain_topic(self.topic):
            raise ValueError("the topic has no wildcards")
        if self.register_ is not None:
            writable(self.register_)
        return self

    def number(self, set_point: float) -> float:
        return set_point if self.value == "set_point" else self.value


class Mode(Section):
    """A way in which a device takes some of its set-points: a mode and a power, a duration, two contacts."""

    at_least: Finite | None = None
    at_most: Finite | None = None
    """The set-points that it is for, in the output's unit; one without either is for all that no other takes."""
    writes: tuple[Write, ...] = Field(min_length=1)
    """In this order; neighbours that are written by function 16 go out in one request."""

    def takes(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


class OutputSection(Section):
    """A set-point of a device: the weighted sum of the bundle's actions."""

    sink: str
    unit: str
    combine: dict[str, Finite]
    """Action -> factor."""
    safe: Finite
    """What is written when nothing else is sure, and at the end."""
    device: str = ""
    setting: str = ""
    """Where `sink` is a device with a profile: which of its settings, by default the one called like the output."""
    topic: str | None = None
    register_: Annotated[Register | None, Field(alias="register")] = None
    channel: Channel | None = None
    modes: dict[str, Mode] = Field(default_factory=dict)
    """Instead of one register or topic: what is written for which set-points; the first that takes one counts."""
    shape: Shape | None = None
    """How the sum of the actions, in kW, becomes what the device takes, where that is no power."""
    release: tuple[Write, ...] = ()
    """What gives the device back to its own control, and is written in the place of `safe`."""
    refresh_s: Positive = 1800.0
    """A value that did not change is written again after this; a change is written at once."""
    writes_per_day: Annotated[int | None, Field(ge=1, le=1_000_000, strict=True)] = None
    """The budget of a day; by default WRITES_PER_DAY, and none for a board, which holds its outputs in memory."""
    limits: tuple[Finite, Finite] | None = None
    """What the device may be told at all, in the output's unit; set-points beyond are brought to the nearer end."""
    step: Positive | None = None
    """The device takes multiples of this, in the output's unit; by default whatever the register can hold."""
    readback: StrictBool = True
    device_timeout_s: Annotated[float | None, Field(ge=3, le=65535, strict=True)] = None
    """How long the device keeps a set-point that is not written again; a board with the framed protocol is told."""
    timeout_register: Register | None = None
    """Where a Modbus device wants to be told its time-out."""

    @model_validator(mode="after")
    def _complete(self) -> OutputSection:
        if self.modes:
            self._check_modes()
        elif self.sink == MQTT and (self.topic is None or not _is_plain_topic(self.topic)):
            raise ValueError('an output to mqtt needs topic = "..." without wildcards, or modes')
        elif self.sink != MQTT and self.channel is None and self.register_ is None:
            raise ValueError(
                'an output to a device needs register = {kind = "holding" or "coil", address, type, scale} or modes; '
                "to a board with the framed protocol channel = {number, scale}"
            )
        if self.register_ is not None:
            writable(self.register_)
        if self.timeout_register is not None:
            if self.device_timeout_s is None:
                raise ValueError("timeout_register needs device_timeout_s, the time-out to write there")
            if self.timeout_register.kind != "holding":
                raise ValueError('timeout_register must be of kind "holding"')
        if not self.combine:
            raise ValueError("combine names at least one action")
        if self.limits is not None and not self.limits[0] <= self.safe <= self.limits[1]:
            raise ValueError(f"safe = {self.safe:g} is outside {list(self.limits)}; give one inside them")
        return self

    @model_validator(mode="after")
    def _has_a_shape(self) -> OutputSection:
        if isinstance(self.shape, ResponseShape) and self.limits is None:
            raise ValueError("a response needs limits = [least, most], beyond which the set-point never goes")
        return self

    def _check_modes(self) -> None:
        if self.topic is not None or self.register_ is not None or self.channel is not None:
            raise ValueError("modes say what is written; leave register, topic and channel out")
        if all(mode.at_least is not None or mode.at_most is not None for mode in self.modes.values()):
            raise ValueError("no mode takes what the others leave; write one without at_least and at_most")
        for write in self.every_write:
            if (write.topic is not None) != (self.sink == MQTT):
                wanted = "a topic: its sink is mqtt" if self.sink == MQTT else "a register: its sink is no broker"
                raise ValueError(f"modes and release write to {wanted}")

    @property
    def planned_unit(self) -> str:
        """Of the sum of the actions."""
        return self.unit if self.shape is None else PLANNED

    @property
    def span(self) -> tuple[float, float]:
        """Least and greatest set-point that its shape can give."""
        if isinstance(self.shape, LevelsShape):
            levels = [one.level for one in self.shape.levels]
            return min(levels), max(levels)
        return self.limits or (-math.inf, math.inf)

    @property
    def every_write(self) -> tuple[Write, ...]:
        """Of all modes and the release."""
        return (*(write for mode in self.modes.values() for write in mode.writes), *self.release)

    @property
    def registers(self) -> tuple[Register, ...]:
        """All that it writes."""
        named = (self.register_, self.timeout_register, *(write.register_ for write in self.every_write))
        return tuple(register for register in named if register is not None)

    @property
    def topics(self) -> tuple[str, ...]:
        """All that it publishes on."""
        named = (self.topic, *(write.topic for write in self.every_write))
        return tuple(dict.fromkeys(topic for topic in named if topic is not None))

    def writes(self, value: float, *, released: bool = False) -> tuple[Write, ...]:
        """What brings a set-point into force, or gives the device back to itself."""
        if released and self.release:
            return self.release
        if self.modes:
            return next(mode for mode in self.modes.values() if mode.takes(value)).writes
        if self.register_ is None:
            return (Write(topic=self.topic),)
        return (Write.model_validate({"register": self.register_, "readback": self.readback}),)

    def main_register(self, value: float) -> Register | None:
        """The one that holds this set-point itself, where there is one."""
        if self.channel is not None or self.topic is not None:
            return None
        return next((write.register_ for write in self.writes(value) if write.value == "set_point"), None)

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
