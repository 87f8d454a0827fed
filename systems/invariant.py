"""Invariant sets of linear systems, and the control barrier filter on them.

"Safety and data-driven control" (Dean, lecture): Lyapunov ellipsoids, invariant and robustly invariant sets, control
barrier functions. Sets by Gilbert and Tan, "Linear systems with state and control constraints", 1991, Kolmanovsky
and Gilbert, "Theory and computation of disturbance invariant sets", 1998, and Blanchini, "Set invariance in control",
1999. s+ = A s + B a + w with A (n, n), B (n, m); w in W, a polytope that holds 0; None means no disturbance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, solve_discrete_lyapunov
from scipy.optimize import nnls

from systems.polytope import (
    Polytope,
    farthest,
    inner_ball,
    intersection,
    irredundant,
    project,
    require_nonempty,
    support,
)
from systems.set_errors import BadSystem, EmptySet, NotSettled

Array = NDArray[np.float64]
MOST_STEPS = 500
ZERO = 1e-8


def require_stable(a: Array) -> float:
    """The largest modulus of an eigenvalue. Raises BadSystem where it is not below 1."""
    largest = float(np.max(np.abs(np.linalg.eigvals(a))))
    if largest >= 1.0:
        said = f"{largest:.6g}" if largest >= 1.00001 or largest == 1.0 else f"1 + {largest - 1.0:.2g}"
        raise BadSystem(
            f"A has an eigenvalue of modulus {said}, and a stable system has all below 1: close a loop around it"
        )
    return largest


def lyapunov_matrix(a: Array) -> Array:
    """P (n, n) = sum over t of (A^t)'A^t, so P = I + A'PA. Raises BadSystem for an unstable A."""
    require_stable(a)
    return np.asarray(solve_discrete_lyapunov(a.T, np.eye(len(a))))


def largest_level(p: Array, safe: Polytope) -> float:
    """The largest c with {s'Ps <= c} in {F s <= b}: min over rows of b^2 / (f'P^-1 f)."""
    if (safe.offsets <= 0.0).any():
        raise BadSystem(f"the safe set must hold 0 inside, and a row says 0 <= {safe.offsets.min():.3g}")
    width = np.einsum("ki,ik->k", safe.normals, np.linalg.solve(p, safe.normals.T))
    return float(np.min(safe.offsets**2 / width))


@dataclass(frozen=True, eq=False)
class Bulge:
    """Disturbances {t middle + root e : |t| <= 1, |e| <= 1} with the Euclidean norm; middle (n,), root (n, k)."""

    middle: Array
    root: Array

    def support(self, directions: Array) -> Array:
        """(k,) of directions (k, n)"""
        return np.asarray(np.abs(directions @ self.middle) + np.linalg.norm(directions @ self.root, axis=1))

    def farthest(self, direction: Array) -> Array:
        """The w (n,) with the largest direction'w."""
        along = self.root.T @ direction
        return np.sign(direction @ self.middle) * self.middle + self.root @ along / max(
            float(np.linalg.norm(along)), 1e-300
        )

    def scaled(self, share: float) -> Bulge:
        return Bulge(share * self.middle, share * self.root)


@dataclass(frozen=True, eq=False)
class InvariantSet:
    """The polytope, and after how many steps no further constraint came (the determinedness index)."""

    polytope: Polytope
    steps: int


def _worst(disturbance: Polytope | Bulge | None, directions: Array) -> Array:
    """Support of W in directions (k, n); zeros without a disturbance."""
    if isinstance(disturbance, Bulge):
        return disturbance.support(directions)
    return np.zeros(len(directions)) if disturbance is None else support(disturbance, directions)


def _nothing_safe(steps: int, room: float) -> str:
    return (
        f"no state stays safe: what {steps} steps of disturbance ask of it exclude each other by {-room:.3g}; take a "
        "smaller disturbance or a wider safe set"
    )


