"""The last good plan, and what it says for a later moment (level `shifted_plan`)."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """states has horizon + 1 rows (nx), actions horizon rows (na); row k begins at time_s + k * dt_s."""

    time_s: float
    monotonic_s: float
    dt_s: float
    states: tuple[tuple[float, ...], ...]
    actions: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class PlanStep:
    """What the plan says for now: the action, and the state it expected."""

    action: tuple[float, ...]
    state: tuple[float, ...]


def shifted(plan: Plan | None, time_s: float, monotonic_s: float, max_age_s: float) -> PlanStep | str:
    """The step of the plan for now, or why there is none.

    Both clocks must agree on how old the plan is: after a jump of the wall clock it belongs to another hour.
    """
    if plan is None:
        return "no plan yet"
    age = monotonic_s - plan.monotonic_s
    if abs((time_s - plan.time_s) - age) > plan.dt_s / 2:
        return "the clock jumped since the last plan"
    if age > max_age_s:
        return f"last plan is {age:.0f} s old"
    index = math.floor(age / plan.dt_s + 1e-6)
    if index >= len(plan.actions):
        return "last plan is used up"
    here, following = plan.states[index], plan.states[index + 1]
    share = min(1.0, max(0.0, age / plan.dt_s - index))
    state = tuple(a + share * (b - a) for a, b in zip(here, following, strict=True))
    return PlanStep(plan.actions[index], state)
