"""A house whose forecasts come from nisse's own feeds and whose inverter is reached by its profile: the whole of it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from built_bundle import BuiltBundle

from hil.bench import run_scenario
from hil.errors import ScenarioError
from hil.plant import make_plant
from hil.scenario import Fault, Scenario, parse_scenario
from hil.schedule import draw, signals_of

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def by_feeds(duration: str, *replacements: tuple[str, str], faults: str = "", learned: str = "1 d") -> Scenario:
    """The shipped scenario of the villa with the house of a battery, which is built faster."""
    path = SCENARIOS / "villa-by-feeds-campaign.toml"
    text = path.read_text()
    text = text[: text.index("[[expect]]")] + '[[expect]]\nthat = "unexplained_cycles == 0"\n\n' + faults
    changes = [('"villa"', '"battery"'), ('"6 h"', f'"{duration}"'), ('"1 d"', f'"{learned}"'), *replacements]
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return parse_scenario(text, path)


def test_a_noon_with_nothing_published_by_hand(battery_bundle: BuiltBundle, tmp_path: Path) -> None:
    scenario = by_feeds("6 h")
    result = run_scenario(scenario, battery_bundle.path, battery_bundle.trusted_key, tmp_path)
    assert result.verdict.passed and result.kpis["level_seconds.mpc"] == 21_600
    for cycle in result.record.cycles:  # over Modbus TCP, in the inverter's own modes, watts and whole numbers
        wanted = cycle.action["home_charge"] - cycle.action["home_discharge"]
        assert cycle.set_point["home_power"] == pytest.approx(wanted, abs=0.0011)
    assert max(cycle.set_point["home_power"] for cycle in result.record.cycles) > 1.0
    rows = sqlite3.connect(tmp_path / "nisse.db").execute("SELECT time_s, details FROM transition").fetchall()
    told = {round(time_s): json.loads(details)["inputs"] for time_s, details in rows}
    assert len(told) == len(result.record.cycles)
    for cycle in result.record.cycles:  # what the daemon went by is what the house pays, gets and has
        inputs = told[round(cycle.time_s)]
        for name in ("buy", "sell"):
            assert inputs[name]["value"] == pytest.approx(cycle.plant[name], abs=2e-5), name
        assert abs(inputs["home_soc"]["value"] - cycle.plant["home_soc"]) < 0.006
    pairs = [(told[round(c.time_s)]["pv"]["value"], c.plant["pv"]) for c in result.record.cycles]
    foreseen, came = np.array(pairs).T
    assert came.max() > 0.1 and 0.5 < foreseen.mean() / came.mean() < 2.0, "a low sun behind clouds, as it was foreseen"
    log = (tmp_path / "feeds.log").read_text()
    assert "WARNING" not in log, log


def test_the_same_bytes_twice_under_faults_of_services_feeds_and_inverter(
    battery_bundle: BuiltBundle, tmp_path: Path
) -> None:
    faults = "\n".join(
        f"[[fault]]\n{where}\nat = {at}\nfor = {lasts}\n"
        for at, lasts, where in [
            (0, 2700, 'link = "services"\nwhich = "open_meteo"\nkind = "slow"'),
            (1800, 3600, 'link = "services"\nkind = "500"'),
            (3600, 1800, 'link = "device"\nwhich = "inverter"\nkind = "cut"'),
            (7200, 1800, 'link = "feeds"\nkind = "kill_9"'),
        ]
    )
    scenario = by_feeds("3 h", faults=faults)
    results = [
        run_scenario(scenario, battery_bundle.path, battery_bundle.trusted_key, tmp_path / k, page=False) for k in "ab"
    ]
    assert results[0].record.to_bytes() == results[1].record.to_bytes()
    assert results[0].verdict.passed
    log = (tmp_path / "a" / "feeds.log").read_text()
    assert "open-meteo" in log and "still sending" in log and "500" in log, "the faults were met"
    levels = {fault: cycle.level for cycle in results[0].record.cycles for fault in cycle.faults}
    assert levels["services 500"] == levels["feeds kill_9"] == "mpc", "what is known outlives who says it"


@pytest.mark.parametrize("number", range(4))
def test_a_random_schedule(number: int, battery_bundle: BuiltBundle, tmp_path: Path) -> None:
    """Of all that a bench breaks; nothing goes wrong that no fault explains, and all is well two cycles later."""
    scenario = by_feeds("6 h", learned="6 h")
    rng = np.random.default_rng([1, number])
    drawn = draw(rng, signals_of(scenario, make_plant(scenario)), scenario.head.duration, scenario.links)
    services = Fault.model_validate(
        {"link": "services", "kind": ("yesterday", "schema", "truncated", "html")[number], "at": 0, "for": 7200}
    )
    faulty = scenario.model_copy(update={"faults": (*drawn, services)})
    result = run_scenario(faulty, battery_bundle.path, battery_bundle.trusted_key, tmp_path)
    assert result.verdict.passed, [c.outcome for c in result.verdict.checks]
    assert result.kpis["recovery_s"] <= 2 * result.record.step_s


def test_what_does_not_fit_is_one_line(battery_bundle: BuiltBundle, tmp_path: Path) -> None:
    def refused(*replacements: tuple[str, str], faults: str = "") -> str:
        with pytest.raises(ScenarioError) as caught:
            run_scenario(by_feeds("1 h", *replacements, faults=faults), battery_bundle.path, None, tmp_path)
        return str(caught.value)

    assert "no 'socc' among its readings" in refused(("soc = ", "socc = "))
    assert "the plant has no 'home_sok'" in refused(('"home_soc"', '"home_sok"'))
    values = "\nvalues = { max_power_w = 5000 }"
    assert "not reached by Modbus TCP" in refused((f'"goodwe-et"{values}', '"heishamon"'))
    assert "no profile 'goodwe'" in refused(("goodwe-et", "goodwe"))
    stray = '[[fault]]\nlink = "services"\nkind = "500"\nat = 0\nfor = 900\n'
    assert "needs [feeds]" in refused(("[feeds]\n", ""), ('learned = "1 d"', ""), faults=stray)
