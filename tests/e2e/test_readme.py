"""README.md is followed to the letter: its commands, in its order, outside the clone, with what the wheel installs.

Nothing of a command is altered. What a newcomer would type into questions and files is typed here; what is downloaded
as a dependency is shared with this Python; answers of the broker are those of a small household.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from installed_wheel import ROOT, share_dependencies
from patience import PATIENCE_S

from hil.broker import Broker

README = (ROOT / "README.md").read_text(encoding="utf-8")
CLONE_LEAVES_OUT = shutil.ignore_patterns(".*", "out", "dist", "build", "__pycache__", "results")
ANSWERS = ("", "", "mqtt", *[""] * 10)
"""To the questions of `nisse init`: no device by name, no place, reached over MQTT, and the rest is as it offers."""
MEASURED = {"home_soc": "0.5"}


def blocks(section: str) -> list[list[str]]:
    """The commands of each shell block of a section, continuation lines joined."""
    text = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", README, re.M | re.S)
    assert text, section
    joined = [code.replace("\\\n", "") for code in re.findall(r"^```sh\n(.*?)^```", text[1], re.M | re.S)]
    return [[line for line in code.splitlines() if line.strip()] for code in joined]


@dataclass
class Shell:
    """A terminal: each command begins in the folder and with the environment that the last one left."""

    folder: Path
    environment: dict[str, str]

    def run(self, command: str, *, timeout: float = PATIENCE_S, stdin: int | None = subprocess.DEVNULL) -> str:
        """What it says; fails where its exit code is not 0."""
        done = subprocess.run(
            ["bash", "-c", self._remembering(command)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self.environment,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}"
        self._recall()
        return done.stdout

    def install(self, command: str) -> None:
        """`pip install`, but for the dependencies, which are those of this Python."""
        self.environment["PIP_NO_DEPS"] = "1"
        self.run(command)
        del self.environment["PIP_NO_DEPS"]
        share_dependencies(self.folder / ".venv")

    def begin(self, command: str) -> subprocess.Popen[str]:
        """A command that runs until Ctrl-C."""
        return subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self.environment,
            start_new_session=True,
        )

    @property
    def _memory(self) -> Path:
        return Path(self.environment["HOME"]) / ".memory"

    def _remembering(self, command: str) -> str:
        return f"{command}\ncode=$?\n{{ pwd; env -0; }} > '{self._memory}'\nexit $code"

    def _recall(self) -> None:
        where, _, variables = self._memory.read_text().partition("\n")
        self.folder = Path(where)
        pairs = (variable.partition("=") for variable in variables.split("\0") if variable)
        self.environment = {name: value for name, _, value in pairs if name not in {"code", "_", "SHLVL"}}


def new_shell(home: Path, folder: Path) -> Shell:
    """No path of it leads into the clone under test; caches and the package index are the user's."""
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    real = Path(os.environ.get("HOME", "/root"))
    for variable, default in (("XDG_CACHE_HOME", ".cache"), ("XDG_CONFIG_HOME", ".config")):
        environment.setdefault(variable, str(real / default))
    environment |= {"HOME": str(home), "PATH": without_this_environment(environment["PATH"])}
    return Shell(folder, environment)