def largest_invariant(a: Array, safe: Polytope, disturbance: Polytope | None = None) -> InvariantSet:
    """All s_0 whose trajectory under s+ = A s + w stays in the safe set for ever, whatever w in W comes.

    Raises BadSystem for an unstable A, EmptySet if there is no such s_0, NotSettled.
    """
    require_stable(a)
    require_nonempty(safe, "safe set")
    found, normals, offsets = irredundant(safe), safe.normals, safe.offsets
    for step in range(MOST_STEPS):
        offsets = offsets - _worst(disturbance, normals)
        normals = normals @ a
        reach = support(found, normals)
        cut = reach > offsets + ZERO
        if not cut.any():
            return InvariantSet(found, step)
        narrower = intersection(found, Polytope(normals[cut], offsets[cut]))
        if (room := inner_ball(narrower)[1]) < 0.0:
            raise EmptySet(_nothing_safe(step + 1, room))
        found = irredundant(narrower)
    raise NotSettled(f"the largest invariant set still shrinks after {MOST_STEPS} steps; narrow the safe set")


def invariant_rows(a: Array, safe: Polytope, disturbance: Polytope | Bulge | None = None) -> Polytope:
    """The set of `largest_invariant`, with every row that made it, needed or not: for states too many for hulls.

    The rows after k steps are enough where those of step k + 1 follow from them, which as many linear programs as
    `safe` has rows decide; k is doubled until they do. Raises as `largest_invariant`.
    """
    require_stable(a)
    rows, offsets, steps = [safe.normals], [safe.offsets], 1
    while steps <= MOST_STEPS:
        while len(rows) <= steps:
            offsets.append(offsets[-1] - _worst(disturbance, rows[-1]))
            rows.append(rows[-1] @ a)
        found = Polytope(np.vstack(rows[:steps]), np.concatenate(offsets[:steps]))
        if (room := inner_ball(found)[1]) < 0.0:
            raise EmptySet(_nothing_safe(steps, room))
        if all(farthest(found, row) <= end + ZERO for row, end in zip(rows[steps], offsets[steps], strict=True)):
            return found
        steps *= 2
    raise NotSettled(f"the largest invariant set still shrinks after {MOST_STEPS} steps; narrow the safe set")


def smallest_reach(a: Array, disturbance: Polytope | Bulge, directions: Array) -> Array:
    """Support (k,) of the smallest robustly invariant set, sum over t of A^t W, in directions (k, n)."""
    require_stable(a)
    total, largest = np.zeros(len(directions)), np.inf
    while largest > 1e-12 * max(1.0, float(np.max(total, initial=0.0))):
        further = _worst(disturbance, directions)
        total, directions, largest = total + further, directions @ a, float(np.max(np.abs(further)))
    return total


def controlled_invariant(
    a: Array,
    b: Array,
    safe: Polytope,
    actions: Polytope,
    disturbance: Polytope | None = None,
    *,
    most_steps: int = MOST_STEPS,
) -> InvariantSet:
    """All states from which some a(s) in the action set keeps s+ = A s + B a + w in the set for every w in W.

    Omega <- S with Pre(Omega), Pre by elimination of a. Raises EmptySet or NotSettled.
    """
    require_nonempty(safe, "safe set")
    require_nonempty(actions, "action set")
    found = irredundant(safe)
    for step in range(most_steps):
        room = found.offsets - _worst(disturbance, found.normals)
        joint = np.block(
            [
                [found.normals @ a, found.normals @ b],
                [np.zeros((len(actions.offsets), len(a))), actions.normals],
            ]
        )
        before = project(Polytope(joint, np.concatenate([room, actions.offsets])), len(a))
        if not (support(found, before.normals) > before.offsets + ZERO).any():
            return InvariantSet(found, step)
        narrower = intersection(found, before)
        if inner_ball(narrower)[1] < 0.0:
            raise EmptySet(f"no state can be kept safe: within {step + 1} steps the disturbance beats every action")
        found = irredundant(narrower)
    raise NotSettled(f"the controlled invariant set still shrinks after {most_steps} steps; narrow the safe set")


