"""Newcomers on trial, with compiled controllers that crash, hang and lie: shadow, swap, probation, rollback."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_site import ABI, HERE, Bench, Ears, Running, Tank, command, forecast, level_is, tiny_manifest

from runtime import errors
from runtime.bundle.archive import LIBRARY, Bundle, open_bundle, pack, write_bundle
from runtime.bundle.keys import SigningKey, new_key
from runtime.bundle.theta_update import with_update, write_update
from runtime.bundle.trial import Phase, Trial, TrialOutcome, after_probation, after_shadow
from runtime.decide.policy import Decision
from runtime.decide.solver_process import Solved

Start = Callable[..., Bench]


@dataclass
class Workshop:
    """Makes bundles and puts them where the site file points."""

    folder: Path
    place: Path
    key: SigningKey

    def make(self, name: str, gain: float, mood: str = "") -> Path:
        compiler = shutil.which("cc") or shutil.which("gcc")
        assert compiler is not None
        library = self.folder / f"{name}.so"
        source = [str(HERE / "tiny_controller.c"), "-lm", *([f"-DTINY_MOOD='{mood}'"] if mood else [])]
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-I", str(ABI), "-o", library, *source], check=True)
        files = {f"lib/{platform.machine()}/{LIBRARY}": library}
        manifest = tiny_manifest(name=name)
        return write_bundle(self.folder / name, manifest, files, {"gain": gain}, {"passed": True}, self.key)

    def put(self, name: str, gain: float, mood: str = "") -> Bundle:
        """A packed bundle, dropped in place of the one before."""
        pack(self.make(name, gain, mood), self.place)
        return open_bundle(self.folder / name, [self.key.public])


@pytest.fixture
def workshop(tank: Tank, tmp_path: Path, key: SigningKey, bundle_directory: Path) -> Workshop:
    """The site's bundle is a packed file, `old`, with gain 1."""
    (tmp_path / "made").mkdir()
    shop = Workshop(tmp_path / "made", tmp_path / "site.nisse", key)
    tank.site.write_text(tank.site.read_text().replace(str(bundle_directory), str(shop.place)))
    shop.put("old", 1.0)
    return shop


def state_of(ears: Ears) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(ears.wait_for("nisse/tank/state"))
    return state


def ask_to_reload(ears: Ears) -> None:
    ears.heard.pop("nisse/tank/response/reload", None)
    ears.say("nisse/tank/request/reload", '{"transaction": "r"}')


def one(bench: Bench, ears: Ears, level: float | None = None) -> dict[str, Any]:
    """A cycle, and the state that it published."""
    if level is not None:
        bench.tank.set_level(level)
    bench.demand(0.0)
    at = bench.time_s
    bench.cycle()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)).encode()
    return json.loads(ears.wait_for("nisse/tank/state", lambda m: stamp in m))


def test_a_good_newcomer_is_shadowed_swapped_and_accepted(start_bench: Start, ears: Ears, workshop: Workshop) -> None:
    bench = start_bench()
    for _ in range(3):
        assert one(bench, ears, 0.3)["action"] == {"inflow": pytest.approx(0.2)}
    new = workshop.put("new", 2.0)
    ask_to_reload(ears)
    states = [one(bench, ears) for _ in range(7)]
    assert json.loads(ears.wait_for("nisse/tank/response/reload"))["status"] == "ok"
    # In shadow it is asked and not obeyed; after that it is obeyed: (0.5 - 0.3) / 2.
    assert [s["action"]["inflow"] for s in states] == pytest.approx([0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1])
    assert [s["level"] for s in states] == ["mpc"] * 7
    steps = [(s["trial"]["phase"], s["trial"]["passed"], s["trial"]["outcome"]) for s in states[:6]]
    assert steps == [
        ("shadow", 1, "goes on"), ("shadow", 2, "goes on"), ("shadow", 3, "swapped"),
        ("probation", 1, "goes on"), ("probation", 2, "goes on"), ("probation", 3, "accepted"),
    ]  # fmt: skip
    assert states[6]["trial"] is None and states[6]["bundle"]["digest"] == new.digest[:16]
    assert bench.stop() == 0
    # The copy of the bundle before is gone, that of the good one is there.
    copies = workshop.place.parent / "nisse.bundles"
    assert sorted(p.name for p in copies.iterdir()) == sorted([new.digest[:16], "record.copy.json", "record.json"])


@pytest.mark.parametrize(("mood", "reason"), [
    ("c", "solver process died (SIGABRT)"),
    ("h", "solver process took longer than its deadline"),
    ("s", "solver process took longer than its deadline"),
    ("n", "solver: not finite"),
])  # fmt: skip
def test_native_code_that_fails_in_shadow_never_acts(
    start_bench: Start, ears: Ears, workshop: Workshop, mood: str, reason: str
) -> None:
    bench = start_bench()
    before = one(bench, ears, 0.92)
    workshop.put("bad", 2.0, mood)
    ask_to_reload(ears)
    first, second = one(bench, ears), one(bench, ears)
    assert (first["trial"]["outcome"], first["trial"]["reason"]) == ("refused", reason)
    assert second["trial"] is None and reason in second["notices"]["bundle"]
    for state in (first, second):
        assert (state["level"], state["bundle"]["digest"]) == ("mpc", before["bundle"]["digest"])
    assert bench.stop() == 0


