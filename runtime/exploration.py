"""Exploration: small random steps on what the MPC decides, so that the log can teach what other decisions cost.

A controller that always does the same in the same state never shows anything else, however long it is watched. What
explores still passes limits, caps and the safety filter, and only the MPC explores: never a fallback.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.config import ExplorationSection


def explore(
    action: Sequence[float], names: Sequence[str], section: ExplorationSection, time_s: float
) -> tuple[float, ...]:
    """The action with a Gaussian step on each named entry, held for `hold_s` on the grid of Unix time.

    The same seed and time give the same step, whatever happened before, so that a restart changes nothing.
    """
    rng = np.random.default_rng([section.seed, int(max(time_s, 0.0) // section.hold_s)])
    noise = rng.standard_normal(len(names))
    steps = (section.std.get(name, 0.0) * float(n) for name, n in zip(names, noise, strict=True))
    return tuple(value + step for value, step in zip(action, steps, strict=True))
