"""What the condensed MPC of four rooms went through, and its labels by one theta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from research.condensed.solver import SOLVED, CondensedMpc, Solutions, States, solve
from tuner.learn.transitions import PROBE_EVERY, Labelled, Transitions, join, probe_of

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HouseStretch:
    """One uninterrupted stretch of n decisions; the last of its n + 1 states closes the transition before it."""

    states: States
    """n + 1 of them"""
    asked: Array
    """(n, na) first moves as the policy with its exploration asked for them, kW"""
    action: Array
    """(n, na) the same within the bounds, kW"""
    mean: Array
    """(n, na) what the explorer's action is on average in this state, bounds included, kW"""
    cost: Array
    """(n,) of the interval after each decision, discounted, EUR"""
    decided: Array | None = None
    """(n, na) first moves of the explorer's policy before exploration, kW, where that policy stays what it was"""

    def __len__(self) -> int:
        return len(self.cost)


def label(
    experience: Sequence[HouseStretch],
    mpc: CondensedMpc,
    entries: NDArray[np.int64],
    scale: Array,
    *,
    with_advantage: bool = False,
    threads: int = 1,
) -> Labelled:
    """What the theta of `mpc` says of all that was experienced; the advantage only `with_advantage`."""
    parts: list[Transitions] = []
    used: list[NDArray[np.bool_]] = []
    solves = failures = 0
    for number, stretch in enumerate(experience):
        at = solve(mpc, stretch.states, gradients=True, threads=threads)
        solved = at.status == SOLVED
        use = solved[:-1] & solved[1:]
        jacobian = at.policy_jacobian[:-1][:, :, entries] * scale
        probe, rise = _probed(mpc, stretch, at, jacobian, threads)
        solves += int(np.isfinite(rise).sum())
        advantage = advantage_gradient = np.empty(0)
        solves, failures = solves + len(solved), failures + int((~solved).sum())
        if with_advantage:
            before = States(*(getattr(stretch.states, f.name)[:-1] for f in fields(States)))
            taken, mean = (
                solve(mpc, before, first=first, gradients=True, threads=threads)
                for first in (stretch.action, stretch.mean)
            )
            failed = (taken.status != SOLVED) | (mean.status != SOLVED)
            solves, failures = solves + 2 * len(before), failures + int(failed.sum())
            use &= ~failed
            advantage = (taken.value - mean.value)[use]
            advantage_gradient = (taken.value_gradient - mean.value_gradient)[use][:, entries] * scale
        used.append(use)
        parts.append(
            Transitions(
                value=at.value[:-1][use],
                next_value=at.value[1:][use],
                cost=stretch.cost[use],
                policy=at.action[:-1][use],
                asked=stretch.asked[use],
                action=stretch.action[use],
                mean_action=stretch.mean[use],
                drift=np.zeros_like(stretch.mean[use])
                if stretch.decided is None
                else at.action[:-1][use] - stretch.decided[use],
                policy_jacobian=jacobian[use],
                probe=probe[use],
                rise=rise[use],
                foretold_cost=np.empty(0),
                foretold_value=np.empty(0),
                # A failed solve within a stretch breaks it in two.
                segment=number * 1_000_000 + np.cumsum(~use)[use],
                advantage=advantage,
                advantage_gradient=advantage_gradient,
            )
        )
    return Labelled(join(parts), solves, failures, np.concatenate(used))


def _probed(
    mpc: CondensedMpc, stretch: HouseStretch, at: Solutions, jacobian: Array, threads: int
) -> tuple[Array, Array]:
    """(moves (n, na) kW, what Q_theta rises by (n,) EUR): those that were explored; NaN where not asked or solved."""
    spread = np.std(stretch.action - stretch.mean, axis=0)
    probe = probe_of(at.action[:-1], stretch.action, jacobian, spread)
    asked = np.zeros(len(stretch), dtype=bool)
    asked[::PROBE_EVERY] = True
    asked &= (at.status[:-1] == SOLVED) & np.any(probe != 0.0, axis=1)
    rise = np.full(len(stretch), np.nan)
    if asked.any():
        there = States(*(getattr(stretch.states, f.name)[:-1][asked] for f in fields(States)))
        found = solve(mpc, there, first=(at.action[:-1] + probe)[asked], threads=threads)
        rise[asked] = np.where(found.status == SOLVED, found.value - at.value[:-1][asked], np.nan)
    return probe, rise


def states_at(outputs: Array, inputs: Array, forecast_outdoor: Array, forecast_price: Array, *, every: int) -> States:
    """States at every `every`-th step of a recorded run.

    outputs (T + 12, rooms) and inputs (T + 11, 1 + rooms) begin with the hour before the run; the forecasts are
    (decisions, horizon), and say how many decisions there are.
    """
    at = every * np.arange(len(forecast_outdoor))[:, None]
    return States(outputs[at + np.arange(12)], inputs[at + np.arange(11)], forecast_outdoor, forecast_price)
