"""The safety filter: the last word on every action before it reaches hardware.

Discrete-time control barrier function filter, robust to the disturbance set ("Safety and data-driven control"):

    argmin_a |a - a_nominal|^2   s.t.   C(F(s, a, w)) <= gamma C(s)  for all w in W,   a_lower <= a <= a_upper

with C(y) = y - upper or lower - y for each limited output y = row . s, and F(s, a, w) = A s + B a + E d + c + w. C and
F are affine and W an interval, so the worst w is an end of it and each limit is one half-space g . a <= h.

What rests is left to rest: where y stays as it is without an action (a store), a limit forbids going further beyond it
and asks for no action that leads back. When that happens, and at what price, is a decision and not a matter of safety.
Where all that is limited rests, the filter takes less of what was asked for and starts nothing else: it does not charge
against a discharge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.manifest import Manifest, SafetySet, StateLimit

TOLERANCE = 1e-9
SWEEPS = 2000
# Weight of a violated limit against a moved action, where both cannot be had.
VIOLATION_WEIGHT = 1e8

Vector = tuple[float, ...]


@dataclass(frozen=True)
class HalfSpace:
    """g . a <= h with |g| = 1; `name` is the limit it keeps."""

    name: str
    g: Vector
    h: float


@dataclass(frozen=True)
class Filtered:
    """The action that may pass. `limits` moved it; `feasible` is False where they could only be approached."""

    action: Vector
    changed: bool = False
    limits: tuple[str, ...] = ()
    feasible: bool = True


def safety_filter(
    nominal: Sequence[float], state: Sequence[float], forecast: Sequence[float], manifest: Manifest
) -> Filtered:
    """Filter `nominal` (na) at `state` (nx) under the forecast row (nd) of now; without a safety set: bounds only."""
    lower = tuple(a.lower for a in manifest.actions)
    upper = tuple(a.upper for a in manifest.actions)
    action = tuple(min(max(v, lo), up) for v, lo, up in zip(nominal, lower, upper, strict=True))
    if manifest.safety is None:
        return Filtered(action, action != tuple(nominal))
    names = [s.name for s in manifest.states]
    rows, hopeless = _half_spaces(manifest.safety, names, state, forecast)
    broken = tuple(row.name for row in rows if _dot(row.g, action) > row.h + TOLERANCE)
    if not broken:
        return Filtered(action, action != tuple(nominal), hopeless, not hopeless)
    if all(_rests(manifest.safety, _row(limit, names)) for limit in manifest.safety.limits):
        lower, upper = tuple(min(a, 0.0) for a in action), tuple(max(a, 0.0) for a in action)
    moved = project(action, rows, lower, upper, 0.0)
    feasible = all(_dot(row.g, moved) <= row.h + 1e-7 for row in rows)
    if not feasible:
        moved = project(action, rows, lower, upper, 1.0 / VIOLATION_WEIGHT)
    return Filtered(moved, True, broken + hopeless, feasible and not hopeless)


def project(nominal: Vector, rows: Sequence[HalfSpace], lower: Vector, upper: Vector, softness: float) -> Vector:
    """argmin |a - nominal|^2 s.t. g . a <= h (+ slack, of price 1 / softness) and the box.

    Hildreth's method: coordinate ascent on the multipliers of the half-spaces, the box included as rows. softness > 0
    adds it to the diagonal of the dual, which is the quadratic price of a slack, and makes every problem feasible.
    """
    na = len(nominal)
    axes = [tuple(float(i == j) for j in range(na)) for i in range(na)]
    hard = [HalfSpace("", axis, up) for axis, up in zip(axes, upper, strict=True)]
    hard += [HalfSpace("", tuple(-v for v in axis), -lo) for axis, lo in zip(axes, lower, strict=True)]
    constraints = [(row, softness) for row in rows] + [(row, 0.0) for row in hard]
    multipliers = [0.0] * len(constraints)
    action = list(nominal)
    for _ in range(SWEEPS):
        largest_step = 0.0
        for i, (row, soft) in enumerate(constraints):
            violation = _dot(row.g, action) - row.h - soft * multipliers[i]
            multiplier = max(0.0, multipliers[i] + violation / (1.0 + soft))
            change = multiplier - multipliers[i]
            if change:
                multipliers[i] = multiplier
                action = [a - change * g for a, g in zip(action, row.g, strict=True)]
                largest_step = max(largest_step, abs(change))
        if largest_step < TOLERANCE * 1e-2:
            break
    return tuple(min(max(v, lo), up) for v, lo, up in zip(action, lower, upper, strict=True))


def _half_spaces(
    safety: SafetySet, names: Sequence[str], state: Sequence[float], forecast: Sequence[float]
) -> tuple[list[HalfSpace], tuple[str, ...]]:
    """The limits as half-spaces in a, and the names of those that no action can influence and that are not kept."""
    free = [_dot(row, state) for row in safety.state_matrix]
    if safety.forecast_matrix:
        free = [f + _dot(row, forecast) for f, row in zip(free, safety.forecast_matrix, strict=True)]
    if safety.offset:
        free = [f + c for f, c in zip(free, safety.offset, strict=True)]
    rows: list[HalfSpace] = []
    hopeless: list[str] = []
    for limit in safety.limits:
        for half in _sides(limit, safety, names, state, free):
            length = math.sqrt(_dot(half.g, half.g))
            if length > 1e-12:
                rows.append(HalfSpace(half.name, tuple(v / length for v in half.g), half.h / length))
            elif half.h < -TOLERANCE:
                hopeless.append(half.name)
    return rows, tuple(hopeless)


def _sides(
    limit: StateLimit, safety: SafetySet, names: Sequence[str], state: Sequence[float], free: Sequence[float]
) -> list[HalfSpace]:
    """C(F(s, a, w)) <= gamma C(s) for the worst w, not yet normalised."""
    row = _row(limit, names)
    y, y_free = _dot(row, state), _dot(row, free)
    g = tuple(_dot(row, [b[j] for b in safety.action_matrix]) for j in range(len(safety.action_matrix[0])))
    w_low, w_high = limit.disturbance
    least = 0.0 if _rests(safety, row) else -math.inf
    sides = []
    if limit.upper is not None:
        # y_free + g a + w_high - upper <= gamma (y - upper)
        h = limit.upper + safety.gamma * (y - limit.upper) - y_free - w_high
        sides.append(HalfSpace(f"{limit.name} upper", g, max(h, least)))
    if limit.lower is not None:
        # lower - (y_free + g a + w_low) <= gamma (lower - y)
        h = y_free + w_low - limit.lower + safety.gamma * (limit.lower - y)
        sides.append(HalfSpace(f"{limit.name} lower", tuple(-v for v in g), max(h, least)))
    return sides


def _row(limit: StateLimit, names: Sequence[str]) -> Vector:
    return limit.row or tuple(float(name == limit.name) for name in names)


def _rests(safety: SafetySet, row: Sequence[float]) -> bool:
    """y = row . s stays as it is where no action is taken, whatever the state and the forecast."""
    kept = [_dot(row, column) for column in zip(*safety.state_matrix, strict=True)]
    moved = [_dot(row, column) for column in zip(*safety.forecast_matrix, strict=True)]
    return kept == list(row) and not any(moved) and not (safety.offset and _dot(row, safety.offset))


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
