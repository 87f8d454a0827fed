"""A Modbus device may answer anything or nothing: the link reports it, and neither raises nor blocks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pymodbus.framer import FramerRTU

from hil.modbus_plant import ModbusDevice, Registers
from hil.serial_line import SerialLine
from runtime.clock import LockstepClock, SystemClock
from runtime.config import Register, SerialSection
from runtime.links.modbus import ModbusLink

LEVEL = Register(kind="input", address=0, scale=0.001)
INFLOW = Register(kind="holding", address=10, type="int16", scale=0.001)
FRAMES = 150


def section(line: SerialLine, timeout_s: float = 0.1) -> SerialSection:
    return SerialSection(protocol="modbus", port=str(line.link), parity="N", timeout_s=timeout_s)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[SerialLine]:
    line = SerialLine(tmp_path / "line")
    yield line
    line.close()


class Answering:
    """Answers every request on the line with whatever `answer` makes of it."""

    def __init__(self, line: SerialLine, answer: Callable[[bytes], bytes]) -> None:
        assert line.plant_fd is not None
        self._fd, self._answer, self._running = line.plant_fd, answer, True
        self.answered = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while self._running:
            try:
                request = os.read(self._fd, 512)
            except BlockingIOError:
                time.sleep(0.0005)
                continue
            os.write(self._fd, self._answer(request))
            self.answered += 1

    def stop(self) -> None:
        self._running = False
        self._thread.join()


def test_any_bytes_for_an_answer(line: SerialLine) -> None:
    """Random bytes, and random PDUs in frames with a valid CRC, which reach the decoder."""
    rng = np.random.default_rng(0)

    def answer(request: bytes) -> bytes:
        if rng.random() < 0.3:
            return rng.bytes(int(rng.integers(0, 300)))
        function = request[1:2] if rng.random() < 0.5 else bytes([int(rng.integers(0, 256))])
        frame = bytes([1]) + function + rng.bytes(int(rng.integers(0, 12)))
        return frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")

    clock = LockstepClock()
    answering, link = Answering(line, answer), ModbusLink("device", section(line, 0.01), clock, deadline_s=None)
    clock.set(0.0)
    for k in range(FRAMES):
        clock.set(100.0 * k)  # past every back-off
        arrival = link.read({"level": LEVEL})["level"]
        assert arrival.problem or isinstance(arrival.value, float)
        assert isinstance(link.write(INFLOW, 0.1, readback=True), str)
    assert answering.answered > FRAMES
    answering.stop()
    link.close()


def test_read_write_and_read_back(line: SerialLine) -> None:
    registers = Registers(input={0: 321}, holding={10: 0})
    device = ModbusDevice(line, registers, time.monotonic)
    link = ModbusLink("device", section(line), SystemClock(), deadline_s=5.0)
    assert link.read({"level": LEVEL})["level"].value == pytest.approx(0.321)
    assert link.write(INFLOW, -1.5, readback=True) == ""
    assert registers.holding[10] == 0x10000 - 1500
    assert "does not fit" in link.write(INFLOW, 40.0, readback=True)
    device.answer = "exception"
    assert "refused register 10 (exception 6)" in link.write(INFLOW, 0.0, readback=True)
    assert "refused" in link.read({"level": LEVEL})["level"].problem
    device.answer = "normal"  # the line was in order all along: no waiting
    assert link.write(INFLOW, 0.0, readback=True) == ""
    missing = Register(kind="holding", address=11)
    assert "exception 2" in link.write(missing, 1.0, readback=False)
    link.close()
    device.close()


def test_a_dead_port_and_a_silent_device_do_not_block(line: SerialLine) -> None:
    clock = LockstepClock()
    clock.set(0.0)
    link = ModbusLink("device", section(line), clock, deadline_s=None)
    first = link.read({"level": LEVEL})["level"]
    assert first.value is None and "no valid answer" in first.problem
    # Left alone for a while: many requests cost nothing.
    begun = time.monotonic()
    for _ in range(200):
        assert link.write(INFLOW, 0.0, readback=True)
    assert time.monotonic() - begun < 1.0
    line.unplug()
    clock.set(3600.0)
    assert "is not there" in link.read({"level": LEVEL})["level"].problem
    line.plug()
    device = ModbusDevice(line, Registers(input={0: 1}, holding={}), time.monotonic)
    clock.set(7200.0)
    assert link.read({"level": LEVEL})["level"].value == pytest.approx(0.001)
    link.close()
    device.close()


def test_the_deadline_holds_while_a_device_is_slow(line: SerialLine) -> None:
    registers = Registers(input={0: 1}, holding={10: 0})
    device = ModbusDevice(line, registers, time.monotonic)
    link = ModbusLink("device", section(line, 3.0), SystemClock(), deadline_s=0.2)
    deadline = time.monotonic() + 10.0
    while link.read({"level": LEVEL})["level"].value is None and time.monotonic() < deadline:
        time.sleep(0.02)
    device.answer, device.delay_s = "slow", 1.0
    begun = time.monotonic()
    arrival = link.read({"level": LEVEL})["level"]
    assert time.monotonic() - begun < 0.9
    assert arrival.value == pytest.approx(0.001) and arrival.problem == "no answer in time"
    # A set-point that waited too long in the queue must not be written after all.
    assert link.write(INFLOW, 0.5, readback=False) == "no answer in time"
    device.answer = "normal"
    time.sleep(1.5)
    assert registers.holding[10] == 0
    link.close()
    device.close()
