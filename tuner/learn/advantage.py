"""What an action was worth: TD errors summed over what followed.

    A_t = sum_k (gamma lambda)^k delta_{t+k}

Source: Schulman et al., "High-dimensional continuous control using generalized advantage estimation".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def generalised_advantage(delta: Array, segment: NDArray[np.int64], decay: float) -> Array:
    """A_t = delta_t + decay * A_{t+1} within each segment; all (n,)."""
    out = np.zeros(len(delta))
    following = 0.0
    for t in range(len(delta) - 1, -1, -1):
        if t + 1 < len(delta) and segment[t + 1] != segment[t]:
            following = 0.0
        following = delta[t] + decay * following
        out[t] = following
    return out
