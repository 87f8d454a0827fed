"""The daemon process on the machine's clock: signals, watchdog, broker and cable lost and found, reload."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import PATIENCE_S
from tiny_site import Ears, Running, Tank, forecast, level_is

from hil.broker import Broker
from runtime.bundle.archive import open_bundle, write_bundle
from runtime.bundle.keys import SigningKey


def test_sigterm_leaves_the_device_safe_and_exits_0(start: Callable[..., Running], tank: Tank, ears: Ears) -> None:
    forecast(ears)
    daemon = start(60.0)
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    assert tank.inflow == 0.3
    heard = daemon.notified(2.0)
    assert heard[0] == "READY=1" and "WATCHDOG=1" in heard
    code, errors = daemon.end()
    assert code == 0 and "Traceback" not in errors
    assert tank.inflow == 0.0
    ears.wait_for("nisse/tank/availability", lambda m: m == b"offline")
    assert "STOPPING=1" in daemon.notified(0.2)


def test_watchdog_starves_while_a_cycle_hangs(start: Callable[..., Running], tank: Tank, ears: Ears) -> None:
    forecast(ears)
    daemon = start(60.0)
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    os.kill(daemon.process.pid, signal.SIGSTOP)
    daemon.notified(1.5)
    assert daemon.notified(2.5) == []
    os.kill(daemon.process.pid, signal.SIGCONT)
    assert "WATCHDOG=1" in daemon.notified(2.5)
    code, errors = daemon.end()
    assert code == 0, errors


def test_kill_9_is_announced_by_the_broker_and_ends_the_solver(start: Callable[..., Running], ears: Ears) -> None:
    forecast(ears)
    daemon = start(60.0)
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split()
    assert len(children) == 1
    daemon.process.kill()
    assert ears.wait_for("nisse/tank/availability", lambda m: m == b"offline") == b"offline"
    deadline = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{children[0]}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{children[0]}").exists()


def test_broker_restart_brings_state_back(
    start: Callable[..., Running], tank: Tank, ears: Ears, broker: Broker
) -> None:
    forecast(ears)
    daemon = start(60.0)
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    broker.kill()
    tank.registers.holding[10] = 0
    time.sleep(0.5)
    ears.heard.clear()
    broker.start()  # without memory: nothing is retained any more
    assert ears.wait_for("nisse/tank/availability") == b"online"
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    ears.wait_for("nisse/tank/plan")
    code, errors = daemon.end()
    assert code == 0, errors


def test_broker_absent_at_start_and_cable_pulled(
    start: Callable[..., Running], tank: Tank, ears: Ears, broker: Broker
) -> None:
    """No broker: the rule works by serial. Cable out: no blocked cycle. Cable back under another name: re-asserted."""
    broker.kill()
    daemon = start(0.5)
    deadline = time.monotonic() + PATIENCE_S
    while tank.inflow != 0.125 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert tank.inflow == 0.125
    broker.start()
    ears.wait_for("nisse/tank/state", level_is("rule"))
    forecast(ears)
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    with tank.device.line_held():
        tank.line.unplug()
    ears.wait_for("nisse/tank/state", lambda m: b"is not there" in m)
    tank.registers.holding[10] = 0
    with tank.device.line_held():
        tank.line.plug()
    ears.wait_for("nisse/tank/state", lambda m: b'"outputs":{"inflow":{"value":0.3,"problem":"",' in m)
    assert tank.inflow == 0.3
    code, errors = daemon.end()
    assert code == 0 and "Traceback" not in errors


def test_dry_run_moves_nothing(start: Callable[..., Running], tank: Tank, ears: Ears) -> None:
    forecast(ears)
    daemon = start(1.0, "--dry-run", "--cycles", "2")
    shown, errors = daemon.process.communicate(timeout=PATIENCE_S)
    assert daemon.process.returncode == 0 and "Traceback" not in errors
    assert re.search(r"action +inflow 0\.3", shown) and "would be set" in shown
    assert tank.registers.writes == []
    assert not ears.heard  # a daemon that runs beside it is not disturbed
    assert not (tank.site.parent / "nisse.db").exists()


def test_sighup_swaps_a_good_bundle_and_refuses_a_bad_one(
    start: Callable[..., Running], tank: Tank, ears: Ears, bundle_directory: Path, key: SigningKey, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle_directory, tmp_path / "bundle")
    text = tank.site.read_text().replace(str(bundle_directory), str(copy))
    tank.site.write_text(text.replace("cycle_s =", "trial_cycles = 0\ncycle_s =", 1))
    forecast(ears)
    daemon = start(60.0)
    before = json.loads(ears.wait_for("nisse/tank/state", level_is("mpc")))
    old = open_bundle(copy, [key.public])
    assert old.library_path is not None
    files = {str(old.library_path.relative_to(copy)): old.library_path.read_bytes()}
    write_bundle(copy, old.manifest.model_copy(update={"name": "retuned"}), files, {"gain": 2.0}, {}, key)
    begun = time.monotonic()
    daemon.process.send_signal(signal.SIGHUP)
    after = json.loads(ears.wait_for("nisse/tank/state", lambda m: m and json.loads(m)["bundle"] != before["bundle"]))
    assert time.monotonic() - begun < 10.0
    assert after["level"] == "mpc" and after["action"] == {"inflow": pytest.approx(0.2 / 2 + 0.1)}
    (copy / "theta.json").write_text("{}")
    daemon.process.send_signal(signal.SIGHUP)
    refused = json.loads(ears.wait_for("nisse/tank/state", lambda m: b"not reloaded" in m))
    assert refused["bundle"] == after["bundle"] and refused["level"] == "mpc"
    code, errors = daemon.end()
    assert code == 0, errors


def test_a_site_without_a_broker_and_with_a_broken_log(start: Callable[..., Running], tank: Tank) -> None:
    """All inputs by serial; the log is garbage: control goes on, the file is moved aside and stays as it is."""
    text = tank.site.read_text()
    mqtt, demand = text.index("[mqtt]"), text.index("[inputs.demand]")
    text = text[:mqtt] + text[text.index("[serial.pump]") : demand] + (
        "[inputs.demand]\nsource = 'pump'\nunit = 'W'\nmax_age_s = 60\n"
        "register = { kind = 'input', address = 1, type = 'int16' }\n\n"
    ) + text[text.index("[outputs.inflow]") :]  # fmt: skip
    tank.site.write_text(text)
    tank.registers.set_input({1: 100})
    log = tank.site.parent / "nisse.db"
    log.write_bytes(b"garbage" * 1000)
    daemon = start(60.0)
    daemon.notifications.settimeout(PATIENCE_S)
    assert daemon.notifications.recv(4096) == b"READY=1"
    assert tank.inflow == 0.3
    code, errors = daemon.end()
    assert code == 0 and "nisse.db: file is not a database" in errors and "Traceback" not in errors
    (aside,) = log.parent.glob("nisse.db.damaged-*Z")
    assert aside.read_bytes() == b"garbage" * 1000
    with contextlib.closing(sqlite3.connect(log)) as db:
        assert db.execute("SELECT count(*) FROM transition").fetchone() == (1,)
