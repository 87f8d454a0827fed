"""A forecast as a function of time: values that hold for a while, in order, with gaps where nothing is known."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

LONE_VALUE_S = 3600.0
"""How long the only value of a forecast without an end holds: the longest unit of a market."""
GAP_SHARE = 0.25
FEWEST_FOR_GAPS = 8


@dataclass(frozen=True)
class Profile:
    """values[k] holds over [starts_s[k], ends_s[k]) in Unix seconds; in order, without overlaps, gaps allowed.

    `instants`: the values are those of the starts, as a weather service gives them, not means.
    """

    starts_s: tuple[float, ...]
    ends_s: tuple[float, ...]
    values: tuple[float, ...]
    instants: bool = False
    note: str = ""
    """What was odd about it, if it was used all the same."""

    @classmethod
    def regular(cls, start_s: float, step_s: float, values: Sequence[float]) -> Profile:
        """values[k] holds from start_s + k * step_s for step_s; what is not finite is a gap."""
        cells = [(start_s + k * step_s, value) for k, value in enumerate(values) if math.isfinite(value)]
        return cls(tuple(s for s, _ in cells), tuple(s + step_s for s, _ in cells), tuple(v for _, v in cells))

    @property
    def start_s(self) -> float:
        return self.starts_s[0]

    @property
    def end_s(self) -> float:
        return self.ends_s[-1]

    def converted(self, convert: Callable[[float], float]) -> Profile:
        return replace(self, values=tuple(convert(value) for value in self.values))

    def nearest(self, time_s: float) -> float:
        """The value that holds at a time or did last before it; the first one before the beginning."""
        return self.values[max(0, bisect_right(self.starts_s, time_s) - 1)]

    def mean(self, begin_s: float, end_s: float, *, smooth: bool = False) -> tuple[float, float]:
        """(mean over what is known of [begin, end), share that is known); (nan, 0) where nothing is.

        smooth: instants are joined by straight lines instead of held.
        """
        return self.means((begin_s, end_s), smooth=smooth)[0]

    def means(self, edges_s: Sequence[float], *, smooth: bool = False) -> list[tuple[float, float]]:
        """`mean` of each stretch between two edges, which are in order, in one pass through the profile."""
        starts, ends, values = self.starts_s, self.ends_s, self.values
        joined = smooth and self.instants
        index, last, found = max(0, bisect_right(starts, edges_s[0]) - 1), len(values) - 1, []
        for begin_s, end_s in pairwise(edges_s):
            while index < last and ends[index] <= begin_s:
                index += 1
            if not joined and starts[index] <= begin_s and end_s <= ends[index]:
                found.append((values[index], 1.0))  # not divided by what it was multiplied with
                continue
            known_s, total, at = 0.0, 0.0, index
            while at <= last and starts[at] < end_s:
                first = starts[at] if starts[at] > begin_s else begin_s
                until = ends[at] if ends[at] < end_s else end_s
                if until > first:
                    known_s += until - first
                    total += (until - first) * (self._joined(at, (first + until) / 2) if joined else values[at])
                at += 1
            found.append((total / known_s, known_s / (end_s - begin_s)) if known_s > 0.0 else (math.nan, 0.0))
        return found

    def _joined(self, index: int, time_s: float) -> float:
        """The value of instant `index` at a time after it, which is also the mean over a stretch around that time."""
        value, start_s, end_s = self.values[index], self.starts_s[index], self.ends_s[index]
        if index + 1 == len(self.values) or self.starts_s[index + 1] != end_s:
            return value
        return value + (self.values[index + 1] - value) * (time_s - start_s) / (end_s - start_s)


Value = float | Profile


class Entry(NamedTuple):
    """One line of a list: `end_s` where the list says it, `value` None where it says that there is none."""

    start_s: float
    end_s: float | None
    value: float | None


def profile_of(entries: Sequence[Entry], *, instants: bool = False) -> Profile | None:
    """The entries, which may come unsorted, overlap and leave gaps, as a profile; None if no value is left.

    Where two overlap the one that begins later counts, of two that begin together the later in the list.
    """
    cells: Iterable[tuple[float, Any, Any]] = entries
    differ = False
    if not _apart(entries):
        closed = _closed(sorted(entries, key=lambda entry: entry.start_s))
        cells, differ = _painted(closed), _differ(closed)
    known = [cell for cell in cells if cell[2] is not None]
    if not known:
        return None
    starts, ends, values = zip(*known, strict=True)
    return Profile(starts, ends, values, instants, "its entries overlap; the later one counts" if differ else "")


def _closed(entries: list[Entry]) -> list[tuple[float, float, float | None]]:
    """Every entry with its end: its own, or the start of the next, unless a regular list has a hole there."""
    starts = sorted({entry.start_s for entry in entries})
    steps = [b - a for a, b in pairwise(starts)]
    usual = dict(zip(starts, steps, strict=False))
    holes = {
        starts[k]: before
        for k, (before, step, after) in enumerate(zip(steps, steps[1:], steps[2:], strict=False), start=1)
        if step > before == after
    }
    if len(starts) >= FEWEST_FOR_GAPS and len(holes) <= GAP_SHARE * len(steps):
        usual |= holes
    usual[starts[-1]] = steps[-1] if steps else LONE_VALUE_S
    return [
        (entry.start_s, entry.start_s + usual[entry.start_s] if entry.end_s is None else entry.end_s, entry.value)
        for entry in entries
    ]


def _apart(entries: Sequence[Entry]) -> bool:
    """Whether they say their ends and follow each other, as in most lists: then they are cells as they come."""
    after_s = -math.inf
    for start_s, end_s, _ in entries:
        if end_s is None or start_s < after_s or not start_s < end_s:
            return False
        after_s = end_s
    return True


def _painted(entries: Sequence[tuple[float, float, float | None]]) -> Iterator[tuple[float, float, float | None]]:
    """(start, end, value) without overlaps; `entries` in order of start."""
    edges = sorted({edge for start, end, _ in entries for edge in (start, end) if end > start})
    waiting: list[tuple[float, int, float, float | None]] = []  # the one on top counts
    upcoming = 0
    last: tuple[int, float, float, float | None] | None = None
    for begin, end in pairwise(edges):
        while upcoming < len(entries) and entries[upcoming][0] <= begin:
            start, until, value = entries[upcoming]
            heapq.heappush(waiting, (-start, -upcoming, until, value))
            upcoming += 1
        while waiting and waiting[0][2] <= begin:
            heapq.heappop(waiting)
        number = waiting[0][1] if waiting else 1
        if last is not None and (last[0] != number or number == 1):
            yield last[1:]
            last = None
        if waiting:
            last = (number, begin if last is None else last[1], end, waiting[0][3])
    if last is not None:
        yield last[1:]


def _differ(entries: Sequence[tuple[float, float, float | None]]) -> bool:
    """Whether entries overlap that do not say the same; `entries` in order of start."""
    return any(b[0] < a[1] and a[2] != b[2] and b[1] > b[0] for a, b in pairwise(entries))
