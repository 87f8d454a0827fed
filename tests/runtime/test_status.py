"""What an operator sees: `nisse status` from file and broker, live and once; /metrics and /healthz on localhost."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE_S
from tiny_site import Ears, Running, Tank, command, forecast, level_is

from hil.broker import free_port
from runtime.errors import LinkError
from runtime.publish.http_status import StatusServer, health
from runtime.publish.metrics import Snapshot, metrics
from runtime.publish.status_file import Status, StatusError, read_status
from runtime.publish.status_view import BARS, spark, view

# A line of the text format: name, labels, value.
SAMPLE = re.compile(r'[a-z_]+(\{[a-z_]+="(\\.|[^"\\\n])*"(,[a-z_]+="(\\.|[^"\\\n])*")*\})? -?[0-9][0-9.e+-]*')


def status(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command("status", *arguments), capture_output=True, text=True, timeout=PATIENCE_S)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_status_file_metrics_and_health_of_a_running_daemon(
    start: Callable[..., Running], tank: Tank, ears: Ears, tmp_path: Path
) -> None:
    forecast(ears)
    port, run = free_port(), tmp_path / "run"
    run.mkdir()
    daemon = start(60.0, "--http-port", str(port), RUNTIME_DIRECTORY=str(run))
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    file = run / "tank.json"

    deadline = time.monotonic() + PATIENCE_S
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    shown = status(tank.site, "--file", file, "--once", "--json", tmp_path / "status.json")
    assert shown.returncode == 0 and "\x1b" not in shown.stdout
    assert shown.stdout.startswith("tank  mpc") and re.search(r"action +inflow 0\.3", shown.stdout)
    assert json.loads((tmp_path / "status.json").read_text())["state"]["level"] == "mpc"

    code, page = get(port, "/metrics")
    assert code == 200
    samples = [line for line in page.splitlines() if not line.startswith("#")]
    assert len(samples) > 20 and [s for s in samples if not SAMPLE.fullmatch(s)] == []
    assert 'nisse_level{level="mpc"} 1' in samples and 'nisse_action{signal="inflow"} 0.3' in samples
    assert 'nisse_cycles_total{level="mpc"} 1' in samples and 'nisse_output_in_force{output="inflow"} 1' in samples
    code, healthy = get(port, "/healthz")
    assert code == 200 and json.loads(healthy)["level"] == "mpc"
    assert get(port, "/etc/passwd")[0] == 404
    with socket.create_connection(("127.0.0.1", port)) as silent:  # one who never asks does not keep others waiting
        begun = time.monotonic()
        assert get(port, "/healthz")[0] == 200
        assert time.monotonic() - begun < 20.0
        silent.close()
    assert listeners(port) == {"0100007F"}  # 127.0.0.1 alone

    code, errors = daemon.end()
    assert code == 0 and "Traceback" not in errors
    assert not file.exists()
    gone = status("--file", file)
    assert gone.returncode == 1 and "is the daemon running" in gone.stderr and "Traceback" not in gone.stderr


def listeners(port: int) -> set[str]:
    """The addresses, as the kernel writes them, on which this machine listens at `port`."""
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    found = (row[1].split(":") for row in rows if row[3] == "0A")
    return {address for address, number in found if int(number, 16) == port}


def test_status_by_the_broker_says_when_the_daemon_is_gone(
    start: Callable[..., Running], tank: Tank, ears: Ears
) -> None:
    none = status(tank.site, "--mqtt")
    assert none.returncode == 1 and "has nothing from nisse/tank/state" in none.stderr
    forecast(ears)
    daemon = start(60.0)
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    ears.wait_for("nisse/tank/plan")
    shown = status(tank.site, "--once")
    assert shown.returncode == 0 and "tank  mpc" in shown.stdout and "\nplan  " in shown.stdout
    assert ears.heard["nisse/tank/availability"][-1] == b"online"  # looking does not take the daemon's connection
    daemon.process.kill()
    ears.wait_for("nisse/tank/availability", lambda m: m == b"offline")
    shown = status(tank.site, "--once")
    assert shown.returncode == 1 and "offline, last mpc" in shown.stdout


def heed_interrupts() -> None:
    """A test run started in the background of a shell ignores SIGINT, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_live_status_in_a_terminal_leaves_it_as_it_was(tank: Tank, tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    state = {"level": "rule", "reason": "price: older than 60 s", "inputs": {}, "outputs": {}, "action": {}}
    file.write_text(json.dumps({"site": "tank", "written_s": time.time(), "state": state, "plan": None}))
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        command("status", "--file", file),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        close_fds=True,
        preexec_fn=heed_interrupts,
    )
    os.close(terminal)
    seen = b""

    def until(text: bytes) -> None:
        nonlocal seen
        deadline = time.monotonic() + PATIENCE_S
        while text not in seen and time.monotonic() < deadline:
            if select.select([screen], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    seen += os.read(screen, 4096)
        assert text in seen, seen

    until(b"older than 60 s")
    file.unlink()  # the daemon restarts: the screen says so and goes on
    until(b"is the daemon running?")
    process.send_signal(signal.SIGINT)
    until(b"\x1b[?1049l")
    assert process.wait(PATIENCE_S) == 0 and b"Traceback" not in seen
    os.close(screen)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"site": 1, "written_s": "x"}', '{"site": "a", "written_s": 1}'])
