"""The architectures that controllers are built for, by the names of `uname -m`, and where what is fetched is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from codegen.errors import TargetError

TARGETS = ("x86_64", "aarch64")
MACHINE_NAMES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """NISSE_CACHE, or `nisse` in the user's XDG cache."""
    if environment.get("NISSE_CACHE"):
        return Path(environment["NISSE_CACHE"]).absolute()
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "nisse"


def host_arch() -> str:
    """The architecture of this machine by its target name. Raises TargetError for one without acados libraries."""
    return target_arch(os.uname().machine)


def target_arch(name: str) -> str:
    """The canonical name of a target. Raises TargetError with the list of known ones."""
    arch = MACHINE_NAMES.get(name.lower())
    if arch is None:
        raise TargetError(f"unknown target {name!r}: choose one of {', '.join(TARGETS)}")
    return arch
