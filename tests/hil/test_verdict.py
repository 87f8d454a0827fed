"""From a record to a verdict: canonical bytes, indicators by hand, predicates that fail, JUnit, page."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_rules import check_page

from hil import kpi
from hil.bench import BenchResult
from hil.errors import ScenarioError
from hil.junit import write_junit
from hil.plant import make_plant
from hil.record import BenchCycle, BenchTiming, RunRecord, RunRecordError, canonical, read_record
from hil.report import write_report
from hil.scenario import Scenario, parse_scenario
from hil.verdict import judge, parse_expectations
from hil.words import INDICATORS, LEVEL_TERMS

SCENARIO = """\
[scenario]
name = "hand-made"
house = "battery"
duration = "1 h"

[[fault]]
link = "mqtt"
kind = "broker_kill"
at = "15 min"
for = "20 min"

[[expect]]
that = "home_soc >= 0.25"

[[expect]]
that = "home_soc >= 0.25"
until = "30 min"

[[expect]]
that = "recovery_s <= 600"
"""


def scenario() -> Scenario:
    return parse_scenario(SCENARIO, Path("hand-made.toml"))


def record() -> RunRecord:
    """Four cycles of 15 minutes with numbers that can be checked by hand."""
    rows = [  # level, soc, grid, cost, set-point
        ("mpc", 0.50, 2.0, 0.10, 1.0),
        ("shifted_plan", 0.40, -1.0, -0.02, -1.0),
        ("rule", 0.30, 4.0, 0.40, 0.5),
        ("mpc", 0.20, 1.0, 0.05, 0.5),
    ]
    cycles = tuple(
        BenchCycle(
            elapsed_s=900.0 * k,
            time_s=1.7e9 + 900.0 * k,
            level=level,
            reason="",
            plant={
                "home_soc": soc, "home_kw": power, "load_kw": grid - power, "roof_kw": 0.0, "grid_kw": grid,
                "buy": 0.2, "sell": 0.1, "energy_cost": cost - 0.01, "capacity_cost": 0.01,
            },
            seen={"home_soc": soc},
            set_point={"home_power": power},
            applied={"home_power": power},
            action={},
            plan={"home_soc": [soc, soc]} if k == 0 else {},
            faults=(),
        )
        for k, (level, soc, grid, cost, power) in enumerate(rows)
    )  # fmt: skip
    faults = [{"label": "mqtt broker_kill", "at_s": 900.0, "end_s": 2100.0}]
    header = {"format_version": 1, "scenario": "hand-made", "step_s": 900.0, "faults": faults}
    return RunRecord({**header, "bundle": "b", "bundle_sha256": "0" * 64}, cycles)


TIMING = tuple(BenchTiming(0.09, 0.001, 0.02, 0.004, 0.002) for _ in range(4))


def test_indicators_by_hand() -> None:
    of = kpi.indicators(record(), TIMING)
    assert of["ener_tot"] == pytest.approx((2.0 + 4.0 + 1.0) / 4)  # export is no negative energy
    assert of["cost_tot"] == pytest.approx(0.53)
    assert of["pele_tot"] == 4.0
    assert of["time_rat"] == pytest.approx(1e-4)
    assert math.isnan(of["tdis_tot"])
    assert (of["level_seconds.mpc"], of["level_seconds.rule"], of["level_seconds.safe"]) == (1800.0, 900.0, 0.0)
    assert of["level_changes"] == 3
    assert of["actuator_travel"] == pytest.approx(2.0 + 1.5 + 0.0)
    assert of["recovery_s"] == 2700.0 - 2100.0
    assert set(of) == set(kpi.INDICATORS)
    assert kpi.indicators(record(), floor_area_m2=10.0)["pele_tot"] == 0.4


def test_overlapping_faults_are_recovered_from_together() -> None:
    header = dict(record().header)
    header["faults"] = [
        {"label": "soc off", "at_s": 0.0, "end_s": 900.0},
        {"label": "soc nan", "at_s": 450.0, "end_s": 2000.0},
    ]
    both = kpi.recoveries(replace(record(), header=header))
    assert both == {"soc off at 0 s": 700.0, "soc nan at 450 s": 700.0}


def test_faults_without_a_respite_between_them_count_as_one() -> None:
    def recovery(second_begins_s: float) -> float:
        header = {**record().header, "step_s": 60.0}
        header["faults"] = [
            {"label": "a", "at_s": 0.0, "end_s": 60.0},
            {"label": "b", "at_s": second_begins_s, "end_s": 300.0},
        ]
        levels = ["mpc", "safe", "safe", "safe", "safe", "safe", "mpc", "mpc"]
        cycles = tuple(replace(record().cycles[0], elapsed_s=60.0 * k, level=v) for k, v in enumerate(levels))
        return kpi.recoveries(RunRecord(header, cycles))["a at 0 s"]

    assert recovery(180.0) == 60.0  # counted from the end of b
    assert recovery(200.0) == 300.0  # a had its chance


def test_a_controller_that_never_comes_back_recovers_in_infinite_time() -> None:
    lost = replace(record(), cycles=tuple(replace(c, level="off") for c in record().cycles))
    of = kpi.indicators(lost)
    assert of["recovery_s"] == math.inf
    assert of["missed_cycles"] == 4
    assert not judge(parse_expectations(scenario(), make_plant(scenario())), lost, of).checks[2].outcome.holds


def test_predicates_fail_where_they_should_and_the_junit_file_shows_it(tmp_path: Path) -> None:
    verdict = judge(parse_expectations(scenario(), make_plant(scenario())), record(), kpi.indicators(record()))
    assert [c.outcome.holds for c in verdict.checks] == [False, True, True]
    assert verdict.checks[0].first_failure_s == 2700.0
    assert not verdict.passed
    write_junit(tmp_path / "junit.xml", "hand-made", verdict, 1.0)
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    failure = suite.find("testcase[@name='home_soc >= 0.25']/failure")
    assert failure is not None and "home_soc = 0.2" in failure.get("message", "")


def test_a_predicate_about_nothing_the_plant_has_is_refused() -> None:
    wrong = parse_scenario(SCENARIO.replace('"recovery_s <=', '"recovery <='), Path("x.toml"))
    with pytest.raises(ScenarioError, match="did you mean 'recovery_s'"):
        parse_expectations(wrong, make_plant(wrong))


def test_the_record_reads_back_to_the_same_bytes(tmp_path: Path) -> None:
    record().write(tmp_path / "record.jsonl")
    again = read_record(tmp_path / "record.jsonl")
    assert again == record()
    assert again.to_bytes() == (tmp_path / "record.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b.replace(b'"format_version":1', b'"format_version":2'), "record format 2"),
        (lambda b: b[:-20], r":5: not a bench record"),
        (lambda b: b"", r":1: not a bench record"),
        (lambda b: b.replace(b'"level"', b'"lefel"', 1), r":2: not a bench record"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, damage, message: str) -> None:
    (tmp_path / "r.jsonl").write_bytes(damage(record().to_bytes()))
    with pytest.raises(RunRecordError, match=message):
        read_record(tmp_path / "r.jsonl")


@given(st.dictionaries(st.text(), st.floats() | st.integers() | st.text() | st.lists(st.floats())))
def test_canonical_json_is_stable_and_valid(value: dict) -> None:
    text = canonical(value)
    assert canonical(json.loads(text)) == text
    assert canonical(dict(reversed(value.items()))) == text


def test_the_page_is_whole_and_refers_to_nothing_outside(tmp_path: Path) -> None:
    of = kpi.indicators(record(), TIMING)
    plant = make_plant(scenario())
    verdict = judge(parse_expectations(scenario(), plant), record(), of)
    paths = {name: tmp_path / name for name in ("record_path", "html_path", "junit_path")}
    result = BenchResult(scenario(), verdict, of, kpi.recoveries(record()), record(), TIMING, 1.0, **paths)
    write_report(tmp_path / "page.html", result, plant)
    page = (tmp_path / "page.html").read_text()
    check_page(page)
    told = {*INDICATORS, *(f"level_seconds.{level}" for level in LEVEL_TERMS)}
    assert set(kpi.INDICATORS) == told and tuple(LEVEL_TERMS) == kpi.LEVELS
    assert page.count("<figure") == len(plant.panels) + 1 and "Cost of energy" in page
    assert "2 of 3 predicates hold" in page and "mqtt broker_kill" in page and record().sha256() in page
    assert "{{" not in page and "{%" not in page
