"""The clock set while the daemon waits, never set, or moved for summer: ages do not follow it, no plan outlives it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tiny_site import CYCLE_S, START_S, Bench, Ears, Running, Tank, forecast, level_is, tiny_manifest

from runtime.bundle.archive import open_bundle, write_bundle
from runtime.bundle.keys import SigningKey
from runtime.clock import LockstepClock, SystemClock, clock_doubt
from runtime.daemon import Daemon
from runtime.interrupts import Signals
from runtime.publish.status_file import Status
from runtime.site.config import load_site
from runtime.systemd import Notifier
from runtime.wall_clock import run_on_the_wall_clock

DAY_S = 86400.0


class SettableClock(SystemClock):
    """The machine's clock, and a hand that sets it; it begins in the middle of a cycle, far from the next."""

    def __init__(self) -> None:
        super().__init__()
        self.shift_s = CYCLE_S / 2 - super().wall() % CYCLE_S

    def wall(self) -> float:
        return super().wall() + self.shift_s

    def set_by(self, seconds: float) -> None:
        self.shift_s += seconds


@pytest.mark.parametrize("within_a_cycle", [False, True])
@pytest.mark.parametrize("shift_s", [DAY_S, -DAY_S, 3600.0])
def test_a_clock_that_is_set_is_noticed_at_once(tank: Tank, ears: Ears, shift_s: float, within_a_cycle: bool) -> None:
    """Cycles are a minute apart; the one after the jump does not wait for that, and follows no plan of another day."""
    forecast(ears)
    tank.set_level(0.3)
    clock = SettableClock()
    daemon = Daemon(load_site(tank.site), clock)
    seen: list[tuple[str, float | None]] = []

    def show(status: Status) -> None:
        seen.append((status.state["level"], status.state["inputs"]["level"]["age_s"]))
        if len(seen) == 1:
            if within_a_cycle:
                clock.set_by(shift_s)
            else:
                later.start()

    later = threading.Timer(1.5, clock.set_by, [shift_s])
    daemon.view.on_show = show
    begun = time.monotonic()
    try:
        daemon.open()
        run_on_the_wall_clock(daemon, Notifier(None), Signals(), cycles=2)
    finally:
        daemon.stop()
        later.cancel()
    # The forecast covers four hours: an hour on it still serves, a day away it does not, and nor does the plan.
    assert [level for level, _ in seen] == ["mpc", "mpc" if abs(shift_s) < DAY_S else "rule"]
    assert all(age is not None and age < 10.0 for _, age in seen)
    assert time.monotonic() - begun < 15.0


def test_without_the_time_there_is_no_mpc(
    start: Callable[..., Running], tank: Tank, ears: Ears, bundle_directory: Path, key: SigningKey, tmp_path: Path
) -> None:
    """A clock from before the bundle was built was never set; here the bundle is of the future, which is the same."""
    old = open_bundle(bundle_directory, [key.public])
    assert old.library_path is not None
    name = str(old.library_path.relative_to(bundle_directory))
    future = (datetime.now(UTC) + timedelta(days=400)).isoformat()
    path = write_bundle(tmp_path / "late", tiny_manifest(created=future), {name: old.library_path}, old.theta, {}, key)
    tank.site.write_text(tank.site.read_text().replace(str(bundle_directory), str(path)))
    forecast(ears)
    daemon = start(60.0)
    state = json.loads(ears.wait_for("nisse/tank/state", level_is("rule")))
    assert state["reason"].startswith("the clock is not set: it says ") and tank.inflow == 0.125
    code, errors = daemon.end()
    assert code == 0, errors


def test_doubt_about_the_clock() -> None:
    built = "2026-01-01T00:00:00Z"
    built_s = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert "1970-01-01" in clock_doubt(built, 30.0)
    assert clock_doubt(built, built_s - 2 * DAY_S) and not clock_doubt(built, built_s - 3600.0)
    assert not clock_doubt("", 0.0) and not clock_doubt("when it was ready", 0.0)


def test_monotonic_time_of_lockstep_follows_only_what_has_passed() -> None:
    clock = LockstepClock()
    clock.set(START_S)
    clock.set(START_S - 5000.0)
    assert clock.monotonic() == 0.0
    clock.set(START_S + DAY_S, elapsed_s=60.0)
    assert clock.monotonic() == 60.0


@pytest.fixture
def oslo(tank: Tank) -> Iterator[None]:
    tank.site.write_text(tank.site.read_text().replace('name = "tank"', 'name = "tank"\ntimezone = "Europe/Oslo"'))
    yield


@pytest.mark.parametrize(
    ("change", "offsets"),
    [("2026-03-29T01:00:00+00:00", ["+01:00", "+02:00"]), ("2026-10-25T01:00:00+00:00", ["+02:00", "+01:00"])],
)
def test_daylight_saving_is_for_people_only(
    start_bench: Callable[..., Bench], tank: Tank, ears: Ears, oslo: None, change: str, offsets: list[str]
) -> None:
    """Across both changes: hourly prices of a day of 23 or 25 hours stay in their hours, ages in their seconds."""
    bench = start_bench()
    turn_s = datetime.fromisoformat(change).timestamp()
    bench.time_s = turn_s - 120.0
    midnight = datetime.fromtimestamp(turn_s, UTC) - timedelta(hours=1 if offsets[0] == "+01:00" else 2)
    hours = [100.0 * k for k in range(8)]
    local = midnight.replace(tzinfo=None) + timedelta(hours=int(offsets[0][1:3]))
    document = {"start": f"{local.isoformat()}{offsets[0]}", "step_s": 3600, "values": hours}
    tank.set_level(0.5)
    ears.say("plant/demand", json.dumps(document))
    events = [bench.cycle() for _ in range(4)]
    assert [e["level"] for e in events] == ["mpc"] * 4
    before = 0.1 * ((turn_s - midnight.timestamp()) / 3600 - 1)
    # Demand is met as it comes, so that the action is the demand of the hour.
    assert [e["action"]["inflow"] for e in events] == pytest.approx([before, before, before + 0.1, before + 0.1])
    assert [e["inputs"]["demand"]["age_s"] for e in events] == [0.0, 60.0, 120.0, 180.0]
    bench.state()
    said = [json.loads(m)["time"] for m in ears.heard["nisse/tank/state"]]
    assert [t[-6:] for t in said] == [offsets[0]] * 2 + [offsets[1]] * 2
    assert bench.stop() == 0
