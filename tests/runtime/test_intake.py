"""Odd inputs of the field through the real daemon, broker and serial line: what is used, what not, and what is said."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from patience import PATIENCE_S
from test_input_policies import change, seen
from tiny_site import CYCLE_S, LEVEL_REGISTER, START_S, Bench, Ears, Tank, tiny_manifest

from hil.broker import Broker
from runtime.bundle.archive import LIBRARY, SignalSpec, open_bundle, write_bundle
from runtime.bundle.keys import SigningKey
from runtime.bundle.theta_update import write_update
from runtime.clock import LockstepClock
from runtime.formats.payload import parse_time
from runtime.inputs.signals import Arrival
from runtime.links.mqtt import CLOCK_SKEW_S, MqttLink, Subscription
from runtime.site.config import MqttSection

StartBench = Callable[..., Bench]
LEVEL_BY_MQTT = 'source = "mqtt"\ntopic = "plant/level"\npointer = "/level"\n'


@pytest.fixture
def priced(tank: Tank, tmp_path: Path, library: Path, key: SigningKey) -> Tank:
    """The tank, whose forecast is a price."""
    price = SignalSpec(name="demand", unit="EUR/kWh", lower=-0.5, upper=3)
    manifest = tiny_manifest(forecasts=(price,))
    files = {f"lib/{platform.machine()}/{LIBRARY}": library}
    bundle = write_bundle(tmp_path / "priced", manifest, files, {"gain": 1.0}, {}, key)
    change(tank, "plan_max_age_s = 130", "plan_max_age_s = 130\ndwell_s = 0")
    old = next(line for line in tank.site.read_text().splitlines() if line.startswith("bundle ="))
    change(tank, old, f'bundle = "{bundle}"')
    change(tank, 'pointer = "/values"\nunit = "W"', 'unit = "EUR/kWh"')
    return tank


def notices(bench: Bench) -> dict[str, str]:
    """Those of the last cycle."""
    then = datetime.fromtimestamp(bench.time_s - CYCLE_S, UTC).isoformat().replace("+00:00", "Z").encode()
    found: dict[str, str] = json.loads(bench.ears.wait_for("nisse/tank/state", lambda m: then in m))["notices"]
    return found


def minutes(bench: Bench, values: list[Any], **more: Any) -> str:
    return json.dumps({"start": bench.time_s, "step_s": 60, "values": values, **more})


def test_a_number_is_no_forecast_of_a_price(start_bench: StartBench, priced: Tank, ears: Ears) -> None:
    bench = start_bench()
    ears.say("plant/demand", "0.31")
    event = bench.cycle()
    assert seen(event, "demand")[0] == "malformed" and event["level"] == "rule"
    assert "flat = true" in event["reason"]
    ears.say("plant/demand", minutes(bench, [0.3] * 20 + [0.5] * 40))
    assert bench.cycle()["level"] == "mpc"
    assert bench.stop() == 0


def test_a_tariff_that_never_changes_may_be_a_number(start_bench: StartBench, priced: Tank, ears: Ears) -> None:
    change(priced, "max_age_s = 600", "max_age_s = 600\nflat = true")
    ears.say("plant/demand", '{"state": "0.081"}', retain=True)  # once, and for ever
    bench = start_bench()
    bench.cycle()
    bench.time_s += 3600.0
    event = bench.cycle()
    assert seen(event, "demand") == ("ok", 0.081) and event["level"] == "mpc"
    assert "forecasts" not in notices(bench)
    assert bench.stop() == 0


@pytest.mark.parametrize("odd", [-0.503, -0.529, -0.65, 3.2, 5.0])
def test_an_odd_price_is_a_price(odd: float, start_bench: StartBench, priced: Tank, ears: Ears) -> None:
    bench = start_bench()
    ears.say("plant/demand", minutes(bench, [0.3, odd] + [0.4] * 40))
    event = bench.cycle()
    assert event["level"] == "mpc" and bench.cycle()["inputs"]["demand"]["value"] == odd
    # Absurd, and gone by: it says nothing of what is to come.
    ears.say("plant/demand", minutes(bench, [800.0] + [0.4] * 60))
    assert seen(bench.cycle(), "demand")[0] == "out_of_range"
    assert seen(bench.cycle(), "demand") == ("ok", 0.4)
    ears.say("plant/demand", minutes(bench, [310.0] * 60))
    event = bench.cycle()
    assert seen(event, "demand")[0] == "out_of_range" and "is it in EUR/MWh" in event["inputs"]["demand"]["problem"]
    assert bench.stop() == 0


def test_a_forecast_that_was_not_believed_is_not_remembered(start_bench: StartBench, priced: Tank, ears: Ears) -> None:
    """A day in a wrong unit is no yesterday: the forecast after it would be refused for that."""
    bench = start_bench()
    ears.say("plant/demand", minutes(bench, [310.0] * 1440))
    assert seen(bench.cycle(), "demand")[0] == "out_of_range"
    bench.time_s += 86400.0
    ears.say("plant/demand", minutes(bench, [0.3] * 3))
    event = bench.cycle()
    assert seen(event, "demand") == ("ok", 0.3) and event["level"] == "mpc"
    assert bench.stop() == 0


def test_a_new_theta_knows_the_forecasts_of_yesterday(
    start_bench: StartBench, priced: Tank, ears: Ears, tmp_path: Path, key: SigningKey
) -> None:
    """Late in the day a fifth of the horizon is said; the rest is yesterday's, whichever theta is in force."""
    bundle = open_bundle(tmp_path / "priced", [key.public])
    bench = start_bench()
    ears.say("plant/demand", minutes(bench, [0.3] * 1440))
    assert bench.cycle()["level"] == "mpc"
    bench.time_s += 86400.0 - CYCLE_S

    def late() -> str:
        ears.say("plant/demand", minutes(bench, [0.2]))
        return str(bench.cycle()["level"])

    assert late() == "mpc"
    write_update(tmp_path / "priced.theta", bundle, {"gain": 1.5}, key)
    ears.say("nisse/tank/request/reload", "")
    assert [late() for _ in range(4)] == ["mpc"] * 4
    assert json.loads(ears.wait_for("nisse/tank/response/reload"))["status"] == "ok"
    assert bench.stop() == 0


