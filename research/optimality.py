"""Is a wrong model good enough to decide with? The conditions, as residuals on arrays (P, L, gamma).

"All AI Models are Wrong, but Some are Optimal" (Anand, Sawant, Reinhardt, Gros): Lemma 1, Theorem 1, Corollary 1;
the cost modification is from the slides "MDP equivalence". In costs: the disadvantage D(s, a) = Q(s, a) - V(s) >= 0 is
the paper's advantage with the sign changed, and its minimisers are the optimal actions. A hat marks the model.

Two slips of the paper, corrected here: Lambda (17) takes the expectation under the model, not under the world (else
(18) is not the modified MDP); and in the proof of Corollary 1 the offset of Q_hat is Delta gamma / (1 - gamma), the
discounted sum of Delta over all steps, not gamma Delta, which is that of one step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research.tabular.errors import BadProblem
from research.tabular.mdp import Mdp, TabularSolution, make_mdp, policy_iteration

Array = NDArray[np.float64]
DEFAULT_TOLERANCE = 1e-9
"""Disadvantages below this (relative to the largest |V*|) count as zero: that action is optimal."""

MARGIN = 0.02
"""How far the class-K functions keep from the envelopes, to be strictly increasing."""


@dataclass(frozen=True)
class Sandwich:
    """Lemma 1: class-K functions with alpha(D) <= D_hat <= beta(D), by their values at the sorted disadvantages `at`.

    On finitely many (s, a) such functions exist if and only if D and D_hat vanish together: both residuals zero.
    """

    at: Array
    """Sorted distinct finite disadvantages D of the world, from 0, shape (k,)."""
    alpha: Array
    beta: Array
    upper_residual: float
    """Largest D_hat at an action that is optimal in the world: beta(0) cannot be smaller. inf: the model forbids it."""
    lower_residual: float
    """Largest D at an action that is optimal in the model: up to there alpha must be 0. inf: the world forbids it."""
    violation: float
    """Largest violation of the sandwich by the constructed alpha and beta over all (s, a); 0 if one exists."""

    @property
    def exists(self) -> bool:
        return self.upper_residual == 0.0 and self.lower_residual == 0.0


@dataclass(frozen=True)
class Equivalence:
    """How a model stands to the world. All in cost units; P, P_hat (ns, na, ns), L, L_hat (ns, na), V (ns,)."""

    world: TabularSolution
    model: TabularSolution
    sandwich: Sandwich
    storage: Array
    """lambda = V* - V_hat*, shape (ns,)."""
    theorem1_value_residual: float
    """max |V_hat* - V*| after solving the model anew with its cost plus Lambda: (25) for lambda = storage."""
    theorem1_advantage_residual: float
    """max change of D_hat by that: lambda does not touch the decisions, so (24) is Lemma 1 again."""
    theorem1_value_residual_as_printed: float
    """The first residual with Lambda under the world's transition, as (17) is printed."""
    difference: Array
    """E_world[V*] - E_model[V*], shape (ns, na); NaN where an action is not available in both."""
    modified_cost: Array
    """L_hat(s, a) = Q*(s, a) - gamma_hat E_model[V*], shape (ns, na): the cost with which the wrong model is right."""
    modification_residual: float
    """max |Q_hat* - Q*| after solving the model anew with the modified cost."""
    regret: float
    """max over s of V_pi_hat(s) - V*(s): what the model's decisions cost. inf if the world forbids them."""

    @property
    def delta(self) -> float:
        """The constant of Corollary 1 that fits best (middle of the range)."""
        return float(np.nanmax(self.difference) + np.nanmin(self.difference)) / 2.0

    @property
    def spread(self) -> float:
        """Corollary 1: max - min of the difference over (s, a). 0 is sufficient for optimal decisions."""
        return float(np.nanmax(self.difference) - np.nanmin(self.difference))

    @property
    def same_policy(self) -> bool:
        return self.sandwich.exists


