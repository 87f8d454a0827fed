"""A bundle that the real toolchain has built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BuiltBundle:
    path: Path
    trusted_key: str