def test_a_file_that_is_no_status_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(StatusError, match="not a status file"):
        read_status(tmp_path / "s.json")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(1, 80))
def test_bars_rise_with_the_values(values: list[float], columns: int) -> None:
    bars = spark(values, columns)
    assert len(bars) == min(columns, len(values)) and set(bars) <= set(BARS)
    if len(values) <= columns and len(set(bars)) > 1:
        order = sorted(range(len(values)), key=lambda i: values[i])
        heights = [BARS.index(bars[i]) for i in order]
        assert heights == sorted(heights) and (heights[0], heights[-1]) == (0, len(BARS) - 1)


def test_every_state_can_be_shown() -> None:
    """Also the first of a daemon that knows nothing yet, and that of an older version."""
    for state in ({}, {"level": "safe", "reason": "x", "inputs": {"a": {"value": None, "validity": "missing"}}}):
        text = "\n".join(view(Status("cabin", None, state, None, online=False), 0.0))
        assert "offline, last" in text


def test_a_trial_and_a_notice_are_on_the_screen() -> None:
    trial = {"name": "retuned", "digest": "ab12", "phase": "shadow", "passed": 2, "needed": 4, "reason": ""}
    state = {"level": "mpc", "trial": trial, "notices": {"log": "disk full"}}
    text = "\n".join(view(Status("cabin", 0.0, state), 3.0))
    assert "retuned ab12, shadow, 2 of 4 decisions" in text and "log: disk full" in text and "3 s ago" in text


def snapshot(monotonic_s: float) -> Snapshot:
    return Snapshot({"level": "rule", "reason": 'a "quoted" reason'}, monotonic_s, 130.0, {}, {})


def test_what_is_wanted_of_zones_and_tanks_is_on_the_screen() -> None:
    comfort = {
        "living": {"set_point": 22.5, "lower": 19.5, "upper": 24.5, "unit": "degC", "by": "command",
                   "until": "2026-01-08T22:00+01:00"},
        "bed": {"set_point": 16.0, "lower": 15.0, "upper": 21.0, "unit": "degC", "by": "away", "until": None},
        "water": {"lower": 45.0, "upper": 65.0, "unit": "degC", "by": "schedule", "until": None},
        "hall": {"unit": "degC", "by": "schedule", "until": None},
    }  # fmt: skip
    lines = view(Status("tank", 0.0, {"level": "mpc", "control": {"comfort": comfort}}), 1.0)
    shown = lines[lines.index("comfort") + 1 :][:4]
    assert [line.split()[0] for line in shown] == ["living", "bed", "water", "hall"]
    assert "22.5 degC" in shown[0] and shown[0].endswith("command until Thu 08 Jan 22:00")
    assert "15..21" in shown[1] and shown[1].endswith("away until told otherwise")
    assert shown[2].split()[1] == "45" and shown[3].split()[1] == "-"
    assert max(map(len, lines)) <= 80


def test_health_is_about_cycles_that_run_and_not_about_their_level() -> None:
    assert health(None, 0.0) == (False, {"status": "starting"})
    assert health(snapshot(0.0), 130.0)[0]
    healthy, said = health(snapshot(0.0), 131.0)
    assert not healthy and said["status"] == "overdue" and said["last_cycle_age_s"] == 131.0
    assert "nisse_info" in metrics(None, 0.0, "1")


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LinkError, match="choose another"):
            StatusServer(taken.getsockname()[1], lambda: None, time.monotonic, "1")
