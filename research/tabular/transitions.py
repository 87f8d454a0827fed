"""How the scalar state s in [0, 1] moves: E[V(s+) | m] as a linear map of the node values of V, with m = s + a.

Value functions are piecewise linear on nodes. s+ is clipped to [0, 1]; what does not fit is `leaving`:
forbidden (hard), or charged at `penalty` per unit of energy that did not fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from research.tabular.noise import BoundedNoise

Array = NDArray[np.float64]
EDGE = 1e-9
"""Slack on the bounds of m, far below any grid."""


class TabularTransition(Protocol):
    """s+ given m = s + a."""

    @property
    def low(self) -> float:
        """Smallest m that is allowed; -inf where leaving is only penalised."""
        ...

    @property
    def high(self) -> float: ...

    def weights(self, m: Array, nodes: Array) -> Array | csr_array:
        """Rows p (len(m), len(nodes)), each summing to 1, with E[V(s+) | m] = p @ V(nodes)."""
        ...

    def leaving_cost(self, m: Array) -> Array:
        """Expected cost of leaving [0, 1] in this step, inf where there is no next state."""
        ...


@dataclass(frozen=True)
class Additive:
    """s+ = m + w."""

    noise: BoundedNoise
    penalty: float | None = None
    """Cost per unit outside [0, 1]; None forbids every m from which some w in the support leaves."""

    @property
    def low(self) -> float:
        return self.noise.limit if self.penalty is None else -np.inf

    @property
    def high(self) -> float:
        return 1.0 - self.low

    def weights(self, m: Array, nodes: Array) -> Array:
        # V(x) = V_0 + sum_j slope_j [(x - s_j)^+ - (x - s_{j+1})^+], flat outside the nodes, so the expectation
        # is the same sum over E[(m + w - s_j)^+] = excess(m - s_j).
        excess = self.noise.excess(m[:, None] - nodes[None, :])
        ramp = (excess[:, :-1] - excess[:, 1:]) / np.diff(nodes)
        weights = np.zeros_like(excess)
        weights[:, 0] = 1.0
        weights[:, :-1] -= ramp
        weights[:, 1:] += ramp
        return weights

    def leaving_cost(self, m: Array) -> Array:
        if self.penalty is None:
            outside = (m < self.low - EDGE) | (m > self.high + EDGE)
            return np.where(outside, np.inf, 0.0)
        # The noise is symmetric, so E[(-m - w)^+] = excess(-m).
        return self.penalty * (self.noise.excess(-m) + self.noise.excess(m - 1.0))


@dataclass(frozen=True)
class Deterministic:
    """s+ = f(m), clipped to [0, 1]: a model that has no noise. f returns NaN where it is not defined."""

    model: Callable[[Array], Array]
    low: float
    high: float
    leaving: Callable[[Array], Array] | None = None
    """Expected cost of leaving that the planner charges at m."""

    def weights(self, m: Array, nodes: Array) -> csr_array:
        target = np.clip(np.nan_to_num(self.model(m), nan=nodes[0]), nodes[0], nodes[-1])
        left = np.clip(np.searchsorted(nodes, target, side="right") - 1, 0, len(nodes) - 2)
        share = (target - nodes[left]) / (nodes[left + 1] - nodes[left])
        rows = np.arange(len(m))
        entries = np.concatenate([1.0 - share, share])
        return csr_array((entries, (np.tile(rows, 2), np.concatenate([left, left + 1]))), shape=(len(m), len(nodes)))

    def leaving_cost(self, m: Array) -> Array:
        gone = np.isnan(self.model(m)) | (m < self.low - EDGE) | (m > self.high + EDGE)
        missing = np.where(gone, np.inf, 0.0)
        return missing if self.leaving is None else missing + self.leaving(m)


def expected_value(penalty: float | None) -> Deterministic:
    """s+ = m, the mean of the symmetric disturbance; leaving [0, 1] as this model sees it."""
    if penalty is None:
        return Deterministic(lambda m: m, 0.0, 1.0)
    return Deterministic(
        lambda m: m, -np.inf, np.inf, lambda m: penalty * (np.maximum(-m, 0.0) + np.maximum(m - 1.0, 0.0))
    )
