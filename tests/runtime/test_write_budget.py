"""A device is written as often as its register bears, whatever is asked of the daemon and however often it starts."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_site import INFLOW_REGISTER, START_S, Bench, Ears, Tank, tiny_manifest

from hil.modbus_plant import ModbusDevice, Registers
from hil.serial_line import SerialLine
from runtime.actuate.actuator import Actuator, meant
from runtime.actuate.delivery import IN_FORCE, Delivery, unsent
from runtime.actuate.set_points import ranges
from runtime.actuate.write_budget import WriteBudget
from runtime.clock import LockstepClock
from runtime.links.modbus import ModbusLink
from runtime.links.wiring import ModbusSink
from runtime.site.check import warnings
from runtime.site.config import load_site
from runtime.site.register import Channel, Register, RegisterType, SerialSection
from runtime.site.signals import OutputSection

DAY_S = 86400
MIDNIGHT_S = 1_700_006_400.0  # UTC
WATTS = Register(kind="holding", address=10, type="int16")
Start = Callable[..., Bench]


def output(**changes: object) -> OutputSection:
    values = {"sink": "device", "unit": "W", "combine": {"power": 1.0}, "safe": 0.0, "register": WATTS, **changes}
    return OutputSection.model_validate(values)


class Device:
    """Takes what it is told; `answer` says what becomes of it."""

    def __init__(self, clock: LockstepClock) -> None:
        self.clock, self.session = clock, 0
        self.answer: Delivery = IN_FORCE
        self.writes: list[tuple[float, float]] = []

    def insist(self) -> None:
        pass

    def settled(self) -> str:
        return ""

    def session_of(self, output: OutputSection) -> int:
        return self.session

    def write(self, name: str, output: OutputSection, value: float, *, released: bool = False) -> Delivery:
        if self.answer.answered:
            self.writes.append((self.clock.wall(), value))
        return self.answer


class Site:
    """One output and its device, with a memory that outlives a restart of the actuator."""

    def __init__(self, section: OutputSection, start_s: float = MIDNIGHT_S, where: str = "UTC") -> None:
        self.section, self.where, self.clock, self.kept = section, where, LockstepClock(), [""]
        self.clock.set(start_s)
        self.device = Device(self.clock)
        self.start()

    def start(self) -> None:
        budgets = {"power": self.section.write_budget}
        self.budget = WriteBudget(budgets, ZoneInfo(self.where), self.clock, self.kept.append, self.kept[-1])
        self.actuator = Actuator(
            {"power": self.section}, {"device": self.device}, self.clock, self.budget, {"power": (-5000.0, 5000.0)}
        )

    def at(self, time_s: float) -> None:
        self.clock.set(time_s)

    def by_day(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for time_s, _ in self.device.writes:
            day = datetime.fromtimestamp(time_s, ZoneInfo(self.where)).date().isoformat()
            found[day] = found.get(day, 0) + 1
        return found


@settings(max_examples=40, deadline=None)
@given(
    st.integers(4, 60),
    st.lists(
        st.tuples(
            st.floats(0.5, 20_000), st.floats(-5000, 5000), st.sampled_from(["", "", "", "kill", "lost", "back"])
        ),
        min_size=20,
        max_size=200,
    ),
)
def test_no_day_has_more_writes_than_its_budget(budget: int, moves: list[tuple[float, float, str]]) -> None:
    """Moves at any times, kills, replugged cables, and a clock that is set back: of a day, safe values aside."""
    site, now_s = Site(output(writes_per_day=budget)), MIDNIGHT_S
    for pause_s, value, event in moves:
        now_s += pause_s
        site.at(now_s)
        if event == "kill":
            site.start()
        elif event == "lost":
            site.device.session += 1
        elif event == "back":
            site.clock.set(now_s - 3 * DAY_S, 1.0)
        written = site.actuator.apply({"power": value})["power"]
        site.clock.set(now_s, 0.0)
        assert written.writes is not None and written.writes.budget == budget
        assert abs(written.value) <= 5000 and (written.wanted is None or written.wanted == pytest.approx(value, abs=1))
    safe = sum(value == 0.0 for _, value in site.device.writes)
    assert max(site.by_day().values(), default=0) <= budget + safe


def test_what_is_left_is_spread_over_the_rest_of_the_day() -> None:
    """Full swings every five seconds: few at once, and some in every hour nearly to the end."""
    site = Site(output())
    for k in range(DAY_S // 5):
        site.at(MIDNIGHT_S + 5 * k)
        site.actuator.apply({"power": 5000.0 if k % 2 else -5000.0})
    times = [time_s - MIDNIGHT_S for time_s, _ in site.device.writes]
    assert 150 <= len(times) <= 201 and sum(t <= 15 for t in times) <= 11  # one of them safe, when all are spent
    hours = {int(t // 3600) for t in times}
    assert hours >= set(range(22)) and 0 < sum(t < 3600 for t in times) <= 30


def test_a_short_budget_moves_for_what_matters() -> None:
    """Noise of one per cent every minute, and two changes by half of the range: those come within minutes."""
    site = Site(output())
    waited: dict[float, float] = {}
    for minute in range(DAY_S // 60):
        now_s = MIDNIGHT_S + 60 * minute
        site.at(now_s)
        plan = 0.0 if minute < 600 else 5000.0 if minute < 900 else 0.0
        written = site.actuator.apply({"power": plan + 50.0 * (minute % 2)})["power"]
        if abs(written.value - plan) <= 100.0:
            waited.setdefault(plan + (minute > 800), now_s)
    assert len(site.device.writes) <= 200
    assert waited[5000.0] - (MIDNIGHT_S + 36_000) <= 900 and waited[1.0] - (MIDNIGHT_S + 54_000) <= 900


def test_a_plan_of_quarters_of_an_hour_never_waits_and_an_unchanged_one_is_refreshed_within_the_budget() -> None:
    site = Site(output())
    for quarter in range(96):
        site.at(MIDNIGHT_S + 900 * quarter)
        assert site.actuator.apply({"power": 100.0 * (quarter % 50)})["power"].wanted is None
    assert len(site.device.writes) == 96
    still = Site(output())
    for minute in range(DAY_S // 60):
        still.at(MIDNIGHT_S + 60 * minute)
        still.actuator.apply({"power": 700.0})
    assert 24 <= len(still.device.writes) <= 49
    hasty = Site(output(refresh_s=60.0))
    for minute in range(DAY_S // 60):
        hasty.at(MIDNIGHT_S + 60 * minute)
        hasty.actuator.apply({"power": 700.0})
    assert len(hasty.device.writes) <= 200


def test_a_spent_budget_leaves_the_device_safe_until_midnight_of_the_site() -> None:
    start_s = datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("Europe/Oslo")).timestamp()  # the day after has 23 hours
    site = Site(output(writes_per_day=4), start_s, "Europe/Oslo")
    for k in range(4200):
        site.at(start_s + 10 * k)
        site.device.session += 1  # a device that forgets takes a write each second
        site.actuator.apply({"power": 1000.0 + k % 2})
    assert site.device.writes[-1][1] == 0.0 and "spent" in site.actuator.undelivered()["power"]
    before = len(site.device.writes)
    site.start()  # no restart gives writes back
    for k in range(4200, 4320):
        site.at(start_s + 10 * k)
        site.actuator.apply({"power": 1000.0})
    assert {value for _, value in site.device.writes[before:]} == {0.0}
    site.at(start_s + 12 * 3600)
    usage = site.actuator.apply({"power": 1000.0})["power"].writes
    assert usage is not None and usage.today == 1
    assert site.actuator.undelivered() == {} and site.device.writes[-1][1] == 1000.0


def test_safe_values_and_what_keeps_a_device_alive_are_always_written() -> None:
    site = Site(output(writes_per_day=1, device_timeout_s=30.0))
    for second in range(600):
        site.at(MIDNIGHT_S + second)
        site.actuator.apply({"power": 1000.0})
    times = [t for t, _ in site.device.writes]
    assert max(b - a for a, b in pairwise(times)) <= 10.0
    usage = site.budget.usage("power")
    assert usage.today == 1 and usage.kept_alive == len(times) - 1
    assert site.actuator.safe()["power"].problem == "" and site.device.writes[-1][1] == 0.0


def test_a_device_that_is_off_all_night_costs_no_writes_and_no_disk() -> None:
    site = Site(output())
    site.device.answer = unsent("no answer")
    for second in range(36_000):
        site.at(MIDNIGHT_S + second)
        site.actuator.tick() if second % 60 else site.actuator.apply({"power": 1000.0})
    assert site.budget.usage("power").today == 0 and len(site.kept) <= 4
    site.device.answer = IN_FORCE
    site.at(MIDNIGHT_S + 36_001)
    assert site.actuator.tick()["power"].problem == "" and site.actuator.undelivered() == {}


def test_a_device_that_takes_one_value_and_refuses_another_does_not_make_the_level_flap() -> None:
    """Safe is taken, the plan is not: each time it is found out again, it takes longer until it is believed again."""
    site, believed = Site(output(writes_per_day=10_000)), []
    for second in range(20_000):
        site.at(MIDNIGHT_S + second)
        if site.actuator.undelivered():
            site.device.answer = IN_FORCE
            site.actuator.safe()
        else:
            believed.append(second)
            site.device.answer = Delivery("refused", arrived=False)
            site.actuator.apply({"power": 3000.0})
    assert len(believed) < 60 and max(b - a for a, b in pairwise(believed)) > 2000


class Steps(Registers):
    """Keeps set-points in steps of 100."""

    def write(self, time_s: float, address: int, words: list[int]) -> bool:
        return super().write(time_s, address, [100 * round(word / 100) for word in words])


class WriteOnly(Registers):
    """Lets nobody read what it was told."""

    def read(self, bank: dict[int, int], address: int, count: int) -> list[int] | None:
        return None


class Deaf(Registers):
    """Reads as 0 what it was told."""

    def read(self, bank: dict[int, int], address: int, count: int) -> list[int] | None:
        return [0] * count


class Unwilling(Registers):
    """An exception for every write of one word, as a device that knows function 16 only."""

    tried = 0

    def write(self, time_s: float, address: int, words: list[int]) -> bool:
        self.tried += 1
        return False


@pytest.fixture
def line(tmp_path: Path) -> Iterator[SerialLine]:
    line = SerialLine(tmp_path / "line")
    yield line
    line.close()


@pytest.mark.parametrize(
    ("registers", "options", "arrives", "least", "most"),
    [
        (Steps, {}, True, 2, 45), (Steps, {"step": 100.0}, True, 2, 9), (WriteOnly, {}, True, 2, 45),
        (Deaf, {}, True, 2, 45), (WriteOnly, {"readback": False}, True, 2, 9), (Unwilling, {}, False, 2, 45),
    ],
)  # fmt: skip
def test_a_device_on_the_wire_that_holds_or_answers_something_else(
    line: SerialLine, registers: type[Registers], options: dict[str, object], arrives: bool, least: int, most: int
) -> None:
    """Three hours of seconds, one change on the way: bounded writes, a notice with a remedy, and nothing for ever."""
    clock = LockstepClock()
    memory = registers(holding={10: 0})
    device = ModbusDevice(line, memory, clock.wall)
    section = SerialSection(protocol="modbus", port=str(line.link), parity="N", timeout_s=0.5)
    link = ModbusLink("inverter", section, clock, deadline_s=None)
    setting = output(**options)
    actuator = Actuator(
        {"power": setting}, {"device": ModbusSink(link)}, clock,
        WriteBudget({"power": setting.write_budget}, UTC, clock), {"power": (-5000.0, 5000.0)},
    )  # fmt: skip
    for second in range(3 * 3600):
        clock.set(MIDNIGHT_S + second)
        actuator.tick() if second % 60 else actuator.apply({"power": 1234.0 if second < 5000 else 2345.0})
    made = memory.tried if isinstance(memory, Unwilling) else len(memory.writes)
    assert least <= made <= most
    undelivered, notice = actuator.undelivered(), actuator.notices()["power"]
    assert bool(undelivered) != arrives
    if options:
        assert notice == "" and memory.writes[-1][2] == (2300 if "step" in options else 2345)
    else:
        assert "inverter: " in notice and ("step" in notice and "readback = false" in notice) == arrives
    link.close()
    device.close()


def test_an_output_that_never_arrives_is_no_mpc(start_bench: Start, tank: Tank, ears: Ears) -> None:
    """The only output: nothing but the device's own default acts. When it takes set-points again, mpc comes back."""
    del tank.registers.holding[INFLOW_REGISTER]
    tank.set_level(0.3)
    bench = start_bench()
    bench.demand(hours=1)
    events = [bench.cycle() for _ in range(6)]
    assert [e["level"] for e in events][-3:] == ["safe"] * 3
    assert "output inflow: pump: device 1 refused register 10 (exception 2)" in events[-1]["reason"]
    notices = bench.state()["notices"]
    assert "refused register 10" in notices["output inflow"]
    tank.registers.holding[INFLOW_REGISTER] = 0
    bench.demand(hours=1)
    events = [bench.cycle(advance_s=120.0) for _ in range(8)]
    assert events[-1]["level"] == "mpc" and tank.inflow == 0.3
    assert bench.state()["notices"] == {}
    assert bench.stop() == 0


