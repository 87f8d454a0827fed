"""A Modbus device may answer anything or nothing: the link reports it, and neither raises nor blocks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import numpy as np
import pytest
from answering import Answering
from patience import PATIENCE_S, comes_true
from pymodbus.framer import FramerRTU

from hil.modbus_plant import Answer, ModbusDevice, Registers
from hil.serial_line import SerialLine
from runtime.actuate.actuator import Actuator
from runtime.actuate.delivery import IN_FORCE, Delivery
from runtime.actuate.write_budget import WriteBudget
from runtime.clock import LockstepClock, SystemClock
from runtime.inputs.signals import Arrival
from runtime.links.modbus import ModbusLink, Telling
from runtime.links.wiring import ModbusSink
from runtime.links.worker import BACKOFF_FIRST_S, BACKOFF_LAST_S
from runtime.site.register import Register, SerialSection
from runtime.site.signals import OutputSection

LEVEL = Register(kind="input", address=0, scale=0.001)
INFLOW = Register(kind="holding", address=10, type="int16", scale=0.001)
FRAMES = 150


def section(line: SerialLine, timeout_s: float = 1.0) -> SerialSection:
    return SerialSection(protocol="modbus", port=str(line.link), parity="N", timeout_s=timeout_s)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[SerialLine]:
    line = SerialLine(tmp_path / "line")
    yield line
    line.close()


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
        arrival = link.read({"level": [LEVEL]})["level"]
        assert arrival.problem or isinstance(arrival.value, float)
        assert isinstance(link.write(Telling(INFLOW, 0.1, readback=True)), Delivery)
    assert answering.answered > FRAMES
    print(f"{answering.answered} answers of any bytes tried")
    answering.stop()
    link.close()


def test_read_write_and_read_back(line: SerialLine) -> None:
    registers = Registers(input={0: 321}, holding={10: 0})
    device = ModbusDevice(line, registers, time.monotonic)
    link = ModbusLink("device", section(line), SystemClock(), deadline_s=5.0)
    assert link.read({"level": [LEVEL]})["level"].value == pytest.approx(0.321)
    assert link.write(Telling(INFLOW, -1.5, readback=True)) == IN_FORCE
    assert registers.holding[10] == 0x10000 - 1500
    assert "does not fit" in link.write(Telling(INFLOW, 40.0, readback=True)).problem
    device.answer = "exception"
    assert "refused register 10 (exception 6)" in link.write(Telling(INFLOW, 0.0, readback=True)).problem
    assert "refused" in link.read({"level": [LEVEL]})["level"].problem
    device.answer = "normal"  # the line was in order all along: no waiting
    assert link.write(Telling(INFLOW, 0.0, readback=True)) == IN_FORCE
    missing = Register(kind="holding", address=11)
    assert "exception 2" in link.write(Telling(missing, 1.0, readback=False)).problem
    link.close()
    device.close()


def test_a_dead_port_and_a_silent_device_do_not_block(line: SerialLine) -> None:
    clock = LockstepClock()
    clock.set(0.0)
    link = ModbusLink("device", section(line), clock, deadline_s=None)
    first = link.read({"level": [LEVEL]})["level"]
    assert first.value is None and "no valid answer" in first.problem
    # Left alone for a while: many requests cost nothing.
    begun = time.monotonic()
    for _ in range(200):
        assert link.write(Telling(INFLOW, 0.0, readback=True)).problem
    assert time.monotonic() - begun < 100.0  # two seconds each, if it were asked
    line.unplug()
    clock.set(3600.0)
    assert "is not there" in link.read({"level": [LEVEL]})["level"].problem
    line.plug()
    device = ModbusDevice(line, Registers(input={0: 1}, holding={}), time.monotonic)
    clock.set(7200.0)
    assert link.read({"level": [LEVEL]})["level"].value == pytest.approx(0.001)
    link.close()
    device.close()


def test_the_deadline_holds_while_a_device_is_slow(line: SerialLine) -> None:
    registers = Registers(input={0: 1}, holding={10: 0})
    device = ModbusDevice(line, registers, time.monotonic)
    link = ModbusLink("device", section(line, 30.0), SystemClock(), deadline_s=0.2)
    deadline = time.monotonic() + PATIENCE_S
    while link.read({"level": [LEVEL]})["level"].value is None and time.monotonic() < deadline:
        time.sleep(0.02)
    device.answer, device.delay_s = "slow", 5.0
    begun = time.monotonic()
    arrival = link.read({"level": [LEVEL]})["level"]
    assert time.monotonic() - begun < 4.5
    assert arrival.value == pytest.approx(0.001) and arrival.problem == "no answer in time"
    # A set-point that waited too long in the queue must not be written after all.
    assert link.write(Telling(INFLOW, 0.5, readback=False)).problem == "no answer in time"
    device.answer = "normal"
    assert comes_true(lambda: link.write(Telling(INFLOW, 0.25, readback=False)).problem == "")
    assert {word for _, _, word in registers.writes} == {250}
    link.close()
    device.close()


@pytest.mark.parametrize("answer", ["silent", "garbage", "bad_crc"])
def test_a_device_that_talks_nonsense_is_left_alone_for_a_bounded_time(line: SerialLine, answer: Answer) -> None:
    """Requests on the wire over an hour of seconds: the pauses double up to their bound, and end when it is well."""
    clock = LockstepClock()
    clock.set(0.0)
    device = ModbusDevice(line, Registers(input={0: 500}, holding={}), time.monotonic)
    device.answer = answer
    link = ModbusLink("device", section(line, 0.3), clock, deadline_s=None)
    tried_at: list[float] = []
    for second in range(600):
        clock.set(float(second))
        before = device.requests
        arrival = link.read({"level": [LEVEL]})["level"]
        assert arrival.value is None and "no valid answer" in arrival.problem
        tried_at += [second] * (device.requests > before)
    pauses = np.diff(tried_at)
    assert pauses[0] == BACKOFF_FIRST_S and pauses.max() == BACKOFF_LAST_S and (np.diff(pauses) >= 0).all()
    device.answer = "normal"
    clock.set(600.0 + BACKOFF_LAST_S)
    assert link.read({"level": [LEVEL]})["level"] == Arrival(0.5, 600.0 + BACKOFF_LAST_S)
    assert link.problem == ""
    link.close()
    device.close()


def test_a_port_that_is_absent_at_start_is_found_later(line: SerialLine) -> None:
    line.unplug()
    clock = LockstepClock()
    clock.set(0.0)
    link = ModbusLink("device", section(line), clock, deadline_s=None)
    assert "is not there" in link.read({"level": [LEVEL]})["level"].problem
    line.plug()
    device = ModbusDevice(line, Registers(input={0: 250}, holding={}), time.monotonic)
    assert "is not there" in link.read({"level": [LEVEL]})["level"].problem  # not tried again within the same second
    clock.set(BACKOFF_FIRST_S)
    assert link.read({"level": [LEVEL]})["level"].value == pytest.approx(0.25)
    link.close()
    device.close()


def test_an_answer_after_the_deadline_counts_in_the_next_cycle(line: SerialLine) -> None:
    """A device that always takes longer than a cycle may wait is still read, each value with its true age."""
    registers = Registers(input={0: 100}, holding={})
    device = ModbusDevice(line, registers, time.monotonic)
    link = ModbusLink("device", section(line, 30.0), SystemClock(), deadline_s=0.05)
    device.answer, device.delay_s = "slow", 1.0
    asked_s = time.monotonic()
    reads: list[tuple[float, Arrival]] = []

    def heard() -> bool:
        begun_s = time.monotonic()
        arrival = link.read({"level": [LEVEL]})["level"]
        reads.append((time.monotonic() - begun_s, arrival))
        return arrival.value is not None

    assert not heard() and comes_true(heard)
    value, at_s = reads[-1][1].value, reads[-1][1].monotonic_s
    assert value == pytest.approx(0.1) and asked_s + device.delay_s <= at_s <= time.monotonic()
    assert min(took_s for took_s, _ in reads) < device.delay_s / 2  # did not wait for the device
    link.close()
    device.close()


def test_writes_are_kind_to_flash_and_set_the_devices_own_time_out(line: SerialLine) -> None:
    """A day of minutes with a set-point that hardly changes; the device is replugged once."""
    timeout = Register(kind="holding", address=20)
    output = OutputSection(
        sink="device",
        unit="kW",
        combine={"inflow": 1.0},
        safe=0.0,
        register=INFLOW,
        refresh_s=3600.0,
        device_timeout_s=5400.0,
        timeout_register=timeout,
    )
    assert output.refresh_due_s == 1800.0  # three times within the device's own time-out
    clock = LockstepClock()
    registers = Registers(holding={10: 0, 20: 60})
    device = ModbusDevice(line, registers, clock.monotonic)
    link = ModbusLink("device", section(line), clock, deadline_s=None)
    budget = WriteBudget({"inflow": output.write_budget}, UTC, clock)
    actuator = Actuator({"inflow": output}, {"device": ModbusSink(link)}, clock, budget, {"inflow": (-1.0, 1.0)})
    for minute in range(24 * 60):
        clock.set(60.0 * minute)
        if minute == 700:
            with device.line_held():
                line.unplug()
                line.plug()
        noise = 1e-5 * (minute % 7)  # less than the register can hold
        actuator.apply({"inflow": 0.5 + noise if minute < 720 else 0.25})
    written = [(t, a, w) for t, a, w in registers.writes]
    assert [w for _, a, w in written if a == 20] == [5400]  # not again after the replug: it was still there
    set_points = [(t, w) for t, a, w in written if a == 10]
    assert {w for _, w in set_points} == {500, 250}
    assert 48 <= len(set_points) <= 51  # 48 half hours, one change, at most two for the cable
    assert max(np.diff([t for t, _ in set_points])) <= 1860.0
    link.close()
    device.close()
