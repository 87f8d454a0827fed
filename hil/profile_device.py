"""A Modbus device made from a profile's own data: every register that the profile names, with any values in them."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping

from hil.modbus_plant import Registers
from runtime.devices.profile import DeviceProfile
from runtime.links.registers import decode, encode
from runtime.site.register import Register

FIRST_MODEL = 40000
COMMON_WORDS = 66
EXPONENT = -1
"""What a scale-factor register holds unless a reading needs more."""
HALF = 30000
_FORMAT = {
    "uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q",
    "float32": "f", "float64": "d",
}  # fmt: skip


class ProfileDevice:
    """The memory of the device, by device id, where the profile's registers are; SunSpec models in a chain."""

    def __init__(self, profile: DeviceProfile) -> None:
        self.profile = profile
        self.slaves: dict[int, Registers] = {}
        self._places: dict[tuple[int, int], int] = {}
        self._scaled: dict[tuple[int, str, int], int] = {}
        registers = list(_every(profile))
        for device in sorted({self.owner(register) for register in registers}):
            mine = [register for register in registers if self.owner(register) == device]
            everything = frozenset({1, 2, 3, 4, 5, 6, 15, 16})
            self.slaves[device] = Registers(functions=everything)
            self._chain(device, mine)
        for register in registers:
            self.store(register, [0] * self.count(register))
        for register, most in _largest(profile):
            if register.scale_register is not None:
                self._scale(register, most)

    def owner(self, register: Register) -> int:
        return self.profile.device.device_id if register.device_id is None else register.device_id

    @staticmethod
    def count(register: Register) -> int:
        """Words, or one bit."""
        bits = register.kind in {"coil", "discrete"}
        return 1 if bits else struct.calcsize(">" + _FORMAT[register.type]) // 2

    def address(self, register: Register) -> int:
        """Where it is on this device."""
        first = 0 if register.model is None else self._places[self.owner(register), register.model]
        return first + register.address

    def words(self, register: Register) -> list[int]:
        """What is in it."""
        bank = self._bank(register)
        return [bank[self.address(register) + i] for i in range(self.count(register))]

    def store(self, register: Register, words: list[int]) -> None:
        self._bank(register).update(enumerate(words, self.address(register)))

    def show(self, name: str, value: float) -> float:
        """Let a reading be `value`; what it is then, in whole steps of its registers."""
        reading = self.profile.read[name]
        signed = [r for r in reading.registers if r.type.startswith(("int", "float"))]
        fitting = [r for r in reading.registers if r.scale * value >= 0]
        chosen = (fitting or signed)[0]
        for register in reading.registers:
            self.store(register, [0] * self.count(register))
        power = 0 if chosen.scale_register is None else self._power(chosen)
        raw = (value - chosen.offset) / chosen.scale / 10.0**power
        number = raw if chosen.type.startswith("float") else round(raw)
        self.store(chosen, [int(number)] if chosen.kind in {"coil", "discrete"} else packed(number, chosen))
        return chosen.scale * number * 10.0**power + chosen.offset

    def told(self, setting: str) -> float | None:
        """The set-point that the device holds now, in the setting's unit; None where it follows its own control."""
        fact = self.profile.write[setting]
        if fact.register_ is not None:
            return self._value(fact.register_)
        lowest, highest = fact.range
        for mode in fact.modes.values():
            mine = [(write, write.register_) for write in mode.writes if write.register_ is not None]
            fixed = [(w.value, r) for w, r in mine if w.value != "set_point"]
            if all(self.words(r) == encode(float(v), r, self._exponent(r)) for v, r in fixed):
                carried = next((r for w, r in mine if w.value == "set_point"), None)
                if carried is not None:
                    return self._value(carried)
                least = lowest if mode.at_least is None else mode.at_least
                most = highest if mode.at_most is None else mode.at_most
                return 0.0 if least <= 0.0 <= most else float(math.floor(most))
            lowest = max(lowest, -math.inf if mode.at_most is None else mode.at_most)
            highest = min(highest, math.inf if mode.at_least is None else mode.at_least)
        return None

    def _value(self, register: Register) -> float:
        return decode(self.words(register), register, self._exponent(register))

    def _exponent(self, register: Register) -> int:
        return 0 if register.scale_register is None else self._power(register)

    def hide(self, name: str) -> None:
        """Let a reading be not implemented, as SunSpec says it."""
        for register in self.profile.read[name].registers:
            self.store(register, nothing(register))

    def _bank(self, register: Register) -> dict[int, int]:
        bank: dict[int, int] = getattr(self.slaves[self.owner(register)], register.kind)
        return bank

    def _scale(self, register: Register, most: float) -> None:
        """The power of ten with which a raw number up to `most` fits a word; no less than it is already."""
        place = self._scale_place(register)
        fitting = next(k for k in range(EXPONENT, 6) if most / 10.0**k <= HALF)
        known = self._scaled.setdefault((self.owner(register), register.kind, place), EXPONENT)
        self._scaled[self.owner(register), register.kind, place] = power = max(fitting, known)
        self._bank(register)[place] = power & 0xFFFF

    def _power(self, register: Register) -> int:
        word = self._bank(register)[self._scale_place(register)]
        return word - 0x10000 if word & 0x8000 else word

    def _scale_place(self, register: Register) -> int:
        assert register.scale_register is not None
        return self.address(register) - register.address + register.scale_register

    def _chain(self, device: int, registers: list[Register]) -> None:
        lengths: dict[int, int] = {}
        for r in registers:
            if r.model is not None:
                last = max(r.address + self.count(r), (r.scale_register or 0) + 1)
                lengths[r.model] = max(last, lengths.get(r.model, 0))
        if not lengths:
            return
        words = [0x5375, 0x6E53, 1, COMMON_WORDS, *[0] * COMMON_WORDS]
        for model, length in sorted(lengths.items()):
            self._places[device, model] = FIRST_MODEL + len(words) + 2
            words += [model, length, *[0] * length]  # scale factors are set later
        self.slaves[device].holding.update(enumerate([*words, 0xFFFF, 0], FIRST_MODEL))


def packed(number: float, register: Register) -> list[int]:
    """A raw number as the device keeps it."""
    value = float(number) if register.type.startswith("float") else int(number)
    data = struct.pack(">" + _FORMAT[register.type], value)
    words = list(struct.unpack(f">{len(data) // 2}H", data))
    ordered = words if register.word_order == "big" else words[::-1]
    return ordered if register.byte_order == "big" else [(w >> 8) | (w & 0xFF) << 8 for w in ordered]


def nothing(register: Register) -> list[int]:
    """What stands for "no value"."""
    count = ProfileDevice.count(register)
    if register.type.startswith("float"):
        return packed(float("nan"), register)
    return packed(-(2 ** (16 * count - 1)) if register.type.startswith("int") else 2 ** (16 * count) - 1, register)


def _largest(profile: DeviceProfile) -> Iterator[tuple[Register, float]]:
    """Every register with the largest raw number that a reading in its range has there."""
    yield from ((register, 0.0) for register in _every(profile))
    for reading in profile.read.values():
        yield from ((r, max(map(abs, reading.range)) / abs(r.scale)) for r in reading.registers)


def _every(profile: DeviceProfile) -> Iterator[Register]:
    for reading in profile.read.values():
        yield from reading.registers
    for setting in profile.write.values():
        named: Mapping[str, Register | None] = {"own": setting.register_, "timeout": setting.timeout_register}
        yield from (register for register in named.values() if register is not None)
        writes = [*setting.release, *(write for mode in setting.modes.values() for write in mode.writes)]
        yield from (write.register_ for write in writes if write.register_ is not None)
