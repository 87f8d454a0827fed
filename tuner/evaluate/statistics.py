"""Intervals over weeks: the bootstrap, expanded so that it holds for few weeks.

Source: Hesterberg, "What Teachers Should Know about the Bootstrap" (2015): the plain percentile interval is too
narrow by sqrt((n - 1) / n) and by normal against Student quantiles; taking wider percentiles mends both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """Mean with a 95 % interval."""

    mean: float
    low: float
    high: float


def bootstrap_mean(values: NDArray[np.float64], *, seed: int = 0, level: float = LEVEL) -> Interval:
    """Interval for the mean of independent values (n,), one per week. Raises ValueError for fewer than two."""
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval needs at least two weeks, not {n}")
    rng = np.random.default_rng([seed, 5])
    means = values[rng.integers(0, n, (RESAMPLES, n))].mean(1)
    tail = float(stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf((1 - level) / 2, n - 1)))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high))
