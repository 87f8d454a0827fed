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
    probe: Array
    """(n, na) a move from pi_theta(s) as wide as exploration, in the actions that theta moves; NaN where not asked"""
    rise: Array
    """(n,) Q_theta(s, pi_theta(s) + probe) - V_theta(s); NaN where not asked"""
    foretold_cost: Array
    """(n,) of the decision as the program foretells it, without exploration: L_theta(s, pi_theta(s)); or empty"""
    foretold_value: Array
    """(n,) V_theta there, f_theta(s, pi_theta(s)), under the forecast of the next moment; or empty"""
    segment: NDArray[np.int64]
    """(n,) number of the uninterrupted stretch"""
    advantage: Array
    """(n,) Q_theta(s, a) - Q_theta(s, mean action), or empty"""
    advantage_gradient: Array
    """(n, p) its derivative in theta, or empty"""

    def __len__(self) -> int:
        return len(self.cost)

    def surprise(self, gamma: float) -> Array:
        """(n,) L + gamma V_theta(s+), less what the program foretold of both without exploration.

        Where nothing was foretold it is the TD error, L + gamma V_theta(s+) - V_theta(s).
        """
        if not len(self.foretold_cost):
            return self.cost + gamma * self.next_value - self.value
        return self.cost - self.foretold_cost + gamma * (self.next_value - self.foretold_value)

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


PROBE_EVERY = 3
"""A move is probed at every so many states: enough for one curvature an action."""
MOVES = 1e-3
"""An action stands still for theta when a change by its scale moves it by less than this share of exploration."""


def probe_of(policy: Array, moved: Array, jacobian: Array, std: Array) -> Array:
    """(n, na) of the moves from `policy` to `moved`, both (n, na), those of actions that theta moves; 0 for others.

    An action at a bound is held there by a slope, which is no curvature, and theta does not move it.
    """
    stands = np.abs(jacobian).max(-1) < MOVES * std
    return np.asarray(np.where(stands, 0.0, moved - policy))


@dataclass(frozen=True, eq=False)
class Labelled:
    """Transitions, and what labelling them took."""

    transitions: Transitions
    solves: int
    failures: int
    used: NDArray[np.bool_]
    """(m,) of the experience's decisions, those that became transitions"""


def join(parts: Sequence[Transitions]) -> Transitions:
    """All of them, one after the other."""
    return Transitions(
        **{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Transitions)}
    )
