"""kill -9 at random moments, again and again, on the same files: the start-up, a cycle, a commit, a trial.

NISSE_KILLS says how often; a few by default.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

from patience import PATIENCE_S
from tiny_site import Ears, Tank, command, forecast

KILLS = int(os.environ.get("NISSE_KILLS", "10"))
CYCLE_S = 0.5


def statuses(notifications: socket.socket, until_s: float, at_most: int = 10**9) -> list[str]:
    """The levels of the cycles that ran to their end, commit included: the service manager is told after it."""
    found: list[str] = []
    while (left := until_s - time.monotonic()) > 0 and len(found) < at_most:
        notifications.settimeout(left)
        with contextlib.suppress(TimeoutError):
            message = notifications.recv(4096).decode()
            if message.startswith("STATUS="):
                found.append(message.removeprefix("STATUS="))
    return found


def drain(notifications: socket.socket) -> list[str]:
    """What was told between the last look and the kill."""
    notifications.settimeout(0.0)
    found: list[str] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            message = notifications.recv(4096).decode()
            if message.startswith("STATUS="):
                found.append(message.removeprefix("STATUS="))
    return found


def test_kill_9_at_random_moments(tank: Tank, ears: Ears) -> None:
    rng = random.Random(0)
    forecast(ears)  # retained
    text = tank.site.read_text().replace("cycle_s = 60.0", f"cycle_s = {CYCLE_S}\ndwell_s = 0.0")
    tank.site.write_text(text)
    log, record = tank.site.parent / "nisse.db", tank.site.parent / "nisse.bundles" / "record.json"
    committed = answered = 0
    with tempfile.TemporaryDirectory(prefix="nisse") as folder:
        for number in range(KILLS):
            address = Path(folder) / f"n{number}"
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
                notifications.bind(str(address))
                daemon = subprocess.Popen(
                    command("run", tank.site, "--quiet"),
                    stderr=subprocess.PIPE,
                    env={**os.environ, "NOTIFY_SOCKET": str(address)},
                )
                told: list[str] = []
                if number % 3:  # after a cycle or two, however long a busy machine needs; otherwise while it starts
                    told += statuses(notifications, time.monotonic() + PATIENCE_S, at_most=number % 3)
                    told += statuses(notifications, time.monotonic() + rng.uniform(0.0, 3 * CYCLE_S))
                else:
                    told += statuses(notifications, time.monotonic() + rng.uniform(0.0, 2.0))
                daemon.send_signal(signal.SIGKILL)
                _, complaints = daemon.communicate()
                told += drain(notifications)
            assert complaints == b"", complaints.decode()
            if log.exists():
                with contextlib.closing(sqlite3.connect(log)) as db:
                    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                    tables = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'transition'").fetchone()[0]
                    rows = db.execute("SELECT id, level FROM transition ORDER BY id").fetchall() if tables else []
                    timed = db.execute("SELECT count(*) FROM timing").fetchone()[0] if tables else 0
                assert [i for i, _ in rows] == list(range(1, len(rows) + 1))
                assert timed == len(rows)
                # Every cycle that was told of is in the log; the last may be there and not yet told.
                assert committed + len(told) <= len(rows) <= committed + len(told) + 1
                committed = len(rows)
            if record.exists():
                assert {"good", "refused", "newest"} <= set(json.loads(record.read_text()))
                assert not [entry for entry in record.parent.iterdir() if entry.name.startswith(".")] or number < KILLS
            if len(told) >= 2:
                answered += 1
                assert "mpc" in told[:2], told[:5]
    assert answered >= KILLS // 4
    # Whatever was interrupted, the device was only told what some level wants: mpc, its plan's next step, rule, safe.
    words = {word for _, _, word in tank.registers.writes}
    assert 300 in words and words <= {300, 100, 125, 0}
    print(f"{KILLS} kills, {answered} of them after two cycles or more, {committed} transitions in the log")
