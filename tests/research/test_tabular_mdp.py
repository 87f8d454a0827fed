"""Tabulated decision problems: the solvers agree with each other, and bad arrays are refused by value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.tabular.errors import BadProblem, NoFeasibleAction
from research.tabular.mdp import (
    evaluate_policy,
    make_mdp,
    modified_policy_iteration,
    policy_iteration,
    value_iteration,
)
from research.tabular.tabulate import random_mdp


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 5), st.floats(0.05, 0.97))
def test_the_three_solvers_agree(seed: int, states: int, actions: int, discount: float) -> None:
    mdp = random_mdp(np.random.default_rng(seed), states, actions, discount)
    exact = policy_iteration(mdp)
    for other in (value_iteration(mdp), modified_policy_iteration(mdp, sweeps=15)):
        np.testing.assert_allclose(other.value, exact.value, atol=2e-9)
        np.testing.assert_allclose(evaluate_policy(mdp, other.policy), exact.value, atol=2e-9)


def test_policy_evaluation_lies_in_a_monte_carlo_interval() -> None:
    generator = np.random.default_rng(0)
    mdp = random_mdp(generator, 6, 3, 0.8)
    policy = np.array([0, 1, 2, 0, 1, 2])
    p, cost = mdp.of_policy(policy)
    state, total = np.zeros(20_000, dtype=int), np.zeros(20_000)
    for k in range(120):
        total += mdp.discount**k * cost[state]
        state = (generator.random((len(state), 1)) > p[state].cumsum(axis=1)).sum(axis=1).clip(max=5)
    standard_error = total.std() / np.sqrt(len(total))
    assert abs(total.mean() - evaluate_policy(mdp, policy)[0]) < 4 * standard_error


def test_an_action_with_infinite_cost_is_never_taken() -> None:
    p = np.zeros((2, 2, 2))
    p[0, 0, 0] = p[0, 1, 1] = p[1, 0, 1] = p[1, 1, 1] = 1.0
    mdp = make_mdp(p, [[1.0, np.inf], [0.0, 3.0]], 0.5)
    solved = policy_iteration(mdp)
    np.testing.assert_allclose(solved.value, [2.0, 0.0])
    with pytest.raises(NoFeasibleAction, match="action 1, not available in state 0"):
        evaluate_policy(mdp, np.array([1, 0]))


GOOD = np.full((2, 1, 2), 0.5)


@pytest.mark.parametrize(
    ("p", "cost", "gamma", "said"),
    [
        (GOOD, np.zeros((2, 1)), 1.0, "got 1.0"),
        (GOOD, np.zeros((2, 1)), 0.0, "got 0.0"),
        (GOOD, np.zeros((2, 1)), float("nan"), "got nan"),
        (GOOD * [[[1.0, 1.2]]], np.zeros((2, 1)), 0.9, r"P\[0, 0, :\] sums to 1.1"),
        (GOOD * [[[-1.0, 3.0]]], np.zeros((2, 1)), 0.9, r"P\[0, 0, 0\] is -0.5"),
        (GOOD, [[0.0], [float("nan")]], 0.9, r"L\[1, 0\] is nan"),
        (GOOD, np.zeros((2, 3)), 0.9, r"\(2, 1, 2\) and \(2, 3\)"),
    ],
)
def test_bad_arrays_are_refused_with_the_offending_value(p, cost, gamma, said) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadProblem, match=said) as caught:
        make_mdp(p, cost, gamma)
    assert caught.value.exit_code == 65


def test_a_state_without_any_action_is_named() -> None:
    with pytest.raises(NoFeasibleAction, match="state 1"):
        make_mdp(GOOD, [[0.0], [np.inf]], 0.9)
