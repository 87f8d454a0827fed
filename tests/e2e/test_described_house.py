"""A house that nobody has programmed, from its file to the daemon: built, verified, and decided for at level mpc."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from patience import PATIENCE_S

from codegen.build import BuildRequest, build_bundle, design_of
from codegen.toolchain import host_arch
from codegen.verify import failures
from hil.broker import Broker
from hil.lockstep import LockstepDaemon
from hil.record import read_record
from runtime.bundle.archive import open_bundle
from runtime.bundle.keys import new_key
from runtime.links.mqtt import BARRIER_TOPIC
from systems.design import HouseDesign

# One zone with a night, a pump whose heat follows the weather, a battery behind a meter; an observer beside a sensor.
SMALL = """
[house]
name = "small"
timezone = "Europe/Oslo"

[grid]
horizon = "4 h"

[meter]
capacity = { price_per_kw = 5 }

[load]

[building]
memory = "10 min"

[[battery]]
name = "home"
capacity_kwh = 8
max_charge_kw = 4
max_discharge_kw = 4

[[zone]]
name = "living"
set_point = { default = 21, schedule = [{ from = "22:00", to = "06:00", value = 19 }] }

[[heat_pump]]
name = "hp"
feeds = ["living"]
max_power_kw = 1.6
min_power_kw = 0.6
min_run = "10 min"
min_rest = "5 min"
"""
EVENING_S = 1767902400.0  # 2026-01-08 21:00 in Oslo
CYCLE_S = 300.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundle and site file, the latter as `nisse init` writes it."""
    folder = tmp_path_factory.mktemp("small")
    design = HouseDesign(SMALL)
    theta = {p.name: p.default for p in design.problem.theta}
    request = BuildRequest(design, (host_arch(),), theta, "2024-01-01T00:00:00+00:00", {}, problems=4)
    bundle = build_bundle(request, new_key(folder / "key.pem"), folder / "small.nisse")
    assert not failures(bundle.certificate)
    return folder


def test_the_bundle_carries_its_house(folder: Path) -> None:
    bundle = open_bundle(folder / "small.nisse", None, unpack_dir=folder / "look")
    manifest = bundle.manifest
    assert (manifest.format_version, manifest.system) == (3, "small")
    assert [s.name for s in manifest.measured] == ["home_soc", "living_temperature", "grid_power"]
    assert [rule.kind for rule in manifest.rules] == ["self_consumption", "thermostat"]
    assert [(c.least_kw, c.most_kw, c.min_run_s, c.min_rest_s) for c in manifest.compressors] == [(0.6, 1.6, 600, 300)]
    again = design_of(manifest)
    assert isinstance(again, HouseDesign) and again.problem.theta == HouseDesign(SMALL).problem.theta
    assert manifest.safety is not None
    assert [limit.name for limit in manifest.safety.limits] == ["home_soc", "living_temperature"]
    assert [limit.name for limit in manifest.safety.power] == ["meter_import", "meter_export"]


