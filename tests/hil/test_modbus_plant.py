"""The device on the line, spoken to by pymodbus's own client over a real pty."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE_S
from pymodbus.client import ModbusSerialClient
from pymodbus.exceptions import ModbusException

from hil.device import SimulatedDevice
from hil.faults import MISSING, Garbage, Shown
from hil.modbus_plant import ModbusDevice, Moment, Registers, Trap
from hil.registers import DeviceRegister
from hil.serial_line import SerialLine

SOC = DeviceRegister("soc", "1", 0, 0.001)
POWER = DeviceRegister("power", "kW", 1, 0.001, signed=True)
SET_POINT = DeviceRegister("power", "kW", 10, 0.001, signed=True)


class Rig:
    def __init__(self, directory: Path) -> None:
        self.now_s = 0.0
        self.line = SerialLine(directory / "inverter")
        self.device = SimulatedDevice([SOC, POWER], [SET_POINT], 1800.0, lambda: self.now_s)
        self.server = ModbusDevice(self.line, self.device.registers, lambda: self.now_s)
        self.client = self.connect()

    def connect(self) -> ModbusSerialClient:
        client = ModbusSerialClient(str(self.line.link), baudrate=19200, timeout=1.0, retries=0)
        assert client.connect()
        return client

    def close(self) -> None:
        self.client.close()
        self.server.close()
        self.line.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def show(rig: Rig, soc: float, power: float) -> None:
    rig.device.show({"soc": Shown(np.array([soc])), "power": Shown(np.array([power]))})


def test_sensors_are_read_and_a_set_point_arrives(rig: Rig) -> None:
    show(rig, 0.513, -2.5)
    words = rig.client.read_input_registers(0, count=2, device_id=1).registers
    assert (SOC.decode(words[0]), POWER.decode(words[1])) == (0.513, -2.5)
    rig.now_s = 900.0
    assert not rig.client.write_register(10, SET_POINT.encode(-1.25), device_id=1).isError()
    assert not rig.client.write_registers(10, [SET_POINT.encode(-1.5)], device_id=1).isError()
    rig.device.collect_writes()
    assert rig.device.held() == {"power": -1.5}
    assert rig.client.read_holding_registers(10, count=1, device_id=1).registers == [SET_POINT.encode(-1.5)]


def test_the_device_falls_to_zero_when_its_master_is_silent(rig: Rig) -> None:
    rig.now_s = 900.0
    rig.client.write_register(10, SET_POINT.encode(3.0), device_id=1)
    rig.device.collect_writes()
    assert rig.device.mean(900.0) == {"power": 3.0}
    rig.now_s = 2250.0
    assert rig.device.mean(900.0)["power"] == pytest.approx(1.5)  # the time-out strikes half way through the step
    rig.now_s = 2700.0
    assert rig.device.held() == {"power": 0.0}


def test_unknown_addresses_functions_and_devices(rig: Rig) -> None:
    show(rig, 0.5, 0.0)
    assert rig.client.read_input_registers(1, count=2, device_id=1).exception_code == 2
    assert rig.client.write_register(11, 1, device_id=1).exception_code == 2
    assert rig.client.write_registers(10, [1, 2], device_id=1).exception_code == 2
    assert rig.client.read_coils(0, count=1, device_id=1).exception_code == 1
    assert rig.device.registers.holding == {10: 0}, "a refused write leaves nothing behind"
    with pytest.raises(ModbusException):
        rig.client.read_input_registers(0, count=1, device_id=2)


@pytest.mark.parametrize("answer", ["silent", "garbage", "bad_crc"])
def test_a_broken_device_gives_no_value_and_recovers(rig: Rig, answer: str) -> None:
    show(rig, 0.5, 0.0)
    rig.server.answer = answer
    with pytest.raises(ModbusException):
        rig.client.read_input_registers(0, count=1, device_id=1)
    rig.server.answer = "normal"
    time.sleep(0.05)
    assert rig.client.read_input_registers(0, count=1, device_id=1).registers == [500]


def test_the_bench_waits_for_a_slow_device(rig: Rig) -> None:
    rig.server.answer, rig.server.delay_s = "slow", 3.0
    with pytest.raises(ModbusException):  # it gives up after a second ...
        rig.client.write_register(10, SET_POINT.encode(2.0), device_id=1)
    assert rig.device.registers.holding == {10: 0}
    assert rig.server.settle(120.0)
    assert rig.device.registers.holding == {10: 2000}, "... but the device has done it all the same"


def test_missing_and_garbage_sensors(rig: Rig) -> None:
    rig.device.show({"soc": MISSING, "power": Garbage(b"\x12\x34")})
    assert rig.client.read_input_registers(0, count=1, device_id=1).exception_code == 2
    assert rig.client.read_input_registers(1, count=1, device_id=1).registers == [0x1234]


def test_a_pulled_cable_comes_back_under_another_name_behind_the_same_link(rig: Rig) -> None:
    show(rig, 0.5, 0.0)
    before = rig.line.port_name
    with rig.server.line_held():
        rig.line.unplug()
    assert not rig.line.link.exists()
    with pytest.raises((ModbusException, OSError)):
        rig.client.read_input_registers(0, count=1, device_id=1)
    with rig.server.line_held():
        rig.line.plug()
    assert rig.line.port_name != before
    rig.client.close()
    rig.client = rig.connect()
    assert rig.client.read_input_registers(0, count=1, device_id=1).registers == [500]


@given(st.floats(-40, 40))
def test_signed_register_round_trip_saturates(value: float) -> None:
    assert POWER.decode(POWER.encode(value)) == pytest.approx(min(32.767, max(-32.768, value)), abs=0.0005 + 1e-9)


def test_noise_on_the_line_never_stops_the_device(tmp_path: Path) -> None:
    line = SerialLine(tmp_path / "noisy")
    server = ModbusDevice(line, Registers(input={0: 7}), lambda: 0.0)

    @settings(max_examples=150, deadline=None)
    @given(st.binary(min_size=1, max_size=300))
    def feed(noise: bytes) -> None:
        assert server._handle(line.plant_fd, noise) is not None

    feed()
    client = ModbusSerialClient(str(line.link), timeout=PATIENCE_S, retries=0)
    client.connect()
    client.socket.reset_input_buffer()
    assert client.read_input_registers(0, count=1, device_id=1).registers == [7]
    client.close()
    server.close()
    line.close()


@pytest.mark.parametrize(
    ("moment", "reads", "takes"), [("read", False, True), ("write", True, False), ("written", True, True)]
)
def test_a_trap_springs_once_at_its_moment_and_leaves_the_request_unanswered(
    rig: Rig, moment: Moment, reads: bool, takes: bool
) -> None:
    show(rig, 0.5, 0.0)
    sprung: list[Moment] = []
    rig.server.traps.append(Trap(moment, lambda: sprung.append(moment)))
    assert read_soc(rig) is reads and bool(sprung) is not reads
    written = write_answered(rig, 1500)
    assert written is (moment == "read") and sprung == [moment]
    assert rig.device.registers.holding[10] == (1500 if takes else 0)
    assert read_soc(rig) and write_answered(rig, 700), "a trap springs once"


def read_soc(rig: Rig) -> bool:
    try:
        return not rig.client.read_input_registers(0, count=1, device_id=1).isError()
    except ModbusException:
        return False


def write_answered(rig: Rig, word: int) -> bool:
    try:
        return not rig.client.write_register(10, word, device_id=1).isError()
    except ModbusException:
        return False
