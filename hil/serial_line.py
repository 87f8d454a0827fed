"""A serial cable made of a pty pair: a stable name for the daemon, an end to hold for the plant, and a plug to pull.

The stable name is a symbolic link, as `/dev/serial/by-id` has them: after an unplug the line comes back as another
`/dev/pts/N` behind the same link.
"""

from __future__ import annotations

import contextlib
import os
import tty
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class _PtyPair:
    plant_fd: int
    daemon_fd: int
    """Held open so that the plant's end survives a daemon that closes or dies."""

    @classmethod
    def open(cls) -> _PtyPair:
        plant_fd, daemon_fd = os.openpty()
        tty.setraw(daemon_fd)
        os.set_blocking(plant_fd, False)
        return cls(plant_fd, daemon_fd)

    @property
    def name(self) -> str:
        return os.ttyname(self.daemon_fd)

    def close(self) -> None:
        for fd in (self.daemon_fd, self.plant_fd):
            with contextlib.suppress(OSError):  # a hung-up line is closed all the same
                os.close(fd)


class SerialLine:
    """One cable. `link` is the path that the daemon opens; `plant_fd` is None while the cable is pulled."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self._pair: _PtyPair | None = None
        self._spare: _PtyPair | None = None
        self.plug()

    @property
    def plant_fd(self) -> int | None:
        return None if self._pair is None else self._pair.plant_fd

    @property
    def port_name(self) -> str | None:
        """The pty behind the link (`/dev/pts/N`), which changes from plug to plug."""
        return None if self._pair is None else self._pair.name

    def plug(self) -> None:
        """Connect; does nothing when connected."""
        if self._pair is not None:
            return
        self._pair = self._spare or _PtyPair.open()
        self._spare = None
        temporary = self.link.with_name(self.link.name + ".new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(self._pair.name)
        temporary.replace(self.link)

    def unplug(self) -> None:
        """Hang up: whoever has the port open gets an I/O error, and the link is gone, as udev does it."""
        if self._pair is None:
            return
        self._spare = _PtyPair.open()  # taken while the old one still holds its number: the next name is another one
        self.link.unlink(missing_ok=True)
        self._pair.close()
        self._pair = None

    def close(self) -> None:
        self.unplug()
        if self._spare is not None:
            self._spare.close()
            self._spare = None
