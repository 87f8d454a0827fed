"""Where commands write: checked before the work, written whole or not at all."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def output_path(text: str) -> Path:
    """For `type=` of an option: a file that can be written, told before hours of work rather than after."""
    path = Path(text)
    folder = path.parent
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a directory; name a file")
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"the directory {folder} does not exist; create it first")
    if not os.access(folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"the directory {folder} cannot be written to; choose another")
    return path


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
