"""One daemon per state folder: a lock that the kernel lets go of when the process ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import BusyError

log = logging.getLogger("nisse.state")


@contextlib.contextmanager
def state_lock(path: Path) -> Iterator[None]:
    """Hold the lock `path` of a state. Raises BusyError while another daemon does.

    Where no file can be written the folder around it is locked, and where there is none there is nothing to share.
    """
    descriptor = _opened(path)
    if descriptor is None:
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"{path}: another daemon{_named(descriptor)} works with this log and its bundles; stop it first "
                "(systemctl stop nisse), or name another [store] path"
            ) from None
        with contextlib.suppress(OSError):  # a full disk, or the folder itself: who it is only helps to find it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        log.warning("%s: %s; the folder is locked instead", path, error.strerror)
    with contextlib.suppress(OSError):
        return os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return None


def _named(descriptor: int) -> str:
    """` (process N)`, where the holder has said so."""
    try:
        text = os.pread(descriptor, 20, 0).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return f" (process {text})" if text.isdigit() else ""
