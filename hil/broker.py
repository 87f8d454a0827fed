"""A real MQTT broker in its own process, on a free port of localhost: mosquitto if found, amqtt otherwise."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

from hil.errors import BenchError
from hil.patience import HANG_S

BrokerKind = Literal["auto", "mosquitto", "amqtt"]
STOP_TIMEOUT_S = 30.0
"""Then it is killed; a broker of the bench has nothing to lose."""


def find_mosquitto() -> str | None:
    """Path of the mosquitto program; Debian keeps it in /usr/sbin, which is not on a user's PATH."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"])
    return shutil.which("mosquitto", path=path)


def free_port() -> int:
    """A TCP port of localhost that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """A broker that can be killed and started again on the same port.

    Raises:
        BenchError: when mosquitto is asked for by name and is not installed, or the broker does not come up.
    """

    def __init__(self, directory: Path, kind: BrokerKind = "auto", port: int | None = None) -> None:
        mosquitto = find_mosquitto()
        if kind == "mosquitto" and mosquitto is None:
            raise BenchError(
                "mosquitto is not installed: install it (Debian: apt install mosquitto) or set broker to amqtt"
            )
        self.kind: Literal["mosquitto", "amqtt"] = "mosquitto" if kind != "amqtt" and mosquitto is not None else "amqtt"
        self.port = port or free_port()
        self._directory = directory
        self._program = mosquitto
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log_path(self) -> Path:
        return self._directory / "broker.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start and wait until the port takes connections; does nothing when it runs."""
        if self.running:
            return
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + HANG_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=0.5).close()
                return
            except OSError:
                time.sleep(0.01)
        self.kill()
        raise BenchError(f"the broker {self.kind} did not come up on port {self.port}: see {self.log_path}")

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut would: no goodbye to its clients, nothing written."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _command(self) -> list[str]:
        if self.kind == "amqtt" or self._program is None:
            return [sys.executable, "-m", "hil.amqtt_process", str(self.port)]
        configuration = self._directory / "mosquitto.conf"
        configuration.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n"
            "max_inflight_messages 0\nmax_queued_messages 0\n"
        )
        return [self._program, "-c", str(configuration)]
