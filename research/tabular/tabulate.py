"""The scalar battery as arrays (P, L, gamma), and tabular models of a tabular world."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from research.scalar_battery import MAX_MOVE
from research.tabular.errors import NoModel
from research.tabular.mdp import Mdp, make_mdp
from research.tabular.scalar import ScalarProblem

Array = NDArray[np.float64]


def tabulate(problem: ScalarProblem, n_actions: int) -> Mdp:
    """States are the nodes, actions equally spaced on [-1/4, 1/4]; a forbidden action costs inf.

    Linear interpolation makes P stochastic: a next state between two nodes is one of them, the weights are the odds.
    """
    actions = np.linspace(-MAX_MOVE, MAX_MOVE, n_actions)
    s, a = (x.ravel() for x in np.meshgrid(problem.nodes, actions, indexing="ij"))
    cost = problem.stage_cost(s, a) + problem.transition.leaving_cost(s + a)
    weights = problem.transition.weights(s + a, problem.nodes)
    dense = np.asarray(weights.todense() if hasattr(weights, "todense") else weights)
    shape = (len(problem.nodes), n_actions)
    return make_mdp(np.clip(dense, 0.0, None).reshape(*shape, -1), cost.reshape(shape), problem.discount)


def random_mdp(generator: np.random.Generator, states: int, actions: int, discount: float) -> Mdp:
    """Dirichlet transitions and uniform costs in [0, 1]."""
    p = generator.dirichlet(np.full(states, 0.5), size=(states, actions))
    return make_mdp(p, generator.uniform(size=(states, actions)), discount)


def fitted_model(generator: np.random.Generator, world: Mdp, samples: int) -> Mdp:
    """The maximum-likelihood model: relative frequencies of `samples` next states per (s, a), costs known."""
    counts = generator.multinomial(samples, world.transition / world.transition.sum(axis=2, keepdims=True))
    return make_mdp(counts / samples, world.stage_cost, world.discount)


def sufficient_model(world: Mdp, value: Array, delta: float) -> Mdp:
    """A model with E_world[V*(s+)] - E_model[V*(s+)] = delta for all available (s, a), for V* = `value` (ns,).

    Each row mixes the two states whose V* enclose the target. Raises NoModel where the target is out of range of V*.
    """
    target = world.transition @ value - delta
    available = np.isfinite(world.stage_cost)
    order = np.argsort(value)
    ranked = value[order]
    slack = 1e-12 * max(1.0, float(np.max(np.abs(value))))
    outside = available & ((target < ranked[0] - slack) | (target > ranked[-1] + slack))
    if outside.any():
        s, a = np.argwhere(outside)[0]
        raise NoModel(
            f"Delta = {delta:g}: (s, a) = ({s}, {a}) needs E[V*] = {target[s, a]:.6g}, "
            f"outside the range [{ranked[0]:.6g}, {ranked[-1]:.6g}] of V*"
        )
    level = np.clip(target, ranked[0], ranked[-1])
    upper = np.clip(np.searchsorted(ranked, level), 1, len(ranked) - 1)
    gap = ranked[upper] - ranked[upper - 1]
    share = np.where(gap > 0.0, (level - ranked[upper - 1]) / np.where(gap > 0.0, gap, 1.0), 0.0)
    p = np.zeros_like(world.transition)
    np.put_along_axis(p, order[upper][..., None], share[..., None], axis=2)
    np.put_along_axis(p, order[upper - 1][..., None], (1.0 - share)[..., None], axis=2)
    return make_mdp(p, world.stage_cost, world.discount)