@contextlib.contextmanager
def running(
    folder: Path, name: str, *, fresh: bool = True
) -> Iterator[tuple[LockstepDaemon, mqtt.Client, Callable[..., Any]]]:
    """The daemon on the site file that `nisse init` writes, a client, and heard(topic, accept) -> what is said there.

    Killed in the end, as by a power cut. fresh: it remembers nothing of a run before.
    """
    (folder / name).mkdir()
    for file in folder.glob("nisse.db*") if fresh else ():
        file.unlink() if file.is_file() else shutil.rmtree(file)
    broker = Broker(folder / name)
    broker.start()
    arguments = ["--bundle", "small.nisse", "--link", "mqtt", "--mqtt-port", str(broker.port), "--name", "small"]
    command = [sys.executable, "-m", "nisse.cli", "init", "site.toml", *arguments, "--timezone", "Europe/Oslo"]
    done = subprocess.run([*command, "--yes", "--force"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, bytes] = {}
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: said.__setitem__(message.topic, message.payload)
    client.on_connect = lambda c, *_: c.subscribe([("nisse/small/#", 1), ("homeassistant/#", 1)])
    client.connect("127.0.0.1", broker.port)
    client.loop_start()

    def heard(topic: str, accept: Callable[[Any], bool] = bool) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while topic not in said or not accept(json.loads(said[topic])):
            assert time.monotonic() < deadline, f"no such message on {topic}: {said.get(topic)!r}"
            time.sleep(0.02)
        return json.loads(said[topic])

    daemon = LockstepDaemon(folder / "site.toml", folder / f"{name}.log")
    try:
        daemon.start()
        yield daemon, client, heard
    finally:
        daemon.shoot()
        daemon.close()
        client.loop_stop()
        broker.stop()


def test_the_daemon_decides_for_it(folder: Path) -> None:
    """In the evening before a cheap night; the set-point comes from the house file, by nobody's message."""
    with running(folder, "first") as (daemon, client, heard):
        events = [cycle(daemon, client, k) for k in range(2)]
        state = heard("nisse/small/state", lambda state: "counts from zero" in json.dumps(state))
    text = (folder / "site.toml").read_text()
    assert "living_set_point" not in text and "[outputs.home_power]" in text
    assert [event["level"] for event in events] == ["mpc", "mpc"], events
    for event in events:  # the plan is of means, the compressor runs at 0.6 kW or not
        assert event["action"]["hp_power"] == 0.0 or event["action"]["hp_power"] >= 0.6
        assert event["compressors"]["hp"]["on"] is (event["action"]["hp_power"] > 0.0)
    first = events[0]
    assert set(first["action"]) == {"home_charge", "home_discharge", "hp_power"}
    assert first["inputs"]["living_set_point"]["value"] == 21.0
    # The bundle counts the month's peak from the meter, and nothing is known of this month yet.
    assert state["inputs"]["grid_power"]["value"] == 1.2
    # The hour is dear and the battery is full enough: it serves the house, and does not charge meanwhile.
    assert first["action"]["home_discharge"] > 0.3 and first["action"]["home_charge"] < 1e-6


def test_what_people_want_changes_the_plan_and_outlives_a_kill(folder: Path) -> None:
    """A warmer room, then nobody at home until the middle of the horizon: what the plan sees is what was said."""
    with running(folder, "wanted") as (daemon, client, heard):

        def after(topic: str, value: str, k: int) -> tuple[dict[str, Any], dict[str, Any]]:
            """The cycle's event, and its plan."""
            client.publish(topic, value, qos=1).wait_for_publish(PATIENCE_S)
            event = cycle(daemon, client, k)
            return event, heard("nisse/small/plan", lambda plan: f"T21:{5 * k:02d}" in plan["start"])

        _, scheduled = after("nisse/small/set/mode", "auto", 0)
        entities = heard("homeassistant/device/nisse_small/config")["cmps"]
        thermostat, back = entities["climate_living"], entities["back"]
        event, warmer = after(thermostat["temperature_command_topic"], '{"value": 23, "until": 3}', 1)
        assert event["inputs"]["living_set_point"]["value"] == 23.0
        assert sum(warmer["signals"]["hp_power"]["values"]) > sum(scheduled["signals"]["hp_power"]["values"]) + 1.0
        state = heard("nisse/small/state", lambda state: state["inputs"]["living_set_point"]["value"] == 23.0)
        assert state["control"]["comfort"]["living"] == {
            "set_point": 23.0, "lower": 20.0, "upper": 25.0, "unit": "degC",
            "by": "command", "until": "2026-01-09T00:05+01:00",
        }  # fmt: skip
        # Back at 23:00 by the clock of the house: in the night, so to 19 degC, which is warmer than 16.
        event, gone = after(back["command_topic"], '{"value": "23:00", "transaction": "7"}', 2)
        assert heard("nisse/small/response/away") == {"status": "ok", "error": "", "transaction": "7"}
        assert event["inputs"]["living_set_point"]["value"] == 16.0
        ahead = gone["forecasts"]["living_set_point"]["values"]
        assert ahead[:4] == [16.0] * 4 and set(ahead[4:]) == {19.0}
    with running(folder, "again", fresh=False) as (daemon, client, heard):
        again = cycle(daemon, client, 3)
        assert again["inputs"]["living_set_point"]["value"] == 16.0
        client.publish("nisse/small/set/away", "off", qos=1).wait_for_publish(PATIENCE_S)
        assert cycle(daemon, client, 4)["inputs"]["living_set_point"]["value"] == 21.0
        # The rule, which moves what the optimiser does not, goes by the same values.
        for k, wanted, power in ((5, "23", 1.6), (6, "19.5", 0.0)):
            client.publish("nisse/small/set/living_set_point", wanted, qos=1).wait_for_publish(PATIENCE_S)
            client.publish("nisse/small/set/mode", "rule", qos=1).wait_for_publish(PATIENCE_S)
            event = cycle(daemon, client, k)
            assert (event["level"], event["compressors"]["hp"]["mean_kw"]) == ("rule", pytest.approx(power))
        # On a full disk it is in force, and the answer says that a restart forgets it.
        daemon.limit_files(1)
        client.publish(thermostat["temperature_command_topic"], "22", qos=1).wait_for_publish(PATIENCE_S)
        assert cycle(daemon, client, 7)["inputs"]["living_set_point"]["value"] == 22.0
        answer = heard("nisse/small/response/living_set_point", lambda answer: answer["status"] == "error")
        assert "in force, and forgotten at a restart" in answer["error"]


def test_by_rule_what_is_lost_costs_only_what_needs_it(folder: Path) -> None:
    """The bundle's own rules: the zone by its thermometer, the battery for all that is drawn; unheard it rests."""
    with running(folder, "ruled") as (daemon, client, _):
        client.publish("nisse/small/set/mode", "rule", qos=1).wait_for_publish(PATIENCE_S)
        cycle(daemon, client, 5, meter=None)
        events = [cycle(daemon, client, 6, forecasts=False, living=20.3)]
        events += [cycle(daemon, client, k, forecasts=False, living=19.2, soc=None) for k in (20, 21)]
    text = (folder / "site.toml").read_text()
    assert "thermostat moves hp_power" in text and "rule" not in tomllib.loads(text)
    assert [event["level"] for event in events] == ["rule"] * 3, events
    assert events[0]["action"]["hp_power"] == pytest.approx(1.6)
    assert events[0]["action"]["home_discharge"] == pytest.approx(0.8 + 1.6)
    for event in events[1:]:
        assert event["action"] == {"home_charge": 0.0, "home_discharge": 0.0, "hp_power": pytest.approx(1.6)}


def test_hours_of_it_pass_on_the_bench(folder: Path) -> None:
    """Plant, registers and site file come from the house file; nothing of it is written by hand."""
    (folder / "small.toml").write_text(SMALL)
    command = [sys.executable, "-m", "nisse.cli", "hil", "small.toml", "--bundle", "small.nisse", "--days", "0.125"]
    done = subprocess.run(
        [*command, "--start", "2024-01-15T17:00", "--json", "hil.json"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((folder / "hil.json").read_text())
    assert result["passed"] and result["kpis"]["level_seconds.mpc"] == 3 * 3600.0
    cycles = read_record(folder / "out" / "hil" / "small" / "record.jsonl").cycles
    assert max(c.plant["hp_kw"] for c in cycles) > 0.3 and min(c.plant["home_kw"] for c in cycles) < -0.3
    # What the observer starts a plan from is what the thermometer shows.
    plan = next(c for c in cycles[::-1] if c.plan)
    assert abs(plan.plan["living_temperature"][0] - (plan.seen["living_temperature"] or 0.0)) < 0.1


def cycle(
    daemon: LockstepDaemon,
    client: mqtt.Client,
    k: int,
    *,
    forecasts: bool = True,
    living: float = 20.6,
    soc: float | None = 0.7,
    meter: float | None = 1.2,
) -> dict[str, Any]:
    """Publish what there is to know and run one cycle."""
    now_s = EVENING_S + k * CYCLE_S
    since_s = 0.0 if k in {0, 5} else 14 * CYCLE_S if k == 20 else CYCLE_S

    def say(topic: str, value: object) -> None:
        client.publish(topic, json.dumps(value), qos=1).wait_for_publish(PATIENCE_S)

    def hourly(values: list[float]) -> dict[str, Any]:
        return {"start": EVENING_S, "step_s": 3600, "values": values}

    if soc is not None:
        say("house/home_soc", soc)
    say("house/living_temperature", living)
    if forecasts:
        if meter is not None:
            say("house/grid_power", meter)
        say("house/load", hourly([0.8] * 8))
        say("house/outdoor", hourly([-2.0 - 0.3 * i for i in range(8)]))
        say("house/buy", hourly([0.40, 0.12, 0.10, 0.10, 0.11, 0.10, 0.10, 0.10]))
        say("house/sell", hourly([0.05] * 8))
    say(BARRIER_TOPIC, k + 1)
    return daemon.cycle(now_s, since_s, k + 1)
