"""Exploration: small random steps on what the MPC decides, so that the log can teach what other decisions cost.

A controller that always does the same in the same state never shows anything else, however long it is watched. What
explores still passes limits, caps and the safety filter, and only the MPC explores: never a fallback.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from runtime.site.config import ExplorationSection


def explore(
    action: Sequence[float], names: Sequence[str], section: ExplorationSection, time_s: float
) -> tuple[float, ...]:
    """The action with a Gaussian step on each named entry, held for `hold_s` on the grid of Unix time.

    The same seed and time give the same step, whatever happened before, so that a restart changes nothing.
    """
    noise = random.Random(f"{section.seed} {int(time_s // section.hold_s)}")
    steps = [noise.gauss(0.0, section.std[name]) if name in section.std else 0.0 for name in names]
    return tuple(value + step for value, step in zip(action, steps, strict=True))
