"""What a person would try before any learning: weights turned by hand, and a black-box search over the same numbers.

Both start from the data fit and choose on training weeks, the same for every theta they try; nothing of the held-out
weeks is seen. The grid turns one kind of weight at a time, the same for all assets that have it: lower, as it is,
higher; what was better stays. The search is CMA-ES over every parameter that the tuner may move, within its bounds.

Source: Hansen, "The CMA Evolution Strategy: A Tutorial" (the implementation is his package `cma`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systems.logs.log import Array
from systems.problem import Parameter
from tuner.learn.differences import kinds

TURN = 2.0
"""Of a parameter's scale: how far a hand turns a weight."""
FIRST_SPREAD = 1.0
"""Of a parameter's scale: standard deviation of the first generation."""

Trial = Callable[[Sequence[Array]], Array]
"""Mean total costs (k,) of k thetas on the training weeks."""
Report = Callable[[int], None]
"""Hears how many thetas were tried."""


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen, what it costs on the training weeks, and after how many tries."""

    theta: Array
    cost: float
    start_cost: float
    tried: int


def by_hand(
    parameters: Sequence[Parameter],
    learning: tuple[NDArray[np.int64], Array],
    start: Array,
    trial: Trial,
    *,
    budget: int,
    report: Report | None = None,
) -> Choice:
    """At most `budget` thetas beside the start (ntheta,); `learning`: the entries that may move (p,), their scales."""
    scale = dict(zip(learning[0].tolist(), learning[1].tolist(), strict=True))
    lower, upper = np.array([p.lower for p in parameters]), np.array([p.upper for p in parameters])
    best = np.array(start, dtype=float)
    first = cost = float(trial([best])[0])
    tried = 0
    for kind in kinds(parameters, learning[0]):
        turned = []
        for sign in (-1.0, 1.0):
            theta = best.copy()
            theta[kind] += sign * TURN * np.array([scale[i] for i in kind])
            theta = np.clip(theta, lower, upper)
            if np.any(theta != best):
                turned.append(theta)
        turned = turned[: budget - tried]
        if not turned:
            continue
        costs = trial(turned)
        tried += len(turned)
        k = int(np.argmin(costs))
        if costs[k] < cost:
            best, cost = turned[k], float(costs[k])
        if report is not None:
            report(tried)
    return Choice(best, cost, first, tried)


def by_search(
    parameters: Sequence[Parameter],
    learning: tuple[NDArray[np.int64], Array],
    start: Array,
    trial: Trial,
    *,
    budget: int,
    seed: int,
    report: Report | None = None,
) -> Choice:
    """At most `budget` thetas beside the start (ntheta,), whole generations as far as they go."""
    import cma  # a second to import, and only a search needs it

    entries, scale = learning
    bounds = [[getattr(parameters[i], side) for i in entries.tolist()] for side in ("lower", "upper")]
    low, high = ((np.array(b) - start[entries]) / scale for b in bounds)
    rng = np.random.default_rng(seed)
    # A single dimension is none for its covariances: a second one without influence stands beside it.
    spare = max(0, 2 - len(entries))
    low, high = np.append(low, [-1.0] * spare), np.append(high, [1.0] * spare)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of options that it chose itself
        strategy = cma.CMAEvolutionStrategy(
            np.zeros(len(low)),
            FIRST_SPREAD,
            {
                "bounds": [low.tolist(), high.tolist()],
                "randn": lambda *shape: rng.standard_normal(shape),
                "seed": float("nan"),  # the generator above is the only source
                "verbose": -9,
                "verb_log": 0,
            },
        )
    best = np.array(start, dtype=float)
    first = cost = float(trial([best])[0])
    tried = 0
    while tried < budget and not strategy.stop():
        asked = strategy.ask()
        thetas = [_placed(start, entries, scale, np.asarray(x)) for x in asked[: budget - tried]]
        costs = trial(thetas)
        tried += len(thetas)
        k = int(np.argmin(costs))
        if costs[k] < cost:
            best, cost = thetas[k], float(costs[k])
        if report is not None:
            report(tried)
        if len(thetas) == len(asked):
            strategy.tell(asked, costs.tolist())
    return Choice(best, cost, first, tried)


def _placed(start: Array, entries: NDArray[np.int64], scale: Array, x: Array) -> Array:
    theta = np.array(start, dtype=float)
    theta[entries] += scale * x[: len(entries)]
    return theta
