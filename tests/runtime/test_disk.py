"""A disk that is full, read-only or damaged: control goes on, the operator is told, nothing is deleted."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_site import Bench, Ears, Tank

from runtime.clock import SystemClock
from runtime.errors import StoreCorruptError
from runtime.site.config import load_site
from runtime.store.journal import Journal
from runtime.store.transitions import Transition

Start = Callable[..., Bench]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 1 MB in memory; needs root."""
    if os.geteuid() != 0 or platform.system() != "Linux":
        pytest.skip("mounting takes root")
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def put_log(tank: Tank, path: Path) -> None:
    tank.site.write_text(tank.site.read_text().replace("[mqtt]", f'[store]\npath = "{path}"\n\n[mqtt]', 1))


def notice(ears: Ears, accept: Callable[[str], bool]) -> str:
    """The log's notice in `state`, once it is one that is accepted."""
    message = ears.wait_for("nisse/tank/state", lambda m: bool(m) and accept(json.loads(m)["notices"].get("log", "")))
    return str(json.loads(message)["notices"].get("log", ""))


def rows(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(db.execute("SELECT count(*) FROM transition").fetchone()[0])


def fill(disk: Path) -> Path:
    """Leave no room; the file to remove for some."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as stream:
        while True:
            stream.write(bytes(1024))
            stream.flush()
    return filler


def answered(ears: Ears, bench: Bench, name: str, value: str) -> dict[str, str]:
    """The answer to a command."""
    said = len(ears.heard.get(f"nisse/tank/response/{name}", []))
    ears.say(f"nisse/tank/set/{name}", value)
    bench.cycle()
    ears.wait_for(f"nisse/tank/response/{name}", lambda _: len(ears.heard[f"nisse/tank/response/{name}"]) > said)
    return dict(json.loads(ears.heard[f"nisse/tank/response/{name}"][-1]))


def killed(bench: Bench) -> None:
    os.killpg(bench.process.pid, signal.SIGKILL)
    bench.process.wait()


def test_what_is_answered_with_ok_outlives_kill_9_and_a_full_disk_says_no(
    start_bench: Start, tank: Tank, ears: Ears, small_disk: Path
) -> None:
    put_log(tank, small_disk / "nisse.db")
    bench = start_bench()
    bench.demand(hours=2)
    tank.set_level(0.3)
    bench.cycle()
    assert answered(ears, bench, "max_inflow", "0.25")["status"] == "ok"
    filler, cap, said = fill(small_disk), 0.2, {"status": "ok"}
    while said["status"] == "ok":  # what is left in the blocks of the log may take a few
        cap -= 0.001
        said = answered(ears, bench, "max_inflow", f"{cap:.3f}")
        assert cap > 0.0
    assert "forgotten at a restart" in said["error"] and "full" in said["error"]
    assert bench.cycle()["action"]["inflow"] == pytest.approx(cap)  # in force all the same
    assert (
        answered(ears, bench, "max_inflow", f"{cap:.3f}")["status"] == "error"
    )  # the same once more is not kept either
    filler.unlink()
    bench.cycle()  # kept as soon as there is room, without being said again
    killed(bench)
    again = start_bench()
    again.time_s = bench.time_s
    again.demand()
    assert [again.cycle() for _ in range(2)][-1]["action"]["inflow"] == pytest.approx(cap)
    assert answered(ears, again, "mode", "safe")["status"] == "ok"
    killed(again)
    third = start_bench()
    third.time_s = again.time_s
    third.demand()
    assert third.cycle()["level"] == "safe"


def test_a_new_log_knows_what_the_damaged_one_did(tank: Tank, tmp_path: Path) -> None:
    notices: dict[str, str] = {}
    journal = Journal(load_site(tank.site), SystemClock(), notices.__setitem__)
    assert journal.keep("wishes", "rule") == "" and journal.kept("wishes") == "rule"
    journal._begin_again(StoreCorruptError("what SQLite says of it, which it does when it pleases"))
    row = Transition(0.0, "mpc", "", "b", {}, {}, {}, None, {})
    journal.append(row, None, (0.0, 0.0, 0.0))
    assert journal.kept("wishes") == "rule" and list(tmp_path.glob("nisse.db.damaged-*"))
    journal.close(safe=True)


def test_a_full_file_system(start_bench: Start, tank: Tank, ears: Ears, small_disk: Path) -> None:
    """Full in the middle, full at the next start, and room again: the log goes on where it stopped."""
    put_log(tank, small_disk / "nisse.db")
    bench = start_bench()
    bench.demand(hours=2)
    tank.set_level(0.3)
    assert bench.cycle()["level"] == "mpc"
    filler = fill(small_disk)
    lost = 0
    while lost < 3:  # what is left in the blocks of the log may take a few rows
        assert bench.cycle()["level"] == "mpc" and tank.inflow == 0.3
        lost += "log" in bench.state()["notices"]
        assert bench.sequence < 200
    assert "full" in notice(ears, bool)
    assert bench.stop() == 0
    again = start_bench()
    again.time_s = bench.time_s
    again.demand()
    assert [again.cycle()["level"] for _ in range(2)][-1] == "mpc"
    notice(ears, bool)
    kept = rows(small_disk / "nisse.db")
    filler.unlink()
    again.cycle()
    assert notice(ears, lambda text: not text) == ""
    assert again.stop() == 0
    assert rows(small_disk / "nisse.db") >= kept + 1


def test_a_file_system_that_turns_read_only(
    start_bench: Start, tank: Tank, ears: Ears, small_disk: Path, bundle_directory: Path
) -> None:
    """As an SD card does at the end of its life; and the daemon starts on such a card."""
    put_log(tank, small_disk / "nisse.db")
    bench = start_bench()
    bench.demand(hours=2)
    tank.set_level(0.3)
    assert bench.cycle()["level"] == "mpc"
    turn = ["mount", "-o", "remount,ro", small_disk]
    if subprocess.run(turn, capture_output=True).returncode:
        # files are open for writing; what the kernel does of its own accord takes force
        assert bench.stop() == 0
        subprocess.run(turn, check=True)
        bench = start_bench()
        bench.demand(hours=2)
    assert bench.cycle()["level"] in {"mpc", "shifted_plan"} and tank.inflow == 0.3
    assert "nisse.db" in notice(ears, bool)
    assert bench.stop() == 0
    again = start_bench()
    again.demand()
    assert [again.cycle()["level"] for _ in range(2)][-1] == "mpc"
    notice(ears, bool)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    again.cycle()
    assert notice(ears, lambda text: not text) == ""
    assert again.stop() == 0
    assert rows(small_disk / "nisse.db") >= 2


def test_a_log_that_is_damaged(start_bench: Start, tank: Tank, ears: Ears, tmp_path: Path) -> None:
    """Overwritten but for its head: moved aside as it is, a new log begun, no cycle lost to it."""
    log = tmp_path / "nisse.db"
    bench = start_bench()
    bench.demand(hours=3)
    tank.set_level(0.3)
    for _ in range(3):
        assert bench.cycle()["level"] == "mpc"
    assert bench.stop() == 0
    damaged = bytearray(log.read_bytes())
    damaged[100:] = b"\xa5" * (len(damaged) - 100)
    log.write_bytes(damaged)
    again = start_bench()
    again.time_s = bench.time_s
    again.demand()
    assert [again.cycle()["level"] for _ in range(2)][-1] == "mpc"
    aside = [p for p in tmp_path.glob("nisse.db.damaged-*") if not p.name.endswith(("-wal", "-shm"))]
    assert len(aside) == 1 and aside[0].read_bytes() == bytes(damaged)
    assert again.stop() == 0
    assert rows(log) in {1, 2}
    assert again.process.stderr is not None and aside[0].name.encode() in again.process.stderr.read()


def test_two_damaged_logs_in_the_same_second_are_both_kept(start_bench: Start, tank: Tank, tmp_path: Path) -> None:
    log = tmp_path / "nisse.db"
    for content in (b"first " * 500, b"second " * 500):
        log.write_bytes(content)
        for leftover in tmp_path.glob("nisse.db-*"):
            leftover.unlink()
        bench = start_bench()
        bench.cycle()
        assert bench.stop() == 0
    assert {p.read_bytes()[:6] for p in tmp_path.glob("nisse.db.damaged-*")} == {b"first ", b"second"}


def test_a_shelf_that_cannot_be_read_back_costs_memory_and_no_more(
    start_bench: Start, tank: Tank, ears: Ears, tmp_path: Path
) -> None:
    copies = tmp_path / "nisse.bundles"
    copies.mkdir()
    (copies / "record.json").write_bytes(b"\xff" * 100)
    bench = start_bench()
    bench.demand()
    tank.set_level(0.3)
    assert [bench.cycle()["level"] for _ in range(3)] == ["mpc"] * 3
    assert json.loads((copies / "record.json").read_text())["good"]["bundle"]
    assert bench.stop() == 0
    shutil.rmtree(copies)
