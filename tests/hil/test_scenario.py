"""Scenario files: what they mean, and errors that name file, line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import ScenarioError
from hil.scenario import load_scenario, parse_duration, parse_scenario, shipped_scenario

GOOD = """\
[scenario]
name = "short"
house = "battery"
duration = "2 d 6 h"
start = 2024-01-01T00:00:00+01:00
seed = 0

[plant]
home_soc = 0.4

[[fault]]
signal = "soc"
kind = "stuck"
at = "6 h"
for = "1 h"

[[fault]]
link = "serial"
kind = "cable_pull"
at = "1 d"
for = 1800

[[expect]]
that = "soc >= 0.03"
from = "1 h"
"""


def test_a_good_file() -> None:
    scenario = parse_scenario(GOOD, Path("there/short.toml"))
    assert scenario.head.duration == 2 * 86400 + 6 * 3600
    assert scenario.head.seed == 0
    assert [fault.label for fault in scenario.faults] == ["soc stuck", "serial cable_pull"]
    assert (scenario.faults[0].at, scenario.faults[0].end) == (21600, 25200)
    assert scenario.expectations[0].begin == 3600
    assert scenario.house_path == Path("battery") and scenario.path("own.toml") == Path("there/own.toml")


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("duration =", "duratoin =", 4, "unknown key 'duratoin'; did you mean 'duration'?"),
        ("for = 1800", "fro = 1800", 21, "unknown key 'fro'; did you mean 'for'?"),
        ('"cable_pull"', '"cable_pul"', 17, "the link serial cannot fail as 'cable_pul'"),
        ('"stuck"', '"sticky"', 11, "a signal cannot fail as 'sticky'"),
        ('signal = "soc"\n', "", 11, "either a signal or a link"),
        ('at = "6 h"', 'at = "6 x"', 14, "cannot read the duration '6 x'"),
        ('at = "6 h"', 'at = "6 weeks"', 14, "soc stuck begins after the end"),
        ("seed = 0", "seed = -1", 6, "greater than or equal to 0"),
        ("+01:00", "", 1, "start needs a UTC offset"),
        ("[plant]", "[plant", 8, "not TOML"),
        ('house = "battery"\n', "", 1, "scenario.house is missing"),
        ('for = "1 h"', "", 11, "stuck needs 'for'"),
        ('[[expect]]\nthat = "soc >= 0.03"\nfrom = "1 h"\n', "", 1, "nothing is expected"),
    ],
)
def test_errors_name_line_and_remedy(old: str, new: str, line: int, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(GOOD.replace(old, new, 1), Path("short.toml"))
    text = str(caught.value)
    assert text.startswith(f"short.toml:{line}: "), text
    assert message in text
    assert "\n" not in text
    assert caught.value.exit_code == 78


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="name a scenario file"):
        load_scenario(tmp_path / "none.toml")


def test_shipped_scenarios_are_found_by_name_and_all_valid() -> None:
    path = shipped_scenario("battery-week")
    assert load_scenario(path).head.name == "battery-week"
    for other in path.parent.glob("*.toml"):
        assert load_scenario(other).head.name == other.stem
    with pytest.raises(ScenarioError, match="did you mean 'battery-week'"):
        shipped_scenario("battery-weak")


def test_the_example_of_the_documentation_is_a_scenario() -> None:
    page = (Path(__file__).parents[2] / "docs" / "guide" / "bench.md").read_text()
    example = page.split("```toml\n")[1].split("```")[0]
    assert parse_scenario(example, Path("docs/guide/bench.md")).head.name == "my-house"


@pytest.mark.parametrize(
    ("text", "seconds"), [(90, 90.0), ("90 s", 90.0), ("1.5h", 5400.0), ("2 d 6 h", 194400.0), ("1 week", 604800.0)]
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.text(max_size=20))
def test_any_duration_text_is_a_number_or_refused(text: str) -> None:
    try:
        assert parse_duration(text) >= 0
    except ValueError as error:
        assert "write" in str(error)


@given(st.text(max_size=200))
def test_any_file_text_is_a_scenario_or_a_scenario_error(text: str) -> None:
    with pytest.raises(ScenarioError):
        parse_scenario(text, Path("x.toml"))
