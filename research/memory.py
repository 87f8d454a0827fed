"""Whether an experiment fits into the memory that is free, said before it begins."""

from __future__ import annotations

import os


class TooManyScenarios(ValueError):
    """More scenarios, or whatever else is counted, than memory or a record holds."""

    exit_code = 65


def free_memory() -> int:
    """Bytes that this machine still has."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def require_memory(count: int, what: str, each: int, free_bytes: int) -> None:
    """Raises TooManyScenarios where `count` of `what`, of `each` bytes, do not fit into `free_bytes`."""
    if count * each > free_bytes:
        raise TooManyScenarios(
            f"{count} {what} take {count * each / 1e9:.3g} GB and {free_bytes / 1e9:.3g} GB of memory are free; "
            f"ask for at most {free_bytes // each}"
        )
