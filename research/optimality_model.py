"""The deterministic model with which decisions are optimal, for the scalar battery.

    f(s, a):   E[V*(s+) | s, a] - V*(f(s, a)) = Delta

"All AI Models are Wrong, but Some are Optimal", eq. (26), Corollary 2, Proposition 1. V* here is the cost-to-go, as in
the numbers that the paper prints: with its reward convention Delta changes sign. (s, a) enter only through m = s + a.

V*(f) = E[V*(m + w)] - Delta may have several roots f. Branch rule: the root nearest to m, that is, the model that
departs least from the expected-value model s + a; `lower` and `upper` take the smallest and the largest root.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from research.scalar_battery import MAX_MOVE
from research.tabular.errors import BadOption, NoModel
from research.tabular.scalar import BellmanSolution, ScalarProblem, golden_section
from research.tabular.transitions import Additive, Deterministic

Array = NDArray[np.float64]
Branch = Literal["nearest", "lower", "upper"]
BRANCHES: tuple[Branch, ...] = ("nearest", "lower", "upper")
LEVEL_SLACK = 1e-10
"""Targets outside the range of V* by no more than this (relative) count as its minimum or maximum: rounding."""
JUMP = 1e-6
"""A step of f that stays larger than this while the interval around it shrinks to 1e-9 is a jump."""


@dataclass(frozen=True)
class Jump:
    """f is discontinuous at m = s + a."""

    at: float
    before: float
    after: float


@dataclass(frozen=True)
class OptimalModel:
    """f(m) for one Delta; callable on arrays of m, NaN where V* does not take the value that is needed."""

    world: ScalarProblem
    solution: BellmanSolution
    delta: float
    branch: Branch = "nearest"

    def __post_init__(self) -> None:
        if self.branch not in BRANCHES:
            raise BadOption(f"branch must be one of {', '.join(BRANCHES)}, got {self.branch!r}")

    def __call__(self, m: Array) -> Array:
        return self._select(m, self.target(m))

    def target(self, m: Array) -> Array:
        """E[V*(m + w)] - Delta, the value that V* must take at f(m)."""
        return np.asarray(self._expectation(m) - self.delta)

    @cached_property
    def _expectation(self) -> CubicSpline:
        """m -> E[V*(m + w)]: exact at half the node spacing, O(h^4) between, because it is asked for very often."""
        low, high = self.domain
        m = np.linspace(low, high, 1 + round(2 * self.world.intervals * (high - low)))
        return CubicSpline(m, self.world.transition.weights(m, self.world.nodes) @ self.solution.cost_to_go)

    def _select(self, m: Array, target: Array) -> Array:
        v, s = self.solution.cost_to_go, self.solution.nodes
        slack = LEVEL_SLACK * max(1.0, float(np.max(np.abs(v))))
        lowest, highest = float(v.min()), float(v.max())
        level = np.where((target < lowest) & (target >= lowest - slack), lowest, target)
        level = np.where((level > highest) & (level <= highest + slack), highest, level)
        best, best_cost = np.full(len(m), np.nan), np.full(len(m), np.inf)
        for start, stop in self._pieces:
            nodes, values = s[start : stop + 1], v[start : stop + 1]
            if values[0] > values[-1]:
                nodes, values = nodes[::-1], values[::-1]
            root = np.interp(level, values, nodes)
            cost = {"nearest": np.abs(root - m), "lower": root, "upper": -root}[self.branch]
            better = (level >= values[0]) & (level <= values[-1]) & (cost < best_cost)
            best, best_cost = np.where(better, root, best), np.where(better, cost, best_cost)
        return best

    @cached_property
    def _pieces(self) -> list[tuple[int, int]]:
        """Index ranges of the nodes on which V* is monotone; of a flat piece the ends count as roots."""
        direction = np.sign(np.diff(self.solution.cost_to_go))
        turns = np.flatnonzero(np.diff(direction) != 0) + 1
        edges = np.concatenate([[0], turns, [len(direction)]])
        return [(int(a), int(b)) for a, b in pairwise(edges)]

    @property
    def domain(self) -> tuple[float, float]:
        """The m that feasible (s, a) reach."""
        t = self.world.transition
        return max(t.low, -MAX_MOVE), min(t.high, 1.0 + MAX_MOVE)

    def sample(self, points: int = 4001) -> tuple[Array, Array]:
        m = np.linspace(*self.domain, points)
        return m, self(m)

    def coverage(self) -> float:
        """Share of the feasible (s, a), by area, for which f exists."""
        m, f = self.sample()
        weight = np.maximum(0.0, np.minimum(1.0, m + MAX_MOVE) - np.maximum(0.0, m - MAX_MOVE))
        return float(np.trapezoid(weight * np.isfinite(f), m) / np.trapezoid(weight, m))

    def missing(self) -> list[tuple[float, float]]:
        """Intervals of m where f does not exist, to the resolution of the sample."""
        m, f = self.sample()
        gone = np.isnan(f)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], gone, [False]]).astype(int)))
        return [(float(m[a]), float(m[b - 1])) for a, b in zip(edges[::2], edges[1::2], strict=True)]

    def jumps(self) -> list[Jump]:
        """Discontinuities of f where it exists: steps that do not shrink with the interval around them."""
        m, f = self.sample()
        step = np.nan_to_num(np.abs(np.diff(f)))
        beside = np.maximum(np.append(step[1:], 0.0), np.insert(step[:-1], 0, 0.0))
        found = []
        for i in np.flatnonzero(step > 5.0 * beside + JUMP):
            a, b, fa, fb = m[i], m[i + 1], f[i], f[i + 1]
            while b - a > 1e-9 and np.abs(fb - fa) > JUMP:
                middle = (a + b) / 2.0
                fm = self(np.array([middle]))[0]
                if np.isnan(fm):
                    break
                a, b, fa, fb = (middle, b, fm, fb) if abs(fm - fa) < abs(fb - fm) else (a, middle, fa, fm)
            if abs(fb - fa) > JUMP:
                found.append(Jump(float((a + b) / 2.0), float(fa), float(fb)))
        return found

    def outside_support(self) -> float:
        """Largest distance by which f(m) leaves the support of the real transition; Proposition 1 asks for 0."""
        transition = self.world.transition
        assert isinstance(transition, Additive), "only a world with a disturbance has a support"
        m, f = self.sample()
        return float(np.nanmax(np.maximum(np.abs(f - m) - transition.noise.limit, 0.0)))

    def plan(self, start: Array | None = None) -> BellmanSolution:
        """Solve the decision problem with f in the place of the world: costs, discount and actions as in the world."""
        low, high = self.domain
        if np.isnan(self.sample()[1]).all():
            values = self.solution.cost_to_go
            raise NoModel(
                f"no deterministic model for Delta = {self.delta:g}: E[V*] - Delta lies outside the range "
                f"[{values.min():.6g}, {values.max():.6g}] of V* for every (s, a); see --scan for the range of Delta"
            )
        t = self.world.transition
        leaving = None if np.isfinite(t.low) else t.leaving_cost
        problem = ScalarProblem(
            self.world.case, Deterministic(self, low, high, leaving), self.world.intervals, self.world.discount
        )
        return problem.solve(start)


def delta_range(world: ScalarProblem, solution: BellmanSolution) -> tuple[float, float]:
    """(lowest, highest) Delta for which f exists for all feasible (s, a): E[V*] - Delta within the range of V*."""
    probe = OptimalModel(world, solution, 0.0)
    m = np.linspace(*probe.domain, 2001)
    expected = probe.target(m)
    v = solution.cost_to_go

    def refined(sign: float) -> float:
        best = int(np.argmin(sign * expected))
        low, high = m[[max(best - 1, 0)]], m[[min(best + 1, len(m) - 1)]]
        inner = golden_section(lambda x: sign * probe.target(x), low, high)
        return sign * min(sign * float(probe.target(inner)[0]), sign * float(expected[best]))

    return refined(-1.0) - float(v.max()), refined(1.0) - float(v.min())
