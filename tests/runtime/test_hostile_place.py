"""A running daemon, and one that is started again, while strange things stand where its bundle and theta belong."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_files import NOT_FILES, PACKED
from tiny_site import Bench, Ears, Running, Tank, forecast, level_is

from runtime.bundle.archive import open_bundle, pack
from runtime.bundle.keys import SigningKey


def put(place: Path, kind: str, good: bytes) -> None:
    """Where the daemon writes as well, its file may come between the clearing and the putting: cleared once more."""
    while True:
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        place.unlink(missing_ok=True)
        with contextlib.suppress(FileExistsError):
            if kind in NOT_FILES:
                NOT_FILES[kind](place)
            else:
                place.write_bytes(PACKED[kind](good))
            return


@pytest.mark.parametrize("suffix", ["", ".theta"])
def test_control_goes_on_with_the_bundle_that_it_had(
    start_bench: Callable[..., Bench], tank: Tank, bundle_directory: Path, tmp_path: Path, suffix: str
) -> None:
    """Cycle by cycle, through reloads and kills; nothing is left among the copies."""
    bundle = tmp_path / "site.nisse"
    good = pack(bundle_directory, bundle).read_bytes()
    tank.site.write_text(tank.site.read_text().replace(str(bundle_directory), str(bundle)))
    bench = start_bench()
    for _ in range(3):
        bench.demand()
        assert bench.cycle()["level"] == "mpc"
    place = bundle.with_name(bundle.name + suffix)
    for kind in (
        "fifo", "link to a device", "link to itself", "sparse 2 GB that looks packed", "folder with a fifo",
        "sparse map of letters", "long name of 2 GB", "unsigned", "link",
    ):  # fmt: skip
        put(place, kind, good)
        bench.ears.heard.pop("nisse/tank/response/reload", None)
        bench.ears.say("nisse/tank/request/reload", "")
        bench.demand()
        assert bench.cycle()["level"] == "mpc", kind
        assert json.loads(bench.ears.wait_for("nisse/tank/response/reload"))["status"] == "error", kind
        bench.demand()
        assert bench.cycle()["level"] == "mpc"
        notices = json.loads(bench.ears.wait_for("nisse/tank/state", lambda m: b"not reloaded" in m))["notices"]
        assert "not reloaded" in notices["reload"], kind
    for kind in ("fifo", "sparse map of letters"):
        put(place, kind, good)
        os.killpg(bench.process.pid, signal.SIGKILL)
        bench.process.wait()
        again = start_bench()
        again.time_s, bench = bench.time_s, again
        bench.demand()
        assert bench.cycle()["level"] == "mpc", kind
        told = "theta" if suffix else "bundle"
        bench.ears.wait_for("nisse/tank/state", lambda m, told=told: told in json.loads(m)["notices"])  # type: ignore[misc]
    copies = tmp_path / "nisse.bundles"
    assert not [entry.name for entry in copies.iterdir() if entry.name.startswith(".")]
    assert bench.stop() == 0


def test_what_stands_where_the_status_file_belongs_stops_nothing(
    start: Callable[..., Running], tank: Tank, ears: Ears, tmp_path: Path
) -> None:
    """A folder that cannot be replaced, a FIFO where it is prepared: cycles go on, and the end is one in order."""
    place = tmp_path / "run" / "tank.json"
    place.parent.mkdir()
    forecast(ears)
    daemon = start(0.5, "--status-file", str(place))
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    for there, kind in ((place.with_name(".tank.json.partial"), "fifo"), (place, "folder with a fifo")):
        put(there, kind, b"")
        heard = len(ears.heard["nisse/tank/state"])
        ears.wait_for("nisse/tank/state", lambda _, heard=heard: len(ears.heard["nisse/tank/state"]) > heard + 2)  # type: ignore[misc]
    code, errors = daemon.end()
    assert code == 0 and "Traceback" not in errors and "it stays" in errors
    assert ears.wait_for("nisse/tank/availability", lambda m: m == b"offline")


def test_a_first_bundle_that_is_spoilt_before_its_trial_ends_is_still_there(
    start_bench: Callable[..., Bench], tank: Tank, bundle_directory: Path, tmp_path: Path, key: SigningKey
) -> None:
    bundle = tmp_path / "site.nisse"
    pack(bundle_directory, bundle)
    tank.site.write_text(tank.site.read_text().replace(str(bundle_directory), str(bundle)))
    bench = start_bench()
    bench.demand()
    bench.cycle()
    os.killpg(bench.process.pid, signal.SIGKILL)
    bench.process.wait()
    copies = tmp_path / "nisse.bundles"
    for number in range(5):  # as a kill in the middle of unpacking leaves them
        shutil.copytree(bundle_directory, copies / f".unpack.{number}")
    bundle.unlink()
    os.mkfifo(bundle)
    again = start_bench()
    again.time_s = bench.time_s
    again.demand()
    assert again.cycle()["level"] == "mpc" and again.stop() == 0
    assert not list(copies.glob(".*"))
    assert open_bundle(bundle_directory, None).digest[:16] in {entry.name for entry in copies.iterdir()}


def test_cycles_come_when_they_are_due_while_a_large_file_is_looked_at(
    start: Callable[..., Running], tank: Tank, ears: Ears, bundle_directory: Path, tmp_path: Path
) -> None:
    """Of 128 MB, every byte of it in order but the last: as much as anybody can make the daemon read."""
    bundle = tmp_path / "site.nisse"
    good = pack(bundle_directory, bundle).read_bytes()
    tank.site.write_text(tank.site.read_text().replace(str(bundle_directory), str(bundle)))
    forecast(ears)
    daemon = start(0.5)
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    put(bundle, "bomb in an unnamed file", good)
    for _ in range(3):
        daemon.process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
    ears.wait_for("nisse/tank/state", lambda m: b"not reloaded" in m)
    ears.wait_for("nisse/tank/state", lambda m: m.count(b'"level":"mpc"') == 1)
    code, said = daemon.end()
    assert code == 0 and "Traceback" not in said
