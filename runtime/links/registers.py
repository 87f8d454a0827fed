"""Modbus registers as numbers: 16-bit words <-> value, as the register map of the site file says."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence

from runtime.formats.literals import NoValueError
from runtime.site.register import Register, RegisterType

# What SunSpec, and many who follow it, put where a device does not have the value; a float says so by NaN. The largest
# number of a signed register is no reading either: it stands for "more than fits".
NOT_IMPLEMENTED: Mapping[RegisterType, tuple[int, ...]] = {
    "uint16": (0xFFFF,),
    "int16": (0x8000, 0x7FFF),
    "uint32": (0xFFFFFFFF,),
    "int32": (0x80000000, 0x7FFFFFFF),
    "uint64": (2**64 - 1,),
    "int64": (2**63, 2**63 - 1),
    "float32": (),
    "float64": (),
}
_FORMAT: Mapping[RegisterType, str] = {
    "uint16": ">H", "int16": ">h", "uint32": ">I", "int32": ">i", "uint64": ">Q", "int64": ">q",
    "float32": ">f", "float64": ">d",
}  # fmt: skip
BITS = frozenset({"coil", "discrete"})
SCALE_EXPONENTS = range(-10, 11)
"""Of a scale-factor register, as SunSpec has them."""


def words_of(register: Register) -> int:
    """How many 16-bit words the value takes; one bit for a coil or discrete input."""
    return 1 if register.kind in BITS else struct.calcsize(_FORMAT[register.type]) // 2


def exponent(word: int, address: int) -> int:
    """The power of ten that a scale-factor register holds. Raises NoValueError where it holds none."""
    number = word - 0x10000 if word >= 0x8000 else word
    if number not in SCALE_EXPONENTS:
        raise NoValueError(f"scale-factor register {address} says 0x{word:04X}: not implemented")
    return number


def decode(words: Sequence[int], register: Register, power: int = 0) -> float:
    """value = scale * raw * 10^power + offset.

    Raises NoValueError where the register says that there is none, ValueError for a wrong count of words or a number
    that is not finite.
    """
    if len(words) != words_of(register):
        raise ValueError(f"{len(words)} words instead of {words_of(register)}")
    if register.kind in BITS:
        return register.scale * float(bool(words[0])) + register.offset
    ordered = _ordered(words, register)
    bits = int.from_bytes(struct.pack(f">{len(words)}H", *ordered), "big")
    nothing = NOT_IMPLEMENTED[register.type] if register.not_implemented is None else register.not_implemented
    if bits in {number & (1 << 16 * len(words)) - 1 for number in nothing}:
        raise NoValueError(f"register {register.address} says 0x{bits:0{4 * len(words)}X}: not implemented")
    if register.mask is None:
        (raw,) = struct.unpack(_FORMAT[register.type], struct.pack(f">{len(words)}H", *ordered))
    else:
        raw = (bits & register.mask) >> ((register.mask & -register.mask).bit_length() - 1)
    value = _times(register.scale * float(raw), power) + register.offset
    if math.isnan(value):
        raise NoValueError(f"register {register.address} says NaN: not implemented")
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return value


def is_blank(words: Sequence[int], register: Register) -> bool:
    """Whether a signed register has all its bits set, and nobody has said what that means: -1, or no value at all."""
    signed = register.kind not in BITS and register.type.startswith("int") and register.mask is None
    return signed and register.not_implemented is None and all(word == 0xFFFF for word in words)


def encode(value: float, register: Register, power: int = 0) -> list[int]:
    """The words for `value`, rounded to the register's resolution. Raises ValueError where they cannot hold it."""
    raw = _times((value - register.offset) / register.scale, -power)
    if register.kind in BITS:
        if raw not in {0.0, 1.0}:
            raise ValueError(f"{value:g} does not fit a coil, which is 0 or 1")
        return [int(raw)]
    whole = not register.type.startswith("float")
    try:
        packed = struct.pack(_FORMAT[register.type], round(raw) if whole else raw)
    except (struct.error, OverflowError, ValueError) as error:
        scale = register.scale * 10.0**power
        raise ValueError(f"{value:g} does not fit a {register.type} register of scale {scale:g}") from error
    return _ordered(struct.unpack(f">{len(packed) // 2}H", packed), register)


def _times(value: float, power: int) -> float:
    """Divided where it gets smaller: 0.1 is no binary number, and 1234 / 10 is 123.4."""
    return value * 10.0**power if power >= 0 else value / 10.0**-power


def _ordered(words: Sequence[int], register: Register) -> list[int]:
    """From Modbus's order of words and bytes to the register's, or back."""
    ordered = list(words) if register.word_order == "big" else list(reversed(words))
    return ordered if register.byte_order == "big" else [(w & 0xFF) << 8 | w >> 8 for w in ordered]
