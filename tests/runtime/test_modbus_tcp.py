"""Devices over Modbus TCP: every kind of number, blocks, several devices on a line, and what networks do."""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.modbus_plant import ModbusDevice, Registers
from hil.modbus_tcp import Answer, ModbusTcpServer
from hil.serial_line import SerialLine
from runtime.actuate.delivery import IN_FORCE
from runtime.clock import LockstepClock, SystemClock
from runtime.links.modbus import ModbusLink, Telling
from runtime.links.modbus_blocks import RegisterSpan, joined, spans_of
from runtime.links.registers import decode, encode
from runtime.site.register import ModbusSection, Register, RegisterType, SerialSection


def each(registers: dict[str, Register]) -> dict[str, list[Register]]:
    """Values of one register each."""
    return {name: [register] for name, register in registers.items()}


FORMATS = {"uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q", "float32": "f", "float64": "d"}  # fmt: skip # noqa: E501


def holding(address: int, type: RegisterType = "uint16", **more: object) -> Register:
    return Register.model_validate({"kind": "holding", "address": address, "type": type, **more})


def as_a_device_keeps_it(value: float, type: RegisterType, words: str, bytes_: str) -> list[int]:
    """By struct alone: the bytes in Modbus's order, words turned round and bytes swapped where the device does so."""
    packed = struct.pack(">" + FORMATS[type], value if type.startswith("float") else int(value))
    found = list(struct.unpack(f">{len(packed) // 2}H", packed))
    found = found[::-1] if words == "little" else found
    return found if bytes_ == "big" else [struct.unpack("<H", struct.pack(">H", word))[0] for word in found]


@pytest.fixture
def server() -> Iterator[ModbusTcpServer]:
    found = ModbusTcpServer({1: Registers()}, time.monotonic)
    yield found
    found.close()


def link_to(server: ModbusTcpServer, **more: object) -> ModbusLink:
    section = ModbusSection.model_validate({"host": "127.0.0.1", "port": server.port, "timeout_s": 5.0, **more})
    clock = LockstepClock()
    clock.set(0.0)
    return ModbusLink("device", section, clock, deadline_s=None, devices=server.slaves)


@pytest.mark.parametrize("type", FORMATS)
@pytest.mark.parametrize("words", ["big", "little"])
@pytest.mark.parametrize("bytes_", ["big", "little"])
def test_numbers_of_every_width_in_every_order(type: RegisterType, words: str, bytes_: str) -> None:
    register = holding(10, type, word_order=words, byte_order=bytes_, scale=0.5)
    for raw in (0, 1, 258, 32000, *([-2, -258] if "uint" not in type else []), *([70_000] if "16" not in type else [])):
        there = as_a_device_keeps_it(raw, type, words, bytes_)
        assert decode(there, register) == raw / 2
        assert encode(raw / 2, register) == there


def test_what_a_register_says_when_it_has_no_value() -> None:
    for type, bits in {"uint64": 2**64 - 1, "int64": 2**63, "uint32": 2**32 - 1, "int32": 2**31}.items():
        words = list(struct.unpack(">4H", bits.to_bytes(8, "big")))[-4 if "64" in type else -2 :]
        with pytest.raises(ValueError, match="not implemented"):
            decode(words, holding(1, type))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not implemented"):
        decode([0x7FF8, 0, 0, 0], holding(1, "float64"))


def test_scale_factors_bit_fields_coils_and_contacts(server: ModbusTcpServer) -> None:
    there = server.slaves[1]
    there.holding |= {0: 1234, 1: 0xFFFE, 2: 0x8000, 3: 0b1011_0000, 4: 777, 5: 0}
    there.functions |= {1, 2, 5, 15}
    there.coil |= {7: 1, 8: 0}
    there.discrete |= {0: 0, 1: 1}
    link = link_to(server)
    registers = {
        "scaled": holding(0, scale_register=1),
        "no_factor": holding(0, scale_register=2),
        "bits": holding(3, mask=0b0111_0000),
        "bit": holding(3, mask=0b1000_0000),
        "coil": Register(kind="coil", address=7),
        "contact": Register(kind="discrete", address=1),
    }
    found = link.read(each(registers))
    assert found["scaled"].value == 12.34
    assert found["no_factor"].value is None and found["no_factor"].missing
    assert [found[name].value for name in ("bits", "bit", "coil", "contact")] == [3.0, 1.0, 1.0, 1.0]
    assert link.write(Telling(holding(4, scale_register=1), 5.67)) == IN_FORCE and there.holding[4] == 567
    assert link.write(Telling(Register(kind="coil", address=8), 1.0)) == IN_FORCE and there.coil[8] == 1
    assert link.write(Telling(Register(kind="coil", address=8, function=15), 0.0)) == IN_FORCE and there.coil[8] == 0
    assert "0 or 1" in link.write(Telling(Register(kind="coil", address=8), 0.5)).problem
    link.close()


