"""The whole bench: `nisse hil` on the scenarios of this repository, with the real daemon, broker and serial line."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from built_bundle import BuiltBundle
from patience import PATIENCE_S

from hil.bench import replay_scenario, run_scenario
from hil.broker import find_mosquitto
from hil.errors import BenchUsageError, ScenarioError
from hil.house_run import HouseRun, house_scenario
from hil.lockstep import DaemonError
from hil.plant import make_plant
from hil.record import RunRecordError, read_record
from hil.scenario import Scenario, load_scenario, parse_scenario
from hil.site import site_template
from runtime.bundle.archive import open_bundle
from runtime.bundle.keys import new_key
from runtime.errors import BundleUntrustedError

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def short(*replacements: tuple[str, str], duration: str = "6 h", name: str = "battery-week") -> Scenario:
    """A scenario of the repository, cut short and changed."""
    text = (SCENARIOS / f"{name}.toml").read_text()
    for old, new in (('duration = "7 d"', f'duration = "{duration}"'), *replacements):
        assert old in text
        text = text.replace(old, new)
    return parse_scenario(text, SCENARIOS / f"{name}.toml")


def nisse(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nisse.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)


def test_a_day_passes_with_all_its_results(battery_bundle: BuiltBundle, tmp_path: Path) -> None:
    scenario = tmp_path / "day.toml"
    out = tmp_path / 'Zoë\'s "own" $(id); {a} [b],c'
    scenario.write_text((SCENARIOS / "battery-week.toml").read_text().replace('"7 d"', '"1 d"'))
    key = battery_bundle.trusted_key
    done = nisse(
        "hil", scenario, "--bundle", battery_bundle.path, "--trusted-key", key, "--output", out,
        "--json", tmp_path / "result.json", "--junit", tmp_path / "junit.xml",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["passed"] and result["kpis"]["level_seconds.mpc"] == 86400.0
    record = read_record(out / "record.jsonl")
    assert record.sha256() == result["record_sha256"] and len(record.cycles) == 96
    assert any(cycle.set_point["home_power"] > 1.0 for cycle in record.cycles), (
        "a controller that never charges is no proof"
    )
    for cycle in record.cycles:  # what the device holds is what the daemon decided, to the register's resolution
        wanted = cycle.action["home_charge"] - cycle.action["home_discharge"]
        assert cycle.set_point["home_power"] == pytest.approx(wanted, abs=0.00051)
    assert record.cycles[0].plan["home_soc"][0] == pytest.approx(record.cycles[0].seen["home_soc"])
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().get("failures") == "0"
    assert "<svg" in (out / "report.html").read_text()


def test_the_same_scenario_gives_the_same_bytes_even_with_faults(battery_bundle: BuiltBundle, tmp_path: Path) -> None:
    faults = "\n".join(
        f'[[fault]]\n{what}\nat = "{at}"\nfor = "1 h"\n'
        for what, at in (
            ('signal = "home_soc"\nkind = "intermittent"', "1 h"),
            ('link = "serial"\nkind = "garbage"', "3 h"),
            ('link = "mqtt"\nkind = "broker_kill"', "5 h"),
            ('link = "daemon"\nkind = "kill_9"', "7 h"),
            ('link = "serial"\nkind = "cable_pull"', "9 h"),
        )
    )
    scenario = short(("[tariff]", f"{faults}\n[tariff]"), duration="12 h")
    runs = [run_scenario(scenario, battery_bundle.path, None, tmp_path / str(n)) for n in range(2)]
    assert runs[0].record_path.read_bytes() == runs[1].record_path.read_bytes()
    assert {c.level for c in runs[0].record.cycles} >= {"mpc", "shifted_plan", "off"}, "the faults must have been felt"


def test_a_record_replays_and_a_changed_one_does_not(battery_bundle: BuiltBundle, tmp_path: Path) -> None:
    scenario = short(duration="3 h")
    run = run_scenario(scenario, battery_bundle.path, None, tmp_path / "run")
    again = replay_scenario(scenario, run.record_path, tmp_path / "again")
    assert again.record_path.read_bytes() == run.record_path.read_bytes()
    assert again.kpis["cost_tot"] == run.kpis["cost_tot"]
    lines = run.record_path.read_text().splitlines(keepends=True)
    lines[5] = lines[5].replace('"applied":{"home_power":', '"applied":{"home_power":1')
    run.record_path.write_text("".join(lines))
    with pytest.raises(RunRecordError, match=r"record\.jsonl:6: the plant does not do this"):
        replay_scenario(scenario, run.record_path, tmp_path / "again")


def test_a_daemon_that_does_not_start_is_told_with_its_own_words(battery_bundle: BuiltBundle, tmp_path: Path) -> None:
    week = load_scenario(SCENARIOS / "battery-week.toml")
    site = site_template(make_plant(week), open_bundle(battery_bundle.path, None, unpack_dir=tmp_path / "b").manifest)
    (tmp_path / "own-site.toml").write_text(site.replace("max_age_s", "max_aeg_s", 1))
    own = (SCENARIOS / "battery-week.toml").read_text().replace("[plant]", 'site = "own-site.toml"\n\n[plant]')
    (tmp_path / "week.toml").write_text(own)
    with pytest.raises(DaemonError, match=r"exit code 78 at its start: .*did you mean 'max_age_s'"):
        run_scenario(load_scenario(tmp_path / "week.toml"), battery_bundle.path, None, tmp_path / "out")


def test_another_seed_is_another_week(battery_bundle: BuiltBundle, tmp_path: Path) -> None:
    runs = [
        run_scenario(
            short(("seed = 0", f"seed = {seed}"), duration="1 h"), battery_bundle.path, None, tmp_path / str(seed)
        )
        for seed in (0, 1)
    ]
    assert runs[0].kpis["cost_tot"] != runs[1].kpis["cost_tot"]


def test_an_impossible_predicate_ends_in_exit_code_1_and_a_failure_in_the_xml(
    battery_bundle: BuiltBundle, tmp_path: Path
) -> None:
    text = (
        (SCENARIOS / "battery-week.toml")
        .read_text()
        .replace('"7 d"', '"2 h"')
        .replace("home_soc >= 0.03", "home_soc >= 2")
    )
    (tmp_path / "impossible.toml").write_text(text)
    output = tmp_path / "out"
    done = nisse("hil", tmp_path / "impossible.toml", "--bundle", battery_bundle.path, "--output", output)
    assert done.returncode == 1, done.stdout + done.stderr
    suite = ElementTree.parse(output / "junit.xml").getroot()
    assert suite.get("failures") == "1"
    assert suite.find("testcase[@name='home_soc >= 2']/failure") is not None


@pytest.mark.parametrize("broker", ["mosquitto", "amqtt"])
def test_either_broker_serves(battery_bundle: BuiltBundle, tmp_path: Path, broker: str) -> None:
    if broker == "mosquitto" and find_mosquitto() is None:
        pytest.skip("needs mosquitto (Debian: apt install mosquitto)")
    scenario = short(("seed = 0", f'seed = 0\nbroker = "{broker}"'), duration="3 h")
    assert run_scenario(scenario, battery_bundle.path, None, tmp_path).verdict.passed


@pytest.mark.parametrize(
    "name",
    sorted(path.stem for path in SCENARIOS.glob("battery-*.toml") if "[[fault]]" in path.read_text()),
)
def test_what_is_broken_on_purpose_is_survived(battery_bundle: BuiltBundle, tmp_path: Path, name: str) -> None:
    result = run_scenario(load_scenario(SCENARIOS / f"{name}.toml"), battery_bundle.path, None, tmp_path)
    failed = [(check.outcome.text, check.outcome.detail) for check in result.verdict.checks if not check.outcome.holds]
    assert not failed
    assert result.record.header["faults"], "a scenario of this name breaks something"


def test_a_campaign_reports_the_smallest_schedule_that_fails(battery_bundle: BuiltBundle, tmp_path: Path) -> None:
    text = (SCENARIOS / "battery-campaign.toml").read_text().replace('"1 d"', '"3 h"')
    only_without_kill = text.replace("level_seconds.mpc > 0", "missed_cycles == 0").replace("seed = 0", "seed = 56")
    (tmp_path / "hours.toml").write_text(only_without_kill)
    done = nisse(
        "hil", tmp_path / "hours.toml", "--bundle", battery_bundle.path, "--campaign", 2, "--output", tmp_path / "out",
        "--json", tmp_path / "campaign.json",
    )  # fmt: skip
    report = json.loads((tmp_path / "campaign.json").read_text())
    assert report["runs"] == 2 and report["failed"] == 1, report
    assert done.returncode == 1, done.stdout + done.stderr
    for failure in report["failures"]:
        assert failure["smallest"].count("[[fault]]") == 1 and 'kind = "kill_9"' in failure["smallest"]
    suite = ElementTree.parse(tmp_path / "out" / "junit.xml").getroot()
    assert suite.get("failures") == str(report["failed"])
    assert "The smallest schedule that still does" in (tmp_path / "out" / "campaign.html").read_text()


def test_a_cancelled_run_leaves_no_process_behind(battery_bundle: BuiltBundle, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nisse.cli", "hil", "battery-week", "--bundle", str(battery_bundle.path)]
    run = subprocess.Popen([*command, "--output", str(tmp_path / "out")], start_new_session=True)
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "out" / "nisse.db").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    port = tomllib.loads((tmp_path / "out" / "site.toml").read_text())["mqtt"]["port"]
    run.terminate()
    assert run.wait(PATIENCE_S) == 128 + signal.SIGTERM
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    assert not (tmp_path / "out" / "serial-plant").is_symlink()


def test_without_a_bundle_the_command_to_build_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchUsageError, match="nisse build battery") as caught:
        run_scenario(short(), None, None, tmp_path)
    assert caught.value.exit_code == 2


def test_a_bundle_of_another_house_is_refused(battery_bundle: BuiltBundle, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="is for 'battery', not for 'flat'; name the bundle of the house"):
        run_scenario(house_scenario("flat", HouseRun()), battery_bundle.path, None, tmp_path / "out")


def test_a_bundle_of_another_signer_is_refused(battery_bundle: BuiltBundle, tmp_path: Path) -> None:
    with pytest.raises(BundleUntrustedError):
        run_scenario(short(), battery_bundle.path, new_key(tmp_path / "other.pem").public, tmp_path / "out")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('that = "home_soc >= 0.03"', 'that = "home_sok >= 0.03"', "did you mean 'home_soc'"),
        ("home_soc = 0.5", "home_sock = 0.5", "did you mean 'home_soc'"),
        ('"nordic"', '"tropical"', "no price generator 'tropical'"),
        ('house = "battery"', 'house = "reactor"', "name a house file, or one of the shipped houses"),
    ],
)
def test_a_scenario_that_does_not_fit_is_one_line(
    battery_bundle: BuiltBundle, tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = (SCENARIOS / "battery-week.toml").read_text()
    (tmp_path / "wrong.toml").write_text(text.replace(old, new, 1))
    done = nisse("hil", tmp_path / "wrong.toml", "--bundle", battery_bundle.path, "--output", tmp_path / "out")
    assert done.returncode == 78
    assert done.stderr.count("\n") == 1 and message in done.stderr, done.stderr
    assert not (tmp_path / "out").exists(), "nothing is half-written"
