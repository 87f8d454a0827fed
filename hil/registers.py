"""The register map of the bench's device: generated from what signals are, so that any house has one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from systems.problem import Signal

FIRST_SENSOR, FIRST_SET_POINT = 0, 100
FINEST = {"degC": 0.01}
"""Of a unit's readings; 0.001 of any other."""
WORD_SIGNED, WORD = 0x7FFF, 0xFFFF


@dataclass(frozen=True)
class DeviceRegister:
    """One 16-bit register of the device: value = word * scale in `unit`, two's complement when signed."""

    name: str
    unit: str
    address: int
    scale: float
    signed: bool = False

    @property
    def type(self) -> str:
        """As a site file calls it."""
        return "int16" if self.signed else "uint16"

    def encode(self, value: float) -> int:
        """The word for a value, saturated at the register's range; a value that is no number reads as 0x8000."""
        if value != value:
            return 0x8000
        lowest, highest = (-0x8000, WORD_SIGNED) if self.signed else (0, WORD)
        return min(highest, max(lowest, round(value / self.scale))) & 0xFFFF

    def decode(self, word: int) -> float:
        return (word - 0x10000 if self.signed and word >= 0x8000 else word) * self.scale


def register_map(signals: Iterable[Signal], first: int) -> tuple[DeviceRegister, ...]:
    """One word each from an address on, as fine as the signal's range allows."""
    return tuple(_register(signal, address) for address, signal in enumerate(signals, first))


def _register(signal: Signal, address: int) -> DeviceRegister:
    signed = signal.lower < 0.0
    most = max(abs(signal.lower), abs(signal.upper))
    scale = FINEST.get(signal.unit, 0.001)
    while most / scale > (WORD_SIGNED if signed else WORD):
        scale *= 10.0
    return DeviceRegister(signal.name, signal.unit, address, scale, signed)
