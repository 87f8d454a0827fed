"""How the settings of an experiment were chosen, and over which seeds its numbers range: on every page and in the JSON.

Settings that were chosen on the seeds that are shown make numbers look better than they are; where the two meet, the
page says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LEAST_SEEDS = 5
"""Below it a range says little."""


@dataclass(frozen=True)
class Settings:
    """chosen: how, as a sentence; chosen_on: seeds that were looked at for that; shown: those of the numbers.

    Nothing is random where `shown` is empty, and nothing was tried where `chosen_on` is. `least`: of the seeds shown,
    below which the page says so; 1 where each draws many problems.
    """

    chosen: str
    shown: Sequence[int] = ()
    chosen_on: Sequence[int] = ()
    least: int = LEAST_SEEDS

    @property
    def both(self) -> list[int]:
        """Seeds that are shown and were chosen on."""
        return sorted(set(self.shown) & set(self.chosen_on))

    def told(self) -> str:
        """In sentences, for a page."""
        if not self.shown:
            return f"Nothing here is random. {self.chosen}"
        said = f"Numbers are of {named(self.shown)}."
        if len(self.shown) < self.least:
            said += f" Fewer than {self.least} say little of the range."
        said += f" {self.chosen}"
        if self.chosen_on:
            said += f" Looked at for that: {named(self.chosen_on)}"
            said += f"; {named(self.both)} of them shown here as well." if self.both else ", none of which is shown."
        return said

    def as_json(self) -> dict[str, Any]:
        return {
            "chosen": self.chosen,
            "chosen_on_seeds": list(self.chosen_on),
            "shown_seeds": list(self.shown),
            "on_both": self.both,
        }


def named(seeds: Sequence[int]) -> str:
    """ "seed 3", "seeds 1 and 7", "seeds 0 to 4"."""
    first, last = min(seeds), max(seeds)
    if len(seeds) == 1:
        return f"seed {first}"
    if sorted(seeds) == list(range(first, last + 1)):
        return f"seeds {first} to {last}"
    *others, end = map(str, sorted(seeds))
    return f"seeds {', '.join(others)} and {end}"
