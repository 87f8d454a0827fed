"""What is older is no news: bundles and theta updates of every age, for daemons that were killed and forgot."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_site import Bench, Tank, command, tiny_manifest

from runtime.bundle.archive import LIBRARY, Bundle, open_bundle, pack, write_bundle
from runtime.bundle.keys import SigningKey
from runtime.bundle.manifest import Manifest
from runtime.bundle.serials import Stamp, stamp
from runtime.bundle.theta_update import ThetaUpdate, with_update, write_update

Start = Callable[..., Bench]
Put = Callable[..., Bundle]


@pytest.fixture
def place(tank: Tank, bundle_directory: Path, tmp_path: Path) -> Path:
    place = tmp_path / "site.nisse"
    tank.site.write_text(tank.site.read_text().replace(str(bundle_directory), str(place)))
    return place


@pytest.fixture
def put(place: Path, library: Path, key: SigningKey, tmp_path: Path) -> Put:
    """put(name, serial=..., created=...) -> a signed bundle, dropped in its place."""

    def put(name: str, **said: Any) -> Bundle:
        files = {f"lib/{platform.machine()}/{LIBRARY}": library}
        folder = write_bundle(tmp_path / "made" / name, tiny_manifest(name=name, **said), files, {"gain": 1.0}, {}, key)
        pack(folder, place)
        return open_bundle(folder, [key.public])

    return put


def one(bench: Bench) -> dict[str, Any]:
    bench.demand(0.0)
    bench.cycle()
    return bench.state()


def reloaded(bench: Bench) -> dict[str, Any]:
    """The daemon's answer to a reload, and a cycle."""
    bench.ears.heard.pop("nisse/tank/response/reload", None)
    bench.ears.say("nisse/tank/request/reload", '{"transaction": "r"}')
    one(bench)
    answer: dict[str, Any] = json.loads(bench.ears.wait_for("nisse/tank/response/reload"))
    return answer


def killed(bench: Bench, start_bench: Start) -> Bench:
    os.killpg(bench.process.pid, signal.SIGKILL)
    bench.process.wait()
    again = start_bench()
    again.time_s = bench.time_s
    return again


@pytest.mark.parametrize(("newer", "older"), [
    ({"serial": 7}, {"serial": 6}),
    ({"serial": 7}, {"serial": 7}),
    ({"serial": 1}, {"created": "2099-01-01T00:00:00Z"}),
    ({"created": "2026-06-01T12:00:00+00:00"}, {"created": "2019-01-01T00:00:00+00:00"}),
], ids=["smaller", "same number, other content", "none", "earlier, from before there were numbers"])  # fmt: skip
def test_an_older_bundle_is_refused_also_by_a_daemon_that_was_killed_and_whose_memory_is_damaged(
    start_bench: Start, put: Put, place: Path, newer: dict[str, Any], older: dict[str, Any]
) -> None:
    new = put("new", **newer)
    bench = start_bench()
    for _ in range(3):
        assert one(bench)["bundle"]["digest"] == new.digest[:16]
    put("old", **older)
    answer = reloaded(bench)
    assert answer["status"] == "error" and "is older" in answer["error"]
    assert one(bench)["bundle"]["digest"] == new.digest[:16] and "is older" in bench.state()["notices"]["reload"]
    copies = place.parent / "nisse.bundles"
    for damage in (["record.json"], ["record.copy.json"], ["record.json", "record.copy.json"]):
        for name in damage:
            (copies / name).write_bytes(b"\0garbage")
        bench = killed(bench, start_bench)
        shown = one(bench)
        assert shown["bundle"]["digest"] == new.digest[:16] and "is older" in shown["notices"]["bundle"], damage
        for _ in range(3):
            one(bench)
    # The operator at the machine says otherwise, and that holds from then on.
    site = place.parent / "site.toml"
    looked = subprocess.run(command("check", site), capture_output=True, text=True)
    assert looked.returncode == 65 and "--allow-older" in looked.stderr
    subprocess.run(command("check", site, "--allow-older"), check=True)
    assert reloaded(bench)["status"] == "ok"
    for _ in range(7):
        one(bench)
    assert bench.state()["bundle"]["name"] == "old" and not (copies / "allow-older.json").exists()
    bench = killed(bench, start_bench)
    assert one(bench)["bundle"]["name"] == "old" and bench.stop() == 0


