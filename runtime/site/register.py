"""The tables of a site file that say how devices are reached and where on them a number is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from runtime.site.section import Finite, NonNegative, Positive, Section

DeviceId = Annotated[int, Field(ge=0, le=255, strict=True)]
Gap = Annotated[int, Field(ge=0, le=100, strict=True)]
"""Modbus: how many registers that nobody asked for may be read along, so that two others come in one answer."""


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
    connect_s: NonNegative = 0.0
    """And after a connection, before the first."""
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
    model: Annotated[int | None, Field(ge=1, le=65535, strict=True)] = None
    """A model of SunSpec: `address` and `scale_register` then count from its first point after id and length, and the
    device is asked where that is."""
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
        if self.model is not None and self.kind != "holding":
            raise ValueError('the models of SunSpec are in registers of kind "holding"; give that')
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


def writable(register: Register) -> None:
    """Raises ValueError."""
    if register.kind not in WRITABLE:
        raise ValueError(f'a register of kind {register.kind!r} can only be read; give one of kind "holding" or "coil"')
    if register.mask is not None:
        raise ValueError("a register with a mask can only be read; leave mask out, the whole word is written")
