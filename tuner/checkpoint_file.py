"""The file that a long run survives in: an npz of plain arrays and one JSON text, replaced as a whole, no pickle."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.formats.documents import parse_json
from runtime.formats.plain_files import LARGEST_DATA, open_plain

UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
"""What `read_checkpoint` raises for a file that is missing, damaged, or something else."""
HEAD = "head"


def write_checkpoint(path: Path, head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """The same bytes for the same state; a reader sees the old file or the new one, never half of it."""
    text = np.frombuffer(json.dumps(head, sort_keys=True).encode(), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        np.savez(file, **{HEAD: text}, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """(head, arrays). Raises one of UNREADABLE."""
    with open_plain(path, LARGEST_DATA) as opened, np.load(opened.stream, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    head = parse_json(arrays.pop(HEAD).tobytes().decode())
    if not isinstance(head, dict):
        raise ValueError("its head is not an object")
    return head, arrays
