"""The site as a device of Home Assistant: the payload against the documentation, and the talk through a real broker."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import jsonschema
import pytest
from shipped_house import shipped_house
from tiny_site import CYCLE_S, Bench, Ears, Running, Tank, comfort_manifest, forecast, level_is

from hil.broker import Broker
from runtime.bundle.archive import open_bundle, pack, write_bundle
from runtime.bundle.keys import SigningKey
from runtime.decide.overrides import comfort_document, overridden
from runtime.inputs.signals import USABLE, Validity
from runtime.publish.homeassistant import discovery
from runtime.publish.operator_commands import Wishes, parse_order, wished
from runtime.publish.operator_view import peek_digest
from runtime.site.config import load_site
from runtime.site.template import Answers, signals_of, site_text

SCHEMA = json.loads(Path(__file__).with_name("discovery_schema.json").read_text(encoding="utf-8"))
CONFIG_TOPIC = "homeassistant/device/nisse_tank/config"


def faults(payload: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(payload)]


def payload_of(house: str, tmp_path: Path) -> dict[str, Any]:
    answers = Answers(
        name="cabin", timezone="UTC", bundle="b", trusted_keys=(), link="serial", serial_port="/dev/ttyUSB0"
    )
    path = tmp_path / "site.toml"
    manifest, _ = shipped_house(house)
    path.write_text(site_text(answers, signals_of(manifest)))
    return discovery(load_site(path), manifest, "1.2.3")


@pytest.mark.parametrize("house", ["battery", "four-heat-pumps"])
def test_payload_has_the_documented_shape(house: str, tmp_path: Path) -> None:
    payload = payload_of(house, tmp_path)
    assert faults(payload) == []
    components = payload["cmps"]
    assert len({c["unique_id"] for c in components.values()}) == len(components)
    platforms = {c["p"] for c in components.values()}
    comfort = {"climate", "switch", "text"} if house == "four-heat-pumps" else set()
    assert platforms == {"sensor", "binary_sensor", "number", "select", "update", "button"} | comfort
    assert all(
        c["expire_after"] >= 3 * signals_of(shipped_house(house)[0]).cycle_s
        for c in components.values()
        if c["p"] == "sensor"
    )
    assert payload["availability_mode"] == "all"


def test_the_schema_refuses_what_home_assistant_would(tmp_path: Path) -> None:
    def broken(change: Callable[[dict[str, Any]], object]) -> list[str]:
        payload = payload_of("battery", tmp_path)
        change(payload)
        return faults(payload)

    assert broken(lambda p: p.pop("o"))
    assert broken(lambda p: p["dev"].pop("ids"))
    assert broken(lambda p: p["cmps"]["input_home_soc"].pop("unique_id"))
    assert broken(lambda p: p["cmps"]["input_home_soc"].update(unit_of_measurement="1"))
    assert broken(lambda p: p["cmps"]["mode"].pop("options"))
    assert broken(lambda p: p["cmps"]["level"].update(state_class="measurement"))
    assert broken(lambda p: p["cmps"]["max_home_charge"].update(retain=True))
    assert broken(lambda p: p["cmps"]["max_home_charge"].update(colour="red"))


def test_battery_entities_say_what_they_measure_and_which_way_counts_positive(tmp_path: Path) -> None:
    components = payload_of("battery", tmp_path)["cmps"]
    soc, power, cap = components["input_home_soc"], components["output_home_power"], components["max_home_charge"]
    assert (soc["device_class"], soc["unit_of_measurement"]) == ("battery", "%")
    assert rendered(soc["value_template"], {"inputs": {"home_soc": {"value": 0.37}}}) == "37.0"
    assert rendered(soc["value_template"], {"inputs": {"home_soc": {"value": None}}}) == "None"
    available = soc["availability"][1]["value_template"]
    said = {v.value: rendered(available, {"inputs": {"home_soc": {"validity": v.value}}}) for v in Validity}
    assert {v for v, text in said.items() if text == "online"} == USABLE
    assert power["name"] == "Set-point home_power (+ home_charge, − home_discharge)"
    assert (cap["min"], cap["max"], cap["unit_of_measurement"]) == (0, 5, "kW")


def test_an_action_that_cannot_be_moved_has_no_number(tmp_path: Path) -> None:
    path, (manifest, _) = tmp_path / "site.toml", shipped_house("battery")
    path.write_text(site_text(Answers("cabin", "UTC", "b", (), "mqtt", ""), signals_of(manifest)))
    fixed = tuple(a.model_copy(update={"upper": 0.0}) if a.name == "home_charge" else a for a in manifest.actions)
    components = discovery(load_site(path), manifest.model_copy(update={"actions": fixed}), "1")["cmps"]
    assert "max_home_charge" not in components and "max_home_discharge" in components


def test_zones_are_thermostats_and_tanks_water_heaters_that_talk_as_home_assistant_does(tmp_path: Path) -> None:
    """Every entity of comfort shows what is in force, and what each says is obeyed and shown again."""
    manifest, path = comfort_manifest(), tmp_path / "site.toml"
    path.write_text(site_text(Answers("cabin", "UTC", "b", (), "mqtt", ""), signals_of(manifest)))
    site = load_site(path)
    payload = discovery(site, manifest, "1")
    components, now_s = payload["cmps"], 1_768_000_000.0  # 2026-01-09, 23:06 UTC
    assert faults(payload) == []
    assert len({c["unique_id"] for c in components.values()}) == len(components)

    def state(wishes: Wishes) -> dict[str, Any]:
        plain = {f.name: f.schedule.column(site.zone, now_s, 1800.0, 4) for f in manifest.forecasts if f.schedule}
        columns = overridden(plain, manifest, wishes.overrides, now_s)
        inputs = {spec.name: {"value": 20.5} for spec in manifest.measured}
        return {"inputs": inputs, "control": comfort_document(wishes.overrides, manifest, columns, now_s, site.zone)}

    def told(topic: str, message: str, wishes: Wishes) -> Wishes:
        return wished(wishes, parse_order(topic.removeprefix("nisse/cabin/"), message.encode()), manifest, now_s)

    living, water, away, back = (components[k] for k in ("climate_living", "water_heater_water", "away", "back"))
    usual = state(Wishes())
    assert rendered(living["temperature_state_template"], usual) == "19.0"
    assert rendered(living["current_temperature_template"], usual) == "20.5"
    assert rendered(living["mode_state_template"], usual) == "auto" in living["modes"]
    assert rendered(water["temperature_state_template"], usual) == "45.0"
    assert rendered(components["living_upper"]["value_template"], usual) == "23.0"
    assert (living["min_temp"], living["max_temp"], water["max_temp"]) == (5, 35, 65)

    warm = told(living["temperature_command_topic"], "22.5", Wishes())
    assert rendered(living["temperature_state_template"], state(warm)) == "22.5"
    assert rendered(living["mode_state_template"], state(warm)) == "heat"
    assert told(living["mode_command_topic"], rendered(living["mode_command_template"], value="auto"), warm) == Wishes()
    by_hand = told(living["mode_command_topic"], rendered(living["mode_command_template"], value="heat"), Wishes())
    assert by_hand.overrides.holds["living_set_point"].value == 19.0

    off = told(living["mode_command_topic"], rendered(living["mode_command_template"], value="off"), warm)
    assert rendered(living["mode_state_template"], state(off)) == "off" in living["modes"]
    on = told(living["mode_command_topic"], rendered(living["mode_command_template"], value="heat"), off)
    assert rendered(living["mode_state_template"], state(on)) == "heat"

    hot = told(water["mode_command_topic"], rendered(water["mode_command_template"], value="performance"), Wishes())
    assert hot == told(
        components["hot_water_now"]["command_topic"], components["hot_water_now"]["payload_press"], Wishes()
    )
    assert rendered(water["mode_state_template"], state(hot)) == "performance"
    assert told(water["mode_command_topic"], rendered(water["mode_command_template"], value="eco"), hot) == Wishes()
    warmer = told(water["temperature_command_topic"], "50", Wishes())
    assert rendered(water["temperature_state_template"], state(warmer)) == "50.0"

    gone = told(away["command_topic"], away["payload_on"], Wishes())
    assert rendered(away["value_template"], state(gone)) == "on" and rendered(back["value_template"], state(gone)) == ""
    until = told(back["command_topic"], "2026-01-12 18:00", gone)
    assert rendered(back["value_template"], state(until)) == "2026-01-12T18:00+00:00"
    assert told(back["command_topic"], rendered(back["value_template"], state(until)), gone) == until
    assert rendered(living["temperature_state_template"], state(until)) == "16.0"
    assert told(away["command_topic"], away["payload_off"], until) == Wishes()


def rendered(template: str, state: dict[str, Any] | None = None, **more: Any) -> str:
    # Home Assistant's templates are Jinja's, in a sandbox that refuses names that are not there.
    return jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(template).render(value_json=state, **more)


class Client:
    """The broker's own command line clients, as a user has them."""

    def __init__(self, port: int) -> None:
        self._at = ["-h", "127.0.0.1", "-p", str(port)]

    def read(self, topic: str) -> Any:
        """The retained message."""
        done = subprocess.run(
            ["mosquitto_sub", *self._at, "-t", topic, "-C", "1", "-W", "60"], capture_output=True, check=True
        )
        return json.loads(done.stdout)

    def say(self, topic: str, text: str) -> None:
        subprocess.run(["mosquitto_pub", *self._at, "-q", "1", "-t", topic, "-m", text], check=True)

    def forget(self, topic: str) -> None:
        subprocess.run(["mosquitto_pub", *self._at, "-q", "1", "-t", topic, "-r", "-n"], check=True)