@pytest.mark.parametrize("payload", ["1e308", '{"start": 1700000040, "step_s": 600, "values": [1e308, 1, -1e308, 1]}'])
def test_a_number_that_is_too_large_in_another_unit(
    start_bench: StartBench, tank: Tank, ears: Ears, payload: str
) -> None:
    change(tank, 'pointer = "/values"\nunit = "W"', 'unit = "MW"')
    bench = start_bench()
    ears.say("plant/demand", payload)
    event = bench.cycle()
    assert seen(event, "demand") == ("malformed", None) and event["level"] == "rule"
    assert bench.stop() == 0


def test_a_forecast_lasts_as_long_as_it_covers_and_its_end_is_said(
    start_bench: StartBench, priced: Tank, ears: Ears
) -> None:
    """Published once, hours ago by any max_age_s; at the end flat with a notice, then with too little left refused."""
    change(priced, "max_age_s = 600", "max_age_s = 60")
    bench = start_bench()
    ears.say("plant/demand", minutes(bench, [0.01 * k for k in range(20)]))
    events = [bench.cycle() for _ in range(16)]  # the horizon has 5 rows of a minute
    assert {e["level"] for e in events} == {"mpc"}
    assert "forecasts" not in notices(bench) and events[-1]["inputs"]["demand"]["age_s"] == 15 * 60.0
    for _ in range(3):
        event = bench.cycle()
        assert event["level"] == "mpc" and "the last value stands in" in notices(bench)["forecasts"]
        assert "the last value stands in" in event["inputs"]["demand"]["problem"]
    event = bench.cycle()
    assert seen(event, "demand")[0] == "stale" and event["level"] == "shifted_plan"
    assert "only 20 % of the horizon is left" in event["reason"]
    assert bench.stop() == 0


def test_what_is_no_price_may_be_a_number_and_that_is_said(start_bench: StartBench, tank: Tank, ears: Ears) -> None:
    bench = start_bench()
    ears.say("plant/demand", '{"values": "100"}')
    event = bench.cycle()
    assert event["level"] == "mpc" and seen(event, "demand") == ("ok", 0.1)
    assert "a number, held over the whole horizon" in notices(bench)["forecasts"]
    bench.demand(hours=2)
    assert bench.cycle()["level"] == "mpc" and "forecasts" not in notices(bench)
    assert bench.stop() == 0


