"""A house that nobody has programmed, from its file to the daemon: built, verified, and decided for at level mpc."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from codegen.build import BuildRequest, build_bundle, shape_of
from codegen.toolchain import host_arch
from codegen.verify import failures
from hil.broker import Broker
from hil.lockstep import LockstepDaemon
from runtime.bundle import open_bundle
from runtime.keys import new_key
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
"""
EVENING_S = 1767902400.0 + 20 * 3600  # 2026-01-08 21:00 in Oslo
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
    assert (manifest.format_version, manifest.system) == (2, "small")
    assert [s.name for s in manifest.measured] == ["home_soc", "living_temperature"]
    again = shape_of(manifest)
    assert isinstance(again, HouseDesign) and again.problem.theta == HouseDesign(SMALL).problem.theta
    assert manifest.safety is not None
    assert [limit.name for limit in manifest.safety.limits] == ["home_soc", "living_temperature"]
    assert [limit.name for limit in manifest.safety.power] == ["meter_import"]


def test_the_daemon_decides_for_it(folder: Path) -> None:
    """In the evening before a cheap night; the set-point comes from the house file, by nobody's message."""
    (folder / "broker").mkdir()
    broker = Broker(folder / "broker")
    broker.start()
    command = [sys.executable, "-m", "nisse.cli", "init", "site.toml", "--bundle", "small.nisse", "--link", "mqtt"]
    command += ["--mqtt-port", str(broker.port), "--name", "small", "--timezone", "Europe/Oslo", "--yes"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (folder / "site.toml").read_text()
    assert "living_set_point" not in text and "[outputs.home_power]" in text
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    daemon = LockstepDaemon(folder / "site.toml", folder / "daemon.log")
    try:
        daemon.start()
        events = [cycle(daemon, client, k) for k in range(2)]
    finally:
        daemon.close()
        client.loop_stop()
        broker.stop()
    assert [event["level"] for event in events] == ["mpc", "mpc"], events
    first = events[0]
    assert set(first["action"]) == {"home_charge", "home_discharge", "hp_power"}
    assert first["inputs"]["living_set_point"]["value"] == 21.0
    # The hour is dear and the battery is full enough: it serves the house, and does not charge meanwhile.
    assert first["action"]["home_discharge"] > 0.3 and first["action"]["home_charge"] < 1e-6


def cycle(daemon: LockstepDaemon, client: mqtt.Client, k: int) -> dict[str, Any]:
    """Publish what there is to know and run one cycle."""
    now_s = EVENING_S + k * CYCLE_S

    def say(topic: str, value: object) -> None:
        client.publish(topic, json.dumps(value), qos=1).wait_for_publish(60.0)

    def hourly(values: list[float]) -> dict[str, Any]:
        return {"start": EVENING_S, "step_s": 3600, "values": values}

    say("house/home_soc", 0.7)
    say("house/living_temperature", 20.6)
    say("house/load", hourly([0.8] * 8))
    say("house/outdoor", hourly([-2.0 - 0.3 * i for i in range(8)]))
    say("house/buy", hourly([0.40, 0.12, 0.10, 0.10, 0.11, 0.10, 0.10, 0.10]))
    say("house/sell", hourly([0.05] * 8))
    say(BARRIER_TOPIC, k + 1)
    return daemon.cycle(now_s, CYCLE_S if k else 0.0, k + 1)