@pytest.mark.skipif(
    shutil.which("mosquitto_sub") is None, reason="needs mosquitto_sub (Debian: apt install mosquitto-clients)"
)
def test_home_assistant_sees_commands_and_loses_the_site(
    start: Callable[..., Running], tank: Tank, ears: Ears, broker: Broker
) -> None:
    """As Home Assistant would through the broker: find the device, read every entity, set mode and number, lose it."""
    forecast(ears)
    daemon = start(60.0)
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    client = Client(broker.port)
    payload = client.read(CONFIG_TOPIC)
    assert faults(payload) == []

    state, components = client.read("nisse/tank/state"), payload["cmps"]
    shown = {k: rendered(c["value_template"], state) for k, c in components.items() if "value_template" in c}
    assert shown["level"] == "mpc" and shown["mode"] == "auto" and shown["reason"] == "none"
    assert shown["input_level"] == "0.3" == shown["action_inflow"] == shown["output_inflow"]
    assert float(shown["solve_time"]) > 0 and shown["problem"] == "OFF"
    assert float(shown["max_inflow"]) == components["max_inflow"]["max"] == 1.0
    assert shown["bundle"] == rendered(components["bundle"]["latest_version_template"], state)
    for component in components.values():
        for entry in component.get("availability", payload["availability"]):
            if "value_template" in entry:
                assert rendered(entry["value_template"], state) == "online"

    plan = json.loads(rendered(components["level"]["json_attributes_template"], client.read("nisse/tank/plan")))
    assert plan["step_s"] == 60 and len(plan["inflow"]) == 4 and len(plan["level"]) == 5

    client.say(components["max_inflow"]["command_topic"], "0.2")
    ears.wait_for("nisse/tank/state", lambda m: json.loads(m)["action"] == {"inflow": pytest.approx(0.2)})
    assert tank.inflow == pytest.approx(0.2)
    client.say(components["mode"]["command_topic"], "rule")
    ears.wait_for("nisse/tank/state", level_is("rule"))
    assert rendered(components["mode"]["value_template"], client.read("nisse/tank/state")) == "rule"

    client.forget(CONFIG_TOPIC)
    heard = len(ears.heard["nisse/tank/state"])
    client.say("homeassistant/status", "online")
    assert client.read(CONFIG_TOPIC) == payload
    ears.wait_for("nisse/tank/state", lambda m: len(ears.heard["nisse/tank/state"]) > heard)

    broker.kill()
    broker.start()  # without memory
    assert ears.wait_for("nisse/tank/availability", lambda m: m == b"online")
    assert client.read(CONFIG_TOPIC) == payload

    daemon.process.kill()
    assert ears.wait_for("nisse/tank/availability", lambda m: m == b"offline") == b"offline"