def test_after_a_restart_the_log_knows_yesterday(start_bench: StartBench, priced: Tank, ears: Ears) -> None:
    """A list that begins now: its tomorrow is the day before, also for a daemon that has not seen that day."""
    bench = start_bench()
    day = [0.1 + 0.001 * k for k in range(40)]
    ears.say("plant/demand", minutes(bench, day))
    for _ in range(12):
        bench.cycle()
    assert bench.stop() == 0
    again = start_bench()
    again.time_s = START_S + 86400.0
    ears.say("plant/demand", json.dumps({"start": again.time_s, "step_s": 60, "values": [0.7] * 2}))
    assert again.cycle()["level"] == "mpc"
    start = datetime.fromtimestamp(again.time_s - CYCLE_S, UTC).isoformat().replace("+00:00", "Z").encode()
    plan = json.loads(ears.wait_for("nisse/tank/plan", lambda m: start in m))
    assert plan["forecasts"]["demand"]["values"] == pytest.approx([0.7, 0.7, *day[2:5]])
    assert again.stop() == 0


def test_a_sensor_that_overshoots_is_clipped_and_one_beyond_is_not(start_bench: StartBench, tank: Tank) -> None:
    change(tank, 'type = "uint16", scale = 0.001 }\nunit = "1"', 'type = "int16", scale = 0.1 }\nunit = "%"')
    bench = start_bench()
    bench.demand(hours=2)
    for raw, used in ((1004, 1.0), (1030, 1.0), (-2 & 0xFFFF, 0.0)):
        tank.registers.set_input({LEVEL_REGISTER: raw})
        event = bench.cycle()
        assert seen(event, "level") == ("ok", used) and event["level"] == "mpc"
        assert "the end of its range" in event["inputs"]["level"]["problem"]
    tank.registers.set_input({LEVEL_REGISTER: 1050})
    assert seen(bench.cycle(), "level")[0] == "out_of_range"
    assert bench.stop() == 0


@pytest.mark.parametrize(("kind", "word"), [("int16", 0x8000), ("int16", 0x7FFF), ("uint16", 0xFFFF)])
def test_a_register_without_a_value_is_missing(kind: str, word: int, start_bench: StartBench, tank: Tank) -> None:
    change(tank, 'type = "uint16", scale = 0.001 }', f'type = "{kind}", scale = 0.00001 }}')
    tank.registers.set_input({LEVEL_REGISTER: word})
    bench = start_bench()
    bench.demand(hours=2)
    event = bench.cycle()
    assert seen(event, "level") == ("missing", None) and "not implemented" in event["reason"]
    tank.registers.set_input({LEVEL_REGISTER: 30000})
    assert seen(bench.cycle(), "level") == ("ok", 0.3)
    assert bench.stop() == 0


def test_all_bits_of_a_signed_register_are_a_reading_where_one_may_be_negative(
    start_bench: StartBench, tank: Tank
) -> None:
    """A level between 0 and 1 never is -0.1 %, though it may overshoot by as much; unless the site says that it is."""
    change(tank, 'type = "uint16", scale = 0.001 }', 'type = "int16", scale = 0.001 }')
    tank.registers.set_input({LEVEL_REGISTER: 0xFFFF})
    bench = start_bench()
    bench.demand(hours=2)
    event = bench.cycle()
    assert seen(event, "level") == ("missing", None) and "all bits set" in event["reason"]
    tank.registers.set_input({LEVEL_REGISTER: 0xFFFE})
    assert seen(bench.cycle(), "level") == ("ok", 0.0)
    assert bench.stop() == 0
    change(tank, 'type = "int16", scale = 0.001 }', 'type = "int16", scale = 0.001, not_implemented = [] }')
    tank.registers.set_input({LEVEL_REGISTER: 0xFFFF})
    bench = start_bench()
    bench.demand(hours=2)
    assert seen(bench.cycle(), "level") == ("ok", 0.0)
    assert bench.stop() == 0


def test_a_retained_measurement_has_no_age_until_it_is_sent_anew(
    start_bench: StartBench, tank: Tank, ears: Ears
) -> None:
    text = tank.site.read_text()
    register = text[text.index('source = "pump"\nregister = { kind = "input"') : text.index('unit = "1"')]
    change(tank, register, LEVEL_BY_MQTT)
    change(tank, "plan_max_age_s = 130", "plan_max_age_s = 130\ndwell_s = 0")
    ears.say("plant/level", '{"level": "0.4"}', retain=True)
    document = {"start": START_S, "step_s": 60, "values": [0.1] * 600}
    ears.say("plant/demand", json.dumps(document), retain=True)
    bench = start_bench()
    event = bench.cycle()
    assert seen(event, "demand")[0] == "ok"  # it says its own times
    assert seen(event, "level") == ("missing", None) and "sent anew" in event["reason"]
    ears.say("plant/level", '{"level": "0.4"}', retain=True)
    event = bench.cycle()
    assert seen(event, "level") == ("ok", 0.4) and event["level"] == "mpc"
    assert bench.stop() == 0