def test_a_newcomer_that_fails_in_force_is_rolled_back_within_the_cycle_and_not_tried_again(
    start_bench: Start, ears: Ears, workshop: Workshop
) -> None:
    bench = start_bench()
    old = one(bench, ears, 0.3)["bundle"]["digest"]
    for _ in range(2):
        one(bench, ears)
    bad = workshop.put("bad", 2.0, "c")
    ask_to_reload(ears)
    for _ in range(3):
        one(bench, ears)
    assert one(bench, ears)["bundle"]["digest"] == bad.digest[:16]
    # Where it crashes, its predecessor decides, in the same cycle and at the same level.
    state = one(bench, ears, 0.92)
    assert (state["level"], state["bundle"]["digest"]) == ("mpc", old)
    assert state["action"] == {"inflow": pytest.approx(0.5 - 0.92)}
    assert state["trial"]["outcome"] == "rolled back" and "SIGABRT" in state["trial"]["reason"]
    assert "SIGABRT" in one(bench, ears)["notices"]["bundle"]
    # The file is still there; a restart does not fall for it again.
    os.killpg(bench.process.pid, signal.SIGKILL)
    bench.process.wait()
    again = start_bench()
    again.time_s = bench.time_s
    state = one(again, ears, 0.3)
    assert (state["level"], state["bundle"]["digest"], state["trial"]) == ("mpc", old, None)
    assert "was refused before: on probation: solver process died" in state["notices"]["bundle"]
    # Nor does it matter when the file is damaged.
    os.killpg(again.process.pid, signal.SIGKILL)
    again.process.wait()
    workshop.place.write_bytes(workshop.place.read_bytes()[:1000])
    third = start_bench()
    third.time_s = again.time_s
    state = one(third, ears, 0.3)
    assert (state["level"], state["bundle"]["digest"]) == ("mpc", old)
    assert "runs on" in state["notices"]["bundle"] and "damaged" in state["notices"]["bundle"]
    assert third.stop() == 0


def test_kill_9_in_shadow_begins_the_trial_again(start_bench: Start, ears: Ears, workshop: Workshop) -> None:
    bench = start_bench()
    for _ in range(3):
        old = one(bench, ears, 0.3)["bundle"]["digest"]
    workshop.put("new", 2.0)
    ask_to_reload(ears)
    assert one(bench, ears)["trial"]["passed"] == 1
    os.killpg(bench.process.pid, signal.SIGKILL)
    bench.process.wait()
    again = start_bench()
    again.time_s = bench.time_s
    state = one(again, ears)
    assert state["bundle"]["digest"] == old
    assert (state["trial"]["phase"], state["trial"]["passed"]) == ("shadow", 1)
    assert again.stop() == 0


def test_a_theta_update_is_live_within_a_second(
    start: Callable[..., Running], tank: Tank, ears: Ears, workshop: Workshop, tmp_path: Path
) -> None:
    """Packed and installed by the commands; then timed from the request to the register of the device."""
    forecast(ears, 0.0)
    tank.set_level(0.3)
    daemon = start(60.0)
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    assert tank.inflow == 0.2
    new_key_file = tmp_path / "other.pem"
    other = new_key(new_key_file)
    (tmp_path / "theta.json").write_text('{"gain": 2.0}')
    packing = command("theta", "pack", workshop.place, tmp_path / "theta.json", "--output", tmp_path / "new.theta")
    subprocess.run([*packing, "--key", str(new_key_file)], check=True)
    strange = subprocess.run(command("theta", "install", tmp_path / "new.theta", tank.site), capture_output=True)
    assert strange.returncode == 65 and b"does not trust" in strange.stderr and other.public.encode() in strange.stderr
    bundle = open_bundle(workshop.folder / "old", [workshop.key.public])
    pid = daemon.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    took = []
    for gain in (2.0, 1.25, 1.6):
        write_update(tmp_path / "new.theta", bundle, {"gain": gain}, workshop.key)
        if gain == 2.0:
            subprocess.run(command("theta", "install", tmp_path / "new.theta", tank.site, "--no-reload"), check=True)
        else:
            shutil.copyfile(tmp_path / "new.theta", workshop.place.with_name(workshop.place.name + ".theta"))
        begun = time.monotonic()
        ask_to_reload(ears)
        while tank.inflow != pytest.approx(0.2 / gain) and time.monotonic() - begun < 30.0:
            time.sleep(0.005)
        took.append(time.monotonic() - begun)
        assert tank.inflow == pytest.approx(0.2 / gain)
    state = json.loads(ears.wait_for("nisse/tank/state", lambda m: b'"inflow":0.125}' in m))
    assert state["level"] == "mpc" and state["trial"]["phase"] == "probation" and state["bundle"]["theta"]
    assert Path(f"/proc/{pid}/task/{pid}/children").read_text() == children  # the same solver, other numbers
    # The best of three, since the machine may be busy with something else.
    assert min(took) < 1.0, took
    code, errors_said = daemon.end()
    assert code == 0, errors_said


