"""Which registers are read together: neighbours come in one answer, since every request costs a round trip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from runtime.links.registers import BITS, words_of
from runtime.site.register import Register, RegisterKind

LONGEST, LONGEST_BITS = 125, 2000
"""Words and bits that one answer of Modbus can hold."""


@dataclass(frozen=True, order=True)
class RegisterSpan:
    """`count` registers of one device and kind, from `address` on."""

    device: int
    kind: RegisterKind
    address: int
    count: int

    @property
    def end(self) -> int:
        return self.address + self.count

    def covers(self, other: RegisterSpan) -> bool:
        same = (self.device, self.kind) == (other.device, other.kind)
        return same and self.address <= other.address and other.end <= self.end


def value_span(register: Register, device: int) -> RegisterSpan:
    """Where its value is; `device` where it names none."""
    return RegisterSpan(owner(register, device), register.kind, register.address, words_of(register))


def scale_span(register: Register, device: int) -> RegisterSpan | None:
    """Where its scale factor is, if it has one."""
    if register.scale_register is None:
        return None
    return RegisterSpan(owner(register, device), register.kind, register.scale_register, 1)


def owner(register: Register, device: int) -> int:
    """The device that a register is of."""
    return device if register.device_id is None else register.device_id


def spans_of(registers: Iterable[Register], device: int) -> set[RegisterSpan]:
    """Everything that must be read for these values."""
    found = (span for one in registers for span in (value_span(one, device), scale_span(one, device)))
    return {span for span in found if span is not None}


def joined(spans: Iterable[RegisterSpan], gap: int) -> list[RegisterSpan]:
    """The fewest requests: spans that touch, or are at most `gap` registers apart, become one."""
    return list(_joined(sorted(spans), gap))


def _joined(spans: list[RegisterSpan], gap: int) -> Iterator[RegisterSpan]:
    block: RegisterSpan | None = None
    for span in spans:
        if block is not None:
            longest = LONGEST_BITS if span.kind in BITS else LONGEST
            same = (block.device, block.kind) == (span.device, span.kind)
            end = max(block.end, span.end)
            if same and span.address <= block.end + gap and end - block.address <= longest:
                block = RegisterSpan(block.device, block.kind, block.address, end - block.address)
                continue
            yield block
        block = span
    if block is not None:
        yield block
