"""Polytopes {x : F x <= b} by linear programs: support, emptiness, projection, vertices.

Ziegler, "Lectures on Polytopes", 1995: projection by Fourier-Motzkin elimination (section 1.2), vertices by polarity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog
from scipy.spatial import ConvexHull, HalfspaceIntersection, QhullError

from systems.set_errors import BadSystem, EmptySet

Array = NDArray[np.float64]
ZERO = 1e-9
"""Of lengths, relative to the normals: a row that cuts off less than this is redundant."""
FEW = 8
"""Up to so many directions or rows a program for each is quicker than a convex hull."""


@dataclass(frozen=True, eq=False)
class Polytope:
    """F (k, n) outer normals, b (k,) offsets."""

    normals: Array
    offsets: Array

    @property
    def dimension(self) -> int:
        return int(self.normals.shape[1])

    def contains(self, points: Array, margin: float = 0.0) -> NDArray[np.bool_]:
        """points (..., n) -> (...); up to `margin` outside counts as inside."""
        return np.asarray((points @ self.normals.T <= self.offsets + margin).all(axis=-1))


def make_polytope(normals: ArrayLike, offsets: ArrayLike) -> Polytope:
    """Raises BadSystem where the two do not fit or are not numbers."""
    f, b = np.asarray(normals, dtype=float), np.asarray(offsets, dtype=float)
    if f.ndim != 2 or b.shape != f.shape[:1] or f.size == 0:
        raise BadSystem(f"F x <= b needs F (k, n) and b (k,), and F is {f.shape}, b is {b.shape}")
    if not (np.isfinite(f).all() and np.isfinite(b).all()):
        raise BadSystem("F x <= b holds a value that is no finite number: leave out the row that bounds nothing")
    return Polytope(f, b)


def box(limits: ArrayLike) -> Polytope:
    """|x_i| <= limits_i, limits (n,) >= 0."""
    limit = np.atleast_1d(np.asarray(limits, dtype=float))
    if limit.ndim != 1 or not (np.isfinite(limit) & (limit >= 0.0)).all():
        raise BadSystem(f"limits of a box are numbers from 0 up, not {limit.tolist()}")
    unit = np.eye(len(limit))
    return Polytope(np.vstack([unit, -unit]), np.concatenate([limit, limit]))


def intersection(one: Polytope, other: Polytope) -> Polytope:
    return Polytope(np.vstack([one.normals, other.normals]), np.concatenate([one.offsets, other.offsets]))


def support(polytope: Polytope, directions: Array) -> Array:
    """h(d) = max d'x over the polytope, for directions (m, n); inf where unbounded. Raises EmptySet."""
    directions = np.atleast_2d(directions)
    if len(directions) > max(FEW, 2 * polytope.dimension):
        try:
            return np.asarray((directions @ vertices(polytope).T).max(axis=1))
        except BadSystem:  # unbounded or flat: a program for each direction
            pass
    return np.array([farthest(polytope, d) for d in directions])


def farthest(polytope: Polytope, direction: Array) -> float:
    """max d'x over the polytope, for one direction (n,); inf where unbounded. Raises EmptySet."""
    if not direction.any():
        return 0.0
    found = linprog(-direction, A_ub=polytope.normals, b_ub=polytope.offsets, bounds=(None, None))
    if found.status in (3, 4):
        return float("inf")
    if found.status == 2:
        raise EmptySet(f"no point satisfies all {len(polytope.offsets)} constraints")
    return float(-found.fun)


def inner_ball(polytope: Polytope) -> tuple[Array, float]:
    """Centre (n,) and radius, at most 1, of a ball inside; the radius is negative if and only if the set is empty.

    A row without variables that fails, 0 <= b < 0, counts as a radius of b: no ball helps it.
    """
    lengths = np.linalg.norm(polytope.normals, axis=1)
    n = polytope.dimension
    if (bare := (lengths == 0.0) & (polytope.offsets < 0.0)).any():
        return np.zeros(n), float(polytope.offsets[bare].min())
    rows = np.hstack([polytope.normals, lengths[:, None]])
    bounds = [(None, None)] * n + [(None, 1.0)]
    found = linprog([*np.zeros(n), -1.0], A_ub=rows, b_ub=polytope.offsets, bounds=bounds)
    return found.x[:n], float(found.x[n])


def require_nonempty(polytope: Polytope, name: str) -> None:
    """Raises EmptySet, with the amount by which the constraints exclude each other."""
    radius = inner_ball(polytope)[1]
    if radius < -ZERO:
        raise EmptySet(f"{name}: its constraints exclude each other by {-radius:.3g}; relax an offset by that much")


