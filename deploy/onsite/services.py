"""The services of a house: by systemd, or where a folder stands for the machine as processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Protocol

from deploy.onsite.release import credentials
from deploy.onsite.wire import OnsiteError

STOP_S = 45.0
LAST_LINES = 3


class Services(Protocol):
    """`name` is that of a unit without its ending."""

    def running(self, name: str) -> bool: ...
    def start(self, name: str, manifest: dict[str, Any]) -> None: ...
    def reload(self, name: str) -> None: ...
    def stop(self, name: str) -> None: ...
    def told(self, name: str) -> str:
        """Its last words."""
        ...

    def looked(self) -> None:
        """Take notice of unit files that changed."""
        ...


class Systemd:
    """systemctl of this machine."""

    def running(self, name: str) -> bool:
        return _systemctl("is-active", name).stdout.strip() in {"active", "activating", "reloading"}

    def start(self, name: str, manifest: dict[str, Any]) -> None:
        _systemctl("enable", name)
        done = _systemctl("restart", name)
        if done.returncode != 0:
            raise OnsiteError(f"{name} does not start: {self.told(name)}")

    def reload(self, name: str) -> None:
        done = _systemctl("reload", name)
        if done.returncode != 0:
            raise OnsiteError(f"{name} does not reload: {done.stderr.strip()}")

    def stop(self, name: str) -> None:
        _systemctl("disable", name)
        _systemctl("stop", name)

    def told(self, name: str) -> str:
        words = ["journalctl", "-u", name, "-n", str(LAST_LINES), "-o", "cat", "--no-pager"]
        return _last(subprocess.run(words, capture_output=True, text=True, check=False).stdout)

    def looked(self) -> None:
        _systemctl("daemon-reload")


class Processes:
    """Detached processes; `folder` holds their numbers and what they say. Nobody starts them again after a boot."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def running(self, name: str) -> bool:
        return self._pid(name) is not None

    def start(self, name: str, manifest: dict[str, Any]) -> None:
        self.stop(name)
        runtime = Path(manifest["runtime"]) / name
        runtime.mkdir(parents=True, exist_ok=True)
        handed = credentials(manifest, self._folder / f"{name}.credentials")
        environment = {**os.environ, "RUNTIME_DIRECTORY": str(runtime), "CREDENTIALS_DIRECTORY": str(handed)}
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                manifest["services"][name], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                start_new_session=True, cwd=runtime,
            )  # fmt: skip
        (self._folder / f"{name}.pid").write_text(f"{process.pid}\n")

    def reload(self, name: str) -> None:
        pid = self._pid(name)
        if pid is None:
            raise OnsiteError(f"{name} does not run: {self.told(name)}")
        os.kill(pid, signal.SIGHUP)

    def stop(self, name: str) -> None:
        pid = self._pid(name)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_S
            while self._pid(name) is not None and time.monotonic() < deadline:
                time.sleep(0.1)
            if self._pid(name) is not None:
                os.kill(pid, signal.SIGKILL)
        (self._folder / f"{name}.pid").unlink(missing_ok=True)

    def told(self, name: str) -> str:
        try:
            return _last((self._folder / f"{name}.log").read_text(errors="replace")[-4000:])
        except FileNotFoundError:
            return ""

    def looked(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)

    def _pid(self, name: str) -> int | None:
        """None where it has ended, also as a child that nobody has asked for."""
        try:
            pid = int((self._folder / f"{name}.pid").read_text())
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            return None
        return pid if status != "Z" and b"nisse" in words else None


def _systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)


def _last(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines()[-LAST_LINES:] if line.strip()) or "no word"