def test_the_update_entity_sees_a_bundle_that_waits_and_installs_it(
    start_bench: Callable[..., Bench], tank: Tank, ears: Ears, bundle_directory: Path, key: SigningKey, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle_directory, tmp_path / "bundle")
    tank.site.write_text(tank.site.read_text().replace(str(bundle_directory), str(copy)))
    bench = start_bench()

    def bundle() -> dict[str, str]:
        bench.demand()
        bench.cycle()
        time = datetime.fromtimestamp(bench.time_s - CYCLE_S, UTC).isoformat().replace("+00:00", "Z").encode()
        found: dict[str, str] = json.loads(ears.wait_for("nisse/tank/state", lambda m: time in m))["bundle"]
        return found

    before = bundle()
    assert before["available"] == before["digest"]
    old = open_bundle(copy, [key.public])
    assert old.library_path is not None
    files = {str(old.library_path.relative_to(copy)): old.library_path.read_bytes()}
    write_bundle(copy, old.manifest.model_copy(update={"name": "retuned"}), files, {"gain": 2.0}, {}, key)
    waiting = bundle()
    assert waiting["digest"] == before["digest"] != waiting["available"]
    ears.say("nisse/tank/request/reload", "install")
    after = bundle()
    for _ in range(10):  # its trial takes some cycles
        if after["digest"] == waiting["available"]:
            break
        after = bundle()
    assert after["name"] == "retuned" and after["digest"] == after["available"] == waiting["available"]
    packed = pack(copy, tmp_path / "packed.nisse")
    assert peek_digest(packed) == peek_digest(copy) == open_bundle(copy, [key.public]).digest
    packed.write_bytes(packed.read_bytes()[:50])
    assert peek_digest(packed) is None
    assert bench.stop() == 0
