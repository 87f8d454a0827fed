"""How many digits a solution on nested grids supports: Richardson extrapolation, and what it leaves.

Richardson and Gaunt, "The deferred approach to the limit", 1927.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ROUNDING = 1e-12
"""Relative differences below this are rounding, not truncation."""


@dataclass(frozen=True)
class Refined:
    """A function on the finest nodes (or a scalar, shape ()), its estimated error and the observed order."""

    value: Array
    error: float
    """Estimated largest absolute error."""
    order: float
    """log2 of the ratio of successive differences; NaN where they are at rounding level."""

    @property
    def scale(self) -> float:
        return float(np.max(np.abs(self.value)))

    @property
    def digits(self) -> int:
        """Significant digits, relative to the largest value, that the error leaves intact."""
        return digits(self.error, self.scale)


def digits(error: float, scale: float) -> int:
    """Largest d with 2 * error <= scale * 10^-d, between 0 and 12."""
    if scale == 0.0 or not np.isfinite(error):
        return 0
    return int(np.clip(np.floor(-np.log10(max(2.0 * error / scale, 1e-12))), 0, 12))


def refine(coarse: Array, medium: Array, fine: Array, *, extrapolate: bool = True) -> Refined:
    """From values on nodes with n, 2n, 4n intervals (or three scalars).

    Where the differences fall like h^2, the h^2 term is removed and the error is what the removal itself still changes
    from one level to the next. Elsewhere the finest values stand and the error is a geometric extrapolation.
    """
    coarse, medium, fine = (np.asarray(x, dtype=float) for x in (coarse, medium, fine))
    first = float(np.max(np.abs(_every_second(medium, coarse) - coarse)))
    second = float(np.max(np.abs(_every_second(fine, medium) - medium)))
    scale = max(float(np.max(np.abs(fine))), 1e-300)
    if second <= ROUNDING * scale:
        return Refined(fine, max(second, ROUNDING * scale), float("nan"))
    order = float(np.log2(max(first, 1e-300) / second))
    if extrapolate and 1.7 < order < 2.3:
        better_fine = fine + _spread((_every_second(fine, medium) - medium) / 3.0, fine)
        better_medium = medium + _spread((_every_second(medium, coarse) - coarse) / 3.0, medium)
        change = float(np.max(np.abs(_every_second(better_fine, better_medium) - better_medium)))
        return Refined(better_fine, change, order)
    return Refined(fine, second / (2.0 ** min(order, 2.0) - 1.0) if order > 0.2 else 10.0 * second, order)


def _every_second(fine: Array, coarse: Array) -> Array:
    return fine if fine.ndim == 0 else fine[:: (len(fine) - 1) // (len(coarse) - 1)]


def _spread(correction: Array, fine: Array) -> Array:
    """Linear interpolation of a correction on every second node to all nodes."""
    if fine.ndim == 0:
        return correction
    stride = (len(fine) - 1) // (len(correction) - 1)
    return np.interp(np.arange(len(fine)), stride * np.arange(len(correction)), correction)
