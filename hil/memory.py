"""How much memory a process and its children keep resident, as Linux tells it."""

from __future__ import annotations

import os
from pathlib import Path


def resident_mb(pid: int) -> float | None:
    """Sum over the process and its children, shared pages counted in each; None where /proc does not tell."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return sum(_own_mb(process) for process in (pid, *map(int, children)))
    except (OSError, IndexError):  # another system, or a process that ends at this moment
        return None


def _own_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
