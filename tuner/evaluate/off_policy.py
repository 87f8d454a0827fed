"""What another theta would have cost on a log that an older one wrote, by learning's critic and the older program.

At the moves that the theta in the field decided, the log says by exploration what other moves cost: dQ/da, from the
critic of `tuner.learn.critic` with the one direction that matters, pi_1(s) - pi_0(s). How that grows with the size of
the move the program in the field says, Q_0(s, pi_1(s)) - V_0(s), which is never negative and knows the bounds. So

    J(1) - J(0) = E[(pi_1 - pi_0)' dQ/da] + E[Q_0(s, pi_1(s)) - V_0(s)]     a decision,

the performance difference with the states that the log has. The interval is the jackknife's over stretches of the log.
The transitions must be others than those that theta_1 was learned from.

Source: Kakade and Langford, "Approximately Optimal Approximate Reinforcement Learning" (2002), the performance
difference; the critic's are named in its module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from codegen.controller import Controller
from systems.logs.log import Array
from tuner.evaluate.statistics import LEVEL, Interval
from tuner.learn.critic import StepOptions, propose, sums_of
from tuner.learn.improve import BLOCKS
from tuner.learn.transitions import Labelled, Transitions, join

LEAST_TRANSITIONS = 60


@dataclass(frozen=True, eq=False)
class Other:
    """n transitions under theta_0, and what theta_1 would have done at each."""

    transitions: Transitions
    moved: Array
    """(n, na) pi_1(s) - pi_0(s), in the unit of actions"""
    dearer: Array
    """(n,) Q_0(s, pi_1(s)) - V_0(s)"""

    def select(self, chosen: NDArray[np.bool_]) -> Other:
        """Those that a mask (n,) names."""
        return Other(self.transitions.select(chosen), self.moved[chosen], self.dearer[chosen])


def joined(parts: Sequence[Other]) -> Other:
    """All of them, one after the other."""
    return Other(
        join([part.transitions for part in parts]),
        np.concatenate([part.moved for part in parts]),
        np.concatenate([part.dearer for part in parts]),
    )


def other_moves(
    controller: Controller,
    thetas: tuple[Array, Array],
    states: Sequence[Array],
    forecasts: Sequence[Array],
    labelled: Labelled,
    std: Array,
) -> Other:
    """Of a stretch's states (nx,) and forecasts (N + 1, nd), labelled by thetas[0]; std: the unit of actions.

    What is not solved for both is left out.
    """
    t, places = labelled.transitions, np.flatnonzero(labelled.used).tolist()
    actions: list[Array | None] = []
    controller.set_theta(thetas[1])
    controller.reset()
    for k in places:
        solution = controller.solve(states[k], forecasts[k])
        actions.append(np.array(solution.action) if solution.ok else None)
        if not solution.ok:
            controller.reset()
    controller.set_theta(thetas[0])
    controller.reset()
    moved, dearer = np.zeros_like(t.policy), np.full(len(t), np.nan)
    for i, (k, action) in enumerate(zip(places, actions, strict=True)):
        fixed = None if action is None else controller.solve_fixed(states[k], forecasts[k], action)
        if action is None or fixed is None or not fixed.ok:
            controller.reset()
            continue
        moved[i], dearer[i] = action / std - t.policy[i], max(fixed.value - t.value[i], 0.0)
    return Other(t, moved, dearer).select(np.isfinite(dearer))


def off_policy_saving(other: Other, *, gamma: float, trace: float, per: float) -> Interval | None:
    """What theta_1 saves in `per` decisions; None for too few transitions, or moves that are all the same."""
    n = len(other.dearer)
    if n < LEAST_TRANSITIONS or float(np.abs(other.moved).max()) < 1e-6:
        return None
    block = np.arange(n) * BLOCKS // n
    whole = _saved(other, gamma, trace)
    without = np.array([_saved(other.select(block != b), gamma, trace) for b in range(BLOCKS)])
    error = float(np.sqrt((BLOCKS - 1) / BLOCKS * ((without - without.mean()) ** 2).sum()))
    half = float(stdtrit(BLOCKS - 1, (1 + LEVEL) / 2)) * error
    return Interval(per * whole, per * (whole - half), per * (whole + half), BLOCKS)


def _saved(other: Other, gamma: float, trace: float) -> float:
    """A decision."""
    line = replace(other.transitions, policy_jacobian=other.moved[:, :, None])
    # One direction needs no prior against noise: the interval says how much there is.
    step = propose(sums_of(line, gamma=gamma, trace=trace), np.zeros(1), StepOptions(prior=0.0))
    return -float(step.gradient[0] + other.dearer.mean())
