"""What a serial device delivered last: a late answer counts at the next look, a failed one keeps the value before."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace

from runtime.inputs.signals import Arrival


class LastGood:
    """Filled by a link's worker with `put`, emptied by the cycle's thread with `take`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fresh: dict[str, Arrival] = {}
        self._last: dict[str, Arrival] = {}

    def put(self, name: str, arrival: Arrival) -> None:
        """A value, or why there is none."""
        with self._lock:
            before = self._fresh.get(name)
            if arrival.value is None and before is not None and before.value is not None:
                arrival = replace(before, problem=arrival.problem)
            self._fresh[name] = arrival

    def take(self, names: Iterable[str], problem: str, now_s: float) -> dict[str, Arrival]:
        """The newest of each: what was not delivered keeps its last value and age, and says why: `problem`."""
        with self._lock:
            fresh, self._fresh = self._fresh, {}
        for name in names:
            arrival = fresh.get(name, Arrival(None, now_s, problem or "no answer in time"))
            last = self._last.get(name)
            if arrival.value is None and last is not None:
                arrival = replace(last, problem=arrival.problem)
            self._last[name] = arrival
        return {name: self._last[name] for name in names}