def test_a_theta_that_does_not_solve_is_refused_and_the_old_one_stays(
    start_bench: Start, ears: Ears, workshop: Workshop
) -> None:
    fragile = workshop.put("fragile", 1.0, "t")
    bench = start_bench()
    assert one(bench, ears, 0.3)["action"] == {"inflow": pytest.approx(0.2)}
    update = workshop.place.with_name(workshop.place.name + ".theta")
    write_update(update, fragile, {"gain": 1.8}, workshop.key)
    ask_to_reload(ears)
    state = one(bench, ears)
    assert "SIGABRT" in json.loads(ears.wait_for("nisse/tank/response/reload"))["error"]
    assert (state["level"], state["action"]) == ("mpc", {"inflow": pytest.approx(0.2)})
    assert state["bundle"]["theta"] == "" and "SIGABRT" in state["notices"]["reload"]
    write_update(update, fragile, {"gain": 1.25}, workshop.key)
    ask_to_reload(ears)
    state = one(bench, ears)
    assert state["action"] == {"inflow": pytest.approx(0.2 / 1.25)} and state["bundle"]["theta"]
    # One that belongs to another bundle is left out, and said.
    workshop.put("new", 2.0)
    ask_to_reload(ears)
    assert "made for bundle" in one(bench, ears)["notices"]["theta"]
    assert bench.stop() == 0


def test_theta_updates_are_refused_when_anything_is_wrong_with_them(workshop: Workshop, tmp_path: Path) -> None:
    bundle = open_bundle(workshop.folder / "old", [workshop.key.public])
    file = write_update(tmp_path / "good.theta", bundle, {"gain": 1.5}, workshop.key)
    updated = with_update(bundle, file, [workshop.key.public])
    assert updated.theta == {"gain": 1.5} and updated.identity.startswith(bundle.digest[:16] + "+")
    good = file.read_bytes()
    for position in range(0, len(good) - 1, 3):  # the last byte is the line's end
        file.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(errors.BundleError) as caught:
            with_update(bundle, file, [workshop.key.public])
        assert caught.value.exit_code == 65 and "\n" not in str(caught.value)
    for theta in ({"gain": 2.5}, {}, {"gain": 1.0, "more": 1.0}):
        with pytest.raises(errors.ThetaMisfitError):
            write_update(file, bundle, theta, workshop.key)
    other = open_bundle(workshop.make("other", 1.0), [workshop.key.public])
    write_update(file, other, {"gain": 1.5}, workshop.key)
    with pytest.raises(errors.ThetaMisfitError, match="made for bundle"):
        with_update(bundle, file, [workshop.key.public])


SOLVED = Solved(0, 1, 0.0, 0.0, 0.0, (0.0,), ((0.0,),) * 5, ((0.0,),) * 4)
DECISIONS = st.sampled_from([
    Decision(SOLVED, "", False, 0.0),
    Decision(None, "crashed", True, 0.0),
    Decision(SOLVED, "residual", True, 0.0),
    Decision(None, "input missing", False, 0.0),
])  # fmt: skip


@given(st.integers(1, 4), st.lists(st.tuples(DECISIONS, DECISIONS), max_size=30))
def test_nothing_comes_into_force_or_stays_without_having_earned_it(
    needed: int, cycles: list[tuple[Decision, Decision]]
) -> None:
    """Against a plain count of what happened, for any sequence of answers of the one in force and the other."""
    trial = Trial(None, None, needed)  # type: ignore[arg-type]
    good = 0
    for in_force, other in cycles:
        if trial.phase is Phase.SHADOW:
            trial, outcome = after_shadow(trial, in_force, other)
            good += not other.problem
            if outcome is TrialOutcome.REFUSED:
                assert other.at_fault and not in_force.at_fault
                return
            assert (outcome is TrialOutcome.SWAPPED) == (not other.problem and good == needed)
            if outcome is TrialOutcome.SWAPPED:
                trial, good = Trial(None, None, needed, Phase.PROBATION), 0  # type: ignore[arg-type]
        else:
            trial, outcome = after_probation(trial, in_force, other if in_force.at_fault else None)
            good += not in_force.problem
            if outcome is TrialOutcome.ROLLED_BACK:
                assert in_force.at_fault and not other.problem
                return
            assert not (in_force.at_fault and not other.problem)
            assert (outcome is TrialOutcome.ACCEPTED) == (not in_force.problem and good == needed)
            if outcome is TrialOutcome.ACCEPTED:
                return