def test_neighbours_come_in_one_answer_and_a_device_that_will_not_is_asked_one_by_one(server: ModbusTcpServer) -> None:
    there = server.slaves[1]
    there.holding |= dict.fromkeys(range(200), 5)
    registers = {f"r{k}": holding(k) for k in range(60)} | {"far": holding(150)}
    link = link_to(server)
    assert {arrival.value for arrival in link.read(each(registers)).values()} == {5.0}
    assert server.requests == 2
    there.together = False
    assert {arrival.value for arrival in link.read(each(registers)).values()} == {5.0}
    assert server.requests == 2 + 1 + 60 + 1
    link.read(each(registers))
    assert server.requests == 64 + 61  # it is not tried again
    assert joined(spans_of([holding(0), holding(4)], 1), 3) == [RegisterSpan(1, "holding", 0, 5)]
    assert len(joined(spans_of([holding(0), holding(5)], 1), 3)) == 2
    assert [s.count for s in joined([RegisterSpan(1, "holding", k, 1) for k in range(130)], 0)] == [125, 5]
    link.close()


def test_a_register_that_does_not_exist_costs_itself_only(server: ModbusTcpServer) -> None:
    server.slaves[1].holding |= {0: 1, 2: 3}
    link = link_to(server, gap=2)
    found = link.read({"a": [holding(0)], "b": [holding(1)], "c": [holding(2)]})
    assert (found["a"].value, found["c"].value) == (1.0, 3.0) and "exception 2" in found["b"].problem
    link.close()


def test_a_device_that_takes_one_function_only(server: ModbusTcpServer) -> None:
    there = server.slaves[1]
    there.holding |= {0: 0}
    there.functions = frozenset({3, 16})
    link = link_to(server)
    refused = link.write(Telling(holding(0), 5.0))
    assert not refused.arrived and "exception 1" in refused.problem
    assert link.write(Telling(holding(0, function=16), 5.0)) == IN_FORCE and there.holding[0] == 5
    link.close()


def test_what_belongs_together_is_written_at_once(server: ModbusTcpServer) -> None:
    there = server.slaves[1]
    there.holding |= dict.fromkeys(range(10), 0)
    link = link_to(server)
    block = [holding(k, "uint16" if k < 2 else "int32", function=16) for k in (0, 1, 2)]
    tellings = [Telling(block[0], 4.0), Telling(block[1], 900.0), Telling(block[2], -2500.0)]
    before = server.requests
    assert link.write(*tellings) == IN_FORCE
    assert server.requests == before + 1 + 3  # one to write, each read back
    assert [there.holding[k] for k in range(4)] == [4, 900, 0xFFFF, 0x10000 - 2500]
    link.close()


@pytest.mark.parametrize("answer", ["other_transaction", "garbage", "cut", "hang_up", "silent"])
def test_no_answer_of_a_network_is_taken_for_another(server: ModbusTcpServer, answer: Answer) -> None:
    there = server.slaves[1]
    there.holding |= {0: 11, 1: 22}
    link = link_to(server, timeout_s=0.3)
    assert link.read({"x": [holding(0)]})["x"].value == 11.0
    server.answer = answer
    there.holding[0] = 99
    arrival = link.read({"x": [holding(0)]})["x"]
    assert arrival.value == 11.0 and "no valid answer" in arrival.problem
    server.answer = "normal"
    link.insist()
    assert link.read({"y": [holding(1)]})["y"].value == 22.0
    link.close()


