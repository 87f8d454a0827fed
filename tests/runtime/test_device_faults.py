"""Random faults of the network and the device, in any order: no reading is ever another one, or of another moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_site import Bench, Tank

from hil.modbus_plant import Registers
from hil.modbus_tcp import Answer, ModbusTcpServer
from runtime.clock import LockstepClock
from runtime.links.modbus import ModbusLink, Telling
from runtime.site.register import ModbusSection, Register

FAULTS: tuple[Answer, ...] = (
    "normal", "normal", "normal", "silent", "exception", "other_transaction", "twice", "garbage", "cut", "hang_up",
)  # fmt: skip
SCHEDULES, CYCLES = 25, 8


def schedule(seed: int) -> None:
    """Two devices on a gateway; each reading of each cycle is the present one, or says why it is older."""
    rng = np.random.default_rng(seed)
    slaves = {1: Registers(holding={0: 0, 1: 0, 10: 0}), 2: Registers(holding={0: 0, 50: 0, 10: 0})}
    server = ModbusTcpServer(slaves, time.monotonic)
    clock = LockstepClock()
    section = ModbusSection(host="127.0.0.1", port=server.port, timeout_s=0.15)
    link = ModbusLink("gateway", section, clock, deadline_s=None, devices={1, 2})
    asked = {
        f"d{device}_{address}": [Register(kind="holding", address=address, device_id=device)]
        for device, address in ((1, 0), (1, 1), (2, 0), (2, 50))
    }
    good: dict[str, float] = {}
    for cycle in range(1, CYCLES + 1):
        clock.set(100.0 * cycle)
        number = {name: 1000.0 * k + cycle for k, name in enumerate(asked)}
        for name, (register,) in asked.items():
            slaves[int(name[1])].holding[register.address] = int(number[name])
        server.answer = FAULTS[rng.integers(len(FAULTS))] if cycle < CYCLES else "normal"
        gone = slaves.pop(2) if rng.random() < 0.2 and cycle < CYCLES else None
        server.slaves = dict(slaves)
        for name, arrival in link.read(asked).items():
            if arrival.problem:
                assert arrival.value == good.get(name), (seed, cycle, name, arrival)
            else:
                assert arrival.value == number[name], (seed, cycle, name, arrival)
                good[name] = number[name]
        told = link.write(Telling(Register(kind="holding", address=10, device_id=1), float(cycle)))
        assert told.problem or slaves[1].holding[10] == cycle
        if gone is not None:
            slaves[2] = gone
    assert set(good) == set(asked) and not told.problem, (seed, good, told)
    link.close()
    server.close()


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_a_random_schedule_of_faults(seed: int) -> None:
    schedule(seed)


PROFILE = """
[device]
name = "a tank with a pump"
kind = "meter"
reached = ["tcp"]
setup = "none"
wear = "none"
timeout_s = 0.5

[source.here]
title = "this test"
place = "here"
date = 2026-01-01

[read.level]
text = "how full it is"
unit = "%"
range = [0, 100]
register = { kind = "input", address = 7, type = "int32", word_order = "little", scale_register = 9, scale = 10 }
source = ["here"]

[write.inflow]
text = "what flows in"
unit = "W"
range = [-800, 800]
safe = 0
source = ["here"]
release = [{ register = { kind = "holding", address = 20, function = 16 }, value = 0 }]

[write.inflow.modes.run]
writes = [
    { register = { kind = "holding", address = 20, function = 16 }, value = 5 },
    { register = { kind = "holding", address = 21, type = "int32", function = 16 } },
]
"""


def test_the_daemon_runs_a_house_by_the_name_of_its_device(
    tank: Tank, start_bench: Callable[..., Bench], tmp_path: Path
) -> None:
    """Level and pump over TCP by a profile of one's own: MPC, a silent device, back again, and released at the end."""
    there = Registers(input={7: 0, 8: 0, 9: 0xFFFF}, holding={20: 0, 21: 0, 22: 0})
    server = ModbusTcpServer({1: there}, time.monotonic)
    (tmp_path / "tank.toml").write_text(PROFILE)
    text = tank.site.read_text()
    pump = f'[device.pump]\nprofile = "tank.toml"\nhost = "127.0.0.1"\nport = {server.port}\n\n'
    text = text[: text.index("[serial.pump]")] + pump + text[text.index("[inputs.level]") :]
    text = text.replace(text[text.index('register = { kind = "input"') : text.index("[inputs.demand]")], "\n")
    text = text.replace(text[text.index('register = { kind = "holding"') : text.index("combine")], "")
    tank.site.write_text(text.replace("safe = 0.0\n", ""))
    bench = start_bench()

    def cycle(level: float) -> dict[str, Any]:
        there.set_input({7: round(100 * level), 8: 0})
        bench.demand(hours=2)
        bench.cycle()
        return bench.state()

    state = cycle(0.5)
    assert state["inputs"]["level"]["validity"] == "ok" and state["level"] == "mpc", state["reason"]
    assert there.holding[20] == 5
    inflow = (there.holding[21] << 16 | there.holding[22]) / 1000
    assert inflow == pytest.approx(state["outputs"]["inflow"]["value"] / 1000)
    server.answer = "silent"
    for _ in range(3):
        state = cycle(0.5)
    assert state["inputs"]["level"]["validity"] != "ok" and "no valid answer" in state["inputs"]["level"]["problem"]
    server.answer = "normal"
    for _ in range(3):
        state = cycle(0.5)
    assert state["level"] == "mpc" and there.holding[20] == 5
    assert bench.stop() == 0
    assert there.holding[20] == 0, "given back to its own control"
    server.close()
