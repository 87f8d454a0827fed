"""Deterministic models of a tabulated world from the sufficient condition, and where there is none.

"All AI Models are Wrong, but Some are Optimal": eq. (26) with a model s+ = f(s, a) asks for V*(f(s, a)) = E[V*(s+)] -
Delta. Corollary 2 says that one exists, Proposition 1 that for Delta = 0 it exists inside the support of the world's
transition. Both need a continuum of states. On finitely many, f takes the state whose V* is nearest, and what is left
is a residual.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research.tabular.mdp import Mdp, make_mdp

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DeterministicModel:
    """f (ns, na) state indices; residuals (ns, na) in cost units, NaN where an action is not available."""

    following: NDArray[np.int64]
    residual: Array
    """|V*(f) - target| of the nearest state of all."""
    support_residual: Array
    """The same of the nearest state that the world can reach from (s, a)."""
    outside_range: Array
    """How far the target lies outside the range of V* over all states: 0 where Corollary 2 has a model."""
    outside_support: Array
    """How far the target lies outside the range of V* over that support: 0 for Delta = 0, as Proposition 1 says."""

    def exists(self, tolerance: float) -> float:
        """Share of the available (s, a) where the condition holds up to `tolerance`."""
        held = self.residual[~np.isnan(self.residual)]
        return float(np.mean(held <= tolerance))


def deterministic_model(world: Mdp, value: Array, delta: float) -> DeterministicModel:
    """For V* = `value` (ns,)."""
    target = world.transition @ value - delta
    gap = np.abs(value - target[..., None])
    reached = world.transition > 0.0
    within = np.where(reached, gap, np.inf).min(axis=2)
    low = np.where(reached, value, np.inf).min(axis=2)
    high = np.where(reached, value, -np.inf).max(axis=2)
    outside = np.maximum(np.maximum(low - target, target - high), 0.0)
    available = np.isfinite(world.stage_cost)
    return DeterministicModel(
        gap.argmin(axis=2),
        np.where(available, gap.min(axis=2), np.nan),
        np.where(available, within, np.nan),
        np.where(available, np.maximum(value.min() - target, target - value.max()).clip(0.0), np.nan),
        np.where(available, outside, np.nan),
    )


def as_mdp(world: Mdp, model: DeterministicModel) -> Mdp:
    """The model as arrays, with the world's costs and discount."""
    return make_mdp(np.eye(world.n_states)[model.following], world.stage_cost, world.discount)
