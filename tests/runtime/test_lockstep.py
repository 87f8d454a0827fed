"""The real daemon process over a real serial line and a real broker, its clock in the test's hand."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_S
from tiny_site import Bench, Ears, Tank

from runtime.errors import EXIT_UNSAFE
from runtime.store.transitions import unpack_forecast

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


def test_levels_fall_and_return_with_the_device(start_bench: Start, tank: Tank) -> None:
    """Silent device: the plan carries on from expected states until it is too old, then safe; then back with dwell."""
    bench = start_bench()
    bench.demand(100.0, hours=2)
    tank.set_level(0.3)
    assert bench.cycle()["level"] == "mpc"
    tank.device.answer = "silent"
    found = [bench.cycle() for _ in range(4)]
    # Age limit of the measurement is 30 s, of the plan 130 s; cycles are 60 s apart.
    assert [event["level"] for event in found] == ["shifted_plan", "shifted_plan", "safe", "safe"]
    assert "no valid answer" in found[0]["reason"] and found[0]["inputs"]["level"]["validity"] == "stale"
    assert found[0]["action"] == {"inflow": pytest.approx(0.1)}  # level 0.5 was expected by now
    assert found[2]["action"] == {} and "pump" in found[2]["outputs"]["inflow"]["problem"]
    tank.device.answer = "normal"
    assert [bench.cycle()["level"] for _ in range(2)] == ["safe", "mpc"]
    assert bench.stop() == 0


@pytest.mark.parametrize(("mood", "reason"), [
    ("crash", "solver process died (SIGABRT)"),
    ("hang", "solver process took longer than its deadline"),
    ("nan", "solver: not finite"),
    ("unconverged", "solver: iteration limit reached"),
])  # fmt: skip
def test_native_code_that_fails_costs_a_level_and_no_more(
    start_bench: Start, tank: Tank, mood: str, reason: str
) -> None:
    bench = start_bench(TINY_CONTROLLER=mood)
    bench.demand(0.0)
    tank.set_level(0.94)  # where the tiny controller shows its mood
    event = bench.cycle()
    assert (event["level"], event["reason"]) == ("rule", reason)
    # The rule wants to hold 0.125; at 0.94 the safety filter allows 0.95 - 0.94 - 0.01 of disturbance.
    assert event["filter"]["changed"] and event["filter"]["limits"] == ["level upper"]
    assert event["action"] == {"inflow": pytest.approx(0.0, abs=1e-9)}
    tank.set_level(0.4)
    assert bench.cycle()["level"] == "rule"  # mpc is back, but waits out its dwell
    assert bench.cycle()["level"] == "mpc"
    assert bench.stop() == 0


def test_garbage_is_survived_and_told(start_bench: Start, tank: Tank, ears: Ears) -> None:
    bench = start_bench()
    for payload in (b"\xff\x00", b"[" * 5000, b"NaN", b'{"values": "many"}', b"x" * 400_000):
        ears.say("plant/demand", payload)
        event = bench.cycle()
        assert event["level"] == "rule" and event["reason"].startswith("demand: plant/demand: ")
    bench.demand()
    assert bench.cycle()["level"] == "rule"
    assert bench.cycle()["level"] == "mpc"
    bench.demand(watts=99_000.0)
    event = bench.cycle()
    assert event["level"] == "shifted_plan" and "outside [-1, 1]" in event["reason"]
    for answer in ("garbage", "bad_crc", "exception"):
        tank.device.answer = answer  # type: ignore[assignment]
        assert bench.cycle()["level"] in {"shifted_plan", "safe"}
    assert bench.stop() == EXIT_UNSAFE  # it refuses its safe value too


def test_clock_jump_discards_the_plan(start_bench: Start, tank: Tank) -> None:
    bench = start_bench()
    bench.demand(hours=1)
    assert bench.cycle(jump_s=7 * 86400.0)["level"] == "mpc"
    event = bench.cycle()  # the forecast is of last week now, and so is the plan
    assert event["level"] == "rule" and event["reason"] == "demand: does not cover the present"
    assert event["inputs"]["level"]["age_s"] == 0.0
    assert bench.stop() == 0


def test_mode_command_is_obeyed_acknowledged_and_not_replayed(start_bench: Start, tank: Tank, ears: Ears) -> None:
    ears.say("nisse/tank/set/mode", "safe", retain=True)  # a leftover from before
    bench = start_bench()
    bench.demand()
    assert bench.cycle()["level"] == "mpc"
    ears.say("nisse/tank/set/mode", '{"value": "rule", "transaction": "t1"}')
    event = bench.cycle()
    assert (event["level"], event["reason"]) == ("rule", "limited to rule by command")
    assert json.loads(ears.wait_for("nisse/tank/response/mode")) == {"status": "ok", "error": "", "transaction": "t1"}
    ears.say("nisse/tank/set/mode", "\x00" * 1000)
    ears.say("nisse/tank/request/" + "x" * 300, "?")
    bench.cycle()
    assert json.loads(ears.wait_for("nisse/tank/response/mode", lambda m: b'"error",' in m))["error"].startswith(
        "mode is one of"
    )
    assert bench.stop() == 0
    ears.say("nisse/tank/set/mode", b"", retain=True)


def test_two_runs_leave_the_same_rows_and_kill_loses_none(start_bench: Start, tank: Tank, tmp_path: Path) -> None:
    def run() -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
        (tmp_path / "nisse.db").unlink(missing_ok=True)
        bench, events = start_bench(), []
        for k in range(4):
            bench.demand(50.0 * k, hours=1)
            tank.set_level(0.2 + 0.1 * k)
            events.append(bench.cycle())
            events[-1].pop("timing"), events[-1].pop("overhead_s")
        os.killpg(bench.process.pid, signal.SIGKILL)
        bench.process.wait()
        with contextlib.closing(sqlite3.connect(tmp_path / "nisse.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return events, db.execute("SELECT * FROM transition ORDER BY id").fetchall()

    first, second = run(), run()
    assert len(first[1]) == 4
    assert first == second
    row = dict(zip(("id", "time_s", "level", "reason", "bundle", "state", "action"), first[1][3], strict=False))
    assert json.loads(row["state"]) == {"level": 0.5} and json.loads(row["action"]) == first[0][3]["action"]
    forecast = unpack_forecast(first[1][3][8], 1)
    assert len(forecast) == 5 and forecast[0] == (0.15,)


def test_after_kill_9_the_plan_is_taken_up_again(start_bench: Start, tank: Tank) -> None:
    bench = start_bench()
    bench.demand(hours=1)
    assert bench.cycle()["level"] == "mpc"
    os.killpg(bench.process.pid, signal.SIGKILL)
    bench.process.wait()
    again = start_bench()
    again.time_s = bench.time_s
    event = again.cycle()  # nobody has sent the forecast again
    assert event["level"] == "shifted_plan" and event["reason"] == "demand: nothing received yet"
    again.demand()
    assert [again.cycle()["level"], again.cycle()["level"]] == ["shifted_plan", "mpc"]
    assert again.stop() == 0


def test_a_disk_that_is_full_stops_the_log_and_not_the_control(start_bench: Start, tank: Tank, ears: Ears) -> None:
    bench = start_bench()
    bench.demand(hours=1)
    assert bench.cycle()["level"] == "mpc"
    _, hard = resource.prlimit(bench.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(bench.process.pid, resource.RLIMIT_FSIZE, (0, hard))
    tank.set_level(0.4)
    assert bench.cycle()["action"] == {"inflow": pytest.approx(0.2)}
    assert tank.inflow == 0.2
    state = json.loads(ears.wait_for("nisse/tank/state", lambda m: b'"log"' in m))
    assert state["level"] == "mpc" and state["notices"]["log"]
    resource.prlimit(bench.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    bench.cycle()
    assert json.loads(ears.wait_for("nisse/tank/state", lambda m: b'"log"' not in m))["notices"] == {}
    assert bench.stop() == 0


def test_a_bench_that_dies_leaves_the_device_safe(start_bench: Start, tank: Tank) -> None:
    bench = start_bench()
    bench.demand()
    bench.cycle()
    assert tank.inflow == 0.3
    bench.channel.shutdown(socket.SHUT_RDWR)
    assert bench.process.wait(PATIENCE_S) == 1
    assert tank.inflow == 0.0
    assert bench.process.stderr is not None
    assert b"the bench went away" in bench.process.stderr.read().splitlines()[-1]
