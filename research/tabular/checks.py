"""Independent checks of a scalar solution: expectation by another integration, actions by another search, rollouts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from research.scalar_battery import MAX_MOVE
from research.tabular.noise import TruncatedGaussian
from research.tabular.scalar import BellmanSolution, ScalarProblem
from research.tabular.transitions import Additive

Array = NDArray[np.float64]


def composite_expectation(noise: TruncatedGaussian, nodes: Array, value: Array, m: float, order: int) -> float:
    """E[V(clip(m + w))] by Gauss-Legendre of `order` points between neighbouring kinks of the piecewise-linear V."""
    kinks = np.concatenate([np.linspace(-noise.limit, noise.limit, 65), nodes - m])
    kinks = np.unique(kinks[np.abs(kinks) <= noise.limit])
    x, weight = np.polynomial.legendre.leggauss(order)
    half, centre = np.diff(kinks) / 2.0, (kinks[1:] + kinks[:-1]) / 2.0
    w = centre[:, None] + half[:, None] * x
    values = np.interp(np.clip(m + w, nodes[0], nodes[-1]), nodes, value)
    return float(np.sum(half[:, None] * weight * noise.density(w) * values))


def integration_error(problem: ScalarProblem, noise: TruncatedGaussian, cost_to_go: Array, samples: int = 41) -> float:
    """Effect on V of the difference between the closed-form expectation and composite quadrature, at `samples` m.

    The quadrature's own error (seen by doubling its order) is added; a one-step error e moves V by e / (1 - gamma).
    """
    low, high = max(problem.transition.low, 0.0), min(problem.transition.high, 1.0)
    m = np.linspace(low, high, samples)
    closed = problem.transition.weights(m, problem.nodes) @ cost_to_go
    rules = [[composite_expectation(noise, problem.nodes, cost_to_go, x, order) for x in m] for order in (4, 8)]
    one_step = np.max(np.abs(closed - rules[1])) + np.max(np.abs(np.array(rules[1]) - rules[0]))
    return float(problem.discount * one_step / (1.0 - problem.discount))


def action_error(problem: ScalarProblem, solution: BellmanSolution, states: int = 81, points: int = 4001) -> float:
    """Effect on V of the best action that a dense scan over m = s + a finds beyond the reported policy; 0 if none."""
    s = solution.nodes[:: max(1, (len(solution.nodes) - 1) // (states - 1))]
    low, high = max(problem.transition.low, -MAX_MOVE), min(problem.transition.high, 1.0 + MAX_MOVE)
    m = np.linspace(low, high, points)
    moves = m[None, :] - s[:, None]
    q = problem.stage_cost(s[:, None], moves) + problem.expected_cost_to_go(m, solution.cost_to_go)
    best = np.where(np.abs(moves) <= MAX_MOVE, q, np.inf).min(axis=1)
    missed = np.interp(s, solution.nodes, solution.cost_to_go) - best
    return float(np.maximum(missed[np.isfinite(best)], 0.0).max(initial=0.0)) / (1.0 - problem.discount)


def monte_carlo_return(
    problem: ScalarProblem, policy: Array, *, rollouts: int, steps: int, seed: int
) -> tuple[float, float]:
    """(mean, standard error) of the discounted return in closed loop from uniform s; truncated after `steps`."""
    transition = problem.transition
    assert isinstance(transition, Additive), "rollouts need an additive disturbance"
    generator = np.random.default_rng(seed)
    s = generator.uniform(size=rollouts)
    total, factor = np.zeros(rollouts), 1.0
    for _ in range(steps):
        a = np.interp(s, problem.nodes, policy)
        reached = s + a + transition.noise.sample(generator, rollouts)
        outside = np.maximum(-reached, 0.0) + np.maximum(reached - 1.0, 0.0)
        total -= factor * (problem.stage_cost(s, a) + (transition.penalty or 0.0) * outside)
        s = np.clip(reached, 0.0, 1.0)
        factor *= problem.discount
    return float(total.mean()), float(total.std(ddof=1) / np.sqrt(rollouts))
