"""Where a device keeps its SunSpec models: one after the other, and which there are differs from device to device.

SunSpec Device Information Model Specification: the mark "SunS" at one of three places, then models, each with its id
and the length of what follows, up to the id 0xFFFF.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runtime.formats.literals import NoValueError
from runtime.links.worker import DeviceRefusedError
from runtime.site.register import Register

BASES = (40000, 0, 50000)
MARK = [0x5375, 0x6E53]
END = 0xFFFF
MOST_MODELS = 64


def models_of(read: Callable[[int, int], list[int]]) -> dict[int, int]:
    """Model -> address of its first point; the first of each. read: words of holding registers from an address on.

    Raises NoValueError where there are none, and what `read` raises but for refusals.
    """
    for base in BASES:
        try:
            if read(base, len(MARK)) == MARK:
                return _walked(read, base + len(MARK))
        except DeviceRefusedError:
            continue
    raise NoValueError("the device shows no SunSpec models; switch SunSpec on in it, or see to its device_id")


def _walked(read: Callable[[int, int], list[int]], address: int) -> dict[int, int]:
    found: dict[int, int] = {}
    for _ in range(MOST_MODELS):
        number, length = read(address, 2)
        if number == END or length == 0 or address + 2 + length > 0xFFFF:
            break
        found.setdefault(number, address + 2)
        address += 2 + length
    return found


def placed(register: Register, models: Mapping[int, int]) -> Register:
    """The register where this device has it. Raises NoValueError where the device has no such model."""
    assert register.model is not None
    first = models.get(register.model)
    if first is None:
        known = ", ".join(map(str, sorted(models))) or "none"
        raise NoValueError(f"the device has no SunSpec model {register.model}; it has {known}")
    scale = register.scale_register
    places = {"address": first + register.address, "scale_register": None if scale is None else first + scale}
    return register.model_copy(update={**places, "model": None})
