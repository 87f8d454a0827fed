"""What another theta would have cost on a log that an older one wrote: importance weights times what was really paid.

The log explores about pi_0, the policy of the theta in the field, with noise of known spread. Where the noise happened
to do what pi_1 might have done, the log says what that cost. With rho the density of the action that was taken under
exploration about pi_1 over the one about pi_0 (censored normals, as the bounds clip them),

    J(1) - J(0) = E[(rho - 1) A]     a decision,      A = sum_k gamma^k delta_k,

the performance difference with the states that the log has: both ways explore alike, and follow pi_0 afterwards.

A is the whole discounted sum. Learning shortens it by a trace lambda < 1, for less noise: then V_theta stands for what
came later, and the estimate inherits what V_theta is wrong about. That made it half of the truth or less, with an
interval about the wrong place. With lambda = 1 V_theta is a baseline and no more. The first decision's own news is off,
as in `tuner.learn.critic`; it does not depend on the action. Later ones' does, by the state, and stays.

The interval is that of the mean of blocks in time, each at least as long as gamma looks ahead. What the weights are
worth is their effective sample size, (sum rho)^2 / sum rho^2. Below a fifth of the decisions the new theta does what
exploration seldom tried: a few decisions carry all, the weights' tail is longer than the log, and a t interval misses
(0.83 of 0.95 on a linear-quadratic system where 6 % count, 0.96 and more above a fifth). Then there is none.

Sources: Kakade and Langford, "Approximately Optimal Approximate Reinforcement Learning" (2002), the performance
difference; Precup, Sutton and Singh, "Eligibility Traces for Off-Policy Policy Evaluation" (2000), the weights; Kong,
"A note on importance sampling using standardized weights" (1992), their effective number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from codegen.controller import Controller
from systems.logs.log import Array
from tuner.evaluate.statistics import Interval, mean_interval
from tuner.learn.advantage import generalised_advantage
from tuner.learn.transitions import Labelled, Transitions, join

LEAST_EFFECTIVE, LEAST_SHARE = 60.0, 0.2
"""Decisions that the weights must be worth, and their share of all."""
MOST_BLOCKS, LEAST_BLOCKS = 12, 4
HELD = 0.35
"""Correlation of what was explored in two decisions that follow each other, from which on it was one step of noise."""
MOST_LOG_RATIO = 30.0


@dataclass(frozen=True, eq=False)
class Behaviour:
    """How the log explored, (na,) each, in the actions' own units."""

    std: Array
    lower: Array
    upper: Array


@dataclass(frozen=True, eq=False)
class Other:
    """n transitions under theta_0, and how much likelier theta_1 would have done the same."""

    transitions: Transitions
    ratio: Array
    """(n,) rho"""
    noise: Array
    """(n, na) what was explored, in its standard deviations; NaN where a bound clipped it"""


@dataclass(frozen=True)
class OffPolicy:
    """What the log says. interval: of what theta_1 saves, or None, and then `why` not."""

    interval: Interval | None
    effective: float
    """Decisions that the weights are worth."""
    count: int
    """Decisions that judge."""
    why: str = ""


def joined(parts: Sequence[Other]) -> Other:
    """All of them, one after the other."""
    return Other(
        join([part.transitions for part in parts]),
        np.concatenate([part.ratio for part in parts]),
        np.concatenate([part.noise for part in parts]),
    )


def other_moves(
    controller: Controller,
    thetas: tuple[Array, Array],
    states: Sequence[Array],
    forecasts: Sequence[Array],
    labelled: Labelled,
    unit: Array,
    behaviour: Behaviour,
) -> Other:
    """Of a stretch's states (nx,) and forecasts (N + 1, nd), labelled by thetas[0]; unit (na,): that of its actions.

    A decision that theta_1's program does not solve has weight 1: there the new theta is not told from the old.
    """
    t, places = labelled.transitions, np.flatnonzero(labelled.used).tolist()
    before, done = t.policy * unit, t.asked * unit
    after = before.copy()
    controller.set_theta(thetas[1])
    controller.reset()
    for i, k in enumerate(places):
        solution = controller.solve(states[k], forecasts[k])
        if solution.ok:
            after[i] = solution.action
        else:
            controller.reset()
    controller.set_theta(thetas[0])
    controller.reset()
    log_ratio = (_log_density(done, after, behaviour) - _log_density(done, before, behaviour)).sum(1)
    low, high = _clipped(done, behaviour)
    noise = np.where(low | high, np.nan, (done - before) / behaviour.std)
    return Other(t, np.exp(np.minimum(log_ratio, MOST_LOG_RATIO)), noise)


def off_policy_saving(other: Other, *, gamma: float, per: float) -> OffPolicy:
    """What theta_1 saves in `per` decisions."""
    n, ratio = len(other.ratio), other.ratio
    effective = float(ratio.sum() ** 2 / max(float((ratio**2).sum()), 1e-300)) if n else 0.0
    blocks = min(MOST_BLOCKS, int(n * (1.0 - gamma))) if gamma < 1.0 else 0
    if n < LEAST_EFFECTIVE or blocks < LEAST_BLOCKS:
        return OffPolicy(None, effective, n, f"{n} decisions are too few to judge by")
    if np.abs(np.log(np.maximum(ratio, 1e-300))).max() < 1e-6:
        return OffPolicy(None, effective, n, "the new theta decides nothing else than the old one")
    if _held(other) > HELD:
        return OffPolicy(
            None, effective, n, "exploration held a step over several decisions, so what one cost is not known; set "
            "hold_s of [exploration] to the length of a decision"
        )  # fmt: skip
    needed = max(LEAST_EFFECTIVE, LEAST_SHARE * n)
    if effective < needed:
        return OffPolicy(
            None, effective, n, f"the new theta does what exploration seldom tried: {n} decisions judge it as well as "
            f"{effective:.0f} of its own would, and {needed:.0f} are needed"
        )  # fmt: skip
    worth = _advantage(other.transitions, gamma)
    saved = -(ratio - 1.0) * (worth - worth.mean())
    means = np.array([part.mean() for part in np.array_split(saved, blocks)])
    return OffPolicy(mean_interval(means).scaled(per), effective, n)


def _advantage(t: Transitions, gamma: float) -> Array:
    """(n,) A: the discounted sum of TD errors, the first of them without its news."""
    plain = t.cost + gamma * t.next_value - t.value
    return t.surprise(gamma) + generalised_advantage(plain, t.segment, gamma) - plain


def _held(other: Other) -> float:
    """The largest correlation, over actions, of what was explored in decisions that follow each other."""
    follows = np.diff(other.transitions.segment) == 0
    found = [0.0]
    for column in other.noise.T:
        both = follows & np.isfinite(column[:-1]) & np.isfinite(column[1:])
        if both.sum() >= LEAST_EFFECTIVE:
            found.append(float(np.mean(column[:-1][both] * column[1:][both])))
    return max(found)


def _clipped(done: Array, behaviour: Behaviour) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    edge = 1e-6 * (behaviour.upper - behaviour.lower)
    return done <= behaviour.lower + edge, done >= behaviour.upper - edge


def _log_density(done: Array, policy: Array, behaviour: Behaviour) -> Array:
    """(n, na) of clip(policy + noise): a normal density inside the bounds, what lies beyond at each of them."""
    low, high = _clipped(done, behaviour)
    inside = -(((done - policy) / behaviour.std) ** 2) / 2.0
    below = log_ndtr((behaviour.lower - policy) / behaviour.std)
    above = log_ndtr((policy - behaviour.upper) / behaviour.std)
    return np.asarray(np.where(low, below, np.where(high, above, inside)))
