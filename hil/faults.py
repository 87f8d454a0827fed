"""What breaks: signal faults, which change what the daemon can see of the plant.

A signal is a number (a register) or a row of numbers (a published forecast). A fault maps value, time and its past to
what is shown; the links of the bench turn that into words, frames and messages. Seeded, so that a run can be repeated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.scenario import Fault

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """The signal shows this value."""

    value: Array


class Missing:
    """The signal shows nothing: no message, an exception instead of a register."""


@dataclass(frozen=True)
class Garbage:
    """The signal shows bytes that mean nothing."""

    payload: bytes


Display = Shown | Missing | Garbage
MISSING: Final = Missing()


@dataclass
class _Memory:
    """What one fault remembers of its signal."""

    rng: np.random.Generator
    held: Display = MISSING
    held_at_s: float = -np.inf
    past: deque[tuple[float, Array]] = field(default_factory=deque)


class SignalFaults:
    """The signal faults of a scenario. Call `show` once per signal and cycle, in order of time."""

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self._faults = [
            (fault, _Memory(np.random.default_rng([seed, number])))
            for number, fault in enumerate(faults)
            if fault.signal is not None
        ]

    def show(self, signal: str, value: float | Sequence[float], elapsed_s: float) -> Display:
        """What the daemon is shown of `signal` at `elapsed_s`; faults of one signal act one after the other."""
        display: Display = Shown(np.atleast_1d(np.asarray(value, float)))
        for fault, memory in self._faults:
            if fault.signal == signal:
                display = _step(fault, memory, display, elapsed_s)
        return display


def active(faults: Sequence[Fault], elapsed_s: float, step_s: float) -> tuple[str, ...]:
    """Labels of the faults that act on the cycle at `elapsed_s`; a moment acts on the first cycle after it."""
    return tuple(f.label for f in faults if f.at <= elapsed_s and (f.end > elapsed_s or f.at > elapsed_s - step_s))


def _step(fault: Fault, memory: _Memory, display: Display, now_s: float) -> Display:
    """One fault, one signal, one cycle: keeps its memory also while it does not act."""
    if isinstance(display, Shown):
        memory.past.append((now_s, display.value))
    while len(memory.past) > 1 and memory.past[1][0] <= now_s - fault.delay:
        memory.past.popleft()
    if not fault.at <= now_s < fault.end:
        memory.held, memory.held_at_s = display, now_s
        return display
    match fault.kind:
        case "off":
            return MISSING
        case "stuck":
            if memory.held_at_s == -np.inf:  # stuck from the first cycle on: at its first value
                memory.held, memory.held_at_s = display, now_s
            return memory.held
        case "garbage":
            return Garbage(memory.rng.bytes(int(memory.rng.integers(1, 64))))
        case "nan" if isinstance(display, Shown):
            return Shown(np.full_like(display.value, np.nan))
        case "wrong" if isinstance(display, Shown):
            return Shown(display.value * fault.factor + fault.offset)
        case "slow":
            if now_s - memory.held_at_s >= fault.every:
                memory.held, memory.held_at_s = display, now_s
            return memory.held
        case "delayed":
            return Shown(memory.past[0][1]) if memory.past and memory.past[0][0] <= now_s - fault.delay else MISSING
        case "intermittent":
            return MISSING if memory.rng.random() < fault.probability else display
    return display


def seen(displays: Mapping[str, Display]) -> dict[str, float | None]:
    """First value of each signal as shown, None where there is none: the record's `seen`."""
    return {name: float(d.value[0]) if isinstance(d, Shown) else None for name, d in displays.items()}
