"""How long a test waits for what must come: it ends a test that hangs, and says nothing about speed."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 900.0


def comes_true(condition: Callable[[], bool], *, every_s: float = 0.05) -> bool:
    """Whether it does, before patience ends."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(every_s)
    return True
