"""Exact dynamic programming of the scalar battery ("All AI Models are Wrong, but Some are Optimal", Example V-A).

    V*(s) = min_a  L(s, a) + gamma E[V*(s+) | s + a],      s+ = s + a + w in [0, 1],  |a| <= 1/4

Costs throughout (the paper's rewards with the sign changed). The one discretisation is that V is piecewise linear
between nodes: expectations are integrated exactly, and the minimiser over a is not bound to any grid. Policy iteration
with exact evaluation (Howard, "Dynamic Programming and Markov Processes", 1960): Newton on the Bellman equation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.sparse import csr_array, eye_array
from scipy.sparse.linalg import spsolve

from research.scalar_battery import DISCOUNT, MAX_MOVE, ScalarCase
from research.tabular.errors import BadOption, BadProblem, NoFeasibleAction, NotConverged
from research.tabular.noise import BoundedNoise, TruncatedGaussian
from research.tabular.transitions import EDGE, Additive, TabularTransition, expected_value

Array = NDArray[np.float64]
DEFAULT_INTERVALS = 1600
"""Divisible by 4 and 20, so that s = 1/2, the move limit and both noise limits are nodes: V has kinks there."""
MAX_POLICY_ITERATIONS = 500
TIE = 1e-12
"""Actions whose costs differ by less (relative to the largest cost) are ties; the smaller move is taken."""


@dataclass(frozen=True)
class BellmanSolution:
    """Fixed point of the Bellman equation on the nodes; between nodes interpolate linearly."""

    nodes: Array
    cost_to_go: Array
    policy: Array
    residual: float
    """max |T V - V| at the last iterate."""
    iterations: int

    @property
    def mean_return(self) -> float:
        """J: expected discounted return (minus cost) from s uniform on [0, 1]; exact for a piecewise-linear V."""
        return mean_return(self.nodes, self.cost_to_go)


def mean_return(nodes: Array, cost_to_go: Array) -> float:
    return -float(np.trapezoid(cost_to_go, nodes))


@dataclass(frozen=True)
class ScalarProblem:
    """The scalar battery under some transition: the world, the expected-value model, or a constructed model."""

    case: ScalarCase
    transition: TabularTransition
    intervals: int = DEFAULT_INTERVALS
    discount: float = DISCOUNT

    def __post_init__(self) -> None:
        if not 0.0 < self.discount < 1.0:
            raise BadProblem(f"gamma must lie strictly between 0 and 1, got {self.discount}")
        if self.intervals < 4:
            raise BadOption(f"the grid needs at least 4 intervals, got {self.intervals}")
        reach = np.minimum(self.nodes + MAX_MOVE, self.transition.high) - np.maximum(
            self.nodes - MAX_MOVE, self.transition.low
        )
        if reach.min() < -EDGE:
            state = self.nodes[np.argmin(reach)]
            raise NoFeasibleAction(
                f"at s = {state:g} no action in [-{MAX_MOVE}, {MAX_MOVE}] keeps s + a + w in [0, 1] "
                f"for all |w| <= {self.transition.low:g}: use less noise, or penalise leaving instead of forbidding it"
            )

    @cached_property
    def nodes(self) -> Array:
        return np.linspace(0.0, 1.0, self.intervals + 1)

    def stage_cost(self, s: Array, a: Array) -> Array:
        trade = self.case.buy_price * np.maximum(a, 0.0) + self.case.sell_price * np.minimum(a, 0.0)
        return self.case.deviation_weight * np.abs(s - 0.5) + trade

    def expected_cost_to_go(self, m: Array, cost_to_go: Array) -> Array:
        """gamma E[V(s+) | m] plus the expected cost of leaving; shape of m."""
        return self.discount * (self.transition.weights(m, self.nodes) @ cost_to_go) + self.transition.leaving_cost(m)

    def action_value(self, s: Array, a: Array, cost_to_go: Array) -> Array:
        """Q(s, a) for the cost-to-go on the nodes; s and a of one shape (k,)."""
        return self.stage_cost(s, a) + self.expected_cost_to_go(s + a, cost_to_go)

    def project(self, policy: Array) -> Array:
        """The nearest feasible action at every node."""
        low = np.maximum(-MAX_MOVE, self.transition.low - self.nodes)
        high = np.minimum(MAX_MOVE, self.transition.high - self.nodes)
        return np.clip(policy, low, np.maximum(low, high))

    def policy_cost_to_go(self, policy: Array) -> Array:
        """V_pi on the nodes by one linear solve; inf from where pi may take an action that is forbidden."""
        m = self.nodes + policy
        weights = self.transition.weights(m, self.nodes)
        leaving = self.transition.leaving_cost(m)
        lost = np.isinf(leaving) | (np.abs(policy) > MAX_MOVE + EDGE)
        while np.any(newly := (weights[:, lost].sum(axis=1) > 0.0) & ~lost):
            lost |= newly
        value = np.full(len(m), np.inf)
        kept = ~lost
        if kept.any():
            cost = (self.stage_cost(self.nodes, policy) + leaving)[kept]
            value[kept] = _discounted_sum(weights[kept][:, kept], self.discount, cost)
        return value

    def evaluate(self, policy: Array, states: Array | None = None) -> float:
        """J(pi): expected discounted return of closed loop from s uniform on [0, 1]; -inf if pi breaks a hard bound.

        `policy` holds actions at `states` (default: equally spaced on [0, 1]), linear in between.
        """
        states = np.linspace(0.0, 1.0, len(policy)) if states is None else states
        on_nodes = policy if len(policy) == len(self.nodes) else np.interp(self.nodes, states, policy)
        return mean_return(self.nodes, self.policy_cost_to_go(on_nodes))

    def solve(self, start: Array | None = None) -> BellmanSolution:
        """Policy iteration from cost-to-go `start` (default 0) until the policy's own cost-to-go stops changing."""
        value = np.zeros(len(self.nodes)) if start is None else start
        policy: Array | None = None
        for iteration in range(MAX_POLICY_ITERATIONS):
            improved, policy = self.improve(value, policy)
            residual = float(np.max(np.abs(improved - value)))
            if residual <= 1e-11 * max(1.0, float(np.max(np.abs(improved)))):
                return BellmanSolution(self.nodes, improved, policy, residual, iteration)
            value = self.policy_cost_to_go(policy)
        raise NotConverged(f"policy iteration stopped at residual {residual:.1e} after {MAX_POLICY_ITERATIONS} steps")

    def improve(self, cost_to_go: Array, policy: Array | None = None) -> tuple[Array, Array]:
        """(T V, greedy policy) on the nodes. The present policy is among the candidates, so no step makes it worse.

        Over each sign of a the stage cost is linear, so the minimum of slope * m + gamma E[V | m] over a window of m is
        at an end of the window or at a local minimum, which is refined beyond the grid.
        """
        s, (scan, weights, leaving) = self.nodes, self._scan
        future = self.discount * (weights @ cost_to_go) + leaving
        candidates = []
        if policy is not None:
            everywhere = (np.full_like(s, -np.inf), np.full_like(s, np.inf))
            candidates.append((s + policy, self.expected_cost_to_go(s + policy, cost_to_go), *everywhere))
        for slope, window_low, window_high in (
            (self.case.buy_price, s, s + MAX_MOVE),
            (self.case.sell_price, s - MAX_MOVE, s),
        ):
            low = np.maximum(window_low, self.transition.low)
            high = np.minimum(window_high, self.transition.high)
            for end in (low, high):
                candidates.append((end, future[self._position(end)], low, high))
            for minimum in self._local_minima(scan, slope * scan + future, slope, cost_to_go):
                m = np.full_like(s, minimum)
                candidates.append((m, self.expected_cost_to_go(m[:1], cost_to_go) * np.ones_like(s), low, high))
        moves = np.stack([m - s for m, _, _, _ in candidates])
        q = np.stack([future for _, future, _, _ in candidates]) + self.stage_cost(s, moves)
        inside = np.stack([(m >= low - EDGE) & (m <= high + EDGE) for m, _, low, high in candidates])
        q = np.where(inside, q, np.inf)
        best = q.min(axis=0)
        tied = q <= best + TIE * max(1.0, float(np.max(np.abs(best))))
        choice = np.argmin(np.where(tied, np.abs(moves), np.inf), axis=0)
        return best, np.take_along_axis(moves, choice[None, :], axis=0)[0]

    @cached_property
    def _scan(self) -> tuple[Array, Array | csr_array, Array]:
        """All m at which E[V | m] is needed at every step: grid points, the ends of all windows; with their weights."""
        s, t = self.nodes, self.transition
        ends = np.concatenate([s - MAX_MOVE, s, s + MAX_MOVE, [t.low, t.high]])
        inside = np.clip(ends[np.isfinite(ends)], max(t.low, -MAX_MOVE), min(t.high, 1.0 + MAX_MOVE))
        scan = np.unique(np.round(inside, 12))
        return scan, t.weights(scan, s), t.leaving_cost(scan)

    def _position(self, m: Array) -> NDArray[np.int64]:
        scan = self._scan[0]
        return np.clip(np.searchsorted(scan, np.round(m, 12) - 1e-12), 0, len(scan) - 1)

    def _local_minima(self, scan: Array, h: Array, slope: float, cost_to_go: Array) -> Array:
        """Interior minimisers of h(m) = slope * m + gamma E[V | m], by golden section between scan neighbours."""
        inner = np.flatnonzero((h[1:-1] <= h[:-2]) & (h[1:-1] < h[2:]) & np.isfinite(h[1:-1])) + 1
        if not len(inner):
            return np.empty(0)
        left, middle, right = scan[inner - 1], scan[inner], scan[inner + 1]

        def objective(m: Array) -> Array:
            return slope * m + self.expected_cost_to_go(m, cost_to_go)

        refined = golden_section(objective, left, right)
        return np.where(objective(refined) < h[inner], refined, middle)


