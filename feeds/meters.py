"""What really was, from what the daemon says of itself: weighted sums of its inputs and actions, by quarter hours.

The daemon publishes its state every cycle; before that its log can be read, where it lies open.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feeds.history import QUARTER_S

USABLE = frozenset({"ok"})


def weighted(document: Any, factors: Mapping[str, float]) -> float | None:
    """The sum over inputs and actions of a state or a row of the log; None where one of them is not known."""
    if not isinstance(document, dict):
        return None
    total = 0.0
    for name, factor in factors.items():
        value = _value(document, name)
        if value is None:
            return None
        total += factor * value
    return total


def _value(document: Mapping[str, Any], name: str) -> float | None:
    inputs, actions = document.get("inputs"), document.get("action")
    found = inputs.get(name) if isinstance(inputs, dict) else None
    if isinstance(found, dict):
        value = found.get("value") if found.get("validity") in USABLE else None
    else:
        value = actions.get(name) if isinstance(actions, dict) else None
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good and value is not None else None


class Meters:
    """`factors`: quantity -> signal -> factor. Heard from the network's thread, taken from the feeds' own."""

    def __init__(self, factors: Mapping[str, Mapping[str, float]]) -> None:
        self._factors = factors
        self._lock = threading.Lock()
        self._sums: dict[tuple[str, int], tuple[float, int]] = {}

    def hear(self, payload: bytes, time_s: float) -> None:
        """One state of the daemon; what is none is left out."""
        try:
            document = json.loads(payload)
        except (ValueError, RecursionError):
            return
        for quantity, factors in self._factors.items():
            value = weighted(document, factors)
            if value is not None:
                self._add(quantity, time_s, value)

    def _add(self, quantity: str, time_s: float, value: float) -> None:
        key = (quantity, math.floor(time_s / QUARTER_S))
        with self._lock:
            total, count = self._sums.get(key, (0.0, 0))
            self._sums[key] = (total + value, count + 1)

    def take(self, before: int) -> dict[int, dict[str, float]]:
        """Number of the quarter hour -> quantity -> mean, of those that are over (below `before`)."""
        with self._lock:
            done = [key for key in self._sums if key[1] < before]
            taken = {key: self._sums.pop(key) for key in done}
        found: dict[int, dict[str, float]] = {}
        for (quantity, quarter), (total, count) in taken.items():
            found.setdefault(quarter, {})[quantity] = total / count
        return found

    def hear_log(self, path: Path, since_s: float) -> int:
        """The daemon's log, where it is there and open to us; how many rows were of use."""
        if not self._factors or not path.is_file():
            return 0
        count = 0
        try:
            db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)
            try:
                rows = db.execute("SELECT time_s, action, details FROM transition WHERE time_s >= ?", (since_s,))
                for time_s, action, details in rows:
                    document = {"action": json.loads(action), "inputs": json.loads(details).get("inputs")}
                    for quantity, factors in self._factors.items():
                        value = weighted(document, factors)
                        if value is not None:
                            self._add(quantity, float(time_s), value)
                            count += 1
            finally:
                db.close()
        except (sqlite3.Error, ValueError, TypeError, AttributeError):
            return count
        return count
