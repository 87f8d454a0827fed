"""The log keeps what was committed, stays bounded, and refuses what it cannot read without touching it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.decide.gate import LastAction
from runtime.decide.plan import Plan
from runtime.errors import StoreError
from runtime.store.transitions import Store, Transition, pack_plan, unpack_forecast, unpack_plan

FORECAST = ((0.1, float(2**0.5)), (-3.0, 1e-300))


@dataclass(frozen=True)
class FixedClock:
    """A moment as the store sees it."""

    wall_s: float
    monotonic_s: float
    boot: str = ""
    vouched: bool = True

    def wall(self) -> float:
        return self.wall_s

    def monotonic(self) -> float:
        return self.monotonic_s

    def synchronised(self) -> bool:
        return self.vouched


def row(time_s: float = 0.0) -> Transition:
    return Transition(time_s, "mpc", "", "digest", {"soc": 0.5}, {"charge": 1.0}, {"charge": 1.1}, FORECAST, {"a": [1]})


def test_rows_and_plan_come_back_exactly(tmp_path: Path) -> None:
    store = Store(tmp_path / "log.db", max_transitions=10)
    plan = Plan(1000.0, 5.0, 900.0, ((0.1,), (0.2,)), ((1 / 3,),))
    store.append(row(1000.0), plan, (1.0, 2.0, 3.0), "this boot")
    store.close()
    again = Store(tmp_path / "log.db", max_transitions=10)
    # 30 s later by the wall clock, after a reboot that set the monotonic clock back.
    clock = FixedClock(1030.0, 7.0, "another boot")
    assert again.last_plan("digest", clock) == Plan(1000.0, -23.0, 900.0, plan.states, plan.actions)
    assert again.last_plan("other bundle", clock) is None
    # The same, and nobody vouches for the time: 30 s may be a day and 30 s.
    assert again.last_plan("digest", replace(clock, vouched=False)) is None
    # No reboot: the monotonic clock knows, whatever wall time says.
    assert again.last_plan("digest", FixedClock(9e8, 35.0, "this boot", vouched=False)) == plan
    with sqlite3.connect(tmp_path / "log.db") as db:
        state, blob = db.execute("SELECT state, forecast FROM transition").fetchone()
    assert state == '{"soc":0.5}' and unpack_forecast(blob, 2) == FORECAST


def test_the_oldest_rows_go(tmp_path: Path) -> None:
    store = Store(tmp_path / "log.db", max_transitions=10)
    for k in range(25):
        store.append(row(float(k)), None, (0.0, 0.0, 0.0))
    store.close()
    with sqlite3.connect(tmp_path / "log.db") as db:
        assert [t for (t,) in db.execute("SELECT time_s FROM transition ORDER BY id")] == list(
            map(float, range(15, 25))
        )
        assert db.execute("SELECT count(*) FROM timing").fetchone() == (10,)


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be taken for one" * 20, "newer"])
def test_what_it_cannot_read_it_leaves_alone(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "log.db"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        Store(path, max_transitions=10)
    assert "name another" in str(caught.value) and "\n" not in str(caught.value)
    if isinstance(content, bytes):
        assert path.read_bytes() == before


def test_kill_9_at_any_moment_loses_no_committed_row(tmp_path: Path) -> None:
    """A writer that says what it has committed is killed while it writes, again and again, on the same file."""
    program = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from runtime.store.transitions import Store
from test_store import row
store = Store(Path({str(tmp_path / "log.db")!r}), max_transitions=10**6)
for k in range(10**6):
    store.append(row(float(k)), None, (0.0, 0.0, 0.0))
    print(k, flush=True)
"""
    expected = 0
    for kill_after in (1, 2, 5, 9, 17):
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
        assert writer.stdout is not None
        for _ in range(kill_after):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        said = kill_after + len(writer.stdout.read().split())
        writer.wait()
        writer.stdout.close()
        with sqlite3.connect(tmp_path / "log.db") as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            (count,) = db.execute("SELECT count(*) FROM transition").fetchone()
        # The last one may be committed and not yet said.
        assert expected + said <= count <= expected + said + 1
        expected = count


def test_the_last_action_is_known_after_a_crash_and_not_after_a_stop(tmp_path: Path) -> None:
    store = Store(tmp_path / "log.db", max_transitions=10)
    clock = FixedClock(1060.0, 500.0)
    assert store.last_action(["charge"], clock) is None
    store.append(row(1000.0), None, (0.0, 0.0, 0.0))
    assert store.last_action(["charge"], clock) == LastAction((1.0,), 440.0, (440.0,))
    assert store.last_action(["charge", "discharge"], clock) is None
    assert store.last_action(["charge"], FixedClock(900.0, 500.0)) is None  # of the future, says this clock
    store.stopped()
    assert store.last_action(["charge"], clock) is None
    store.append(row(1050.0), None, (0.0, 0.0, 0.0))
    assert store.last_action(["charge"], clock) == LastAction((1.0,), 490.0, (490.0,))
    store.close()


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.data())
def test_a_plan_is_packed_without_loss(nx: int, na: int, horizon: int, data: st.DataObject) -> None:
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    states, actions = (
        tuple(tuple(data.draw(numbers) for _ in range(width)) for _ in range(rows))
        for width, rows in ((nx, horizon + 1), (na, horizon))
    )
    plan = Plan(1.5, 2.5, 900.0, states, actions)
    about, again = unpack_plan(pack_plan(plan, "digest", "boot"))
    assert again == plan and (about["bundle"], about["boot"]) == ("digest", "boot")
