"""JSON and TOML files that a person named: plain and bounded, in UTF-8, no deeper than can be read, no name twice.

What cannot be read so is an OSError or a ValueError, whose callers name the file and what to do.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from runtime.formats.plain_files import LARGEST_TEXT, read_text


def parse_json(text: str) -> Any:
    """Raises ValueError, also for what is nested too deeply, and for an object that has a name twice."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("nested too deeply to be read") from None


def read_json(path: Path | str, max_bytes: int = LARGEST_TEXT) -> Any:
    """Raises OSError and ValueError."""
    return parse_json(read_text(path, max_bytes))


def parse_toml(text: str) -> dict[str, Any]:
    """Raises ValueError, also for what is nested too deeply."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply to be read") from None


def read_toml(path: Path | str, max_bytes: int = LARGEST_TEXT) -> dict[str, Any]:
    """Raises OSError and ValueError."""
    return parse_toml(read_text(path, max_bytes))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found
