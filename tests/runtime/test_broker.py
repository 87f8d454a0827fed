"""A broker that hangs, one that floods: cycles go on, memory stays, and what was said is said again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from patience import comes_true
from tiny_site import Ears, Running, Tank, forecast, level_is

from hil.broker import Broker


def resident_kb(pid: int) -> int:
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1])


def test_a_broker_that_hangs_holds_up_nothing(
    start: Callable[..., Running], tank: Tank, ears: Ears, broker: Broker
) -> None:
    """Stopped as by a swapping machine: the connection stands and nobody reads."""
    forecast(ears)
    tank.set_level(0.3)
    daemon = start(0.5)
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    before = resident_kb(daemon.process.pid)
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        for level in (0.35, 0.4, 0.45, 0.5, 0.55):
            tank.set_level(level)
            wanted = round(0.6 - level, 3)
            assert comes_true(lambda wanted=wanted: tank.inflow == wanted)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    seen = json.loads(ears.wait_for("nisse/tank/state", lambda m: json.loads(m)["action"]["inflow"] == 0.05))
    assert seen["level"] == "mpc"
    assert resident_kb(daemon.process.pid) - before < 4096
    code, errors = daemon.end()
    assert code == 0 and "Traceback" not in errors, errors


def test_a_flood_of_inputs_costs_no_memory_and_no_cycle(start: Callable[..., Running], tank: Tank, ears: Ears) -> None:
    """Two thousand messages of 50 kB on the topic of an input, and a good one at the end."""
    forecast(ears)
    tank.set_level(0.3)
    daemon = start(0.5)
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    before = resident_kb(daemon.process.pid)
    rubbish = b"[" + b"1," * 25_000
    for _ in range(2000):
        ears.client.publish("plant/demand", rubbish, qos=0)
    tank.set_level(0.4)
    assert comes_true(lambda: tank.inflow != 0.3)  # by whichever level; but it goes on
    forecast(ears)
    ears.wait_for("nisse/tank/state", lambda m: level_is("mpc")(m) and b'"inflow":0.2}' in m)
    assert resident_kb(daemon.process.pid) - before < 8192
    code, errors = daemon.end()
    assert code == 0 and "Traceback" not in errors, errors
