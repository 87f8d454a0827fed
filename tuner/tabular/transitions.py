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

from tuner.tabular.noise import Noise, NoNoise

Array = NDArray[np.float64]
EDGE = 1e-9
"""Slack on the bounds of m, far below any grid."""


class Transition(Protocol):
    """s+ given m = s + a."""

    @property
    def low(self) -> float:
        """Smallest m that is allowed; -inf where leaving is only penalised."""
        ...

    @property
    def high(self) -> float: ...

    def weights(self, m: Array, nodes: Array) -> Array:
        """Rows p (len(m), len(nodes)), each summing to 1, with E[V(s+) | m] = p @ V(nodes)."""
        ...

    def leaving_cost(self, m: Array) -> Array:
        """Expected cost of leaving [0, 1] in this step, inf where there is no next state."""
        ...


@dataclass(frozen=True)
class Additive:
    """s+ = m + w."""

    noise: Noise
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
    """s+ = f(m): a model that has no noise. f returns NaN where it is not defined."""

    model: Callable[[Array], Array]
    low: float
    high: float
    leaving: Callable[[Array], Array] | None = None
    """Cost of leaving that the planner charges at m, the same as in the world."""

    def weights(self, m: Array, nodes: Array) -> Array:
        target = np.nan_to_num(self.model(m), nan=0.0)
        return Additive(NoNoise()).weights(target, nodes)

    def leaving_cost(self, m: Array) -> Array:
        missing = np.where(np.isnan(self.model(m)), np.inf, 0.0)
        return missing if self.leaving is None else missing + self.leaving(m)
