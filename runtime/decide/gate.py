"""The gate: a solution is actuated only if status, residual and bounds allow; ramp and dwell limit every action."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.bundle.manifest import Manifest
from runtime.decide.solver_process import Solved

STATUS_TEXT = ("ok", "iteration limit reached", "solver failed", "not finite", "bad argument")
# Interior-point iterates may exceed a bound by their tolerance; what exceeds it by more is no solution.
BOUND_TOLERANCE = 1e-6


def refusal(solved: Solved, manifest: Manifest) -> str:
    """Why this solution must not be actuated; empty if it may."""
    if solved.status != 0:
        text = STATUS_TEXT[solved.status] if 0 <= solved.status < len(STATUS_TEXT) else "unknown status"
        return f"solver: {text}"
    # The plan too: what nobody looks at now may be actuated an hour later, at level shifted_plan.
    plan = (value for rows in (solved.plan_x, solved.plan_a) for row in rows for value in row)
    if not all(map(math.isfinite, (*solved.action, solved.residual, solved.value, *plan))):
        return "solver: not finite"
    if solved.residual > manifest.residual_limit:
        return f"solver: residual {solved.residual:.1e} above {manifest.residual_limit:.1e}"
    for spec, value in zip(manifest.actions, solved.action, strict=True):
        slack = BOUND_TOLERANCE * max(1.0, spec.upper - spec.lower)
        if not spec.lower - slack <= value <= spec.upper + slack:
            return f"solver: {spec.name} = {value:g} outside [{spec.lower:g}, {spec.upper:g}]"
    return ""


@dataclass(frozen=True)
class Limited:
    """An action that the hardware can follow, and which limits changed it."""

    action: tuple[float, ...]
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class LastAction:
    """What was actuated last; `changed_s[i]` is when action i last changed (monotonic)."""

    action: tuple[float, ...]
    time_s: float
    changed_s: tuple[float, ...]


def limit(
    action: Sequence[float],
    last: LastAction | None,
    manifest: Manifest,
    now_s: float,
    caps: Mapping[str, float] | None = None,
) -> Limited:
    """Clip to bounds, the operator's caps (action -> largest value), ramp and dwell, in this order."""
    limited, names = [], []
    for i, spec in enumerate(manifest.actions):
        value = min(max(action[i], spec.lower), spec.upper)
        if caps is not None and value > caps.get(spec.name, value):
            value = caps[spec.name]
            names.append(f"{spec.name}: limited by command")
        bounds = manifest.limit(spec.name)
        if last is not None:
            before = last.action[i]
            if bounds.ramp_per_s is not None:
                reach = bounds.ramp_per_s * (now_s - last.time_s)
                ramped = min(max(value, before - reach), before + reach)
                if ramped != value:
                    names.append(f"{spec.name}: ramp")
                    value = ramped
            if value != before and now_s - last.changed_s[i] < bounds.dwell_s:
                names.append(f"{spec.name}: dwell")
                value = before
        limited.append(value)
    return Limited(tuple(limited), tuple(names))


def remember(action: tuple[float, ...], last: LastAction | None, now_s: float) -> LastAction:
    """The record of an action that was just actuated."""
    if last is None:
        return LastAction(action, now_s, (now_s,) * len(action))
    changed = tuple(t if new == old else now_s for new, old, t in zip(action, last.action, last.changed_s, strict=True))
    return LastAction(action, now_s, changed)
