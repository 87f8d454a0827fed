"""The service manager's notification protocol (sd_notify), without a library: datagrams on a Unix socket."""

from __future__ import annotations

import contextlib
import socket


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
        self.send(f"STATUS={text}")
