"""Whether the model holds: what is not as the house file says is found with its size, and what is raises nothing."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from simulated_field import CheapHours, live

from systems.design import HouseDesign
from systems.house_file import read_house
from systems.world.generate import generated_world
from tuner.evaluate.health import HealthFinding, health_of
from tuner.loop.replay import replay_log

DAYS = 3.0
SEEDS = range(5)
COP = ("max_power_kw = 1.5\n", "max_power_kw = 1.5\ncop = [[-20, 1.2], [20, 1.2]]\n")


def lived(log: Path, house: str, seed: int, days: float, change: tuple[str, str] = ("", "")) -> HouseDesign:
    """A log of the house with the change in it; the design is that of the house file without it."""
    text = read_house(house)[0]
    assert not change[0] or text.count(change[0]) == 1
    design, real = HouseDesign(text), HouseDesign(text.replace(*change) if change[0] else text)
    start = datetime(2024, 1, 8, tzinfo=design.house.timezone)
    world = generated_world(design.house, start, days + 3, seed=seed)
    policy = CheapHours(real, np.random.default_rng(seed), std=0.1)
    live(real, world, policy, days=days, seed=seed, log=log, noise_k=0.02 if design.house.of("zone") else None)
    return design


def found(log: Path, design: HouseDesign) -> dict[str, HealthFinding]:
    return {finding.about: finding for finding in health_of(replay_log(log, design), design)}


@pytest.mark.parametrize("house", ["battery", "flat"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_house_that_is_as_its_file_says_raises_nothing(house: str, seed: int, tmp_path: Path) -> None:
    log = tmp_path / "nisse.db"
    said = found(log, lived(log, house, seed, DAYS))
    assert said and all(finding.holds for finding in said.values()), said


@pytest.mark.parametrize("seed", [0, 1])
def test_a_battery_that_has_lost_capacity_is_told_with_what_is_left(seed: int, tmp_path: Path) -> None:
    log = tmp_path / "nisse.db"
    finding = found(log, lived(log, "battery", seed, DAYS, ("capacity_kwh = 10", "capacity_kwh = 7")))[
        "home on home_soc"
    ]
    assert not finding.holds
    assert 10.0 / finding.value == pytest.approx(7.0, abs=0.3)
    assert "the house file says 10: has changed" in finding.said and "kWh (" in finding.said


def test_a_heat_pump_of_another_cop_is_told_with_what_it_is_worth(tmp_path: Path) -> None:
    log = tmp_path / "nisse.db"
    finding = found(log, lived(log, "flat", 0, DAYS, COP))["hp on living_temperature"]
    assert not finding.holds and finding.high < 0.8
    assert "times as much as the model says" in finding.said


def test_a_drift_of_what_is_not_foreseen_is_told_and_a_steady_fortnight_is_none(tmp_path: Path) -> None:
    log = tmp_path / "nisse.db"
    design = lived(log, "battery", 0, 14.5)
    steady = found(log, design)
    assert all(finding.holds for finding in steady.values()) and "innovations of home_soc" in steady
    # For a week half a per cent of the charge is lost in every quarter of an hour, 4.8 kWh a day.
    with sqlite3.connect(log) as db:
        rows = db.execute("SELECT id, state FROM transition ORDER BY id").fetchall()
        since = len(rows) // 2
        for k, (row, state) in enumerate(rows):
            values = json.loads(state)
            values["home_soc"] -= 0.005 * max(0, k - since)
            db.execute("UPDATE transition SET state = ? WHERE id = ?", (json.dumps(values), row))
    drifted = found(log, design)["innovations of home_soc"]
    assert not drifted.holds and drifted.value < -3.0 and "drift: something of the house" in drifted.said
