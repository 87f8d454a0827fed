"""What a run of the daemon came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """What a run came to."""

    cycles: int = 0
    levels: Counter[str] = field(default_factory=Counter)
    first_action_s: float | None = None
    """From the start of the daemon to its first action."""
