"""The bench's end of lockstep: the real daemon and the real feeds as child processes, told what to do and at what time.

The protocol (JSON lines over a unix socket on which the bench listens) is described in runtime/lockstep.py and
feeds/lockstep.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from io import BufferedRWPair
from pathlib import Path
from typing import IO, Any

from hil.errors import BenchError
from hil.patience import HANG_S
from runtime.errors import EXIT_UNSAFE
from runtime.links.mqtt import BARRIER_TOPIC

LOG_TAIL_LINES = 8
LONGEST_FOLDER = 90
LAST_WORDS_S = 1.0
OURS = (sys.executable, "-m", "nisse.cli")


class DaemonError(BenchError):
    """A process under test did not start, died, or stopped answering when nobody had broken it."""


class DaemonShotError(DaemonError):
    """The daemon was killed in the middle of what it was asked to do, by the bench itself."""


class LockstepProcess:
    """A command of nisse with `--lockstep SOCKET` as a process of its own; may be killed and started again."""

    verb: tuple[str, ...] = ()
    called = "the process"

    def __init__(
        self, site_file: Path, log_file: Path, arguments: Sequence[str] = (), program: Sequence[str] = OURS
    ) -> None:
        """program: the command `nisse`, of this Python unless another one is named."""
        self._site_file, self._log_file, self._arguments = site_file, log_file, tuple(arguments)
        self._program = tuple(program)
        self._socket_directory = _folder_for_a_socket()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._socket_directory / "lockstep"))
        self._listener.listen(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._stream: BufferedRWPair | None = None
        self._connection: socket.socket | None = None
        self._copier: threading.Thread | None = None
        self._shot = False
        self.starts = 0

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process and wait until it is ready. Raises DaemonError with the end of its log."""
        command = [*self._program, *self.verb, str(self._site_file), "--lockstep"]
        self._process = subprocess.Popen(
            [*command, str(self._socket_directory / "lockstep"), *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.starts += 1
        self._shot = False
        # A pipe, not the file itself: a full disk is to hit the daemon's store, not the bench's copy of its log.
        self._copier = threading.Thread(
            target=_copy_lines, args=(self._process.stdout, self._log_file), name="log", daemon=True
        )
        self._copier.start()
        self._listener.settimeout(0.1)
        for _ in range(round(HANG_S / 0.1)):
            try:
                self._connection, _ = self._listener.accept()
                break
            except TimeoutError:
                if self._process.poll() is not None:
                    raise self._failed(f"ended with exit code {self._process.returncode} at its start") from None
        else:
            raise self._failed(f"did not connect within {HANG_S:g} s")
        self._connection.settimeout(HANG_S)
        self._stream = self._connection.makefile("rwb")
        self._receive("ready")

    def shoot(self) -> None:
        """kill -9 from another thread while a cycle runs: whoever waits for the cycle gets DaemonShotError."""
        self._shot = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):  # it died by itself: no less dead
                os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Ask for the safe state and a clean end. Raises DaemonError for any other end.

        A device that did not take its safe value is the scenario's doing, and the daemon says so in its log.
        """
        if self._process is None:
            return
        self._send({"do": "stop"})
        self._receive("stopped")
        try:
            code = self._process.wait(HANG_S)
        except subprocess.TimeoutExpired:
            raise self._failed(f"did not stop within {HANG_S:g} s") from None
        self._forget()
        if code not in {0, EXIT_UNSAFE}:
            raise self._failed(f"ended with exit code {code} when it was asked to stop")

    def kill(self) -> None:
        """kill -9: the process and whatever it has started."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):  # it died by itself: no less dead
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._forget()

    def close(self) -> None:
        """Kill what still runs and remove the socket."""
        self.kill()
        self._listener.close()
        shutil.rmtree(self._socket_directory, ignore_errors=True)

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._stream is not None, f"{self.called} is not running"
        try:
            self._stream.write(json.dumps(message).encode() + b"\n")
            self._stream.flush()
        except OSError as error:
            raise self._failed(f"closed its connection ({error})") from error

    def _receive(self, event: str) -> dict[str, Any]:
        assert self._stream is not None, f"{self.called} is not running"
        try:
            line = self._stream.readline()
        except TimeoutError as error:
            raise self._failed(f"did not answer within {HANG_S:g} s") from error
        except ConnectionResetError:
            line = b""
        if not line and self._shot:
            raise DaemonShotError(f"{self.called} was killed in its cycle")
        if not line:
            raise self._failed("died")
        message: dict[str, Any] = json.loads(line)
        if message.get("event") != event:
            raise self._failed(f"answered {message.get('error', message)} instead of {event!r}")
        return message

    def _failed(self, what: str) -> DaemonError:
        if self._copier is not None:
            self._copier.join(LAST_WORDS_S)  # a dying daemon's traceback is worth the wait
        tail = self._log_file.read_text(errors="replace").splitlines() if self._log_file.exists() else []
        last = " | ".join(tail[-LOG_TAIL_LINES:]) or "its log is empty"
        return DaemonError(f"{self.called} {what}: {last} (whole log: {self._log_file})")

    def _forget(self) -> None:
        for thing in (self._stream, self._connection):
            if thing is not None:
                with contextlib.suppress(OSError):  # the other end is dead: nothing is left to flush to it
                    thing.close()
        self._stream = self._connection = self._process = None


class LockstepDaemon(LockstepProcess):
    """`nisse run SITE`: the controller."""

    verb = ("run",)
    called = "the daemon"

    def cycle(self, time_s: float, elapsed_s: float, barrier: int | None) -> dict[str, Any]:
        """Run one cycle at wall time `time_s`, `elapsed_s` after the last one, and return what the daemon reports.

        `barrier` is the sequence number that must have arrived at the daemon before.
        """
        order = {"do": "cycle", "time": time_s, "elapsed": elapsed_s}
        self._send({**order, "barrier": None if barrier is None else {"topic": BARRIER_TOPIC, "sequence": barrier}})
        return self._receive("cycle")

    def between(self, time_s: float, elapsed_s: float) -> None:
        """Let the daemon do what is due between cycles, `elapsed_s` after the last order."""
        self._send({"do": "between", "time": time_s, "elapsed": elapsed_s})
        self._receive("between")

    def track(self, time_s: float, elapsed_s: float) -> dict[str, Any]:
        """Let the daemon look once at the meter, and return what it says of it."""
        self._send({"do": "track", "time": time_s, "elapsed": elapsed_s})
        found: dict[str, Any] = self._receive("track")["tracking"]
        return found

    def limit_files(self, size_bytes: int | None) -> None:
        """No file of the daemon may grow beyond this (a full disk, as a process sees it); None lifts the limit."""
        if self._process is None:
            return
        _, hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        soft = hard if size_bytes is None else size_bytes
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (soft, hard))


class LockstepFeeds(LockstepProcess):
    """`nisse feed run SITE`: the forecasts."""

    verb = ("feed", "run")
    called = "the feeds"

    def step(self, time_s: float, barrier: int | None) -> float:
        """Let them do what is due at wall time `time_s`; when they want to come back."""
        self._send({"do": "feed", "time": time_s, "barrier": barrier})
        return float(self._receive("feed")["due"])


def _folder_for_a_socket() -> Path:
    """A new folder with a short path: that of a socket is limited to 107 bytes, which an output folder, and the one
    for temporary files too, may exceed."""
    for place in (None, "/tmp", "/var/tmp", "/dev/shm"):
        folder = Path(tempfile.mkdtemp(prefix="nisse-bench-", dir=place))
        if len(os.fsencode(folder)) < LONGEST_FOLDER:
            return folder
        folder.rmdir()
    raise BenchError("no folder with a short path for the daemon's socket: set TMPDIR to one")


def _copy_lines(source: IO[bytes], target: Path) -> None:
    with source, target.open("ab", buffering=0) as log:
        for line in source:
            log.write(line)
