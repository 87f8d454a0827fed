"""The real daemon follows a meter over a real serial line, its clock in the test's hand."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_site import Ears
from tracking_rig import (
    METER,
    POWER,
    SECOND,
    SOC,
    Home,
    TrackingBench,
    bundled,
    compiled,
    site_text,
    two_batteries,
)  # fmt: skip

from hil.broker import Broker
from hil.modbus_plant import ModbusDevice, Registers
from hil.serial_line import SerialLine
from runtime.bundle.keys import SigningKey

Start = Callable[..., TrackingBench]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("library"))


@pytest.fixture
def start(tmp_path: Path, broker: Broker, ears: Ears, library: Path, key: SigningKey) -> Iterator[Start]:
    """start(extra lines of the site, manifest fields) -> the daemon in lockstep with this test."""
    line = SerialLine(tmp_path / "serial-by-id-inverter")
    registers = Registers(input={SOC: 500, METER: 0}, holding={POWER: 0})
    device = ModbusDevice(line, registers, lambda: 0.0)
    benches: list[TrackingBench] = []
    folder = tempfile.TemporaryDirectory(prefix="nisse")  # a socket's path must be short

    def run(extra: str = "", controller: Path = library, **changes: object) -> TrackingBench:
        bundle = bundled(tmp_path / "battery", controller, key, **changes)
        site = tmp_path / "site.toml"
        site.write_text(site_text(bundle, key.public, line.link, broker.port, extra))
        home = Home(registers, device, line, site)
        benches.append(TrackingBench(home, ears, Path(folder.name) / "s", dict(os.environ)))
        return benches[-1]

    yield run
    for bench in benches:
        bench.close()
    device.close()
    line.close()
    folder.cleanup()


def settled(bench: TrackingBench, looks: int = 12) -> float:
    for _ in range(looks):
        bench.look()
    return bench.home.grid_kw


def test_a_kettle_is_covered_and_a_cloud_followed_where_the_plan_holds_the_meter_at_nothing(start: Start) -> None:
    bench = start()
    bench.plan(wish_kw=-1.0, load_kw=1.0)
    event = bench.decide()
    assert event["level"] == "mpc" and bench.home.battery_kw == -1.0 and bench.home.grid_kw == 0.0
    bench.home.load_kw = 3.2  # a kettle
    shown = bench.look()
    assert shown["on"] and shown["target_kw"] == 0.0 and shown["meter_kw"] == pytest.approx(3.2 - 1.0)
    # One look takes away six tenths of what the meter shows.
    assert bench.home.battery_kw == pytest.approx(-1.0 - 0.6 * 2.2, abs=2e-3)
    assert abs(settled(bench)) <= 0.03
    bench.home.load_kw = -2.5  # sun on the panels
    assert abs(settled(bench)) <= 0.03 and bench.home.battery_kw == pytest.approx(2.5, abs=0.04)
    assert bench.stop() == 0 and bench.home.battery_kw == 0.0


def test_what_the_plan_buys_or_keeps_for_later_is_not_given_to_the_kettle(start: Start) -> None:
    bench = start()
    bench.plan(wish_kw=2.0, load_kw=1.0)  # cheap hours: charges from the grid
    bench.decide()
    bench.home.load_kw = 3.2
    settled(bench)
    assert bench.home.battery_kw == 2.0
    bench.home.load_kw = -3.0  # what would be sold is stored, on top of it
    assert abs(settled(bench)) <= 0.03 and bench.home.battery_kw == pytest.approx(3.0, abs=0.04)
    bench.time_s += 900.0
    bench.plan(wish_kw=0.0, load_kw=1.0)  # kept for dearer hours
    bench.home.load_kw = 1.0
    bench.decide()
    bench.home.load_kw = 3.2
    assert settled(bench) == pytest.approx(3.2) and bench.home.battery_kw == 0.0
    assert bench.stop() == 0


def test_a_bundle_that_says_nothing_of_it_and_a_site_without_the_meter_hold_set_points(start: Start) -> None:
    bench = start(tracking=None, format_version=1)
    bench.plan(wish_kw=-1.0, load_kw=1.0)
    bench.decide()
    bench.home.load_kw = 3.2
    shown = bench.look()
    assert shown == {"on": False, "why": "the bundle does not say what follows the meter"}
    assert settled(bench) == pytest.approx(2.2)
    assert bench.stop() == 0


def test_a_meter_with_the_wrong_sign_is_found_out_within_three_readings(start: Start) -> None:
    bench = start()
    bench.home.sign = -1.0
    bench.plan(wish_kw=-1.0, load_kw=1.0)
    bench.decide()
    bench.home.load_kw = 2.0  # the meter says that a kW is sold
    looks = [bench.look() for _ in range(3)]
    assert [look["on"] for look in looks] == [True, True, False]
    assert "its sign" in looks[-1]["why"]
    assert bench.home.battery_kw == -1.0  # as planned
    assert max(bench.home.seen) < 2.0 + 1.5
    bench.time_s += 60.0
    bench.plan(wish_kw=-1.0, load_kw=1.0)
    bench.decide()
    state = bench.state()
    assert "its sign" in state["notices"]["tracking"] and not state["tracking"]["on"]
    assert bench.stop() == 0


def test_a_meter_that_stands_still_or_is_not_heard_leaves_the_plan_in_force(start: Start) -> None:
    bench = start()
    bench.plan(wish_kw=-1.0, load_kw=1.0)
    bench.decide()
    bench.home.load_kw = 1.5
    bench.home.show()
    bench.home.frozen = True
    looks = [bench.look() for _ in range(4)]
    assert "same number" in looks[-1]["why"] and bench.home.battery_kw == -1.0
    bench.home.frozen = False
    bench.look(601.0)
    assert abs(settled(bench)) <= 0.03
    # Where it stops at what is tracked, nothing is moved and nothing shows it: after a minute a small move asks.
    bench.home.frozen = True
    found = [bench.look(10.0) for _ in range(12)]
    assert found[5]["on"] and "same number" in found[-1]["why"]
    bench.home.frozen = False
    bench.look(1300.0)
    assert abs(settled(bench)) <= 0.03
    bench.home.device.answer = "silent"
    looks = [bench.look(4.0) for _ in range(6)]
    bench.home.device.answer = "normal"
    assert not looks[-1]["on"] and "no reading of the meter" in looks[-1]["why"]
    again = [bench.look(61.0) for _ in range(3)]
    assert again[-1]["on"] and abs(settled(bench)) <= 0.03
    assert bench.stop() == 0


def test_an_inverter_with_a_mode_of_its_own_is_left_to_the_plan(start: Start) -> None:
    bench = start()
    bench.plan(wish_kw=-1.0, load_kw=1.0)
    bench.decide()
    bench.home.own_mode_kw = 0.4
    bench.home.device.registers.write = lambda time_s, address, words: True  # type: ignore[method-assign]
    bench.home.load_kw = 2.5
    looks = [bench.look() for _ in range(5)]
    assert not looks[-1]["on"] and "keeps another power than it is told" in looks[-1]["why"]
    bench.stop()


def test_two_batteries_on_one_meter_share_and_do_not_fight(start: Start, tmp_path: Path) -> None:
    """By the room that each has, and neither charges what the other gives; their sum is what one would do."""
    second = f"""
[outputs.second]
sink = "inverter"
register = {{ kind = "holding", address = {SECOND}, type = "int16", scale = 0.001 }}
unit = "kW"
combine = {{ charge_2 = 1.0, discharge_2 = -1.0 }}
safe = 0.0
writes_per_day = 100000
"""
    bench = start(second, compiled(tmp_path, batteries=2), **two_batteries())
    bench.home.registers.holding[SECOND] = 0
    bench.plan(wish_kw=0.0, load_kw=0.0)
    bench.home.load_kw = 0.0
    assert bench.decide()["level"] == "mpc"
    for load in (3.0, -3.0, 6.0, 0.5):
        bench.home.load_kw = load
        assert abs(settled(bench, looks=8)) <= 0.031
        first, other = bench.home.powers_kw
        assert first * other >= 0.0
        before = (first, other)
        settled(bench, looks=4)
        assert bench.home.powers_kw == pytest.approx(before, abs=0.02)
    assert bench.stop() == 0 and bench.home.powers_kw == [0.0, 0.0]
