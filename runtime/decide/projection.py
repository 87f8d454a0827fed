"""The nearest point of a polyhedron, exactly and in a finite number of steps, without a library.

    argmin_x |x - x0|^2   s.t.   g_i . x <= h_i (+ slack_i, of price w_i slack_i^2)

The dual active-set method of Goldfarb and Idnani, "A numerically stable dual method for solving strictly convex
quadratic programs" (1983), for a Hessian that is the identity: start at x0, take up one violated row after another, and
let go of those whose multiplier would turn negative. A slack is one more coordinate, scaled by sqrt(w_i).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

TOLERANCE = 1e-10
DEPENDENT = 1e-10
"""What is left of a normal of length 1 beside the active ones, when it counts as nothing."""
STEPS_PER_ROW = 50

Vector = tuple[float, ...]


@dataclass(frozen=True)
class HalfSpace:
    """g . x <= h with |g| = 1; `name` is the limit it keeps. price: of a squared slack; None for none at any price."""

    name: str
    g: Vector
    h: float
    price: float | None = None


def nearest(origin: Sequence[float], rows: Sequence[HalfSpace]) -> Vector | None:
    """The nearest point, or None where the rows without a price leave no point."""
    n = len(origin)
    priced = [i for i, row in enumerate(rows) if row.price is not None]
    normals, ends = [], []
    for i, row in enumerate(rows):
        slacks = [0.0] * len(priced)
        length = 1.0
        if row.price is not None:
            slope = 1.0 / math.sqrt(row.price)
            length = math.sqrt(1.0 + slope * slope)
            slacks[priced.index(i)] = -slope / length
        normals.append([*(v / length for v in row.g), *slacks])
        ends.append(row.h / length)
    point = _goldfarb_idnani([*origin, *([0.0] * len(priced))], normals, ends)
    return None if point is None else tuple(point[:n])


def _goldfarb_idnani(x: list[float], normals: list[list[float]], ends: list[float]) -> list[float] | None:
    active: list[int] = []
    multipliers: list[float] = []
    scale = [max(1.0, abs(h)) for h in ends]
    for _ in range(STEPS_PER_ROW * max(1, len(normals))):
        beyond = [(_dot(g, x) - h) / s for g, h, s in zip(normals, ends, scale, strict=True)]
        worst = max(range(len(beyond)), key=beyond.__getitem__, default=None)
        if worst is None or beyond[worst] <= TOLERANCE:
            return x
        if worst in active:  # as near to it as the numbers go
            return x
        step = _take_up(worst, x, active, multipliers, normals, ends)
        if step is None:
            return None
        x = step
    return None


def _take_up(
    row: int,
    x: list[float],
    active: list[int],
    multipliers: list[float],
    normals: list[list[float]],
    ends: list[float],
) -> list[float] | None:
    """Move until the row is kept, and let go of what would have to pull; None where it cannot be kept."""
    g, own = normals[row], 0.0
    while True:
        z, r = _split(g, [normals[i] for i in active])
        left = _dot(z, z)
        # How far until an active row's multiplier is nought, and until this row is kept.
        dropped = min(
            (k for k in range(len(active)) if r[k] > DEPENDENT), key=lambda k: multipliers[k] / r[k], default=None
        )
        until_dropped = math.inf if dropped is None else multipliers[dropped] / r[dropped]
        until_kept = (_dot(g, x) - ends[row]) / left if left > 0.0 else math.inf
        t = min(until_dropped, until_kept)
        if math.isinf(t):
            return None
        if left > 0.0:
            x = [value - t * dz for value, dz in zip(x, z, strict=True)]
        own += t
        multipliers[:] = [m - t * c for m, c in zip(multipliers, r, strict=True)]
        if dropped is None or until_kept <= until_dropped:
            active.append(row)
            multipliers.append(own)
            return x
        del active[dropped], multipliers[dropped]


def _split(g: list[float], active: list[list[float]]) -> tuple[list[float], list[float]]:
    """(z, r) with g = z + sum r_i active_i and z orthogonal to all of them: Gram and Schmidt's way, each twice."""
    base: list[list[float]] = []
    upper: list[list[float]] = []
    for normal in active:
        rest, shares = _orthogonal(normal, base)
        length = math.sqrt(_dot(rest, rest))
        upper.append([*shares, length])
        base.append([value / length for value in rest])
    z, shares = _orthogonal(g, base)
    if len(base) == len(g) or _dot(z, z) < DEPENDENT**2:
        z = [0.0] * len(g)
    r = shares
    for k in reversed(range(len(active))):
        r[k] = (r[k] - sum(upper[j][k] * r[j] for j in range(k + 1, len(active)))) / upper[k][k]
    return z, r


def _orthogonal(g: list[float], base: list[list[float]]) -> tuple[list[float], list[float]]:
    """What is left of g, and its shares along an orthonormal base."""
    rest, shares = g, [0.0] * len(base)
    for _ in range(2):
        for k, axis in enumerate(base):
            share = _dot(axis, rest)
            shares[k] += share
            rest = [value - share * along for value, along in zip(rest, axis, strict=True)]
    return rest, shares


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
