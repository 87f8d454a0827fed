"""Whether a change of theta made the same periods worse: a paired comparison of their costs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def worse(costs: Array, reference: Array, tolerance: float) -> bool:
    """Is the mean paired increase of the costs (n_periods,) above `tolerance` standard errors? Of one: above zero."""
    increase = costs - reference
    if len(increase) < 2:
        return bool(increase.mean() > 0)
    return bool(increase.mean() > tolerance * increase.std(ddof=1) / np.sqrt(len(increase)))