def test_one_output_of_two_that_does_not_arrive_leaves_the_other_to_the_rule(
    start_bench: Start, tank: Tank, ears: Ears
) -> None:
    second = (
        '[outputs.mirror]\nsink = "mqtt"\ntopic = "plant/mirror"\nunit = "W"\ncombine = { inflow = 1.0 }\nsafe = 0.0\n'
    )
    tank.site.write_text(tank.site.read_text().replace("[rule]", second + "\n[rule]"))
    del tank.registers.holding[INFLOW_REGISTER]
    tank.set_level(0.3)
    ears.client.subscribe("plant/mirror", qos=1)
    bench = start_bench()
    bench.demand(hours=1)
    events = [bench.cycle() for _ in range(6)]
    assert [e["level"] for e in events][-2:] == ["rule"] * 2 and "output inflow" in events[-1]["reason"]
    ears.wait_for("plant/mirror", lambda m: m == b"125")
    tank.registers.holding[INFLOW_REGISTER] = 0x7FFF  # else it could not be left safe
    assert bench.stop() == 0 and tank.inflow == 0.0


def test_counts_outlive_kill_9_and_are_shown(start_bench: Start, tank: Tank, ears: Ears) -> None:
    tank.set_level(0.3)
    bench = start_bench()
    for k in range(3):
        bench.demand(100.0 + 50.0 * k)
        assert bench.cycle()["level"] == "mpc"
    shown = json.loads(ears.wait_for("nisse/tank/state", lambda m: b'"today":3' in m))
    assert shown["outputs"]["inflow"]["writes"] == {"today": 3, "budget": 200, "kept_alive": 0}
    os.killpg(bench.process.pid, signal.SIGKILL)
    bench.process.wait()
    again = start_bench()
    again.time_s = bench.time_s
    again.demand()
    again.cycle()
    ears.wait_for("nisse/tank/state", lambda m: b'"today":4' in m)
    assert again.stop() == 0
    assert len(tank.registers.writes) == 5 and tank.inflow == 0.0  # the last is the safe value
    third = start_bench()
    third.time_s = START_S + DAY_S
    third.demand()
    third.cycle()
    ears.wait_for("nisse/tank/state", lambda m: b'"today":1' in m)


