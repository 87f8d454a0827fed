"""Energy counters where powers are due: recognised by how they rise."""

from __future__ import annotations

import numpy as np

from systems.logs.log import Array

DAY_S = 86_400.0
FALLS_PER_DAY = 2.0
"""As often a daily counter is reset at most; a power falls at every other step."""


def counted_up(values: Array, dt_s: float) -> str | None:
    """`life` or `the day` of a column that hardly ever falls, over days: it falls once a day, or not at all."""
    present = values[np.isfinite(values)]
    changes = np.diff(present)
    days = len(present) * dt_s / DAY_S
    rises, falls = int((changes > 0).sum()), int((changes < 0).sum())
    # Many small steps up make the whole height: a counter. A power that rises to a peak and falls at once is none.
    if days < 1.0 or rises < 10 * max(falls, 1) or falls > FALLS_PER_DAY * days:
        return None
    return "life" if falls == 0 else "the day"
