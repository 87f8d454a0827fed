"""The service manager's side of the daemon: notifications (sd_notify) and what it hands over, without a library."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.formats.text import plain


class Notifier:
    """Sends states such as READY=1; does nothing outside systemd (no address)."""

    def __init__(self, address: str | None) -> None:
        """address: the value of NOTIFY_SOCKET; a leading @ names an abstract socket."""
        self._address = None if not address else ("\0" + address[1:] if address.startswith("@") else address)

    def send(self, state: str) -> None:
        if self._address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams, contextlib.suppress(OSError):
            # A manager that does not listen, or not fast enough, must not hold up control.
            datagrams.setblocking(False)
            datagrams.sendto(state.encode(), self._address)

    def ready(self) -> None:
        self.send("READY=1")

    def watchdog(self) -> None:
        self.send("WATCHDOG=1")

    def stopping(self) -> None:
        self.send("STOPPING=1")

    def status(self, text: str) -> None:
        # A line of its own would be another message, such as MAINPID=.
        self.send(f"STATUS={plain(text)}")


@dataclass(frozen=True)
class UnitContext:
    """What the service manager hands to a service through its environment; nothing outside systemd."""

    notify_address: str | None = None
    credentials: Path | None = None
    """Folder with one file per secret."""
    runtime_directory: Path | None = None
    """Folder in memory, readable by everybody, gone when the service ends."""

    @staticmethod
    def of(environment: Mapping[str, str]) -> UnitContext:
        folder, credentials = environment.get("RUNTIME_DIRECTORY"), environment.get("CREDENTIALS_DIRECTORY")
        return UnitContext(
            notify_address=environment.get("NOTIFY_SOCKET"),
            credentials=Path(credentials) if credentials else None,
            # several directories are separated by colons
            runtime_directory=Path(folder.partition(":")[0]) if folder else None,
        )