@given(
    st.floats(-1e4, 1e4) | st.sampled_from([1.9e-09, -1.9e-09, -0.0, -0.3]),
    st.none() | st.sampled_from([0.1, 1.0, 100.0, 25.0]),
    st.sampled_from(["uint16", "int16", "int32", "float32", None]),
    st.sampled_from([1.0, 0.1, -0.01]),
)
def test_a_set_point_is_what_the_device_can_mean(
    value: float, step: float | None, kind: RegisterType | None, scale: float
) -> None:
    if kind is None:
        section = output(sink="mqtt", topic="a", register=None, step=step)
    else:
        section = output(register=Register(kind="holding", address=1, type=kind, scale=scale), step=step)
    told = meant(section, value, (-1e4, 1e4))
    assert math.copysign(1.0, told) == 1.0 or told < 0.0  # never -0
    resolution = max(step or 0.0, abs(scale) if kind not in {None, "float32"} else 0.0) or 1.0
    assert -1e4 <= told <= 1e4 or abs(told - value) <= abs(scale)
    assert abs(told - value) <= resolution * (1.0 + 1e-9)
    assert meant(section, told, (-1e4, 1e4)) == pytest.approx(told, abs=1e-6)
    if abs(value) < 1e-6:
        assert told == 0.0
    if step is not None and kind in {None, "float32"}:
        assert told / step == pytest.approx(round(told / step), abs=1e-6)


