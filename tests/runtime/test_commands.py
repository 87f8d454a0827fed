"""Commands by MQTT: understood from any bytes, bounded, rate-limited, and each one answered."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tiny_site import Bench, Ears, Tank, site_text, tiny_manifest

from runtime.bundle.keys import new_key
from runtime.bundle.manifest import ActionLimit
from runtime.clock import LockstepClock
from runtime.decide.gate import LastAction, limit
from runtime.decide.ladder import Level
from runtime.decide.overrides import CommandRefusedError
from runtime.publish.operator_commands import (
    COMMANDS_BURST,
    COMMANDS_PER_HOUR,
    COMMANDS_PER_S,
    MAX_TEXT,
    MODES,
    TOO_MANY,
    RateLimit,
    Wishes,
    answer,
    kept,
    parse_order,
    recalled,
    still_valid,
    wished,
)
from runtime.site.config import load_site
from runtime.store.journal import EXTRA_ROWS_BURST, EXTRA_ROWS_PER_HOUR, Journal
from runtime.store.transitions import Transition

MANIFEST = tiny_manifest()


@given(st.text(max_size=90), st.binary(max_size=1500))
def test_any_bytes_are_an_order_that_can_be_answered(topic: str, payload: bytes) -> None:
    for prefix in ("set/", "request/", ""):
        order = parse_order(prefix + topic, payload)
        assert len(order.value) <= MAX_TEXT and len(order.transaction) <= MAX_TEXT
        assert order.name.replace("_", "").isalnum() and order.name.isascii()
        assert json.loads(answer(order, order.problem))["transaction"] == order.transaction


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_only_a_number_in_range_moves_a_cap(value: object) -> None:
    for payload in (json.dumps(value), json.dumps({"value": value})):
        order = parse_order("set/max_inflow", payload.encode())
        try:
            wishes = wished(Wishes(), order, MANIFEST)
        except CommandRefusedError as error:
            assert "from -1 to 1 kW" in str(error)
        else:
            number = float(order.value)
            assert -1 <= number <= 1
            assert wishes.caps == ({} if number == 1.0 else {"inflow": number})


@pytest.mark.parametrize(
    ("topic", "payload", "error"),
    [
        ("set/mode", b"turbo", "mode is one of auto, rule, safe"),
        ("set/max_inflow", b"nan", "from -1 to 1 kW"),
        ("set/max_inflow", b"1.5", "from -1 to 1 kW"),
        ("set/max_outflow", b"1", "known here: mode, max_inflow"),
    ],
)
def test_what_is_refused_names_what_would_be_accepted(topic: str, payload: bytes, error: str) -> None:
    with pytest.raises(CommandRefusedError, match=error):
        wished(Wishes(), parse_order(topic, payload), MANIFEST)


def test_a_cap_is_kept_by_the_limits_and_says_so_and_ramps_still_hold() -> None:
    assert limit((0.8,), None, MANIFEST, 0.0, {"inflow": 0.5}).action == (0.5,)
    assert limit((0.8,), None, MANIFEST, 0.0, {"inflow": 0.5}).limits == ("inflow: limited by command",)
    assert limit((0.3,), None, MANIFEST, 0.0, {"inflow": 0.5}).limits == ()
    ramped = tiny_manifest(limits=(ActionLimit(name="inflow", ramp_per_s=0.01),))
    before = LastAction((0.8,), 0.0, (0.0,))
    assert limit((0.8,), before, ramped, 10.0, {"inflow": 0.5}).action == (pytest.approx(0.7),)


def test_another_bundle_keeps_the_mode_and_the_caps_that_it_has() -> None:
    wishes = Wishes(mode="rule", caps={"inflow": 0.5, "gone": 1.0})
    assert still_valid(wishes, MANIFEST) == Wishes(mode="rule", caps={"inflow": 0.5})
    assert Wishes(mode="rule").ceiling is Level.RULE and set(MODES) == {"auto", "rule", "safe"}


@given(st.text() | st.none(), st.sampled_from(sorted(MODES)), st.floats(-1, 1))
def test_wishes_survive_as_text_and_no_text_is_dangerous(text: str | None, mode: str, cap: float) -> None:
    wishes = Wishes(mode, {"inflow": cap})
    assert recalled(kept(wishes), MANIFEST) == wishes
    assert recalled(text, MANIFEST) == Wishes()
    assert recalled('{"mode": "turbo", "caps": {}}', MANIFEST) == Wishes()
    assert recalled('{"mode": "rule", "caps": {"inflow": 9}}', MANIFEST) == Wishes("rule")


def test_mode_and_caps_hold_after_kill_9(start_bench: Callable[..., Bench], tank: Tank, ears: Ears) -> None:
    """Who has set the devices safe to work on them is not surprised by a restart."""
    bench = start_bench()
    bench.demand()
    assert bench.cycle()["level"] == "mpc"
    for topic, value in (("mode", "safe"), ("max_inflow", "0.2")):
        ears.say(f"nisse/tank/set/{topic}", value)
        bench.cycle()
    os.killpg(bench.process.pid, signal.SIGKILL)
    bench.process.wait()
    again = start_bench()
    again.time_s = bench.time_s
    again.demand()
    assert again.cycle()["level"] == "safe"
    ears.say("nisse/tank/set/mode", "auto")
    events = [again.cycle() for _ in range(3)]
    assert (events[-1]["level"], events[-1]["action"]) == ("mpc", {"inflow": pytest.approx(0.2)})
    assert again.stop() == 0


class RateMachine(RuleBasedStateMachine):
    """Whatever the times of arrival: never more than the burst at once, nor than the rate in the long run."""

    def __init__(self) -> None:
        super().__init__()
        self.limit, self.now_s, self.allowed = RateLimit(), 0.0, list[float]()

    @rule(pause_s=st.floats(0, 20))
    def wait(self, pause_s: float) -> None:
        self.now_s += pause_s

    @rule(count=st.integers(1, 30))
    def ask(self, count: int) -> None:
        self.allowed += [self.now_s for _ in range(count) if self.limit.allows(self.now_s)]

    @invariant()
    def bounded(self) -> None:
        for i, begun in enumerate(self.allowed):
            for j in range(i, len(self.allowed)):
                most = COMMANDS_BURST + COMMANDS_PER_S * (self.allowed[j] - begun)
                assert j - i + 1 <= math.floor(most + 1e-6)


TestRate = RateMachine.TestCase


def test_a_flood_is_bounded_and_answered_and_control_goes_on(
    start_bench: Callable[..., Bench], tank: Tank, ears: Ears
) -> None:
    bench = start_bench()
    bench.demand()
    assert bench.cycle()["level"] == "mpc"
    for k in range(200):
        ears.client.publish("nisse/tank/set/max_inflow", json.dumps({"value": 0.001 * k, "transaction": str(k)}), qos=1)
    ears.client.publish("nisse/tank/set/mode", b"\xff" * 100_000, qos=1)
    event = bench.cycle()
    assert event["level"] == "mpc"
    ears.wait_for("nisse/tank/response/max_inflow", lambda m: TOO_MANY.encode() in m)
    bench.state()
    answers = [json.loads(m) for m in ears.heard["nisse/tank/response/max_inflow"]]
    assert [a["transaction"] for a in answers if a["status"] == "ok"] == [str(k) for k in range(COMMANDS_BURST)]
    assert len(answers) == COMMANDS_BURST + 1
    caps = {"inflow": 0.001 * (COMMANDS_BURST - 1)}
    ears.wait_for("nisse/tank/state", lambda m: json.loads(m)["control"]["caps"] == caps)
    ears.say("nisse/tank/set/max_inflow", '{"value": 1, "transaction": "last"}')
    bench.demand()
    assert bench.cycle()["action"] == {"inflow": pytest.approx(0.3)}
    assert json.loads(ears.wait_for("nisse/tank/response/max_inflow", lambda m: b"last" in m))["status"] == "ok"
    assert bench.stop() == 0


def test_a_reload_on_request_says_whether_it_worked(start_bench: Callable[..., Bench], tank: Tank, ears: Ears) -> None:
    bench = start_bench()
    bench.demand()
    assert bench.cycle()["level"] == "mpc"
    text = tank.site.read_text()
    tank.site.write_text(text.replace("cycle_s = 60.0", "cylce_s = 60.0"))
    ears.say("nisse/tank/request/reload", '{"transaction": "bad"}')
    bench.cycle()
    said = json.loads(ears.wait_for("nisse/tank/response/reload"))
    assert (said["status"], said["transaction"]) == ("error", "bad") and "did you mean 'cycle_s'" in said["error"]
    tank.site.write_text(text)
    ears.say("nisse/tank/request/reload", '{"transaction": "good"}')
    bench.cycle()
    said = json.loads(ears.wait_for("nisse/tank/response/reload", lambda m: b"good" in m))
    assert said == {"status": "ok", "error": "", "transaction": "good"}
    ears.say("nisse/tank/request/dance", "")
    bench.cycle()
    assert "request/cycle" in json.loads(ears.wait_for("nisse/tank/response/dance"))["error"]
    assert bench.stop() == 0


def test_twenty_requests_a_second_for_hours_are_bounded(
    start_bench: Callable[..., Bench], tank: Tank, ears: Ears, tmp_path: Path
) -> None:
    """Decisions, rows of the log and lines of the machine's log; a mode that is toggled ends at the stricter one."""
    bench = start_bench()
    bench.demand(hours=2)
    bench.cycle()
    for _ in range(20):  # of each minute one second
        for _ in range(20):
            ears.client.publish("nisse/tank/request/cycle", "", qos=1)
        bench.cycle()
    bench.state()
    answers = [json.loads(m) for m in ears.heard["nisse/tank/response/cycle"]]
    assert COMMANDS_PER_HOUR <= sum(a["status"] == "ok" for a in answers) <= COMMANDS_PER_HOUR + 21
    assert any("hour" in a["error"] for a in answers)
    for k in range(2 * COMMANDS_BURST):
        ears.say("nisse/tank/set/mode", "auto" if k % 2 else "safe")
    assert bench.cycle()["level"] == "safe"
    bench.state()
    said = [json.loads(m) for m in ears.heard["nisse/tank/response/mode"]]
    assert {a["status"] for a in said} == {"ok", "error"}
    bench.demand()
    assert bench.cycle()["level"] == "safe"
    assert bench.stop() == 0
    assert bench.process.stderr is not None
    lines = bench.process.stderr.read().decode().splitlines()
    assert sum("command" in line for line in lines) <= COMMANDS_PER_HOUR + 40  # of 420; their number once a minute


