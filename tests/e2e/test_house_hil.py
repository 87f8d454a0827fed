"""The house from an identified model to the daemon: identify, build, verify, and half a day on the bench."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from built_bundle import BuiltBundle
from patience import PATIENCE_S

from hil.bench import replay_scenario, run_scenario
from hil.scenario import Scenario, load_scenario
from runtime.bundle.archive import open_bundle

SCENARIO = Path(__file__).parents[2] / "scenarios" / "house-winter-week.toml"

ZONES = ("living", "kitchen", "bedroom", "office")
LEAST_KW = 0.15
"""Below it no compressor of that house turns."""


def half_a_day() -> Scenario:
    week = load_scenario(SCENARIO)
    return week.model_copy(update={"head": week.head.model_copy(update={"duration": 12 * 3600.0})})


def test_half_a_day_in_the_daemon_passes_and_replays(house_bundle: BuiltBundle, tmp_path: Path) -> None:
    scenario = half_a_day()
    result = run_scenario(scenario, house_bundle.path, house_bundle.trusted_key, tmp_path / "run")
    assert result.verdict.passed, [c.outcome for c in result.verdict.checks if not c.outcome.holds]
    cycles = result.record.cycles
    assert len(cycles) == 144
    assert {c.level for c in cycles} == {"mpc"}
    # It decides every half hour, as it was tuned to; set-points move then, and in between at the end of a pulse only.
    assert [t.solver_s is not None for t in result.timing] == [k % 6 == 0 for k in range(144)]
    moved = [
        [(a.applied[name], b.applied[name]) for name in a.applied if a.applied[name] != b.applied[name]]
        for a, b in pairwise(cycles)
    ]
    assert sum(map(bool, moved)) >= 12
    for before, after in (move for k, moves in enumerate(moved, 1) if k % 6 for move in moves):
        assert (before, after) == (pytest.approx(LEAST_KW), 0.0)
    assert {len(c.plan) > 0 for c in cycles[::24]} == {True}
    powers = np.array([[c.applied[f"hp_{zone}_power"] for zone in ZONES] for c in cycles])
    assert ((powers == 0.0) | (powers >= LEAST_KW - 1e-6)).all() and powers.max() <= 1.5
    assert (powers.std(axis=0) > 0.05).all(), "every heat pump must follow its plan, not stand still"
    again = replay_scenario(scenario, result.record_path, tmp_path / "again")
    assert again.record.sha256() == result.record.sha256()


def test_the_bundle_keeps_the_model_it_was_built_for_and_verifies_again(
    house_bundle: BuiltBundle, tmp_path: Path
) -> None:
    """`nisse verify` makes the problem again from what the bundle holds: another model would not agree."""
    out = tmp_path / "certificate.json"
    command = [sys.executable, "-m", "nisse.cli", "verify", str(house_bundle.path), "--problems", "8", "--seed", "3"]
    done = subprocess.run([*command, "--json", str(out)], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    entries = json.loads(out.read_text())["arch"]
    assert all(entry["verified"] and entry["solved"] == 8 for entry in entries.values()) and entries
    theta = open_bundle(house_bundle.path, [house_bundle.trusted_key]).theta
    assert theta["hp_living_power_curvature"] == pytest.approx(0.03)
    assert theta["living_bias"] != 0.0