def test_an_answer_that_comes_late_or_twice_is_not_the_next_ones(server: ModbusTcpServer) -> None:
    there = server.slaves[1]
    there.holding |= {0: 11, 50: 22}
    link = link_to(server, timeout_s=0.4)
    server.answer = "twice"
    for _ in range(5):
        found = link.read({"x": [holding(0)], "y": [holding(50)]})
        assert (found["x"].value, found["y"].value) == (11.0, 22.0)
    server.answer, server.delay_s = "slow", 0.6
    link.read({"x": [holding(0)]})
    server.answer = "normal"
    for _ in range(5):
        link.insist()
        found = link.read({"y": [holding(50)], "x": [holding(0)]})
        assert (found["x"].value, found["y"].value) in {(11.0, 22.0), (11.0, None)}
    assert found["y"].value == 22.0
    link.close()


def test_a_device_that_hangs_up_on_the_silent_is_asked_again_at_once(server: ModbusTcpServer) -> None:
    """Minutes lie between two cycles, and many devices end a connection before."""
    server.slaves[1].holding |= {0: 1}
    link = link_to(server)
    for cycle in range(1, 6):
        server.slaves[1].holding[0] = cycle
        arrival = link.read({"x": [holding(0)]})["x"]
        assert (arrival.value, arrival.problem) == (float(cycle), "")
        server.hang_up()
        time.sleep(0.05)
    link.close()


def test_devices_that_are_not_there(server: ModbusTcpServer) -> None:
    server.slaves[1].holding |= {0: 1}
    gateway = link_to(server)
    found = gateway.read({"near": [holding(0)], "behind": [holding(0, device_id=1)]})
    assert found["near"].value == found["behind"].value == 1.0
    gateway.close()
    server.close()
    section = ModbusSection(host="127.0.0.1", port=server.port, timeout_s=0.5)
    gone = ModbusLink("device", section, SystemClock(), deadline_s=30.0)
    assert "cannot be reached" in gone.read({"x": [holding(0)]})["x"].problem
    gone.close()


@pytest.mark.parametrize("by", ["tcp", "serial"])
def test_two_devices_on_one_line_and_one_of_them_dies(by: str, tmp_path: Path) -> None:
    """Each has its own registers, back-off and session; one worker asks both."""
    one, two = Registers(holding={0: 1, 10: 0}), Registers(holding={0: 2, 10: 0})
    clock = LockstepClock()
    clock.set(0.0)
    serial = tcp = None
    line = SerialLine(tmp_path / "line")
    if by == "tcp":
        tcp = ModbusTcpServer({3: one, 4: two}, time.monotonic)
        section: SerialSection | ModbusSection = ModbusSection(host="127.0.0.1", port=tcp.port, timeout_s=5.0)
    else:
        serial = ModbusDevice(line, one, time.monotonic, device_id=3, others={4: two})
        section = SerialSection(protocol="modbus", port=str(line.link), parity="N", timeout_s=0.5)
    link = ModbusLink("line", section, clock, deadline_s=None, devices={3, 4})
    asked = {"one": holding(0, device_id=3), "two": holding(0, device_id=4)}
    told = {k: Telling(holding(10, device_id=k), 7.0) for k in (3, 4)}

    def read() -> tuple[object, ...]:
        found = link.read(each(asked))
        return tuple(None if found[n].problem else found[n].value for n in ("one", "two"))

    assert read() == (1.0, 2.0)
    assert link.write(told[4]) == IN_FORCE and (one.holding[10], two.holding[10]) == (0, 7)
    sessions = [link.session_of(asked[name]) for name in ("one", "two")]
    if tcp is not None:
        del tcp.slaves[3]
    if serial is not None:
        serial.mute = {3}
    for second in range(120):
        clock.set(float(second))
        assert read() == (None, 2.0)
    assert link.session_of(asked["two"]) == sessions[1] and link.session_of(asked["one"]) > sessions[0]
    assert not link.write(told[3]).answered and link.write(told[4]) == IN_FORCE
    if tcp is not None:
        tcp.slaves[3] = one
    if serial is not None:
        serial.mute = set()
    clock.set(1000.0)
    assert read() == (1.0, 2.0) and link.problem == ""
    link.close()
    for device in (tcp, serial, line):
        if device is not None:
            device.close()


def test_a_nan_is_nothing() -> None:
    words = list(struct.unpack(">2H", struct.pack(">f", math.nan)))
    with pytest.raises(ValueError, match="NaN"):
        decode(words, holding(0, "float32"))
