"""Modbus registers as numbers: 16-bit words <-> value, as the register map of the site file says."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from runtime.formats.literals import NoValueError
from runtime.site.signals import Register, RegisterType

# What SunSpec, and many who follow it, put where a device does not have the value; a float says so by NaN. The largest
# number of a signed register is no reading either: it stands for "more than fits".
NOT_IMPLEMENTED: dict[RegisterType, tuple[int, ...]] = {
    "uint16": (0xFFFF,),
    "int16": (0x8000, 0x7FFF),
    "uint32": (0xFFFFFFFF,),
    "int32": (0x80000000, 0x7FFFFFFF),
    "float32": (),
}
_FORMAT: dict[RegisterType, str] = {"uint16": ">H", "int16": ">h", "uint32": ">I", "int32": ">i", "float32": ">f"}


def words_of(register: Register) -> int:
    """How many 16-bit words the value takes."""
    return struct.calcsize(_FORMAT[register.type]) // 2


def decode(words: Sequence[int], register: Register) -> float:
    """value = scale * raw + offset.

    Raises NoValueError where the register says that there is none, ValueError for a wrong count of words or a number
    that is not finite.
    """
    if len(words) != words_of(register):
        raise ValueError(f"{len(words)} words instead of {words_of(register)}")
    ordered = words if register.word_order == "big" else list(reversed(words))
    bits = int.from_bytes(struct.pack(f">{len(words)}H", *ordered), "big")
    nothing = NOT_IMPLEMENTED[register.type] if register.not_implemented is None else register.not_implemented
    if bits in {number & (1 << 16 * len(words)) - 1 for number in nothing}:
        raise NoValueError(f"register {register.address} says 0x{bits:0{4 * len(words)}X}: not implemented")
    (raw,) = struct.unpack(_FORMAT[register.type], struct.pack(f">{len(words)}H", *ordered))
    value = register.scale * float(raw) + register.offset
    if math.isnan(value):
        raise NoValueError(f"register {register.address} says NaN: not implemented")
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return value


def encode(value: float, register: Register) -> list[int]:
    """The words for `value`, rounded to the register's resolution. Raises ValueError where they cannot hold it."""
    raw = (value - register.offset) / register.scale
    try:
        packed = struct.pack(_FORMAT[register.type], raw if register.type == "float32" else round(raw))
    except (struct.error, OverflowError, ValueError) as error:
        raise ValueError(f"{value:g} does not fit a {register.type} register of scale {register.scale:g}") from error
    words = list(struct.unpack(f">{len(packed) // 2}H", packed))
    return words if register.word_order == "big" else list(reversed(words))
