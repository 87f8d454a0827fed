"""A house on a coarser time grid, for experiments that solve its program some ten thousand times.

A zone has an hour of history. At a model step of five minutes that is twelve lags, at fifteen it is four; with
decisions of an hour the program has half the stages. `cabin` has 9 states and 24 stages so, in place of 25 and 48.
"""

from __future__ import annotations

import re
from pathlib import Path

from systems.house_file import parse_house

STEP_S, HOLD_S = 900.0, 3600.0
COARSE = ('step = "15 min"', 'hold = "1 h"')


def on_coarse_grid(text: str, source: Path = Path("house.toml")) -> str:
    """The text of a house file with COARSE in its [grid]; as it is without zones, or where its grid is no finer.

    Raises HouseFileError.
    """
    house = parse_house(text, source)
    if not house.of("zone") or (house.grid.step_s >= STEP_S and house.grid.hold_s >= HOLD_S):
        return text
    lines, inside, found = list[str](), False, False
    for line in text.splitlines():
        if re.match(r"\s*\[", line):
            inside = re.match(r"\s*\[\s*grid\s*\]", line) is not None
        if inside and re.match(r"\s*(step|hold)\s*=", line):
            continue
        lines.append(line)
        if inside and not found:
            lines += COARSE
            found = True
    if not found:
        lines += ["", "[grid]", *COARSE]
    changed = "\n".join(lines) + "\n"
    parse_house(changed, source)
    return changed


def grid_told(name: str, text: str) -> str:
    """The grid of a house as a sentence."""
    grid = parse_house(text).grid
    return f"{name}: a model step of {grid.step_s / 60.0:g} min, decisions of {grid.hold_s / 60.0:g} min."
