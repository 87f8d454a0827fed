"""Exploration: repeatable, as large as asked, within every limit, and only when the MPC decides."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_site import CYCLE_S, Bench, Tank, command

from runtime.decide.exploration import explore
from runtime.site.config import ExplorationSection


def test_steps_have_the_asked_size_are_held_and_repeat() -> None:
    section = ExplorationSection(std={"a": 0.2, "c": 0.05}, hold_s=600.0, seed=3)
    times = 600.0 * np.arange(4000)
    steps = np.array([explore((1.0, 2.0, 3.0), ("a", "b", "c"), section, t) for t in times]) - (1.0, 2.0, 3.0)
    assert steps.std(0) == pytest.approx([0.2, 0.0, 0.05], rel=0.05)
    assert np.abs(steps.mean(0)).max() < 0.015
    assert abs(np.corrcoef(steps[:, 0], steps[:, 2])[0, 1]) < 0.05
    assert abs(np.corrcoef(steps[1:, 0], steps[:-1, 0])[0, 1]) < 0.05
    assert explore((1.0,), ("a",), section, 601.0) == explore((1.0,), ("a",), section, 1199.0)
    assert explore((1.0,), ("a",), section, 1199.0) != explore((1.0,), ("a",), section, 1200.0)
    other = ExplorationSection(std={"a": 0.2}, hold_s=600.0, seed=4)
    assert explore((1.0,), ("a",), section, 0.0) != explore((1.0,), ("a",), other, 0.0)


def test_the_daemon_explores_within_its_limits_and_only_with_the_mpc(
    start_bench: Callable[..., Bench], tank: Tank, tmp_path: Path
) -> None:
    """Seen at the device and in the log; a step so large that bounds and safety filter have to act is cut by them."""
    with tank.site.open("a") as file:
        file.write(f"\n[exploration]\nstd = {{ inflow = 5.0 }}\nhold_s = {CYCLE_S}\n")
    bench = start_bench()
    bench.demand(100.0, hours=2)
    written = []
    for _ in range(8):
        tank.set_level(0.3)
        event = bench.cycle()
        assert event["level"] == "mpc"
        written.append(tank.inflow)
    # Undisturbed every one of them is 0.3; the tank has room for 0.3 - 0.1 - 0.01 - 0.05 down and 0.95 - 0.3 + 0.1 up.
    assert np.std(written) > 0.1
    assert min(written) >= -0.2 and max(written) <= 0.8
    tank.device.answer = "silent"
    assert bench.cycle()["level"] == "shifted_plan"
    with contextlib.closing(sqlite3.connect(tmp_path / "nisse.db")) as db:
        rows = db.execute("SELECT level, nominal, action FROM transition ORDER BY id").fetchall()
    explored = [json.loads(nominal) != json.loads(action) for level, nominal, action in rows if level == "mpc"]
    assert all(json.loads(nominal)["inflow"] == pytest.approx(0.3) for level, nominal, _ in rows if level == "mpc")
    assert sum(explored) >= 6
    level, nominal, action = rows[-1]
    assert level == "shifted_plan"
    assert json.loads(nominal) == json.loads(action)
    tank.device.answer = "normal"
    assert bench.stop() == 0


def test_an_action_that_the_bundle_does_not_have_is_named(tank: Tank) -> None:
    tank.site.write_text(tank.site.read_text() + "\n[exploration]\nstd = { inflou = 0.1 }\n")
    found = subprocess.run(command("check", tank.site), capture_output=True, text=True)
    assert found.returncode == 78
    assert "exploration.std" in found.stderr
    assert "inflow" in found.stderr
