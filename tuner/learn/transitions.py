"""What a theta says of what a controller went through: the material of every learning method.

Experience stays true whatever theta becomes; its labels (value, policy, derivatives) are those of one theta and are
made anew for the next. That is what lets old and foreign experience teach, off-policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Transitions:
    """n usable transitions (s, a, cost, s+) under a theta of which p entries learn, each in units of its scale."""

    value: Array
    """(n,) V_theta(s)"""
    next_value: Array
    """(n,) V_theta(s+)"""
    cost: Array
    """(n,)"""
    policy: Array
    """(n, na) pi_theta(s), in the unit of actions"""
    asked: Array
    """(n, na) in the unit of actions"""
    action: Array
    """(n, na) in the unit of actions"""
    mean_action: Array
    """(n, na) expectation of the action over the exploration, given the state, in the unit of actions"""
    drift: Array
    """(n, na) by how much pi_theta(s) differs from what the explorer's policy decided; 0 where it follows theta"""
    policy_jacobian: Array
    """(n, na, p)"""
    action_inverse: Array
    """(n, na, na) inverse Hessian of Q_theta in the actions that are free"""
    segment: NDArray[np.int64]
    """(n,) number of the uninterrupted stretch"""
    advantage: Array
    """(n,) Q_theta(s, a) - Q_theta(s, mean action), or empty"""
    advantage_gradient: Array
    """(n, p) its derivative in theta, or empty"""

    def __len__(self) -> int:
        return len(self.cost)

    def select(self, chosen: NDArray[np.bool_]) -> Transitions:
        """Those that a mask (n,) names."""
        parts = ((f.name, getattr(self, f.name)) for f in fields(self))
        return Transitions(**{name: part[chosen] if len(part) else part for name, part in parts})


def mean_within_bounds(policy: Array, std: float, lower: float, upper: float) -> Array:
    """E[clip(policy + std n, lower, upper)] of a standard normal n.

    Near a bound noise goes one way only. Taken as exploration about the policy, that mean would be credited to the
    action, with whatever else tells states near the bound from others.
    """
    # scipy.stats would say the same at thirty times the price, and this is asked for every day of every agent.
    a, b = (lower - policy) / std, (upper - policy) / std
    inside, density = ndtr(b) - ndtr(a), np.exp(-(a**2) / 2) - np.exp(-(b**2) / 2)
    return np.asarray(lower * ndtr(a) + upper * ndtr(-b) + policy * inside + std / np.sqrt(2.0 * np.pi) * density)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Transitions, and what labelling them took."""

    transitions: Transitions
    solves: int
    failures: int


def join(parts: Sequence[Transitions]) -> Transitions:
    """All of them, one after the other."""
    return Transitions(
        **{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Transitions)}
    )
