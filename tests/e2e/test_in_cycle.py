"""Faults between reading and writing, and what the daemon does between its cycles; the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import pytest
from built_bundle import BuiltBundle

from hil.bench import run_scenario
from hil.record import BenchCycle
from hil.scenario import Scenario, parse_scenario

SCENARIOS = Path(__file__).parents[2] / "scenarios"
HEAD = """\
[scenario]
name = "hours"
house = "battery"
duration = "3 h"
start = 2024-02-05T12:00:00+01:00
between = "1 min"
[[expect]]
that = "home_soc >= 0.03"
"""


def hours(*faults: str) -> Scenario:
    return parse_scenario(HEAD + "".join(f"[[fault]]\n{fault}\n" for fault in faults), SCENARIOS / "hours.toml")


def wanted(cycle: BenchCycle) -> float:
    return cycle.action["home_charge"] - cycle.action["home_discharge"]


def test_a_set_point_that_failed_is_written_before_the_next_cycle(battery_bundle: BuiltBundle, tmp_path: Path) -> None:
    """The cable goes as the set-point is written and is back five minutes later."""
    scenario = hours('link = "serial"\nkind = "cable_pull"\nwithin = "write"\nat = "1 h"\nfor = "5 min"')
    runs = [run_scenario(scenario, battery_bundle.path, None, tmp_path / str(n)) for n in range(2)]
    before, hit = runs[0].record.cycles[3:5]
    assert abs(wanted(hit) - wanted(before)) > 0.05, "a set-point that does not change proves nothing"
    assert hit.level == "mpc" and hit.set_point["home_power"] == before.set_point["home_power"]
    assert hit.applied["home_power"] == pytest.approx((5 * wanted(before) + 10 * wanted(hit)) / 15, abs=0.001)
    assert runs[0].record_path.read_bytes() == runs[1].record_path.read_bytes()


@pytest.mark.parametrize("moment", ["read", "write", "written"])
def test_a_daemon_killed_inside_a_cycle_is_back_in_the_next(
    battery_bundle: BuiltBundle, tmp_path: Path, moment: str
) -> None:
    scenario = hours(f'link = "daemon"\nkind = "kill_9"\nwithin = "{moment}"\nat = "1 h"')
    cycles = run_scenario(scenario, battery_bundle.path, None, tmp_path).record.cycles
    assert [c.level for c in cycles] == ["mpc"] * 4 + ["off"] + ["mpc"] * 7
    moved = cycles[4].set_point != cycles[3].set_point
    assert moved == (moment == "written"), "only what was written is in force"
