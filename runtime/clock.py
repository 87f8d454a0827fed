"""Where the daemon's time comes from: the system, or a bench that drives it in lockstep."""

from __future__ import annotations

import ctypes
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TIME_ERROR = 5  # adjtimex: the clock is not synchronised
# Wall and monotonic time apart by more than this since some moment: the clock was set, not slewed.
CLOCK_JUMP_S = 2.0
DAY_S = 86400.0


class Clock(Protocol):
    """Wall time (Unix seconds) dates things; monotonic time measures ages, so that a clock jump changes none."""

    def wall(self) -> float: ...

    def monotonic(self) -> float: ...

    @property
    def boot(self) -> str:
        """What tells one count of the monotonic clock from another; empty where every start begins a new one."""

    @property
    def simulated(self) -> bool:
        """Whether wall time may be of any year."""

    def synchronised(self) -> bool:
        """Whether somebody vouches for wall time."""


class SystemClock:
    """The machine's clocks."""

    simulated = False

    def __init__(self) -> None:
        try:
            self.boot = BOOT_ID.read_text(encoding="ascii").strip()
        except OSError:
            self.boot = ""

    def synchronised(self) -> bool:
        """As the kernel knows it from the time service; False on a machine that has just come up without network."""
        try:
            words = (ctypes.c_long * 64)()  # struct timex, zeroed: asks and changes nothing
            state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(words))
        except (OSError, AttributeError):
            return False
        return bool(state not in {-1, TIME_ERROR})

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class LockstepClock:
    """Stands still until it is set; monotonic time starts at 0 and follows wall time forward only."""

    boot = ""
    simulated = True

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

    def synchronised(self) -> bool:
        """The bench knows what time it is."""
        return True

    def monotonic(self) -> float:
        return self._monotonic


def clock_doubt(built: str, time_s: float) -> str:
    """Why this cannot be the time: a computer without a battery clock boots into the past, and so would the prices."""
    try:
        built_s = datetime.fromisoformat(built).timestamp() if built else 0.0
    except ValueError:
        return ""
    if time_s >= built_s - DAY_S:
        return ""
    return f"the clock is not set: it says {datetime.fromtimestamp(time_s, UTC):%Y-%m-%d}, before the bundle was built"
