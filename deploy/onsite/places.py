"""Where a deployment keeps its things here, what it remembers, and the lock that one of them holds at a time.

files/<sha256>      contents, by what is in them: nothing is sent or kept twice
releases/<id>/      virtual environments; `current` leads to the one in force
deployed.json       what is in force, what was before, and the trial that is under way
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.onsite.wire import OnsiteError, say

PRIVATE, OPEN = 0o700, 0o755
PATIENCE_S = 900.0
"""An installation whose link broke goes on to its end."""


@dataclass(frozen=True)
class Places:
    """`base` is the folder of all of them."""

    base: Path

    def file(self, sha256: str) -> Path:
        return self.base / "files" / sha256

    def release(self, name: str) -> Path:
        return self.base / "releases" / name

    @property
    def current(self) -> Path:
        return self.base / "current"

    def make(self) -> None:
        """Make the folders. What may be secret is for their owner only."""
        for folder, mode in ((self.base, OPEN), (self.base / "files", PRIVATE), (self.base / "releases", OPEN)):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)

    def state(self) -> dict[str, Any]:
        """What is remembered; empty tables where nothing is."""
        try:
            found = json.loads((self.base / "deployed.json").read_bytes())
        except FileNotFoundError:
            found = {}
        except ValueError as error:
            raise OnsiteError(
                f"{self.base / 'deployed.json'}: damaged ({error}); remove it, then deploy again"
            ) from error
        return {"current": None, "previous": None, "trial": None, "last": None, **found}

    def remember(self, state: dict[str, Any]) -> None:
        put(self.base / "deployed.json", json.dumps(state).encode(), 0o600)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held by whoever changes anything here. Raises OnsiteError while somebody else does."""
        self.make()
        with (self.base / ".lock").open("w") as file:
            deadline = time.monotonic() + PATIENCE_S
            told = False
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not told:
                        say("another deployment is at work here; waiting for it")
                        told = True
                    if time.monotonic() > deadline:
                        raise OnsiteError("another deployment is at work or on trial here; wait for its end") from None
                    time.sleep(0.5)
            yield

    def locked(self) -> bool:
        """Whether somebody holds the lock."""
        try:
            with (self.base / ".lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def put(path: Path, content: bytes, mode: int) -> None:
    """A file as a whole: a reader and a power cut leave the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def digest(path: Path) -> str | None:
    """sha256 of a file; None where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
