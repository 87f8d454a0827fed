"""Numbers as options of commands: sign, zero and size are told before the work that they would spoil."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

MOST_PROCESSES = 256
MOST_ROUNDS = 100_000
"""Of whatever is repeated: iterations, weeks, programs."""


def whole(least: int, most: int = MOST_ROUNDS, *, also: int | None = None) -> Callable[[str], int]:
    """For `type=`: a whole number from `least` to `most`, or the one number `also`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not (least <= value <= most or value == also):
            besides = "" if also is None else f", or {also}"
            raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from {least} to {most}{besides}")
        return value

    return parse


def number(least: float, most: float, unit: str = "", *, above: bool = False) -> Callable[[str], float]:
    """For `type=`: a finite number from `least`, or `above` it, to `most`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or (above and value == least):
            first = "above" if above else "from"
            raise argparse.ArgumentTypeError(f"{text!r}: give a number {first} {least:g} to {most:g} {unit}".rstrip())
        return value

    return parse


def seed_number(text: str) -> int:
    """For `type=` of a seed; 0 is one like any other."""
    return whole(0, 2**63 - 1)(text)
