"""One feed: its sources in order, and its forecasts made of what is best known, stretch by stretch, each said.

The first source's answer; where that fails, its last good one while it is young enough; then the second source; then
what is usual at this time, learned from the past.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from feeds.ask import Kept, ask, from_state, to_state
from feeds.disk import Files, read_json, write_json
from feeds.fetch import Http
from feeds.rhythm import DAY_S
from feeds.series import Channels, Part, layered, on_grid, parts
from feeds.setup import Asked
from runtime.formats.profile import Profile

STEP_S = 900.0
BEFORE_S = 3600.0
"""A forecast begins this long before the present, so that a slow reader still finds now in it."""
PATIENCE = 2
"""Failures of a source in a row, after which the next one is asked whatever it said last."""
WANTED_S = 6 * 3600.0
"""Of the future, which an answer that may stand alone must know."""
LEARNED, ASSUMED = "learned", "assumed"
KEPT = ", kept"
"""Behind the name of a source whose last good answer stands in."""
Derive = Callable[[Channels, float], Mapping[str, Profile]]
"""(channels, now) -> quantities; in the units in which they are published."""
Usual = Callable[[str, Sequence[float], bool], Sequence[float | None]]
"""(quantity, Unix times, whether the deviation of now goes on) -> what is usual then; None where nothing is known."""


@dataclass(frozen=True)
class FeedForecast:
    """What is published of a quantity: values[k] holds over [start + k step, start + (k + 1) step)."""

    quantity: str
    unit: str
    start_s: float
    step_s: float
    values: tuple[float | None, ...]
    origins: tuple[str, ...]
    fetched_s: float | None
    """When the source that says the present was last heard."""

    @property
    def parts(self) -> list[Part]:
        return parts(self.origins, self.start_s, self.step_s)

    def at(self, time_s: float) -> tuple[float | None, str]:
        k = math.floor((time_s - self.start_s) / self.step_s)
        return (self.values[k], self.origins[k]) if 0 <= k < len(self.values) else (None, "")

    def known_until_s(self, now_s: float) -> float:
        """Until when sources and not what is usual say it."""
        k = max(0, math.floor((now_s - self.start_s) / self.step_s))
        while k < len(self.values) and self.origins[k] not in {"", LEARNED, ASSUMED}:
            k += 1
        return self.start_s + k * self.step_s


@dataclass(eq=False)
class Slot:
    """A source of one feed, or of several: its settings, how it becomes quantities, and what it said last."""

    asked: Asked
    file: str
    kept: Kept = field(default_factory=Kept)

    @property
    def label(self) -> str:
        return self.asked.source.label

    @property
    def origin(self) -> str:
        return f"{self.label}{KEPT}" if self.kept.failures else self.label

    def usable(self, now_s: float) -> bool:
        return self.kept.usable(self.asked, now_s)

    def does(self, now_s: float) -> bool:
        """Whether it needs no other beside it."""
        enough = self.kept.until_s(now_s) >= now_s + WANTED_S
        return self.usable(now_s) and self.kept.failures < PATIENCE and enough

    def aged(self, now_s: float) -> bool:
        """Silent for so long that a fresh answer of another source is better."""
        age_s = now_s - (self.kept.fetched_s or 0.0)
        return self.kept.failures >= PATIENCE and age_s > self.asked.source.good_for_s / 6

    def load(self, files: Files, now_s: float) -> None:
        self.kept = from_state(read_json(files, self.file), self.asked.identity, now_s)

    def save(self, files: Files) -> None:
        """Raises OSError."""
        write_json(files, self.file, to_state(self.kept, self.asked.identity))

    def ask(self, http: Http, now_s: float) -> None:
        self.kept = ask(self.asked, self.kept, http, now_s)

    def status(self, now_s: float) -> dict[str, Any]:
        kept = self.kept
        return {
            "source": self.label,
            "age_s": None if kept.fetched_s is None else round(now_s - kept.fetched_s),
            "failures": kept.failures,
            "problem": f"{kept.word}: {kept.problem}" if kept.problem else "",
            "next_s": round(max(0.0, kept.next_s - now_s)),
            "asked_today": kept.asked,
        }


@dataclass
class Feed:
    """`units`: what it publishes, in which unit. `sources`: the best first; of `own` this feed asks the answers."""

    name: str
    units: Mapping[str, str]
    sources: Sequence[tuple[Slot, Derive]]
    own: Sequence[Slot]
    assumed: float | None = None
    """What stands in where nothing is known, not even what is usual."""
    level: bool = False
    """Whether what deviates from the usual now goes on for some hours."""
    _said: dict[str, Profile] = field(default_factory=dict)
    _made: dict[str, tuple[Channels, float, Mapping[str, Profile]]] = field(default_factory=dict)

    def due(self, now_s: float) -> list[Slot]:
        """Those of its own to ask now: the first always in its rhythm, others while none before them does."""
        return [slot for slot in self.wanted(now_s) if slot.kept.next_s <= now_s]

    def next_s(self, now_s: float) -> float:
        """When to come back."""
        return min((slot.kept.next_s for slot in self.wanted(now_s)), default=math.inf)

    def wanted(self, now_s: float) -> list[Slot]:
        """Its own sources of which something is expected now."""
        found: list[Slot] = []
        done = False
        for slot, _ in self.sources:
            if slot in self.own and not done:
                found.append(slot)
            done = done or slot.does(now_s)
        return found

    def forecasts(self, now_s: float, horizon_s: float, usual: Usual) -> list[FeedForecast]:
        start_s = math.floor((now_s - BEFORE_S) / STEP_S) * STEP_S
        count = math.ceil((now_s + horizon_s - start_s) / STEP_S)
        usable = [(slot, derive) for slot, derive in self.sources if slot.usable(now_s)]
        usable.sort(key=lambda pair: pair[0].aged(now_s))
        said = [(slot, self._derived(slot, derive, now_s)) for slot, derive in usable]
        self._said = dict(said[0][1]) if said else {}
        return [self._forecast(name, unit, now_s, start_s, count, said, usual) for name, unit in self.units.items()]

    def _derived(self, slot: Slot, derive: Derive, now_s: float) -> Mapping[str, Profile]:
        """Once for each answer and day: what is learned changes from day to day."""
        day = now_s // DAY_S
        before = self._made.get(slot.file)
        if before is None or before[0] is not slot.kept.channels or before[1] != day:
            before = self._made[slot.file] = (slot.kept.channels, day, derive(slot.kept.channels, now_s))
        return before[2]

    def aside(self, now_s: float) -> dict[str, float]:
        """What the best source implies of now beside what is published, such as the power of an array without shade."""
        ends = (now_s // STEP_S * STEP_S, now_s // STEP_S * STEP_S + STEP_S)
        means = {name: p.mean(*ends)[0] for name, p in self._said.items() if name not in self.units}
        return {name: value for name, value in means.items() if math.isfinite(value)}

    def _forecast(
        self, quantity: str, unit: str, now_s: float, start_s: float, count: int,
        said: Sequence[tuple[Slot, Mapping[str, Profile]]], usual: Usual,
    ) -> FeedForecast:  # fmt: skip
        layers = [
            (slot.origin, on_grid(found[quantity], start_s, STEP_S, count, smooth=found[quantity].instants))
            for slot, found in said
            if quantity in found
        ]
        values, origins = layered(layers, count)
        missing = [k for k in range(count) if values[k] is None]
        times_s = [start_s + (k + 0.5) * STEP_S for k in missing]
        learned = usual(quantity, times_s, self.level) if missing else []
        for k, value in zip(missing, learned, strict=True):
            values[k], origins[k] = (self.assumed, ASSUMED) if value is None else (value, LEARNED)
            origins[k] = "" if values[k] is None else origins[k]
        present = origins[math.floor((now_s - start_s) / STEP_S)]
        heard = next((slot.kept.fetched_s for slot, _ in said if slot.origin == present), None)
        return FeedForecast(quantity, unit, start_s, STEP_S, tuple(values), tuple(origins), heard)