def test_ranges_are_those_of_the_actions_in_the_unit_of_the_output() -> None:
    section = output(unit="W", combine={"inflow": -2.0})
    assert ranges({"power": section}, tiny_manifest().actions) == {"power": (-2000.0, 2000.0)}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("", None),
        ("refresh_s = 300.0", "refresh_s = 300 asks for 288 writes a day of a budget of 200; give refresh_s = 432"),
        ("refresh_s = 300.0\nwrites_per_day = 288", None),
        ("device_timeout_s = 60", "4320 writes a day to keep the device alive"),
        ("device_timeout_s = 1296", None),
        ("device_timeout_s = 1296\nwrites_per_day = 100", "device_timeout_s = 2592"),
    ],
)
def test_check_warns_of_what_exceeds_the_budget(tank: Tank, setting: str, said: str | None) -> None:
    tank.site.write_text(tank.site.read_text().replace("safe = 0.0", f"safe = 0.0\n{setting}"))
    found = warnings(load_site(tank.site), tiny_manifest())
    assert found == [] if said is None else said in found[0] and found[0].startswith("outputs.inflow: ")


def test_a_board_that_holds_outputs_in_memory_has_no_budget_unless_it_is_given_one() -> None:
    board = output(register=None, channel=Channel(number=0))
    assert board.write_budget is None and board.kept_alive and board.refresh_due_s == 20.0
    assert output(register=None, channel=Channel(number=0), writes_per_day=50).write_budget == 50


@pytest.mark.parametrize("vouched", [True, False])
def test_a_clock_that_was_years_ahead_does_not_spend_those_years(
    vouched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set back, it gives no write back, and yet midnight comes again: after a day where nobody vouches for it."""
    monkeypatch.setattr(LockstepClock, "synchronised", lambda self: vouched)
    site = Site(output(writes_per_day=4), MIDNIGHT_S + 3000 * DAY_S)
    for _ in range(4):
        site.budget.spend("power")
    site.clock.set(MIDNIGHT_S + 60.0, elapsed_s=1.0)
    assert site.budget.usage("power").left == 0
    site.start()
    site.clock.set(MIDNIGHT_S + DAY_S - 60.0, elapsed_s=DAY_S - 120.0)
    assert site.budget.usage("power").left == 0
    site.clock.set(MIDNIGHT_S + DAY_S + 60.0, elapsed_s=120.0)
    assert site.budget.usage("power").left == (4 if vouched else 0)
    site.clock.set(MIDNIGHT_S + 2 * DAY_S, elapsed_s=DAY_S)
    assert site.budget.usage("power").left == 4