def test_an_older_theta_is_refused_by_command_and_daemon(
    start_bench: Start, put: Put, place: Path, key: SigningKey, tmp_path: Path, tank: Tank
) -> None:
    bundle = put("bundle", serial=1)
    bench = start_bench()
    tank.set_level(0.3)
    for _ in range(3):
        one(bench)
    update, beside = tmp_path / "new.theta", place.with_name(place.name + ".theta")

    def packed(gain: float, *arguments: str) -> Path:
        (tmp_path / "theta.json").write_text(json.dumps({"gain": gain}))
        pack_it = command("theta", "pack", place, tmp_path / "theta.json", "--output", update, *arguments)
        subprocess.run([*pack_it, "--key", str(tmp_path / "key.pem")], check=True)
        return update

    # The session's key, as a file.
    from cryptography.hazmat.primitives import serialization as s

    private = key._private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    (tmp_path / "key.pem").write_bytes(private)
    install = command("theta", "install", update, tank.site, "--no-reload")
    first = shutil.copyfile(packed(1.25), tmp_path / "first.theta")
    second = shutil.copyfile(packed(1.6), tmp_path / "second.theta")
    subprocess.run(install, check=True)
    assert reloaded(bench)["status"] == "ok"
    for _ in range(4):
        one(bench)
    second_digest = with_update(bundle, second, [key.public]).theta_digest[:16]
    assert bench.state()["bundle"]["theta"] == second_digest
    shutil.copyfile(first, update)
    refused = subprocess.run(install, capture_output=True, text=True)
    assert refused.returncode == 65 and "is older" in refused.stderr
    shutil.copyfile(first, beside)
    assert "is older" in reloaded(bench)["error"]
    bench = killed(bench, start_bench)
    assert one(bench)["bundle"]["theta"] == second_digest and "is older" in bench.state()["notices"]["theta"]
    # One from before there were numbers is older than any that has one.
    write_update(beside, bundle, {"gain": 1.25}, key, created="2099-01-01T00:00:00Z")
    assert "serial number missing" in reloaded(bench)["error"]
    subprocess.run([*install, "--allow-older"], check=True)
    assert reloaded(bench)["status"] == "ok"
    assert one(bench)["bundle"]["theta"] == with_update(bundle, first, [key.public]).theta_digest[:16]
    assert bench.stop() == 0


STAMPS = st.builds(Stamp, st.text("ab", min_size=1, max_size=2), st.integers(0, 3), st.sampled_from([0.0, 1.0, 2.0]))


@given(STAMPS, STAMPS)
def test_of_two_different_ones_only_one_can_follow_the_other_unless_neither_says_when(one: Stamp, other: Stamp) -> None:
    follow = [not one.problem(other), not other.problem(one)]
    if one.digest == other.digest:
        assert follow == [True, True]
    elif one.serial or other.serial:
        assert follow == [one.serial > other.serial, other.serial > one.serial]
    elif one.created_s and other.created_s:
        assert follow == [one.created_s >= other.created_s, other.created_s >= one.created_s]
    else:
        assert True in follow
    assert not one.problem(None)


def test_a_serial_number_stands_where_readers_from_before_do_not_stumble() -> None:
    """They refuse a field that they do not know, and `provenance` may hold anything."""
    for model in (tiny_manifest(serial=8), ThetaUpdate(bundle="0" * 64, theta={}, serial=8)):
        written = model.model_dump(mode="json")
        assert "serial" not in written and written["provenance"] == {"serial": 8}
        assert type(model).model_validate(written) == model
        silent = model.model_copy(update={"serial": 0}).model_dump(mode="json")
        assert silent["provenance"] == {} and type(model).model_validate(silent).serial == 0
    with pytest.raises(ValueError, match="serial"):
        Manifest.model_validate({**tiny_manifest().model_dump(mode="json"), "provenance": {"serial": "8"}})
    assert stamp("d", 0, "2026-01-01T00:00:00Z").created_s == 1767225600.0
    assert stamp("d", 0, "yesterday").created_s == stamp("d", 0, "").created_s == 0.0
