"""The real daemon with a program that decides every five minutes, and cycles of one: what is held, and what is not."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
import pytest
from patience import PATIENCE_S
from tiny_site import ABI, CYCLE_S, HERE, START_S, Bench, Ears, Running, Tank, forecast, tiny_manifest

from runtime.bundle.archive import LIBRARY, Bundle, open_bundle, write_bundle
from runtime.bundle.keys import SigningKey
from runtime.bundle.theta_update import write_update
from runtime.publish.homeassistant import discovery
from runtime.publish.metrics import Snapshot, metrics
from runtime.publish.status_file import Status
from runtime.publish.status_view import view
from runtime.site.config import load_site

Start = Callable[..., Bench]
EVERY_S = 300.0
FIRST_POINT_S = START_S + CYCLE_S
"""The scenarios begin a cycle before a point of the grid."""


@dataclass
class Slow:
    """Makes bundles that decide every five minutes, in the place that the site file names."""

    place: Path
    key: SigningKey

    def put(self, name: str, gain: float, mood: str = "", every_s: float = EVERY_S) -> Bundle:
        compiler = shutil.which("cc") or shutil.which("gcc")
        assert compiler is not None
        library = self.place.parent / f"{name}.so"
        source = [str(HERE / "tiny_controller.c"), "-lm", *([f"-DTINY_MOOD='{mood}'"] if mood else [])]
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-I", str(ABI), "-o", library, *source], check=True)
        files = {f"lib/{platform.machine()}/{LIBRARY}": library}
        manifest = tiny_manifest(name=name, dt_s=every_s, decide_every_s=every_s)
        write_bundle(self.place, manifest, files, {"gain": gain}, {"passed": True}, self.key)
        return open_bundle(self.place, [self.key.public])


@pytest.fixture
def slow(tank: Tank, tmp_path: Path, bundle_directory: Path, key: SigningKey) -> Slow:
    shop = Slow(tmp_path / "slow", key)
    shop.put("old", 1.0)
    tank.site.write_text(tank.site.read_text().replace(str(bundle_directory), str(shop.place)))
    return shop


@pytest.fixture
def bench(start_bench: Start, slow: Slow) -> Bench:
    """A daemon that has decided at level 0.3, a minute before the first point of the grid."""
    bench = start_bench()
    event = cycle(bench, 0.3)
    assert decided(event) and event["action"] == {"inflow": pytest.approx(0.2)}
    return bench


def cycle(bench: Bench, level: float, **said: Any) -> dict[str, Any]:
    bench.tank.set_level(level)
    bench.demand(0.0)
    return bench.cycle(**said)


def decided(event: dict[str, Any]) -> bool:
    """Whether the solver was asked in this cycle, by the time that it took as well as by what is said."""
    assert event["level"] == "mpc", event["reason"]
    anew = bool(event["decision"]["made_s"] == event["time"])
    assert event["decision"]["held"] == (not anew) == (event["timing"]["solve_s"] == 0.0)
    return anew


def at_the_point(bench: Bench, level: float = 0.3) -> dict[str, Any]:
    """Cycles up to and with the next point of the grid."""
    while True:
        event = cycle(bench, level)
        if event["time"] % EVERY_S == 0.0:
            assert decided(event)
            return event


def killed(bench: Bench) -> None:
    os.killpg(bench.process.pid, signal.SIGKILL)
    bench.process.wait()


def test_decisions_lie_on_the_grid_and_cycles_in_between_do_all_the_rest(
    bench: Bench, ears: Ears, tmp_path: Path
) -> None:
    levels = [0.31 + 0.01 * k for k in range(11)]
    record = tmp_path / "nisse.bundles" / "record.json"
    events = [cycle(bench, level) for level in levels[:5]]
    assert not json.loads(record.read_text())["good"]
    events += [cycle(bench, level) for level in levels[5:]]
    # By three decisions a site's first bundle has shown that it solves, not by three cycles.
    assert json.loads(record.read_text())["good"]
    assert [e["time"] for e in events if decided(e)] == [FIRST_POINT_S, FIRST_POINT_S + 300, FIRST_POINT_S + 600]
    # Each decision is that of its point, 0.5 - level, whatever is measured afterwards.
    held = [0.5 - levels[k - k % 5] for k in range(11)]
    assert [e["action"]["inflow"] for e in events] == pytest.approx(held)
    assert [e["inputs"]["level"]["value"] for e in events] == pytest.approx(levels)
    cycle(bench, 0.2)
    state = json.loads(ears.wait_for("nisse/tank/state", lambda m: json.loads(m)["inputs"]["level"]["value"] == 0.2))
    said = state["decision"]
    assert (said["held"], said["age_s"]) == (True, 60.0)
    assert datetime.fromisoformat(said["made"]).timestamp() == FIRST_POINT_S + 600
    assert datetime.fromisoformat(said["next"]).timestamp() == FIRST_POINT_S + 900
    assert state["solver"]["status"] == "ok" and state["timing"]["solve_s"] == 0.0
    assert state["timing"]["decision_solve_s"] > 0.0
    plan = json.loads(ears.wait_for("nisse/tank/plan"))
    assert datetime.fromisoformat(plan["start"]).timestamp() == FIRST_POINT_S + 600
    assert plan["signals"]["level"]["values"][0] == pytest.approx(levels[10])
    assert bench.stop() == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "nisse.db")) as db:
        rows = db.execute("SELECT state, nominal, action, details FROM transition ORDER BY id").fetchall()
    assert [json.loads(row[0])["level"] for row in rows[1:12]] == pytest.approx(levels)
    assert [json.loads(row[1])["inflow"] for row in rows[1:12]] == pytest.approx(held)
    assert [json.loads(row[3])["decision"]["held"] for row in rows[1:12]] == [k % 5 > 0 for k in range(11)]


def test_a_held_decision_is_shown_as_such(bench: Bench, ears: Ears, tank: Tank, slow: Slow) -> None:
    at_the_point(bench)
    tank.set_level(0.2)
    bench.demand(300.0)
    bench.cycle()
    state = json.loads(ears.wait_for("nisse/tank/state", lambda m: json.loads(m)["inputs"]["level"]["value"] == 0.2))
    assert state["inputs"]["demand"]["value"] == 0.3
    # The plan that is held, with the forecast that it was made for.
    plan = json.loads(ears.wait_for("nisse/tank/plan"))
    assert plan["start"] == state["decision"]["made"] and plan["forecasts"]["demand"]["values"] == [0.0] * 5
    solved_ms = 1000 * state["timing"]["decision_solve_s"]
    footer = view(Status("tank", None, state), 0.0)[-3:]
    assert footer[0].startswith("solver  ok, 1 iterations") and f"{solved_ms:.1f} ms" in footer[0]
    assert footer[1] == "decided 22:15, held since, next at 22:20"
    page = metrics(Snapshot(state, 0.0, 90.0, {}, {}), 0.0, "1")
    assert "\nnisse_decision_age_seconds 60\n" in page
    entities = discovery(load_site(tank.site), slow.put("same", 1.0).manifest, "1")["cmps"]

    def shown(entity: str, state: dict[str, Any]) -> str:
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
        return environment.from_string(entities[entity]["value_template"]).render(value_json=state)

    assert shown("decided", state) == "2023-11-14T22:15:00Z" and shown("next_decision", state) == "2023-11-14T22:20:00Z"
    assert float(shown("solve_time", state)) == pytest.approx(solved_ms)
    # Below level mpc no decision is in force.
    tank.device.answer = "silent"
    bench.cycle()
    state = json.loads(ears.wait_for("nisse/tank/state", lambda m: b"shifted_plan" in m))
    assert (shown("decided", state), shown("next_decision", state)) == (state["time"], "None")
    assert "decided" not in "".join(view(Status("tank", None, state), 0.0))
    assert "decision_age" not in metrics(Snapshot(state, 0.0, 90.0, {}, {}), 0.0, "1")
    # Nor is there anything to show where every cycle decides.
    assert "next_decision" not in discovery(load_site(tank.site), tiny_manifest(), "1")["cmps"]


def test_the_filter_works_on_the_state_of_every_cycle(bench: Bench, tank: Tank) -> None:
    at_the_point(bench, 0.2)
    assert tank.inflow == 0.3
    event = cycle(bench, 0.8)
    assert not decided(event)
    # What was decided at 0.2 would fill the tank from here: 0.95 - 0.8 - 0.01 of disturbance is what may pass.
    assert event["filter"]["changed"] and event["filter"]["limits"] == ["level upper"]
    assert tank.inflow == pytest.approx(0.14)
    assert cycle(bench, 0.2)["action"] == {"inflow": pytest.approx(0.3)}


def test_an_input_that_fails_in_between_is_not_hidden(bench: Bench, tank: Tank) -> None:
    at_the_point(bench)
    tank.device.answer = "silent"
    event = bench.cycle()
    assert event["level"] == "shifted_plan" and "no valid answer" in event["reason"]
    assert event["decision"] is None
    tank.device.answer = "normal"
    # Back after the dwell, by a decision of its own; that one is held up to the grid again.
    back = [cycle(bench, 0.35) for _ in range(2)]
    assert [e["level"] for e in back] == ["shifted_plan", "mpc"]
    assert back[0]["timing"]["solve_s"] > 0.0 and decided(back[1])
    assert back[1]["action"] == {"inflow": pytest.approx(0.15)}
    assert not decided(cycle(bench, 0.4))
    assert decided(cycle(bench, 0.4))


def test_a_forecast_that_ends_in_between_is_not_hidden(bench: Bench, tank: Tank) -> None:
    at_the_point(bench)
    bench.tank.set_level(0.3)
    document = {"start": bench.time_s, "step_s": 60, "values": [0.0] * 10}
    bench.ears.say("plant/demand", json.dumps(document))
    events = [bench.cycle() for _ in range(11)]  # nobody sends it again; it says ten minutes
    assert [e["level"] for e in events[:10]] == ["mpc"] * 10
    assert events[10]["level"] != "mpc" and "demand" in events[10]["reason"]


def test_commands_in_between(bench: Bench, ears: Ears, tank: Tank) -> None:
    at_the_point(bench)
    assert not decided(cycle(bench, 0.4))
    ears.say("nisse/tank/request/cycle", "")
    assert decided(cycle(bench, 0.4)) and tank.inflow == 0.1
    ears.say("nisse/tank/set/max_inflow", "0.05")
    event = cycle(bench, 0.3)
    assert decided(event) and event["action"] == {"inflow": 0.05}
    # The same once more allows nothing else, and an automation may say it every minute.
    ears.say("nisse/tank/set/max_inflow", "0.05")
    assert not decided(cycle(bench, 0.3))
    ears.say("nisse/tank/set/mode", "rule")
    assert cycle(bench, 0.3)["level"] == "rule"
    ears.say("nisse/tank/set/mode", "auto")
    back = [cycle(bench, 0.3) for _ in range(2)]
    assert [e["level"] for e in back] == ["rule", "mpc"] and decided(back[1])


def test_kill_9_in_between_decides_at_once(bench: Bench, start_bench: Start) -> None:
    at_the_point(bench)
    assert not decided(cycle(bench, 0.4))
    killed(bench)
    again = start_bench()
    again.time_s = bench.time_s
    event = cycle(again, 0.4)
    assert decided(event) and event["action"] == {"inflow": pytest.approx(0.1)}
    assert not decided(cycle(again, 0.4))
    assert not decided(cycle(again, 0.4))
    assert decided(cycle(again, 0.4))
    assert again.stop() == 0


@pytest.mark.parametrize(("jump_s", "noticed"), [(120.0, True), (-120.0, True), (86_400.0, True), (1.0, False)])
def test_a_clock_that_is_set_in_between(bench: Bench, jump_s: float, noticed: bool) -> None:
    at_the_point(bench)
    cycle(bench, 0.3, jump_s=jump_s)
    assert decided(cycle(bench, 0.35)) == noticed


def install(slow: Slow, bundle: Bundle, gain: float, ears: Ears) -> None:
    write_update(slow.place.with_name(slow.place.name + ".theta"), bundle, {"gain": gain}, slow.key)
    ears.say("nisse/tank/request/reload", "")


def trial(ears: Ears, event: dict[str, Any]) -> tuple[str, int, str] | None:
    """Phase, decisions passed and outcome, as published in the cycle of this event."""
    level = event["inputs"]["level"]
    state = json.loads(
        ears.wait_for(
            "nisse/tank/state",
            lambda m: datetime.fromisoformat(json.loads(m)["time"]).timestamp() == event["time"],
        )
    )
    assert state["inputs"]["level"] == level
    step = state["trial"]
    return None if step is None else (step["phase"], step["passed"], step["outcome"])


def test_a_theta_update_in_between_acts_at_once_and_its_probation_counts_decisions(
    bench: Bench, slow: Slow, ears: Ears
) -> None:
    at_the_point(bench)
    cycle(bench, 0.3)
    install(slow, open_bundle(slow.place, [slow.key.public]), 2.0, ears)
    event = cycle(bench, 0.3)
    assert decided(event) and event["action"] == {"inflow": pytest.approx(0.1)}
    assert trial(ears, event) == ("probation", 1, "goes on")
    steps = []
    for _ in range(9):
        event = cycle(bench, 0.3)
        steps.append((decided(event), trial(ears, event)))
    held, second = (False, ("probation", 1, "goes on")), (True, ("probation", 2, "goes on"))
    assert steps[:4] == [held, held, second, (False, ("probation", 2, "goes on"))]
    assert steps[-2:] == [(True, ("probation", 3, "accepted")), (False, None)]


def test_a_new_bundle_stands_its_trial_by_deciding(bench: Bench, slow: Slow, ears: Ears) -> None:
    """Both decide together: at the reload, then on the grid; in force, at once and then on the grid."""
    at_the_point(bench)
    cycle(bench, 0.3)
    slow.put("new", 2.0)
    ears.say("nisse/tank/request/reload", "")
    seen = []
    for _ in range(19):
        event = cycle(bench, 0.3)
        seen.append((decided(event), trial(ears, event), event["action"]["inflow"]))
    made = [(step, inflow) for anew, step, inflow in seen if anew]
    assert [step for step, _ in made] == [
        ("shadow", 1, "goes on"), ("shadow", 2, "goes on"), ("shadow", 3, "swapped"),
        ("probation", 1, "goes on"), ("probation", 2, "goes on"), ("probation", 3, "accepted"),
    ]  # fmt: skip
    assert [inflow for _, inflow in made] == pytest.approx([0.2] * 3 + [0.1] * 3)
    assert all(step is not None and step[2] == "goes on" for anew, step, _ in seen[:-1] if not anew)


def test_a_newcomer_in_shadow_sees_the_cycles_in_which_nobody_decides(
    start_bench: Start, slow: Slow, tank: Tank, ears: Ears
) -> None:
    """What it saw a minute ago stands in for a reading that is missing when both decide."""
    tank.site.write_text(tank.site.read_text().replace("max_age_s = 30", "max_age_s = 30\nhold_s = 90"))
    bench = start_bench()
    at_the_point(bench)
    slow.put("new", 2.0)
    ears.say("nisse/tank/request/reload", "")
    assert trial(ears, cycle(bench, 0.3)) == ("shadow", 1, "goes on")
    for _ in range(3):
        assert not decided(cycle(bench, 0.4))
    tank.device.answer = "silent"
    event = bench.cycle()
    assert decided(event) and event["inputs"]["level"]["validity"] == "held"
    assert trial(ears, event) == ("shadow", 2, "goes on")
    tank.device.answer = "normal"
    assert bench.stop() == 0


def test_a_newcomer_that_fails_on_probation_does_so_when_it_decides(bench: Bench, slow: Slow, ears: Ears) -> None:
    for _ in range(11):
        at_the_point(bench)  # the old one has stood its own trial by now
    slow.put("bad", 2.0, "c")
    ears.say("nisse/tank/request/reload", "")
    events = [cycle(bench, 0.3) for _ in range(12)]
    assert events[-1]["action"] == {"inflow": pytest.approx(0.1)}
    # Where it would crash it is not asked in between; the filter looks after its move meanwhile.
    event = cycle(bench, 0.92)
    assert not decided(event) and event["filter"]["changed"]
    while event["time"] % EVERY_S:
        event = cycle(bench, 0.92)
    assert decided(event) and event["action"] == {"inflow": pytest.approx(0.5 - 0.92)}
    assert trial(ears, event) == ("probation", 1, "rolled back")
    assert not decided(cycle(bench, 0.92))


def test_the_site_file_may_have_every_cycle_decide(start_bench: Start, slow: Slow, tank: Tank) -> None:
    text = tank.site.read_text().replace(f"cycle_s = {CYCLE_S}", f"cycle_s = {CYCLE_S}\ndecide_every_s = {CYCLE_S:g}")
    tank.site.write_text(text)
    bench = start_bench()
    for k in range(7):
        event = cycle(bench, 0.3 + 0.01 * k)
        assert event["action"] == {"inflow": pytest.approx(0.2 - 0.01 * k)}
        assert "decision" not in event and event["timing"]["solve_s"] > 0.0
    assert bench.stop() == 0


def test_exploration_steps_on_its_own_grid_on_top_of_what_is_held(start_bench: Start, slow: Slow, tank: Tank) -> None:
    with tank.site.open("a") as file:
        file.write(f"\n[exploration]\nstd = {{ inflow = 0.05 }}\nhold_s = {2 * CYCLE_S}\n")
    bench = start_bench()
    cycle(bench, 0.3)
    steps = []
    for k in range(10):
        event = cycle(bench, 0.3)
        assert decided(event) == (k % 5 == 0)
        steps.append((event["time"] // (2 * CYCLE_S), round(event["action"]["inflow"] - 0.2, 9)))
    assert all((a[0] == b[0]) == (a[1] == b[1]) for a in steps for b in steps)
    assert len({step for _, step in steps}) >= 5
    assert bench.stop() == 0


def test_on_the_wall_clock_decisions_are_on_the_grid(
    start: Callable[..., Running], slow: Slow, tank: Tank, ears: Ears, tmp_path: Path
) -> None:
    """Of the cycles of every cell of the grid the first decides; and the first of all, at once."""
    every_s, cycles = 4.0, 12
    slow.put("quick", 1.0, every_s=every_s)
    forecast(ears, 0.0)
    tank.set_level(0.3)
    _, errors = start(1.0, "--cycles", str(cycles)).process.communicate(timeout=PATIENCE_S)
    with contextlib.closing(sqlite3.connect(tmp_path / "nisse.db")) as db:
        rows = db.execute("SELECT time_s, level, details FROM transition ORDER BY id").fetchall()
    assert len(rows) == cycles, errors
    # A cycle comes a moment after its point, or, on a clock that is slewed, before it. One that a busy computer made
    # late at something has a lower level, holds nothing, and is followed by a decision.
    seen = [((time_s + 0.25) // every_s, level, json.loads(details)["decision"]) for time_s, level, details in rows]
    first, *_ = decided_on = [one for one in seen if one[1] == "mpc"]
    assert not first[2]["held"]
    pairs = [(before, after) for before, after in pairwise(seen) if after[1] == "mpc"]
    assert all(after[2]["held"] == (before[1] == "mpc" and before[0] == after[0]) for before, after in pairs), seen
    assert all((decision["made_s"] + 0.25) // every_s == cell for cell, _, decision in decided_on)
    assert len({cell for cell, _, _ in seen}) >= 3
