"""Markov decision processes on arrays (P, L, gamma): value iteration, policy iteration, modified policy iteration.

    V*(s) = min_a Q*(s, a),     Q*(s, a) = L(s, a) + gamma sum_s+ P(s+ | s, a) V*(s+)

Costs, so minima; an action with L = inf is not available. Howard, "Dynamic Programming and Markov Processes", 1960;
Puterman and Shin, "Modified policy iteration algorithms for discounted Markov decision problems", 1978.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research.tabular.errors import BadProblem, NoFeasibleAction, NotConverged

Array = NDArray[np.float64]
ROW_SUM_TOLERANCE = 1e-9
LARGEST_VALUE = 1e150
"""Of a cost-to-go: what can still be squared"""


@dataclass(frozen=True)
class Mdp:
    """P (ns, na, ns): probability of s+ given (s, a). L (ns, na): stage cost, inf = not available. gamma in (0, 1)."""

    transition: Array
    stage_cost: Array
    discount: float

    @property
    def n_states(self) -> int:
        return int(self.stage_cost.shape[0])

    @property
    def n_actions(self) -> int:
        return int(self.stage_cost.shape[1])

    def action_value(self, value: Array) -> Array:
        """Q (ns, na) of acting once and collecting the cost-to-go `value` (ns,) from then on."""
        return self.stage_cost + self.discount * (self.transition @ value)

    def of_policy(self, policy: NDArray[np.int64]) -> tuple[Array, Array]:
        """(P_pi (ns, ns), L_pi (ns,)) of the Markov chain under `policy` (ns,), action indices."""
        rows = np.arange(self.n_states)
        return self.transition[rows, policy], self.stage_cost[rows, policy]


@dataclass(frozen=True)
class TabularSolution:
    """V* (ns,), Q* (ns, na), a greedy policy (ns,), and max |T V - V| at the end."""

    value: Array
    action_value: Array
    policy: NDArray[np.int64]
    residual: float
    iterations: int


def make_mdp(transition: ArrayLike, stage_cost: ArrayLike, discount: float) -> Mdp:
    """Check and freeze (P (ns, na, ns), L (ns, na), gamma). Raises BadProblem or NoFeasibleAction, naming the entry."""
    p, cost = _real("P", transition), _real("L", stage_cost)
    if p.ndim != 3 or p.shape[0] != p.shape[2] or cost.shape != p.shape[:2] or p.size == 0:
        raise BadProblem(f"expected P of shape (ns, na, ns) and L of shape (ns, na), got {p.shape} and {cost.shape}")
    if not 0.0 < discount < 1.0:
        raise BadProblem(f"gamma must lie strictly between 0 and 1, got {discount}")
    if np.isnan(cost).any() or np.isneginf(cost).any():
        s, a = np.argwhere(np.isnan(cost) | np.isneginf(cost))[0]
        raise BadProblem(
            f"L[{s}, {a}] is {cost[s, a]}: a stage cost is a number, or +inf for an action that is not available"
        )
    largest = float(np.abs(cost[np.isfinite(cost)]).max(initial=0.0))
    if largest > LARGEST_VALUE * (1.0 - discount):
        s, a = np.argwhere(np.isfinite(cost) & (np.abs(cost) == largest))[0]
        raise BadProblem(
            f"L[{s}, {a}] is {cost[s, a]:g}, and L / (1 - gamma) goes beyond {LARGEST_VALUE:g}: write +inf for an "
            "action that is not available, or take another unit"
        )
    if not np.all(np.isfinite(p)) or p.min() < 0.0:
        s, a, t = np.argwhere(~(np.isfinite(p) & (p >= 0.0)))[0]
        raise BadProblem(f"P[{s}, {a}, {t}] is {p[s, a, t]}: a probability is a finite number >= 0")
    excess = np.abs(p.sum(axis=2) - 1.0)
    if excess.max() > ROW_SUM_TOLERANCE:
        s, a = np.unravel_index(np.argmax(excess), excess.shape)
        raise BadProblem(f"row P[{s}, {a}, :] sums to {p[s, a].sum():.12g}, not to 1: normalise it")
    closed = np.flatnonzero(np.isinf(cost).all(axis=1))
    if len(closed):
        raise NoFeasibleAction(f"every action of state {closed[0]} has infinite cost: give it one that is available")
    return Mdp(p, cost, float(discount))


def _real(name: str, values: ArrayLike) -> Array:
    """As floating point numbers. Raises BadProblem at one that is complex."""
    if np.iscomplexobj(values):
        raise BadProblem(f"{name} is complex, with {np.ravel(np.asarray(values))[0]:.6g} first: give real numbers")
    return np.asarray(values, dtype=float)


def evaluate_policy(mdp: Mdp, policy: NDArray[np.int64]) -> Array:
    """V_pi (ns,) = (I - gamma P_pi)^-1 L_pi."""
    p, cost = mdp.of_policy(policy)
    if np.isinf(cost).any():
        state = int(np.flatnonzero(np.isinf(cost))[0])
        raise NoFeasibleAction(f"the policy takes action {policy[state]}, not available in state {state}")
    return np.asarray(np.linalg.solve(np.eye(mdp.n_states) - mdp.discount * p, cost), dtype=np.float64)


def value_iteration(mdp: Mdp, *, tolerance: float = 1e-10, max_iterations: int = 1_000_000) -> TabularSolution:
    """V <- min_a Q(V) until max |V - V*| <= tolerance, which the contraction turns into a bound on the residual."""
    return modified_policy_iteration(mdp, sweeps=0, tolerance=tolerance, max_iterations=max_iterations)


def policy_iteration(mdp: Mdp, *, max_iterations: int = 1000) -> TabularSolution:
    """Howard: exact evaluation, greedy improvement, until no action improves by more than rounding."""
    policy = np.argmin(mdp.stage_cost, axis=1)
    rows = np.arange(mdp.n_states)
    for iteration in range(1, max_iterations + 1):
        value = evaluate_policy(mdp, policy)
        q = mdp.action_value(value)
        better = q.min(axis=1) < q[rows, policy] - 1e-13 * max(1.0, float(np.max(np.abs(value))))
        if not better.any():
            return TabularSolution(value, q, policy, float(np.max(np.abs(q.min(axis=1) - value))), iteration)
        policy = np.where(better, np.argmin(q, axis=1), policy)
    raise NotConverged(f"policy iteration did not settle in {max_iterations} iterations")


def modified_policy_iteration(
    mdp: Mdp, *, sweeps: int = 20, tolerance: float = 1e-10, max_iterations: int = 1_000_000
) -> TabularSolution:
    """Greedy improvement, then `sweeps` Bellman sweeps of the greedy policy; sweeps = 0 is value iteration."""
    value = np.zeros(mdp.n_states)
    # |V - V*| <= residual * gamma / (1 - gamma) after one more sweep; rounding sets the floor.
    target = tolerance * (1.0 - mdp.discount) / mdp.discount
    for iteration in range(1, max_iterations + 1):
        q = mdp.action_value(value)
        policy = np.argmin(q, axis=1)
        improved = q.min(axis=1)
        residual = float(np.max(np.abs(improved - value)))
        value = improved
        if residual <= max(target, 4e-15 * float(np.max(np.abs(value)))):
            return TabularSolution(value, mdp.action_value(value), policy, residual, iteration)
        p, cost = mdp.of_policy(policy)
        for _ in range(sweeps):
            value = cost + mdp.discount * (p @ value)
    raise NotConverged(f"residual {residual:.1e} after {max_iterations} iterations, wanted {target:.1e}")
