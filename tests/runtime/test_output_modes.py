"""A set-point in several registers: modes, durations, two contacts, and the device given back to itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pytest
from pydantic import ValidationError

from hil.modbus_plant import Registers
from hil.modbus_tcp import ModbusTcpServer
from runtime.actuate.actuator import Actuator
from runtime.actuate.write_budget import WriteBudget
from runtime.clock import LockstepClock
from runtime.links.modbus import ModbusLink
from runtime.links.wiring import ModbusSink
from runtime.site.register import ModbusSection, Register
from runtime.site.signals import OutputSection

MODE, POWER, MINUTES = 100, 101, 103


def holding(address: int, type: str = "uint16", **more: Any) -> dict[str, Any]:
    return {"kind": "holding", "address": address, "type": type, "function": 16, **more}


def battery(**more: Any) -> OutputSection:
    """A mode, a power without a sign, a duration; 0 gives it back to itself."""

    def writes(mode: int, scale: float) -> list[dict[str, Any]]:
        return [
            {"register": holding(MODE), "value": mode},
            {"register": holding(POWER, "uint32", scale=scale), "value": "set_point"},
            {"register": holding(MINUTES), "value": 15},
        ]

    values = {
        "sink": "device",
        "unit": "W",
        "combine": {"power": 1.0},
        "safe": 0.0,
        "modes": {
            "charge": {"at_least": 1, "writes": writes(2, 1.0)},
            "discharge": {"at_most": -1, "writes": writes(3, -1.0)},
            "rest": {"writes": [{"register": holding(MODE), "value": 1}]},
        },
        "release": [{"register": holding(MODE), "value": 0}],
        **more,
    }
    return OutputSection.model_validate(values)


@pytest.fixture
def server() -> Iterator[ModbusTcpServer]:
    found = ModbusTcpServer({1: Registers(holding=dict.fromkeys(range(100, 110), 0))}, time.monotonic)
    yield found
    found.close()


class Rig:
    def __init__(self, server: ModbusTcpServer, output: OutputSection) -> None:
        self.server, self.clock = server, LockstepClock()
        self.clock.set(0.0)
        section = ModbusSection(host="127.0.0.1", port=server.port, timeout_s=5.0)
        self.link = ModbusLink("device", section, self.clock, deadline_s=None, devices={1})
        budget = WriteBudget({"battery": output.write_budget}, UTC, self.clock)
        ranges = {"battery": (-5000.0, 5000.0)}
        self.actuator = Actuator({"battery": output}, {"device": ModbusSink(self.link)}, self.clock, budget, ranges)

    def words(self) -> tuple[int, ...]:
        there = self.server.slaves[1].holding
        return there[MODE], there[POWER] << 16 | there[POWER + 1], there[MINUTES]


def test_a_set_point_is_written_as_mode_power_and_duration_at_once(server: ModbusTcpServer) -> None:
    rig = Rig(server, battery())
    assert not rig.actuator.apply({"battery": 2500.4})["battery"].problem
    assert rig.words() == (2, 2500, 15)
    assert server.requests == 1 + 3
    rig.actuator.apply({"battery": 2500.3})  # less than the register can hold
    assert server.requests == 4
    rig.actuator.apply({"battery": -70_000.0})
    assert rig.words() == (3, 70_000, 15)
    rig.actuator.apply({"battery": 0.0})
    assert rig.words()[0] == 1
    rig.link.close()


def test_a_device_is_given_back_to_itself_also_where_the_number_is_the_same(server: ModbusTcpServer) -> None:
    rig = Rig(server, battery())
    rig.actuator.apply({"battery": 0.0})
    assert rig.words()[0] == 1
    rig.actuator.safe()
    assert rig.words()[0] == 0
    before = server.requests
    rig.actuator.safe()
    assert server.requests == before
    rig.actuator.apply({"battery": 0.0})
    assert rig.words()[0] == 1
    rig.actuator.leave_safe(5.0)
    assert rig.words()[0] == 0
    rig.link.close()


def test_a_word_that_does_not_stay_is_told(server: ModbusTcpServer) -> None:
    """A command register that falls back to 0 reads as another value, unless it is not read back."""

    class Forgetful(dict[int, int]):
        def __setitem__(self, address: int, word: int) -> None:
            super().__setitem__(address, 0 if address == MODE else word)

    server.slaves[1].holding = Forgetful(server.slaves[1].holding)
    rig = Rig(server, battery())
    assert "read back 0 after writing 2" in rig.actuator.apply({"battery": 500.0})["battery"].problem
    rig.link.close()
    blind = battery().model_dump(by_alias=True)
    for mode in blind["modes"].values():
        mode["writes"][0]["readback"] = False
    rig = Rig(server, OutputSection.model_validate(blind))
    assert not rig.actuator.apply({"battery": 500.0})["battery"].problem
    rig.link.close()


@pytest.mark.parametrize(("level", "contacts"), [(1, (1, 0)), (2, (0, 0)), (3, (0, 1)), (4, (1, 1))])
def test_four_levels_by_two_contacts(server: ModbusTcpServer, level: int, contacts: tuple[int, int]) -> None:
    there = server.slaves[1]
    there.functions |= {1, 5}
    there.coil |= {0: 0, 1: 0}

    def closed(*bits: int) -> list[dict[str, Any]]:
        return [{"register": {"kind": "coil", "address": k}, "value": bit} for k, bit in enumerate(bits)]

    modes = {
        "lock": {"at_most": 1, "writes": closed(1, 0)},
        "normal": {"at_most": 2, "writes": closed(0, 0)},
        "recommended": {"at_most": 3, "writes": closed(0, 1)},
        "forced": {"writes": closed(1, 1)},
    }
    output = battery(modes=modes, release=closed(0, 0), unit="1", safe=2.0)
    rig = Rig(server, output)
    assert not rig.actuator.apply({"battery": float(level)})["battery"].problem
    assert (there.coil[0], there.coil[1]) == contacts
    rig.actuator.safe()
    assert (there.coil[0], there.coil[1]) == (0, 0)
    rig.link.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"modes": {"charge": {"at_least": 1, "writes": [{"register": holding(1)}]}}}, "without at_least and at_most"),
        ({"register": holding(1)}, "leave register, topic and channel out"),
        ({"modes": {"all": {"writes": [{"topic": "x"}]}}}, "a register: its sink is no broker"),
        ({"modes": {"all": {"writes": [{"register": {"kind": "input", "address": 1}}]}}}, "can only be read"),
        ({"modes": {"all": {"writes": [{}]}}}, "a register or a topic"),
    ],
)
def test_modes_that_cannot_be(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        battery(**change)


def test_models_of_sunspec_are_found_where_the_device_has_them(server: ModbusTcpServer) -> None:
    """Two devices of one make, with other models in front: the same registers of the site file."""
    there, other = server.slaves[1], Registers()
    server.slaves[2] = other
    for base, before, slave in ((40000, 66, there), (50000, 10, other)):
        chain = [0x5375, 0x6E53, 1, before, *[0] * before, 124, 24, *range(24), 0xFFFF, 0]
        slave.holding = dict(enumerate(chain, base))
        first = base + 4 + before + 2
        slave.holding |= {first + 6: 553, first + 20: 0xFFFF, first + 10: 0, first + 23: 0xFFFE}
    link = ModbusLink(
        "inverter", ModbusSection(host="127.0.0.1", port=server.port), LockstepClock(), deadline_s=None, devices={1, 2}
    )
    soc = {"kind": "holding", "model": 124, "address": 6, "scale_register": 20}
    asked = {
        "one": [Register.model_validate(soc)],
        "two": [Register.model_validate({**soc, "device_id": 2})],
        "missing": [Register.model_validate({**soc, "model": 802})],
    }
    for _ in range(2):
        found = link.read(asked)
        assert found["one"].value == found["two"].value == pytest.approx(55.3)
        assert found["missing"].missing and "no SunSpec model 802; it has 1, 124" in found["missing"].problem
    server.slaves[1].holding = {}
    link.close()


def test_a_value_may_be_the_sum_of_registers(server: ModbusTcpServer) -> None:
    server.slaves[1].holding |= {100: 300, 101: 120, 102: 0xFFFF}
    link = ModbusLink("meter", ModbusSection(host="127.0.0.1", port=server.port), LockstepClock(), deadline_s=None)
    terms = [Register(kind="holding", address=100), Register(kind="holding", address=101, scale=-1.0)]
    found = link.read({"grid": terms, "gap": [*terms, Register(kind="holding", address=102)]})
    assert found["grid"].value == 180.0 and found["gap"].value is None and found["gap"].missing
    link.close()
