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
from feeds.series import Channels, Part, layered, on_grid, parts
from feeds.setup import Asked
from runtime.formats.profile import Profile

STEP_S = 900.0
BEFORE_S = 3600.0
"""A forecast begins this long before the present, so that a slow reader still finds now in it."""
PATIENCE = 2
"""Failures of the first source in a row, after which the second is asked whatever the first said last."""
WANTED_S = 6 * 3600.0
"""Of the future, which an answer that may stand alone must know."""
LEARNED = "learned"
Derive = Callable[[Channels, int], Mapping[str, Profile]]
"""(channels, number of the source) -> quantities; in the units in which they are published."""
Usual = Callable[[str, float, float, int], Sequence[float | None]]
"""(quantity, start, step, count) -> what is usual then; None where nothing is known yet."""


@dataclass(frozen=True)
class Forecast:
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
        while k < len(self.values) and self.origins[k] not in {"", LEARNED}:
            k += 1
        return self.start_s + k * self.step_s


@dataclass
class Feed:
    """`units`: what it publishes, in which unit. `sources`: the first, perhaps a second."""

    name: str
    units: Mapping[str, str]
    sources: Sequence[Asked]
    derive: Derive
    kept: list[Kept] = field(default_factory=list)

    def load(self, files: Files, now_s: float) -> None:
        self.kept = [
            from_state(read_json(files, self._file(k)), asked.identity, now_s) for k, asked in enumerate(self.sources)
        ]

    def save(self, files: Files, number: int) -> None:
        """Raises OSError."""
        write_json(files, self._file(number), to_state(self.kept[number], self.sources[number].identity))

    def _file(self, number: int) -> str:
        return f"{self.name}.{number + 1}.json"

    def wants(self, number: int, now_s: float) -> bool:
        """Whether a source is to be asked now: when it is due, and the second only while the first does not do."""
        return self.kept[number].next_s <= now_s and (number == 0 or not self._first_does(now_s))

    def ask(self, number: int, http: Http, now_s: float) -> None:
        self.kept[number] = ask(self.sources[number], self.kept[number], http, now_s)

    def _first_does(self, now_s: float) -> bool:
        first = self.kept[0]
        return (
            first.usable(self.sources[0], now_s)
            and first.failures < PATIENCE
            and first.until_s(now_s) >= now_s + WANTED_S
        )

    def next_s(self, now_s: float) -> float:
        """When to come back."""
        if not self.sources:
            return math.inf
        due = [self.kept[0].next_s]
        if len(self.sources) > 1 and not self._first_does(now_s):
            due.append(self.kept[1].next_s)
        return min(due)

    def ranked(self, now_s: float) -> list[tuple[str, int]]:
        """(origin, number) of the sources whose answers may be used, the best first."""
        usable = [k for k, kept in enumerate(self.kept) if kept.usable(self.sources[k], now_s)]
        # A fresh second source knows better than what the first said before it fell silent, unless that is still good.
        usable.sort(key=lambda k: (self.kept[k].failures >= PATIENCE and self._aged(k, now_s), k))
        return [(self._origin(k), k) for k in usable]

    def _aged(self, number: int, now_s: float) -> bool:
        fetched_s = self.kept[number].fetched_s or 0.0
        return now_s - fetched_s > self.sources[number].source.good_for_s / 3

    def _origin(self, number: int) -> str:
        label = self.sources[number].source.label
        return f"{label}, kept" if self.kept[number].failures else label

    def forecasts(self, now_s: float, horizon_s: float, usual: Usual) -> list[Forecast]:
        start_s = math.floor((now_s - BEFORE_S) / STEP_S) * STEP_S
        count = math.ceil((now_s + horizon_s - start_s) / STEP_S)
        ranked = [(origin, k, self.derive(self.kept[k].channels, k)) for origin, k in self.ranked(now_s)]
        found = []
        for quantity, unit in self.units.items():
            layers: list[tuple[str, Sequence[float | None]]] = [
                (origin, on_grid(said[quantity], start_s, STEP_S, count, smooth=said[quantity].instants))
                for origin, _, said in ranked
                if quantity in said
            ]
            layers.append((LEARNED, usual(quantity, start_s, STEP_S, count)))
            values, origins = layered(layers, count)
            now_origin = origins[math.floor((now_s - start_s) / STEP_S)]
            heard = next((self.kept[k].fetched_s for origin, k, _ in ranked if origin == now_origin), None)
            found.append(Forecast(quantity, unit, start_s, STEP_S, tuple(values), tuple(origins), heard))
        return found

    def status(self, now_s: float) -> dict[str, Any]:
        """What is said of its sources."""
        return {
            "sources": [
                {
                    "source": asked.source.label,
                    "age_s": None if kept.fetched_s is None else round(now_s - kept.fetched_s),
                    "failures": kept.failures,
                    "problem": f"{kept.word}: {kept.problem}" if kept.problem else "",
                    "next_s": round(max(0.0, kept.next_s - now_s)),
                    "asked_today": kept.asked,
                }
                for asked, kept in zip(self.sources, self.kept, strict=True)
            ]
        }
