"""Random faults that a scenario asks for: how many, which kinds, always the same; memory over a life of the daemon."""

from __future__ import annotations

import pytest

from hil.errors import ScenarioError
from hil.kpi import memory_growth_mb
from hil.plant import make_plant
from hil.record import BenchTiming
from hil.scenario import Scenario, parse_scenario, shipped_scenario
from hil.schedule import with_random_faults

MONTH = shipped_scenario("battery-month")


def month(old: str = "", new: str = "") -> Scenario:
    return parse_scenario(MONTH.read_text().replace(old, new), MONTH)


def test_a_month_has_its_faults_in_order_of_time_and_always_the_same() -> None:
    scenario = month()
    drawn = [with_random_faults(scenario, make_plant(scenario)).faults for _ in range(2)]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 90
    assert [f.at for f in drawn[0]] == sorted(f.at for f in drawn[0])
    other = month("faults_per_day = 3", "faults_per_day = 3\nstream = 1")
    assert with_random_faults(other, make_plant(other)).faults != drawn[0]


def test_kinds_can_be_left_out_and_must_exist() -> None:
    scenario = month("faults_per_day = 3", 'faults_per_day = 30\nwithout = ["kill_9", "nan"]')
    kinds = {fault.kind for fault in with_random_faults(scenario, make_plant(scenario)).faults}
    assert {"kill_9", "nan"}.isdisjoint(kinds) and len(kinds) == 13
    with pytest.raises(ScenarioError, match="did you mean 'kill_9'"):
        month("faults_per_day = 3", 'faults_per_day = 3\nwithout = ["kil_9"]')


def test_memory_growth_is_that_of_the_longest_life_after_its_first_quarter() -> None:
    def life(number: int, memory_mb: list[float]) -> list[BenchTiming]:
        return [BenchTiming(None, None, None, None, 0.0, number, mb) for mb in memory_mb]

    short = life(1, [10.0, 100.0])
    flat = life(2, [40.0, 50.0, 60.0, 60.0, 61.0, 61.0, 62.0, 62.0])
    assert memory_growth_mb([*short, *flat]) == pytest.approx(2.0)
    assert memory_growth_mb(short) != memory_growth_mb(short), "too short to say"
