"""What a theta says of a stretch that was explored: value, policy and their derivatives, by the compiled program.

Actions are in units of each one's exploring noise, so that one learner serves powers, shares and any number of them. Of
a power in and a power out, which a plan never has at once, the difference is explored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.controller import Controller, DerivativeError
from systems.logs.log import Array
from systems.problem import Problem
from tuner.learn.transitions import PROBE_EVERY, Labelled, Transitions, mean_within_bounds, probe_of

NOISE_SHARE = 0.1
"""Of an action's range, standard deviation."""
NO_ADVANTAGE: Array = np.empty(0)


def pairs_of(problem: Problem) -> tuple[tuple[int, int], ...]:
    """Places of actions of which at most one is above 0: a power in and a power out."""
    names = [action.name for action in problem.actions]
    pairs = ((names.index(a), names.index(b)) for a, b in problem.exclusive if a in names and b in names)
    return tuple(pair for pair in pairs if len(set(pair)) == 2)


@dataclass(frozen=True)
class Noise:
    """How actions are explored, (na,) each, in their own units."""

    std: Array
    lower: Array
    upper: Array
    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, problem: Problem) -> Noise:
        actions = problem.actions
        lower, upper = np.array([a.lower for a in actions]), np.array([a.upper for a in actions])
        return cls(NOISE_SHARE * (upper - lower), lower, upper, pairs_of(problem))

    def draw(self, policy: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """(asked (na,), the same within the bounds)."""
        shock = self.std * rng.standard_normal(len(policy))
        asked = policy + shock
        action = np.clip(asked, self.lower, self.upper)
        for i, o in self.pairs:
            asked[o] = policy[o] - shock[i]
            net = policy[i] - policy[o] + shock[i]
            action[i], action[o] = min(max(net, 0.0), self.upper[i]), min(max(-net, 0.0), self.upper[o])
        return asked, action

    def mean(self, policy: Array) -> Array:
        """E[action] (n, na) at policies (n, na)."""
        found = np.column_stack(
            [
                mean_within_bounds(policy[:, a], self.std[a], self.lower[a], self.upper[a])
                for a in range(policy.shape[1])
            ]
        )
        for i, o in self.pairs:
            net = policy[:, i] - policy[:, o]
            found[:, i] = mean_within_bounds(net, self.std[i], 0.0, self.upper[i])
            found[:, o] = mean_within_bounds(-net, self.std[i], 0.0, self.upper[o])
        return found


@dataclass(frozen=True, eq=False)
class Deeds:
    """What was done at n decisions and paid after each, in the actions' own units; costs are those of reality."""

    asked: Array
    """(n, na) with the noise, before the bounds; on a log within them, and before a power in and out are netted"""
    action: Array
    """(n, na)"""
    cost: Array
    """(n,)"""
    mean: Array | None = None
    """(n, na) E[action|s], where it is not that of the noise about theta's own policy"""
    decided: Array | None = None
    """(n, na) what the explorer's policy decided, where that stays what it was"""


@dataclass(frozen=True, eq=False)
class Opinion:
    """What a theta says of the n + 1 moments of a stretch."""

    solved: NDArray[np.bool_]
    value: Array
    policy: Array
    """(n + 1, na)"""
    jacobian: Array
    """(n + 1, na, p) in units of scale"""
    following: Array
    """(n + 1, nx) the state that the program foretells after its first move"""


def labelled(
    problem: Problem,
    theta: Array,
    controller: Controller,
    noise: Noise,
    states: Sequence[Array],
    forecasts: Sequence[Array],
    deeds: Deeds,
    entries: NDArray[np.int64],
    scale: Array,
    *,
    with_advantage: bool,
    number: int,
) -> Labelled:
    """n transitions from the n + 1 states (nx,) and forecasts (N + 1, nd) around what was done; `controller` has theta.

    `number` tells stretches from each other.
    """
    controller.reset()
    said = _opinion(controller, states, forecasts, entries, scale)
    use = said.solved[:-1] & said.solved[1:]
    mean = noise.mean(said.policy[:-1]) if deeds.mean is None else deeds.mean
    drift = np.zeros_like(mean) if deeds.decided is None else said.policy[:-1] - deeds.decided
    probe, rise = _probed(controller, noise, states, forecasts, said, np.random.default_rng(number))
    foretold_cost = foretold_costs(problem, theta, states, forecasts, said.policy)[:-1]
    foretold_value = _values(controller, said.following[:-1], forecasts[1:])
    use &= np.isfinite(foretold_value)
    solves = 2 * len(states) - 1 + int(np.isfinite(rise).sum())
    advantage = gradient = NO_ADVANTAGE
    if with_advantage:
        taken, mean_q = (_q(controller, states, forecasts, actions, entries, scale) for actions in (deeds.action, mean))
        use &= np.isfinite(taken[0]) & np.isfinite(mean_q[0])
        advantage, gradient = (taken[0] - mean_q[0])[use], (taken[1] - mean_q[1])[use]
        solves += 2 * len(deeds.cost)
    std = noise.std
    transitions = Transitions(
        value=said.value[:-1][use],
        next_value=said.value[1:][use],
        cost=deeds.cost[use],
        policy=said.policy[:-1][use] / std,
        asked=deeds.asked[use] / std,
        action=deeds.action[use] / std,
        mean_action=mean[use] / std,
        drift=drift[use] / std,
        policy_jacobian=said.jacobian[:-1][use] / std[:, None],
        probe=probe[use] / std,
        rise=rise[use],
        foretold_cost=foretold_cost[use],
        foretold_value=foretold_value[use],
        # A failed solve within a stretch breaks it in two.
        segment=number * 1_000_000 + np.cumsum(~use)[use],
        advantage=advantage,
        advantage_gradient=gradient,
    )
    return Labelled(transitions, solves, int((~said.solved).sum()), use)


def _opinion(
    controller: Controller,
    states: Sequence[Array],
    forecasts: Sequence[Array],
    entries: NDArray[np.int64],
    scale: Array,
) -> Opinion:
    n, na, p = len(states), controller.dimensions.na, len(entries)
    solved, value = np.zeros(n, dtype=bool), np.full(n, np.nan)
    policy, jacobian = np.zeros((n, na)), np.zeros((n, na, p))
    following = np.full((n, controller.dimensions.nx), np.nan)
    for k, (state, forecast) in enumerate(zip(states, forecasts, strict=True)):
        solution = controller.solve(state, forecast)
        if not solution.ok:
            controller.reset()
            continue
        try:
            jacobian[k] = controller.differentiate(value=False)[1][:, entries] * scale
        except DerivativeError:
            continue
        solved[k], value[k], policy[k], following[k] = True, solution.value, solution.action, solution.plan_x[1]
    return Opinion(solved, value, policy, jacobian, following)


def foretold_costs(
    problem: Problem, theta: Array, states: Sequence[Array], forecasts: Sequence[Array], policy: Array
) -> Array:
    """(n,) L_theta(s, pi) by the forecasts; 0 where a cost hangs on auxiliaries whose values reality does not give."""
    if problem.nu > problem.na and problem.settled is None:
        return np.zeros(len(states))
    p = theta if problem.prepare is None else np.array(problem.prepare(theta)).ravel()
    found, none = np.empty(len(states)), np.zeros(problem.nu - problem.na)
    for k, (state, forecast) in enumerate(zip(states, forecasts, strict=True)):
        z = np.zeros(0) if problem.features is None else np.array(problem.features(forecast, state)).ravel()
        u = np.concatenate([policy[k], none])
        if problem.settled is not None:
            u = np.array(problem.settled(state, u, forecast[0], z, p)).ravel()
        found[k] = float(problem.stage_cost(state, u, forecast[0], z, p))
    return found


def _values(controller: Controller, states: Array, forecasts: Sequence[Array]) -> Array:
    """(n,) V_theta, NaN where it cannot be had."""
    value = np.full(len(states), np.nan)
    for k, (state, forecast) in enumerate(zip(states, forecasts, strict=True)):
        if np.all(np.isfinite(state)):
            solution = controller.solve(state, forecast)
            if solution.ok:
                value[k] = solution.value
            else:
                controller.reset()
    return value


def _probed(
    controller: Controller,
    noise: Noise,
    states: Sequence[Array],
    forecasts: Sequence[Array],
    said: Opinion,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """(moves (n, na) in the unit of actions, what Q_theta rises by (n,)), NaN where not asked or not solved."""
    n, na = len(states) - 1, said.policy.shape[1]
    probe, rise = np.full((n, na), np.nan), np.full(n, np.nan)
    moved = np.array([noise.draw(policy, rng)[1] for policy in said.policy[:-1]])
    jacobian = said.jacobian[:-1].copy()
    for i, o in noise.pairs:
        jacobian[:, [i, o]] = np.maximum(np.abs(jacobian[:, i]), np.abs(jacobian[:, o]))[:, None]
    wanted = probe_of(said.policy[:-1], moved, jacobian, noise.std)
    for k in range(0, n, PROBE_EVERY):
        if said.solved[k] and np.any(wanted[k] != 0.0):
            solution = controller.solve_fixed(states[k], forecasts[k], said.policy[k] + wanted[k])
            if solution.ok:
                probe[k], rise[k] = wanted[k], solution.value - said.value[k]
            else:
                controller.reset()
    return probe, rise


def _q(
    controller: Controller,
    states: Sequence[Array],
    forecasts: Sequence[Array],
    actions: Array,
    entries: NDArray[np.int64],
    scale: Array,
) -> tuple[Array, Array]:
    """Q_theta(s, a) (n,), NaN where it cannot be had, and its gradient (n, p) in units of scale."""
    n = len(actions)
    value, gradient = np.full(n, np.nan), np.zeros((n, len(entries)))
    for k in range(n):
        solution = controller.solve_fixed(states[k], forecasts[k], actions[k])
        if solution.ok:
            value[k] = solution.value
            gradient[k] = controller.differentiate(action=False)[0][entries] * scale
        else:
            controller.reset()
    return value, gradient