@dataclass(frozen=True, eq=False)
class BarrierFilter:
    """argmin |a - a_nominal| over a in the action set with C(A s + B a + w) <= gamma C(s) for all w in W.

    C(s) = max_i f_i's / b_i - 1 of a polytope {F s <= b} with b > 0. On a controlled invariant set with 0 among the
    actions it is feasible at every s of the set if gamma <= 1 - max_i h_W(f_i) / b_i: for s = r v on the border of
    r Omega, r times the action of v leads to f_i's+ <= r (b_i - h_i) + h_i, and what the filter asks for is
    f_i's+ <= b_i (1 - gamma (1 - r)).
    """

    a: Array
    b: Array
    safe: Polytope
    actions: Polytope
    disturbance: Polytope | None
    gamma: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.gamma <= 1.0:
            raise BadSystem(f"gamma = {self.gamma:g}: a barrier filter takes one from 0 to 1")
        if (self.safe.offsets <= 0.0).any():
            raise BadSystem(f"the barrier needs 0 inside its set, and a row says 0 <= {self.safe.offsets.min():.3g}")
        object.__setattr__(self, "_worst", _worst(self.disturbance, self.safe.normals))

    _worst: Array = None  # type: ignore[assignment]  # support of W along each normal, made once

    def barrier(self, states: Array) -> Array:
        """C of states (..., n): at most 0 inside."""
        return np.asarray((states @ self.safe.normals.T / self.safe.offsets).max(axis=-1) - 1.0)

    def guaranteed_gamma(self) -> float:
        """Up to here the filter is feasible on all of a controlled invariant set; negative: at no gamma for sure."""
        return 1.0 - float(np.max(self._worst / self.safe.offsets))

    def constraints(self, state: Array) -> Polytope:
        """The actions that the filter admits at a state (n,)."""
        level = self.safe.offsets * (1.0 + self.gamma * self.barrier(state))
        room = level - self._worst - self.safe.normals @ self.a @ state
        return Polytope(
            np.vstack([self.safe.normals @ self.b, self.actions.normals]),
            np.concatenate([room, self.actions.offsets]),
        )

    def __call__(self, state: Array, nominal: Array) -> Array | None:
        """The admitted action (m,) nearest to `nominal`; None where none is admitted."""
        return nearest(self.constraints(state), nominal)


def nearest(polytope: Polytope, point: Array) -> Array | None:
    """The point of the polytope nearest to `point` (n,), None if it is empty.

    Least distance programming: Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23.
    """
    g, h = -polytope.normals, -(polytope.offsets - polytope.normals @ point)
    if (h <= 0.0).all():
        return point.copy()
    rows = np.vstack([g.T, h])
    target = np.append(np.zeros(len(point)), 1.0)
    weights, _ = nnls(rows, target)
    residual = rows @ weights - target
    if -residual[-1] <= ZERO**2 or np.linalg.norm(residual) <= ZERO:
        return None
    found = point - residual[:-1] / residual[-1]
    return found if polytope.contains(found, ZERO) else None


@dataclass(frozen=True, eq=False)
class QuadraticBarrier:
    """When `C(A s + B a) <= gamma C(s)` with C(s) = s'Ps - c has a solution a in R^m (the lecture's exercise).

    min over a of (A s + B a)'P(A s + B a) is s'M s, M = A'PA - A'PB (B'PB)^+ B'PA. So it has one at s if and only if
    s'(M - gamma P) s <= (1 - gamma) c: at every s of {C <= 0}, for any gamma in [0, 1), if and only if mu <= 1, and at
    every s of R^n if and only if mu <= gamma, where mu is the largest eigenvalue of P^-1 M.
    """

    m: Array
    p: Array
    level: float

    @property
    def mu(self) -> float:
        return float(eigh(self.m, self.p, eigvals_only=True)[-1])

    def feasible(self, states: Array, gamma: float) -> NDArray[np.bool_]:
        """states (..., n) -> (...)"""
        gap = np.einsum("...i,ij,...j", states, self.m - gamma * self.p, states)
        return np.asarray(gap <= (1.0 - gamma) * self.level + ZERO)


def quadratic_barrier(a: Array, b: Array, p: Array, level: float) -> QuadraticBarrier:
    pb = p @ b
    return QuadraticBarrier(a.T @ (p - pb @ np.linalg.pinv(b.T @ pb) @ pb.T) @ a, p, level)
