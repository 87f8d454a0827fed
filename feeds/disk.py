"""Where a feed keeps what it must not forget: small files by name, each replaced as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from runtime.formats.plain_files import read_plain, replace_at_once

MOST_BYTES = 8 << 20


class Files(Protocol):
    """A folder of small files. What cannot be read is not there; what cannot be written raises OSError."""

    def read(self, name: str) -> bytes | None: ...

    def write(self, name: str, content: bytes) -> None: ...


class Folder:
    """On the disk. Nothing but forecasts is lost in a power cut: the folder is not forced to the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes | None:
        try:
            return read_plain(self.path / name, MOST_BYTES)
        except OSError:
            return None

    def write(self, name: str, content: bytes) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        replace_at_once(self.path / name, content)


def read_json(files: Files, name: str) -> Any:
    """The document; None where there is none, or a damaged one."""
    content = files.read(name)
    if content is None:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def write_json(files: Files, name: str, document: Any) -> None:
    """Raises OSError."""
    files.write(name, json.dumps(document, separators=(",", ":"), allow_nan=False).encode())
