"""The safety filter: the last word on every action before it reaches hardware.

Discrete-time control barrier function filter, robust to the disturbance set ("Safety and data-driven control"):

    argmin_a |a - a_nominal|^2   s.t.   C(F(s, a, w)) <= gamma C(s)  for all w in W,   a_lower <= a <= a_upper

with C(y) = y - upper or lower - y for each limited output y = row . s, and F(s, a, w) = A s + B a + E d + c + w. C and
F are affine and W an interval, so the worst w is an end of it and each limit is one half-space g . a <= h. Limits on
power are half-spaces as they are. Where not all can be kept, power goes first: a fuse that blows keeps nothing warm.

What rests is left to rest: where y stays as it is without an action (a store), a limit forbids going further beyond it
and asks for no action that leads back. When that happens, and at what price, is a decision and not a matter of safety.
An action that moves only what rests is made smaller and never started: nothing is charged against a discharge. Nor is
anything started to keep a limit on power, but for what only gives power up: panels are curtailed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from runtime.bundle.limited_outputs import NO_EFFECT, LimitedOutput, value
from runtime.bundle.manifest import Manifest
from runtime.bundle.safety_set import PowerLimit, SafetySet
from runtime.decide.projection import HalfSpace, nearest

TOLERANCE = 1e-9
# Of a violated limit against a moved action, where both cannot be had.
VIOLATION_PRICE = 1e8

Vector = tuple[float, ...]


@dataclass(frozen=True)
class Filtered:
    """The action that may pass. `limits` moved it; `feasible` is False where they could only be approached."""

    action: Vector
    changed: bool = False
    limits: tuple[str, ...] = ()
    feasible: bool = True


@dataclass(frozen=True)
class Surroundings:
    """What the limits on power go by: valid values of now by name, and the action in force until now, if known."""

    values: Mapping[str, float]
    last: Vector | None = None


UNKNOWN = Surroundings({})


def safety_filter(
    nominal: Sequence[float],
    state: Sequence[float],
    forecast: Sequence[float],
    manifest: Manifest,
    around: Surroundings = UNKNOWN,
) -> Filtered:
    """Filter `nominal` (na) at `state` (nx) under the forecast row (nd) of now; without a safety set: bounds only.

    A state that is not known is NaN: limits that need it are not kept, see `unchecked`.
    """
    lower = tuple(a.lower for a in manifest.actions)
    upper = tuple(a.upper for a in manifest.actions)
    action = tuple(min(max(v, lo), up) for v, lo, up in zip(nominal, lower, upper, strict=True))
    safety = manifest.safety
    if safety is None:
        return Filtered(action, action != tuple(nominal))
    rows, hopeless = _state_rows(manifest, safety, state, forecast)
    power = power_rows(manifest, safety, around)
    broken = tuple(row.name for row in (*rows, *power) if _dot(row.g, action) > row.h + TOLERANCE)
    if not broken:
        return Filtered(action, action != tuple(nominal), hopeless, not hopeless)
    free = _gives_up(manifest)
    started = [any(row.g[j] < 0.0 for row in power if row.name in broken) for j in range(len(action))]
    for j in _resting(manifest):
        lower = _with(lower, j, max(lower[j], min(action[j], 0.0)))
        upper = _with(upper, j, min(upper[j], max(action[j], 0.0)))
    upper = tuple(action[j] if started[j] and not free[j] else up for j, up in enumerate(upper))
    kept = [_reachable(row, lower, upper) for row in power]
    moved = nearest(action, [*rows, *kept, *_box(lower, upper)])
    feasible = moved is not None and kept == power
    if moved is None:
        priced = [replace(row, price=VIOLATION_PRICE) for row in rows]
        moved = nearest(action, [*priced, *kept, *_box(lower, upper)])
    # Numbers that no arithmetic can handle end at rest, not unchecked.
    found = moved if moved is not None and all(map(math.isfinite, moved)) else (0.0,) * len(action)
    found = tuple(min(max(v, lo), up) for v, lo, up in zip(found, lower, upper, strict=True))
    return Filtered(found, True, broken + hopeless, feasible and not hopeless)


def shed(action: Vector, fixed: Sequence[bool], manifest: Manifest, around: Surroundings) -> Filtered:
    """The same action with less of what is not `fixed`, and more given up, so that the limits on power hold as far as
    that is enough."""
    safety = manifest.safety
    rows = [] if safety is None else power_rows(manifest, safety, around)
    broken = tuple(row.name for row in rows if _dot(row.g, action) > row.h + TOLERANCE)
    if not broken:
        return Filtered(action)
    least = (a.lower for a in manifest.actions)
    lower = tuple(a if held else min(a, max(0.0, lo)) for a, held, lo in zip(action, fixed, least, strict=True))
    free = _gives_up(manifest)
    most = (a.upper for a in manifest.actions)
    upper = tuple(max(a, up) if may else a for a, up, may in zip(action, most, free, strict=True))
    kept = [_reachable(row, lower, upper) for row in rows]
    moved = nearest(action, [*kept, *_box(lower, upper)])
    if moved is None:
        return Filtered(action, False, broken, False)
    found = tuple(min(max(m, lo), up) for m, lo, up in zip(moved, lower, upper, strict=True))
    return Filtered(found, found != action, broken, kept == rows)


def headroom(
    action: Vector, mine: Sequence[int], fixed: Sequence[bool], manifest: Manifest, around: Surroundings
) -> float:
    """How much the actions `mine` may draw together, when all that is neither theirs nor fixed is shed; kW."""
    safety, room = manifest.safety, math.inf
    for row in [] if safety is None else power_rows(manifest, safety, around):
        most = max(row.g[j] for j in mine)
        if most <= 0.0:
            continue
        others = [j for j in range(len(action)) if j not in mine]
        least = (0.0 if row.g[j] > 0.0 and not fixed[j] else action[j] for j in others)
        room = min(room, (row.h - sum(row.g[j] * a for j, a in zip(others, least, strict=True))) / most)
    return max(room, 0.0)


def power_rows(manifest: Manifest, safety: SafetySet, around: Surroundings) -> list[HalfSpace]:
    """The limits on power as half-spaces; those of which too little is known are left out."""
    found = []
    for limit in safety.power:
        g = [0.0] * len(manifest.actions)
        names = [action.name for action in manifest.actions]
        known = True
        for term in limit.actions:
            factor = term.factor if term.by is None else term.factor * around.values.get(term.by, math.nan)
            if math.isnan(factor):
                known = False
            else:
                g[names.index(term.signal)] += factor
        rest = _drawn_besides(limit, g, around)
        length = math.sqrt(_dot(g, g))
        if not known or rest is None or length <= NO_EFFECT:
            continue
        if limit.upper is not None:
            found.append(HalfSpace(limit.name, tuple(v / length for v in g), (limit.upper - rest) / length))
        if limit.lower is not None:
            found.append(HalfSpace(limit.name, tuple(-v / length for v in g), (rest - limit.lower) / length))
    return found


def _gives_up(manifest: Manifest) -> list[bool]:
    """Of each action, whether it may be raised to keep a limit on power."""
    limits = () if manifest.safety is None else manifest.safety.power
    named = {name for limit in limits for name in limit.gives_up}
    return [action.name in named for action in manifest.actions]


def unchecked(manifest: Manifest, state: Sequence[float]) -> frozenset[str]:
    """The actions that move a limited output which is not known at this state, NaN for unknown."""
    unknown = [output for output in manifest.limited_outputs if not output.known(state)]
    return frozenset(manifest.actions[j].name for output in unknown for j in output.moved_by)


def _drawn_besides(limit: PowerLimit, g: Sequence[float], around: Surroundings) -> float | None:
    """What is drawn besides the actions, kW; None where nobody knows."""
    values = around.values
    if limit.meter is not None and limit.meter in values and around.last is not None:
        return values[limit.meter] - _dot(g, around.last)
    total = limit.offset
    for term in limit.forecasts:
        for name in (term.signal, term.by):
            if name is not None and name not in values:
                return None
        total += term.factor * values[term.signal] * (1.0 if term.by is None else values[term.by])
    return total


def _reachable(row: HalfSpace, lower: Vector, upper: Vector) -> HalfSpace:
    """The same limit, or the nearest to it that this box allows."""
    least = sum(g * (lo if g > 0.0 else up) for g, lo, up in zip(row.g, lower, upper, strict=True))
    return row if least <= row.h else replace(row, h=least + TOLERANCE)


def _state_rows(
    manifest: Manifest, safety: SafetySet, state: Sequence[float], forecast: Sequence[float]
) -> tuple[list[HalfSpace], tuple[str, ...]]:
    """The limits as half-spaces in a, and the names of those that no action can influence and that are not kept."""
    gains = manifest.action_gains(forecast)
    rows: list[HalfSpace] = []
    hopeless: list[str] = []
    for output in manifest.limited_outputs:
        if not output.known(state):
            continue
        for half in _sides(output, safety.gamma, state, forecast, gains):
            length = math.sqrt(_dot(half.g, half.g))
            if length > NO_EFFECT:
                rows.append(HalfSpace(half.name, tuple(v / length for v in half.g), half.h / length))
            elif half.h < -TOLERANCE:
                hopeless.append(half.name)
    return rows, tuple(hopeless)


def _sides(
    output: LimitedOutput, gamma: float, state: Sequence[float], forecast: Sequence[float], gains: Sequence[float]
) -> list[HalfSpace]:
    """C(F(s, a, w)) <= gamma C(s) for the worst w, not yet normalised."""
    limit, y = output.limit, value(output.row, state)
    y_free = value(output.state, state) + value(output.forecast, forecast) + output.offset
    g = tuple(gain * b for gain, b in zip(gains, output.action, strict=True))
    w_low, w_high = limit.disturbance
    sides = []
    if limit.upper is not None:
        # y_free + g a + w_high - upper <= gamma (y - upper)
        h = limit.upper + gamma * (y - limit.upper) - y_free - w_high
        sides.append(HalfSpace(f"{limit.name} upper", g, max(h, 0.0) if output.rests else h))
    if limit.lower is not None:
        # lower - (y_free + g a + w_low) <= gamma (lower - y)
        h = y_free + w_low - limit.lower + gamma * (limit.lower - y)
        sides.append(HalfSpace(f"{limit.name} lower", tuple(-v for v in g), max(h, 0.0) if output.rests else h))
    return sides


def _resting(manifest: Manifest) -> list[int]:
    """The actions that move limited outputs of stores alone."""
    stores = {j for output in manifest.limited_outputs if output.rests for j in output.moved_by}
    return sorted(stores - {j for output in manifest.limited_outputs if not output.rests for j in output.moved_by})


def _box(lower: Vector, upper: Vector) -> list[HalfSpace]:
    na = len(lower)
    axes = [tuple(float(i == j) for j in range(na)) for i in range(na)]
    most = [HalfSpace("", axis, up) for axis, up in zip(axes, upper, strict=True)]
    return most + [HalfSpace("", tuple(-v for v in axis), -lo) for axis, lo in zip(axes, lower, strict=True)]


def _with(vector: Vector, index: int, value: float) -> Vector:
    return (*vector[:index], value, *vector[index + 1 :])


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
