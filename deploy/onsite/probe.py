"""Facts of this machine that decide what is sent to it, and what is here already. Nothing is changed."""

from __future__ import annotations

import os
import platform
import struct
import sys
import time
from pathlib import Path
from typing import Any

from deploy.onsite.places import Places, digest


def probe(places: Places) -> dict[str, Any]:
    """JSON."""
    state = places.state()
    there = places.base
    while not there.exists():
        there = there.parent
    room = os.statvfs(there)
    manifest = state["current"] or {"files": []}
    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "machine": platform.machine(),
        "bits": struct.calcsize("P") * 8,
        "libc": list(platform.libc_ver()),
        "time_s": time.time(),
        "free_bytes": room.f_bavail * room.f_frsize,
        "systemd": Path("/run/systemd/system").is_dir(),
        "writable": os.access(there, os.W_OK),
        "files": sorted(p.name for p in _entries(places.base / "files") if not p.name.startswith(".")),
        "releases": sorted(p.name for p in _entries(places.base / "releases") if (p / ".complete").exists()),
        "state": state,
        "busy": places.locked(),
        "altered": [f["path"] for f in manifest["files"] if digest(Path(f["path"])) != f["sha256"]],
    }


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
