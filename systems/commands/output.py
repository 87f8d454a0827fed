"""Where commands write: tried before the work, made where it is missing, written whole or not at all."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def output_path(text: str) -> Path:
    """For `type=` of an option: a file that can be written, told before hours of work rather than after."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a directory; name a file")
    _try_folder(path.parent)
    return path


def output_folder(text: str) -> Path:
    """For `type=` of an option: a folder that is there and can be written to, or that can be made."""
    _try_folder(Path(text))
    return Path(text)


def _try_folder(folder: Path) -> None:
    """Write a nameless file into the folder, or into the nearest one above it that is there."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"nothing can be written to {there} ({error.strerror}); choose another"
        ) from error


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
