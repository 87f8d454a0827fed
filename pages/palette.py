"""The colours of every page, by what they stand for, for light and for dark screens.

Text and lines have a contrast of at least 4.5 on the paper in both. The three colours of lines are told apart with
every common kind of colour blindness; a test computes both (Machado, Oliveira, Fernandes, "A Physiologically-based
Model for Simulation of Color Vision Deficiency", 2009).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["first", "second", "third", "quiet", "good", "bad"]
"""What a line or a bar is: the one the page is about, the one it is held against, a third, scenery, or a judgement."""


@dataclass(frozen=True)
class Colour:
    """One meaning, in two lights."""

    light: str
    dark: str


COLOURS: dict[str, Colour] = {
    "paper": Colour("#ffffff", "#14181c"),
    "raised": Colour("#f3f5f7", "#1f252b"),
    "rule": Colour("#dce1e5", "#353d45"),
    "ink": Colour("#1d2329", "#e6e9ec"),
    "quiet": Colour("#5a6671", "#9ba7b1"),
    "first": Colour("#0060a8", "#56b4e9"),
    "second": Colour("#b84a00", "#f0a030"),
    "third": Colour("#1c2228", "#e5e8eb"),
    "good": Colour("#00704a", "#3fc79a"),
    "bad": Colour("#b3261e", "#ff8a80"),
}
LINES: tuple[Role, ...] = ("first", "second", "third")
"""In the order in which they are taken; more than three lines in one panel are too many."""
MARKS = {name: colour.light for name, colour in COLOURS.items()}
"""What a figure is drawn with, before its colours become the variables of the stylesheet."""


def variables() -> str:
    """The declarations of the stylesheet: a variable for each colour, light first and dark where that is preferred."""
    light = "".join(f"--{name}:{colour.light};" for name, colour in COLOURS.items())
    dark = "".join(f"--{name}:{colour.dark};" for name, colour in COLOURS.items())
    return f":root{{color-scheme:light dark;{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