@pytest.fixture
def link(broker: Broker, ears: Ears) -> Iterator[Callable[..., Heard]]:
    """link(**subscription) -> an MQTT link to the real broker, on a clock that the test sets."""
    links: list[MqttLink] = []

    def opened(**subscription: Any) -> Heard:
        clock, one = LockstepClock(), Subscription("plant/level", **subscription)
        links.append(MqttLink("t", MqttSection(port=broker.port), None, {"level": one}, clock, lockstep=True))
        links[-1].start()
        heard = Heard(links[-1], clock, ears)
        heard.wait_connected()
        return heard

    yield opened
    for one in links:
        one.stop()


@dataclass
class Heard:
    """What a link has of its one input."""

    link: MqttLink
    clock: LockstepClock
    ears: Ears
    barrier: int = 0

    def at(self, wall_s: float) -> Arrival | None:
        """When everything has arrived that was sent before."""
        self.barrier += 1
        self.ears.say("bench/barrier", str(self.barrier))
        assert self.link.wait_barrier(self.barrier, 30.0)
        self.clock.set(wall_s)
        return self.link.read().get("level")

    def reconnect(self) -> None:
        """As after a restart of the broker: it sends again what it has retained."""
        self.link._subscribed = False
        self.link._client.reconnect()
        self.wait_connected()

    def wait_connected(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.link.connected:
            assert time.monotonic() < deadline, "no connection to the broker"
            time.sleep(0.02)


def test_a_broker_that_says_it_again_does_not_make_it_young(link: Callable[..., Heard], ears: Ears) -> None:
    heard = link()
    heard.at(1000.0)
    ears.say("plant/level", "0.4", retain=True)
    assert heard.at(1000.0) == Arrival(0.4, 0.0)
    heard.reconnect()
    again = heard.at(1008.0)
    assert again is not None and (again.value, again.monotonic_s) == (0.4, 0.0) and "sent anew" in again.problem
    ears.say("plant/level", "0.4", retain=True)
    assert heard.at(1009.0) == Arrival(0.4, 9.0)


def test_a_time_in_the_message_is_its_age(link: Callable[..., Heard], ears: Ears) -> None:
    heard = link(pointer="/v", timestamp_pointer="/at")
    heard.at(1_767_222_000.0)

    def sent(at: Any, value: float = 0.4) -> None:
        ears.say("plant/level", json.dumps({"v": value, "at": at}), retain=True)

    sent(1_767_221_992.0)
    heard.reconnect()
    assert heard.at(1_767_222_000.0) == Arrival(0.4, -8.0)  # retained, and known to be 8 s old
    sent("2025-12-31T23:00:05Z")
    assert heard.at(1_767_222_010.0) == Arrival(0.4, 5.0)
    sent(1_767_222_002_000, 0.9)  # an older one comes late
    assert heard.at(1_767_222_011.0) == Arrival(0.4, 5.0)
    sent(1_767_222_020.0 + CLOCK_SKEW_S - 1.0, 0.5)  # the other clock is ahead a little
    assert heard.at(1_767_222_020.0) == Arrival(0.5, 20.0)
    for at, why in ((1_767_222_030.0 + CLOCK_SKEW_S + 5.0, "65 s ahead"), ("yesterday", "no time"), (None, "no value")):
        sent(at, 0.6)
        kept = heard.at(1_767_222_030.0)
        assert kept is not None and (kept.value, kept.monotonic_s) == (0.5, 20.0) and why in kept.problem


def test_a_time_that_a_clock_shows_twice_is_the_later_one_once_that_has_come() -> None:
    """In autumn 02:30 is at 00:30 and at 01:30 UTC: a reading of now is not an hour old, nor one of before of now."""
    first_s = datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()
    payload, oslo = b'{"at": "2026-10-25T02:30:00"}', ZoneInfo("Europe/Oslo")
    for now_s, meant_s in ((first_s + 5.0, first_s), (first_s + 3605.0, first_s + 3600.0)):
        assert parse_time(payload, "/at", oslo, now_s + CLOCK_SKEW_S) == meant_s