def _discounted_sum(transition: Array | csr_array, discount: float, cost: Array) -> Array:
    """(I - gamma P)^-1 L for P dense (noise) or sparse (deterministic)."""
    if isinstance(transition, csr_array):
        return np.asarray(spsolve((eye_array(len(cost)) - discount * transition).tocsc(), cost))
    return np.asarray(solve(np.eye(len(cost)) - discount * transition, cost, overwrite_a=True))


def golden_section(objective: Callable[[Array], Array], low: Array, high: Array, tolerance: float = 1e-11) -> Array:
    """Minimisers of a unimodal function on brackets [low, high], elementwise."""
    ratio = (np.sqrt(5.0) - 1.0) / 2.0
    a, b = low.copy(), high.copy()
    while np.max(b - a) > tolerance:
        x, y = b - ratio * (b - a), a + ratio * (b - a)
        smaller = objective(x) < objective(y)
        a, b = np.where(smaller, a, x), np.where(smaller, y, b)
    return (a + b) / 2.0


def scalar_world(
    case: ScalarCase,
    *,
    penalty: float | None = None,
    intervals: int = DEFAULT_INTERVALS,
    discount: float = DISCOUNT,
    noise: BoundedNoise | None = None,
) -> ScalarProblem:
    """The real decision problem. `penalty=None` forbids leaving [0, 1]; a number charges what does not fit."""
    noise = noise or TruncatedGaussian(case.noise_std, case.noise_limit)
    return ScalarProblem(case, Additive(noise, penalty), intervals, discount)


def expected_value_model(
    case: ScalarCase, *, penalty: float | None = None, intervals: int = DEFAULT_INTERVALS, discount: float = DISCOUNT
) -> ScalarProblem:
    """What the data-fitted planner believes: s+ = s + a, without noise."""
    return ScalarProblem(case, expected_value(penalty), intervals, discount)
