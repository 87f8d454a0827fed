"""Disturbances of a scalar state, as the two integrals that piecewise-linear dynamic programming needs of them.

For a piecewise-linear V with kinks at nodes, E[V(m + w)] is a finite sum of `excess(m - node)`: no quadrature error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from research.tabular.errors import BadOption

Array = NDArray[np.float64]


class BoundedNoise(Protocol):
    """A symmetric disturbance w with bounded support [-limit, limit]."""

    @property
    def limit(self) -> float: ...

    def excess(self, z: Array) -> Array:
        """E[max(z + w, 0)], elementwise."""
        ...

    def sample(self, generator: np.random.Generator, size: int) -> Array: ...


def _phi(x: Array | float) -> Array:
    return np.asarray(np.exp(-0.5 * np.square(x)) / np.sqrt(2.0 * np.pi))


@dataclass(frozen=True)
class TruncatedGaussian:
    """w ~ N(0, std^2) conditioned on |w| <= limit."""

    std: float
    limit: float

    def __post_init__(self) -> None:
        if not (self.std > 0.0 and self.limit > 0.0):
            raise BadOption(f"noise needs std > 0 and limit > 0, got std={self.std}, limit={self.limit}")

    @property
    def _mass(self) -> float:
        return float(2.0 * ndtr(self.limit / self.std) - 1.0)

    def excess(self, z: Array) -> Array:
        """Integral of (z + w) over w in [-z, limit] against the truncated density, in closed form."""
        inside = np.clip(z, -self.limit, self.limit)
        tail = ndtr(self.limit / self.std) - ndtr(-inside / self.std)
        first_moment = self.std * (_phi(inside / self.std) - _phi(self.limit / self.std))
        return np.where(z >= self.limit, z, (inside * tail + first_moment) / self._mass)

    def density(self, w: Array) -> Array:
        return np.where(np.abs(w) <= self.limit, _phi(w / self.std) / (self.std * self._mass), 0.0)

    def sample(self, generator: np.random.Generator, size: int) -> Array:
        """Rejection sampling: the acceptance rate is the mass inside the limits."""
        kept = np.empty(0)
        while len(kept) < size:
            draw = generator.normal(0.0, self.std, 2 * size)
            kept = np.concatenate([kept, draw[np.abs(draw) <= self.limit]])
        return kept[:size]


@dataclass(frozen=True)
class QuadratureNoise:
    """The same disturbance by an n-point Gauss-Legendre rule: what a quadrature costs in accuracy."""

    points: tuple[float, ...]
    weights: tuple[float, ...]
    limit: float
    """Of the distribution, not of the outermost node: hard constraints must hold for the whole support."""

    @classmethod
    def of(cls, noise: TruncatedGaussian, nodes: int) -> QuadratureNoise:
        if nodes < 1:
            raise BadOption(f"noise nodes must be at least 1, got {nodes}")
        x, weight = np.polynomial.legendre.leggauss(nodes)
        weight = weight * noise.density(noise.limit * x)
        return cls(tuple(noise.limit * x), tuple(weight / weight.sum()), noise.limit)

    def excess(self, z: Array) -> Array:
        total = np.zeros_like(z)
        for point, weight in zip(self.points, self.weights, strict=True):
            total += weight * np.maximum(z + point, 0.0)
        return total

    def sample(self, generator: np.random.Generator, size: int) -> Array:
        return generator.choice(np.array(self.points), size=size, p=np.array(self.weights))