def without_this_environment(path: str) -> str:
    return os.pathsep.join(part for part in path.split(os.pathsep) if Path(part) != Path(sys.prefix) / "bin")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def workplace(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """After the first block: nisse is installed, in a folder of its own."""
    clone = tmp_path_factory.mktemp("clones") / "nisse"
    shutil.copytree(ROOT, clone, ignore=CLONE_LEAVES_OUT)
    (clone / ".venv").symlink_to(sys.prefix)  # as after `make demo`
    shell = new_shell(home, clone)
    for command in blocks("Your own battery")[0]:
        shell.install(command) if command.startswith("pip install") else shell.run(command)
    (wheel,) = shell.folder.glob("*.whl")
    assert shell.run("nisse --version") == f"nisse {wheel.name.split('-')[1]}\n"
    return shell


@pytest.fixture(scope="module")
def said(workplace: Shell) -> dict[str, str]:
    """After the second block: what each of its commands said, and their files in the workplace."""
    return {command.split()[1]: workplace.run(command) for command in blocks("Your own battery")[1]}


@pytest.mark.slow
def test_from_a_log_to_a_proven_bundle_as_written(workplace: Shell, said: dict[str, str]) -> None:
    """The options of the other sections' commands: tests/nisse/test_commands_named.py."""
    assert list(said) == ["example", "identify", "tune", "evaluate", "key", "build", "verify", "hil"]
    for file in ("log.csv", "prices.csv", "model.json", "theta.json", "verdict.html", "signing.pem", "battery.nisse"):
        assert (workplace.folder / file).stat().st_size > 0
    provenance = json.loads((workplace.folder / "theta.json").read_text())["provenance"]
    # The nameplate where the fit loses to it on held-in weeks.
    assert provenance["started_from"] in {"the data fit", "the nameplate"}
    assert "data fit, mean removed" in said["evaluate"]
    assert "20 of 20" in said["verify"] and "aarch" in said["verify"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.stop()


@pytest.mark.slow
def test_what_is_said_of_the_pi_runs_as_written(
    workplace: Shell, said: dict[str, str], home: Path, tmp_path: Path, broker: Broker
) -> None:
    (commands,) = blocks("On the Pi")
    pi = tmp_path / "pi"
    pi.mkdir()
    (wheel,) = workplace.folder.glob("nisse_mpc-*.whl")
    shutil.copy(wheel, pi)
    shutil.copy(workplace.folder / "battery.nisse", pi)
    shell = new_shell(home, pi)
    editor = tmp_path / "bin" / "nano"
    editor.parent.mkdir()
    editor.write_text(f"#!/bin/sh\nsed -i 's/^port = 1883/port = {broker.port}/; s/= 900 /= 30 /' \"$1\"\n")
    editor.chmod(0o755)
    shell.environment["PATH"] = f"{editor.parent}:{shell.environment['PATH']}"
    household = Household(broker.port)
    heard: dict[str, str] = {}
    daemon: subprocess.Popen[str] | None = None
    try:
        for line in commands:
            command = line.partition("  #")[0].rstrip()
            if command.startswith("nisse init"):
                heard[command] = with_answers(shell, command)
            elif command == "nisse run site.toml":
                daemon = shell.begin(command)
            elif command == "nisse status site.toml":
                heard[command] = status_when_it_decides(shell, command)
            elif command.startswith("pip install"):
                shell.install(line)
            else:
                heard[command] = shell.run(line)
    finally:
        household.end()
        if daemon is not None:
            daemon.send_signal(signal.SIGINT)
            log, _ = daemon.communicate(timeout=PATIENCE_S)
    assert daemon is not None and daemon.returncode == 0, log
    assert "mpc" in heard["nisse run site.toml --dry-run --cycles 1"]


def with_answers(shell: Shell, command: str) -> str:
    screen, terminal = pty.openpty()
    os.write(screen, "".join(f"{answer}\n" for answer in ANSWERS).encode())
    try:
        return shell.run(command, stdin=terminal)
    finally:
        os.close(terminal)
        os.close(screen)


def status_when_it_decides(shell: Shell, command: str, wait_s: float = PATIENCE_S) -> str:
    """Where the output is no terminal, the live view shows itself once and ends."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            said = shell.run(command)
            if "mpc" in said:
                return said
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, said
        time.sleep(0.5)


class Household:
    """Publishes under the topics that `nisse init` writes: forecasts retained, what is measured every half second."""

    def __init__(self, port: int) -> None:
        profile = {"start": int(time.time() // 86400 * 86400), "step_s": 900}
        day = [0.2 + 0.1 * (k % 96 > 60) for k in range(3 * 96)]
        forecasts = {"buy": day, "sell": [0.05] * len(day), "load": [1.0] * len(day), "pv": [0.0] * len(day)}
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        connected = threading.Event()
        self._client.on_connect = lambda *_: connected.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert connected.wait(PATIENCE_S)
        for name, values in forecasts.items():
            message = json.dumps(profile | {"values": values})
            self._client.publish(f"house/{name}", message, qos=1, retain=True).wait_for_publish(PATIENCE_S)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._measure)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._client.loop_stop()
        self._client.disconnect()

    def _measure(self) -> None:
        while not self._ended.wait(0.5):
            for name, value in MEASURED.items():
                self._client.publish(f"house/{name}", value)
