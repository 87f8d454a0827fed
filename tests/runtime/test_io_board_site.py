"""A whole site on an I/O board: sensor, daemon and pin, with the emulated firmware at the end of the line."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S
from tiny_site import command

from hil.board import BoardProcess, build, missing_tools
from runtime.bundle.keys import SigningKey

MILLIVOLTS_PER_COUNT = 5000 / 1023
SITE = """
[site]
name = "tank"

[controller]
bundle = "{bundle}"
trusted_keys = ["{key}"]
cycle_s = 0.5

[serial.board]
protocol = "framed"
port = "{port}"
parity = "N"  # a pty has none
timeout_s = 1.0

[inputs.level]
source = "board"
channel = {{ number = 0, scale = 0.001 }}
unit = "1"
max_age_s = 20

[inputs.demand]
source = "board"
channel = {{ number = 1, scale = 0.001 }}
unit = "kW"
max_age_s = 20

[outputs.inflow]
sink = "board"
channel = {{ number = 0, scale = 0.001 }}
unit = "kW"
combine = {{ inflow = 1.0 }}
safe = 0.0
device_timeout_s = 8
"""


@pytest.fixture
def board(tmp_path: Path) -> Iterator[BoardProcess]:
    missing = missing_tools("emulator")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    board = BoardProcess(build("emulator", tmp_path / "firmware"), tmp_path / "serial-by-id-board")
    yield board
    board.stop()


def power_up(board: BoardProcess) -> None:
    board.changes.clear()
    board.start()
    board.tell(f"input 0 {math.ceil(300 * MILLIVOLTS_PER_COUNT)}")
    board.tell(f"input 1 {math.ceil(100 * MILLIVOLTS_PER_COUNT)}")


def test_sensor_to_pin_and_safe_without_the_daemon(
    board: BoardProcess, bundle_directory: Path, key: SigningKey, tmp_path: Path
) -> None:
    """The port is absent at start, comes, goes and comes back under another name; then the daemon dies by kill -9."""
    site = tmp_path / "site.toml"
    site.write_text(SITE.format(bundle=bundle_directory, key=key.public, port=board.link))
    log = tmp_path / "daemon.log"
    with log.open("wb") as out:
        daemon = subprocess.Popen(command("run", site), stdout=subprocess.DEVNULL, stderr=out)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while b"is not there" not in log.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert b"is not there" in log.read_bytes()
        power_up(board)
        assert board.wait_output(0, 300, 60.0)  # (0.5 - 0.3) + 0.1 kW
        board.stop()
        time.sleep(1.0)
        power_up(board)
        assert board.wait_output(0, 300, 60.0), "not said again after the cable was back"
        time.sleep(10.0)
        assert board.output(0) == 300  # refreshed before the board's own time-out
    finally:
        daemon.kill()
        daemon.wait()
    assert board.wait_output(0, 0, 40.0)
    assert b"Traceback" not in log.read_bytes()
