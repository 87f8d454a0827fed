"""The real daemon process over a real serial line and a real broker, its clock in the test's hand."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tiny_site import Bench, Ears, Tank

Start = Callable[..., Bench]


def test_a_cycle_reads_solves_and_actuates(start_bench: Start, tank: Tank, ears: Ears) -> None:
    bench = start_bench()
    bench.demand(100.0)
    tank.set_level(0.3)
    event = bench.cycle()
    # 0.5 - 0.3 + 0.1 kW of demand, read over Modbus and MQTT, written over Modbus.
    assert (event["level"], event["reason"]) == ("mpc", "")
    assert event["action"] == {"inflow": pytest.approx(0.3)}
    assert tank.inflow == 0.3
    state = json.loads(ears.wait_for("nisse/tank/state"))
    assert state["level"] == "mpc" and state["inputs"]["demand"] == {
        "value": 0.1, "unit": "kW", "age_s": 0.0, "validity": "ok", "problem": "",
    }  # fmt: skip
    plan = json.loads(ears.wait_for("nisse/tank/plan"))
    assert plan["signals"]["level"]["values"] == pytest.approx([0.3, 0.5, 0.5, 0.5, 0.5])
    assert ears.wait_for("nisse/tank/availability") == b"online"
    assert bench.stop() == 0
    assert tank.inflow == 0.0
    assert ears.wait_for("nisse/tank/availability", lambda m: m == b"offline")
