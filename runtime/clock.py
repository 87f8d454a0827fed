"""Where the daemon's time comes from: the system, or a bench that drives it in lockstep."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time (Unix seconds) dates things; monotonic time measures ages, so that a clock jump changes none."""

    def wall(self) -> float: ...

    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's clocks."""

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class LockstepClock:
    """Stands still until it is set; monotonic time starts at 0 and follows wall time forward only."""

    def __init__(self) -> None:
        self._wall = 0.0
        self._monotonic = 0.0
        self._started = False

    def set(self, wall_s: float, elapsed_s: float | None = None) -> None:
        """Move to `wall_s`. `elapsed_s` is the true time since the last call, where a bench makes wall time jump."""
        if self._started:
            self._monotonic += max(0.0, wall_s - self._wall) if elapsed_s is None else elapsed_s
        self._started = True
        self._wall = wall_s

    def wall(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic
