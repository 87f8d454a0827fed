"""Connections to the broker that are lost again and again: mostly two programs that bear one name.

A broker ends the older of two connections of one client name (MQTT 3.1.1, section 3.1.4), and both programs connect
again: each takes the connection from the other, for ever, and neither is told why.
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 60.0
MANY = 4
"""Losses within the window."""


class Losses:
    """When connections were lost."""

    def __init__(self) -> None:
        self._at_s: deque[float] = deque(maxlen=MANY)
        self._told = False

    def lost(self, now_s: float) -> bool:
        """Whether this loss is one of so many that a rival is likely; True once, until a window without a loss."""
        if self._at_s and now_s - self._at_s[-1] > WINDOW_S:
            self._told = False
        self._at_s.append(now_s)
        if self._told or len(self._at_s) < MANY or now_s - self._at_s[0] > WINDOW_S:
            return False
        self._told = True
        return True