def require_bounded(polytope: Polytope, name: str) -> None:
    """Raises BadSystem, with the first coordinate that has no end."""
    unit = np.eye(polytope.dimension)
    open_ends = np.flatnonzero(~np.isfinite(support(polytope, np.vstack([unit, -unit]))))
    if len(open_ends):
        at = int(open_ends[0]) % polytope.dimension + 1
        raise BadSystem(f"{name}: number {at} of {polytope.dimension} has a bound on one side at most; give it both")


def irredundant(polytope: Polytope) -> Polytope:
    """The same set without rows that follow from the others; normals of length 1."""
    lengths = np.linalg.norm(polytope.normals, axis=1)
    empty = (lengths <= ZERO) & (polytope.offsets < -ZERO)
    if empty.any():
        raise EmptySet(f"a row without variables asks for 0 <= {polytope.offsets[empty][0]:.3g}")
    kept = lengths > ZERO
    f, b = polytope.normals[kept] / lengths[kept, None], polytope.offsets[kept] / lengths[kept]
    _, first = np.unique(np.round(np.column_stack([f, b]), 10), axis=0, return_index=True)
    f, b = f[np.sort(first)], b[np.sort(first)]
    hull = _rows_of_hull(Polytope(f, b)) if len(b) > FEW else None
    if hull is not None:
        return Polytope(f[hull], b[hull])
    needed = np.ones(len(b), dtype=bool)
    for i in range(len(b)):
        needed[i] = False
        # Its own row, moved outwards, keeps the program bounded.
        others = Polytope(np.vstack([f[needed], f[i]]), np.append(b[needed], b[i] + 1.0))
        needed[i] = farthest(others, f[i]) > b[i] + ZERO
    return Polytope(f[needed], b[needed])


def _rows_of_hull(polytope: Polytope) -> NDArray[np.int64] | None:
    """The rows that are corners of the polar set, or None where that is flat.

    0 in the polar set stands for the directions in which the set is unbounded.
    """
    centre, radius = inner_ball(polytope)
    if radius <= 1e-6 or polytope.dimension < 2:
        return None
    polar = polytope.normals / (polytope.offsets - polytope.normals @ centre)[:, None]
    try:
        corners = ConvexHull(np.vstack([polar, np.zeros(polytope.dimension)])).vertices
    except QhullError:
        return None
    return np.sort(corners[corners < len(polar)])


def project(polytope: Polytope, dimension: int) -> Polytope:
    """The shadow on the first `dimension` coordinates."""
    while polytope.dimension > dimension:
        last = polytope.normals[:, -1]
        up, down, flat = last > ZERO, last < -ZERO, np.abs(last) <= ZERO
        f_up, b_up = polytope.normals[up] / last[up, None], polytope.offsets[up] / last[up]
        f_down, b_down = polytope.normals[down] / -last[down, None], polytope.offsets[down] / -last[down]
        pairs_f = (f_up[:, None] + f_down[None]).reshape(-1, polytope.dimension)
        pairs_b = (b_up[:, None] + b_down[None]).ravel()
        f = np.vstack([polytope.normals[flat], pairs_f])[:, :-1]
        polytope = irredundant(Polytope(f, np.concatenate([polytope.offsets[flat], pairs_b])))
    return polytope


def vertices(polytope: Polytope) -> Array:
    """(k, n), in the plane counter-clockwise; coordinates may be fixed.

    Raises BadSystem where the set is unbounded, or flat along no coordinate.
    """
    n = polytope.dimension
    directions = np.vstack([np.eye(n), -np.eye(n)])
    ends = support(polytope, directions)
    if not np.isfinite(ends).all():
        raise BadSystem("the set is unbounded, so it is not the hull of its vertices: bound every coordinate")
    fixed = ends[:n] + ends[n:] <= ZERO
    if fixed.any():
        corners = np.tile(ends[:n], (1, 1))
        if not fixed.all():
            room = polytope.offsets - polytope.normals[:, fixed] @ ends[:n][fixed]
            free = vertices(Polytope(polytope.normals[:, ~fixed], room))
            corners = np.tile(ends[:n], (len(free), 1))
            corners[:, ~fixed] = free
        return corners
    if n == 1:
        return np.array([[-ends[1]], [ends[0]]])
    centre, radius = inner_ball(polytope)
    if radius <= ZERO:
        raise BadSystem(f"the set has no interior (largest ball inside: {max(radius, 0.0):.1g}); widen it")
    corners = HalfspaceIntersection(np.hstack([polytope.normals, -polytope.offsets[:, None]]), centre).intersections
    corners = corners[np.unique(np.round(corners, 9), axis=0, return_index=True)[1]]
    if n == 2:
        corners = corners[np.argsort(np.arctan2(*(corners - centre).T[::-1]))]
    return np.asarray(corners)