def compare(world: Mdp, model: Mdp, *, tolerance: float = DEFAULT_TOLERANCE) -> Equivalence:
    """All conditions for one model of one world. They may differ in P, L and gamma; the shapes must agree."""
    if world.stage_cost.shape != model.stage_cost.shape:
        raise BadProblem(
            f"(states, actions) of the world are {world.stage_cost.shape}, of the model {model.stage_cost.shape}: "
            "tabulate both alike"
        )
    solved, believed = policy_iteration(world), policy_iteration(model)
    v, v_hat = solved.value, believed.value
    d, d_hat = disadvantage(solved), disadvantage(believed)
    zero = tolerance * max(1.0, float(np.max(np.abs(v))), float(np.max(np.abs(v_hat))))

    storage = v - v_hat
    restored = policy_iteration(_with_storage(model, storage, model.transition))
    printed = policy_iteration(_with_storage(model, storage, world.transition))
    available = np.isfinite(d) & np.isfinite(d_hat)
    difference = np.where(available, world.transition @ v - model.transition @ v, np.nan)

    modified_cost = solved.action_value - model.discount * (model.transition @ v)
    remade = policy_iteration(make_mdp(model.transition, modified_cost, model.discount))
    finite = np.isfinite(solved.action_value)
    return Equivalence(
        world=solved,
        model=believed,
        sandwich=sandwich(d, d_hat, zero),
        storage=storage,
        theorem1_value_residual=float(np.max(np.abs(restored.value - v))),
        theorem1_advantage_residual=_gap(disadvantage(restored), d_hat, np.isfinite(d_hat)),
        theorem1_value_residual_as_printed=float(np.max(np.abs(printed.value - v))),
        difference=difference,
        modified_cost=modified_cost,
        modification_residual=_gap(remade.action_value, solved.action_value, finite),
        regret=regret(world, solved, believed.policy),
    )


def _with_storage(model: Mdp, storage: Array, transition: Array) -> Mdp:
    """The model with stage cost L + Lambda, Lambda = lambda - gamma E[lambda(s+)] under `transition`: (17), (18)."""
    shift = storage[:, None] - model.discount * (transition @ storage)
    return make_mdp(model.transition, model.stage_cost + shift, model.discount)


def disadvantage(solution: TabularSolution) -> Array:
    """D (ns, na) = Q - min_a Q, exactly 0 at the minimiser, inf where an action is not available."""
    return np.asarray(solution.action_value - solution.action_value.min(axis=1, keepdims=True))


def sandwich(d: Array, d_hat: Array, zero: float = 0.0) -> Sandwich:
    """Envelopes of the points (D, D_hat), both (ns, na): the tightest class-K functions up to a strictness margin.

    alpha(x) = (1 - MARGIN / (1 + x)) inf{D_hat : D >= x},  beta(x) = MARGIN x + sup{D_hat : D <= x}: infimum and
    supremum are monotone, factor and summand make them strictly so; between data points they are joined linearly.
    """
    flat, flat_hat = np.where(d <= zero, 0.0, d).ravel(), np.where(d_hat <= zero, 0.0, d_hat).ravel()
    upper = float(flat_hat[flat == 0.0].max(initial=0.0))
    lower = float(flat[flat_hat == 0.0].max(initial=0.0))
    order = np.argsort(flat, kind="stable")
    x, y = flat[order], flat_hat[order]
    above = np.minimum.accumulate(y[::-1])[::-1]
    below = np.maximum.accumulate(y)
    at, first = np.unique(x, return_index=True)
    last = np.append(first[1:], len(x)) - 1
    kept = np.isfinite(at)
    at = at[kept]
    alpha = np.where(at > 0.0, (1.0 - MARGIN / (1.0 + at)) * above[first][kept], 0.0)
    beta = np.where(at > 0.0, MARGIN * at + below[last][kept], 0.0)
    both = np.isfinite(flat) & np.isfinite(flat_hat)
    low, high = np.interp(flat[both], at, alpha), np.interp(flat[both], at, beta)
    violation = float(np.maximum(low - flat_hat[both], flat_hat[both] - high).max(initial=0.0))
    return Sandwich(at, alpha, beta, upper, lower, violation)


def regret(world: Mdp, solved: TabularSolution, policy: NDArray[np.int64]) -> float:
    """max over s of V_policy - V* in the world; inf if the policy takes an action that is not available."""
    p, cost = world.of_policy(policy)
    if np.isinf(cost).any():
        return float("inf")
    value = np.linalg.solve(np.eye(world.n_states) - world.discount * p, cost)
    return max(0.0, float(np.max(value - solved.value)))


def _gap(x: Array, y: Array, where: NDArray[np.bool_]) -> float:
    return float(np.max(np.abs(x[where] - y[where]), initial=0.0))
