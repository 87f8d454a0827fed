"""Savings: the counterfactual of the log against the same house really run by its rules, where the truth is known."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from simulated_field import AtOnce, CheapHours, Lived, live

from nisse.cli import main
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.world.generate import generated_world
from tuner.commands.savings import savings_from
from tuner.evaluate.savings import Saving, Savings, told

DAYS = 14.0


def both(house: str, log: Path, start: str, seed: int, days: float) -> tuple[HouseDesign, Lived, Lived]:
    """The same house and weather twice: by something else than its rules, with a log, and by its rules."""
    design = HouseDesign(read_house(house)[0])
    zone = design.house.timezone
    world = generated_world(design.house, datetime.fromisoformat(start).replace(tzinfo=zone), days + 3, seed=seed)
    policy = CheapHours(design, np.random.default_rng(seed), std=0.1)
    lived = live(design, world, policy, days=days, seed=seed, log=log)
    ruled = live(design, world, AtOnce(design, design.problem.theta_default()), days=days, seed=seed)
    return design, lived, ruled


@dataclass(frozen=True)
class Case:
    log: Path
    design: HouseDesign
    lived: Lived
    ruled: Lived


@pytest.fixture(scope="module")
def battery(tmp_path_factory: pytest.TempPathFactory) -> Case:
    log = tmp_path_factory.mktemp("field") / "nisse.db"
    return Case(log, *both("battery", log, "2024-03-24", 0, DAYS))


def test_a_battery_is_judged_as_its_rules_would_really_have_done(battery: Case) -> None:
    found = savings_from(battery.log, battery.design).whole
    truth = battery.ruled.paid() - battery.lived.paid()
    assert found.low is not None and found.high is not None
    assert found.low <= truth <= found.high
    assert found.high - found.low < 0.1 * battery.ruled.paid("energy")
    assert found.paid == pytest.approx(battery.lived.paid("energy"), rel=0.01)


def test_months_and_the_last_week_make_up_the_whole(
    battery: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, document = tmp_path / "savings.html", tmp_path / "savings.json"
    command = ["savings", "battery", "--log", str(battery.log), "--html", str(page), "--json", str(document)]
    assert main(command) == 0
    assert "more than its rules would have in 14.0 days" in capsys.readouterr().out  # at cheap hours, whatever it costs
    found = json.loads(document.read_text())
    assert [month["name"] for month in found["months"]] == ["2024-03", "2024-04"]
    for part in ("energy", "capacity", "paid", "days"):
        assert sum(month[part] for month in found["months"]) == pytest.approx(found["whole"][part])
    assert found["week"]["days"] == pytest.approx(7.0)
    assert "2024-03" in page.read_text() and "<svg" in page.read_text()


def test_a_hole_is_left_out_and_said_and_what_is_left_stays_true(battery: Case, tmp_path: Path) -> None:
    whole = savings_from(battery.log, battery.design)
    holed = copied(battery.log, tmp_path, "DELETE FROM transition WHERE id BETWEEN 500 AND 691")
    found = savings_from(holed, battery.design)
    assert found.left_out_days == pytest.approx(2.0, abs=0.02)
    assert found.whole.days == pytest.approx(whole.whole.days - 2.0, abs=0.02)
    assert any("2.0 days of the log do not count" in line for line in told(found))
    # The same two days left out of the truth.
    kept = [k for k in range(len(battery.lived.rows)) if not 499 <= k < 692]
    paid = [sum(lived.rows[k]["energy_cost"] for k in kept) for lived in (battery.lived, battery.ruled)]
    assert found.whole.energy == pytest.approx(paid[1] - paid[0], abs=0.05 * paid[1])


def test_a_log_that_cannot_say_is_refused_in_a_line(
    battery: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unsafe = copied(battery.log, tmp_path, "UPDATE transition SET action = '{}', level = 'safe'")
    for house, log, expected in (
        ("flat", battery.log, "no cycle has the states (living_temperature"),
        ("battery", unsafe, "no 180 minutes without a gap"),
        ("battery", tmp_path / "nothing.db", "there is no such file"),
    ):
        assert main(["savings", house, "--log", str(log)]) == 65
        said = capsys.readouterr().err.strip()
        assert expected in said and "\n" not in said


def copied(log: Path, folder: Path, *statements: str) -> Path:
    copy = folder / "changed.db"
    with sqlite3.connect(log) as db, sqlite3.connect(copy) as target:
        db.backup(target)
        for statement in statements:
            target.execute(statement)
    return copy


@pytest.mark.parametrize(
    ("energy", "low", "high", "words"),
    [
        (3.0, 1.0, 5.0, "home saved 3.00 EUR against its rules in 7.0 days, 30.0 % of what they would have cost (95 % "
         "interval 1.00 to 5.00 EUR); saved of energy +3.00"),
        (-2.0, -3.0, 0.5, "home cost 2.00 EUR more than its rules would have in 7.0 days, 40.0 % of what they would "
         "have cost (95 % interval -0.50 to 3.00 EUR); saved of energy -2.00"),
    ],
)  # fmt: skip
def test_what_was_lost_is_not_called_a_saving(energy: float, low: float, high: float, words: str) -> None:
    week = Saving("week", 7.0, 7.0, 7.0, energy, 0.0, 0.0, low, high, 0.0)
    said = told(Savings("home", "EUR", (), week, week, "2024-01-01", "2024-01-08", True, 0.0))
    assert said[0].startswith(words)
