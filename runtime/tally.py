"""Cycles, levels and the first action of one run of the daemon, for its last line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counted from the start of the daemon on."""

    cycles: int = 0
    levels: Counter[str] = field(default_factory=Counter)
    first_action_s: float | None = None
    """From the start of the daemon to its first action."""