def test_rows_of_the_log_are_bounded_and_the_last_one_is_true(tmp_path: Path) -> None:
    """Two cycles a second for ten hours beside a cycle each quarter: rows of the grid are all there."""
    notices: dict[str, str] = {}
    clock = LockstepClock()
    clock.set(900_000.0)
    site = tmp_path / "site.toml"
    site.write_text(
        site_text(Path("b"), new_key(tmp_path / "k.pem").public, Path("/dev/x"), 1883).replace("60.0", "900.0")
    )
    journal = Journal(load_site(site), clock, notices.__setitem__)
    count = 0
    for second in range(10 * 3600):
        clock.set(900_000.0 + second)
        if second % 900 and second % 7:
            continue
        count += 1
        row = Transition(clock.wall(), "mpc", "", "b", {}, {"inflow": float(second)}, {}, None, {})
        journal.append(row, None, (0.0, 0.0, 0.0))
    last_s = clock.wall()
    journal.close(safe=True)
    with contextlib.closing(sqlite3.connect(tmp_path / "nisse.db")) as db:
        times = [t for (t,) in db.execute("SELECT time_s FROM transition ORDER BY id")]
        timings = db.execute("SELECT count(*) FROM timing").fetchone()[0]
    assert set(range(900_000, 900_000 + 36_000, 900)) <= set(times)
    assert 40 + 60 <= len(times) <= 40 + EXTRA_ROWS_BURST + EXTRA_ROWS_PER_HOUR * 10 + 1 < count / 5
    assert timings == len(times) and times == sorted(times) and last_s - times[-1] < 7.0
