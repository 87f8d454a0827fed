"""Link faults in time: overlapping ones end when the last of them does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from hil.link_faults import BenchLinks, LinkFaults
from hil.modbus_plant import ModbusDevice, Registers
from hil.scenario import Fault
from hil.serial_line import SerialLine


def serial(kind: str, at: float, duration: float) -> Fault:
    return Fault.model_validate({"link": "serial", "kind": kind, "at": at, "for": duration, "delay": 0.1})


def test_overlapping_serial_faults(tmp_path: Path) -> None:
    line = SerialLine(tmp_path / "line")
    device = ModbusDevice(line, Registers(), lambda: 0.0)
    nothing = SimpleNamespace()  # no broker, no daemon: these faults do not touch them
    links = BenchLinks(line, device, nothing, nothing, nothing)  # type: ignore[arg-type]
    plan = [serial("cable_pull", 1, 3), serial("cable_pull", 2, 4), serial("garbage", 1, 4), serial("off", 3, 5)]
    faults = LinkFaults(plan, links)
    seen = []
    for second in range(10):
        faults.advance(float(second))
        seen.append((line.plant_fd is not None, device.answer))
    device.close()
    line.close()
    plugged = [True, False, False, False, False, False, True, True, True, True]
    answers = ["normal", "garbage", "garbage", "silent", "silent", "silent", "silent", "silent", "normal", "normal"]
    assert seen == list(zip(plugged, answers, strict=True))


def test_clock_jumps_add_up_and_those_without_an_end_stay() -> None:
    jumps = [
        Fault.model_validate({"link": "clock", "kind": "clock_jump", "at": 1, "for": 2, "by": 100}),
        Fault.model_validate({"link": "clock", "kind": "clock_jump", "at": 2, "for": 2, "by": -30}),
        Fault.model_validate({"link": "clock", "kind": "clock_jump", "at": 5, "by": 7}),
    ]
    nothing = SimpleNamespace()
    links = BenchLinks(nothing, nothing, nothing, nothing, nothing)  # type: ignore[arg-type]
    faults = LinkFaults(jumps, links)
    offsets = []
    for second in range(7):
        faults.advance(float(second))
        offsets.append(links.clock_offset_s)
    assert offsets == [0, 100, 70, -30, 0, 7, 7]
