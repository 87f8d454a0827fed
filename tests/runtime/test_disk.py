"""A disk that is full, read-only or damaged: control goes on, the operator is told, nothing is deleted."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_site import Bench, Ears, Tank

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


def test_a_full_file_system(start_bench: Start, tank: Tank, ears: Ears, small_disk: Path) -> None:
    """Full in the middle, full at the next start, and room again: the log goes on where it stopped."""
    put_log(tank, small_disk / "nisse.db")
    bench = start_bench()
    bench.demand(hours=2)
    tank.set_level(0.3)
    assert bench.cycle()["level"] == "mpc"
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as stream:
        while True:
            stream.write(bytes(1024))
            stream.flush()
    lost = 0
    while lost < 3:  # what is left in the blocks of the log may take a few rows
        assert bench.cycle()["level"] == "mpc" and tank.inflow == 0.3
        lost += "log" in json.loads(ears.heard["nisse/tank/state"][-1])["notices"]
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
    shelf = tmp_path / "nisse.bundles"
    shelf.mkdir()
    (shelf / "record.json").write_bytes(b"\xff" * 100)
    bench = start_bench()
    bench.demand()
    tank.set_level(0.3)
    assert [bench.cycle()["level"] for _ in range(3)] == ["mpc"] * 3
    assert json.loads((shelf / "record.json").read_text())["good"]["bundle"]
    assert bench.stop() == 0
    shutil.rmtree(shelf)
