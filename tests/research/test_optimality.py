"""The optimality conditions on problems whose residuals are known by hand, and on random ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.optimality import compare, sandwich
from research.tabular.errors import BadProblem, NoModel
from research.tabular.mdp import Mdp, make_mdp, policy_iteration
from research.tabular.tabulate import fitted_model, random_mdp, sufficient_model


def two_states(target_of_second_action: int) -> Mdp:
    """State 0: stay for 1, or pay 1.5 and go to `target`. State 1: absorbing, 0 or 3. gamma = 1/2."""
    p = np.zeros((2, 2, 2))
    p[0, 0, 0] = p[0, 1, target_of_second_action] = p[1, 0, 1] = p[1, 1, 1] = 1.0
    return make_mdp(p, [[1.0, 1.5], [0.0, 3.0]], 0.5)


def test_residuals_of_a_wrong_model_known_by_hand() -> None:
    # World: V = (1.5, 0), D = ((0.25, 0), (0, 3)). Model without the way out: V_hat = (2, 0), D_hat(0, 1) = 0.5.
    found = compare(two_states(1), two_states(0))
    np.testing.assert_allclose(found.world.value, [1.5, 0.0])
    np.testing.assert_allclose(found.model.value, [2.0, 0.0])
    np.testing.assert_allclose(found.storage, [-0.5, 0.0])
    assert not found.same_policy
    assert found.sandwich.lower_residual == pytest.approx(0.25)
    assert found.sandwich.upper_residual == pytest.approx(0.5)
    assert found.regret == pytest.approx(0.5)
    assert found.spread == pytest.approx(1.5) and found.delta == pytest.approx(-0.75)
    assert found.modified_cost[0, 1] == pytest.approx(0.75)
    assert found.modification_residual < 1e-12
    assert found.theorem1_value_residual < 1e-12


def test_a_model_equal_to_the_world_has_no_residual() -> None:
    found = compare(two_states(1), two_states(1))
    assert found.same_policy and found.sandwich.violation == 0.0 and found.spread == 0.0 and found.regret == 0.0


def test_the_expectation_in_lambda_is_under_the_model_not_the_world() -> None:
    generator = np.random.default_rng(0)
    world = random_mdp(generator, 8, 3, 0.9)
    found = compare(world, random_mdp(generator, 8, 3, 0.9))
    assert found.theorem1_value_residual < 1e-10 < 1e-2 < found.theorem1_value_residual_as_printed


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_conditions_on_random_problems(seed: int) -> None:
    generator = np.random.default_rng(seed)
    world = random_mdp(generator, 8, 3, 0.9)
    model = fitted_model(generator, world, 20)
    model = make_mdp(model.transition, model.stage_cost, 0.8)  # world and model may discount differently
    found = compare(world, model)
    assert found.theorem1_value_residual < 1e-10 and found.theorem1_advantage_residual < 1e-10
    assert found.modification_residual < 1e-10
    assert found.same_policy == bool((found.world.policy == found.model.policy).all())
    assert (found.regret > 1e-9) == (not found.same_policy)
    if found.same_policy:
        at, alpha, beta = found.sandwich.at, found.sandwich.alpha, found.sandwich.beta
        assert at[0] == alpha[0] == beta[0] == 0.0
        assert (np.diff(alpha) > 0).all() and (np.diff(beta) > 0).all()
        assert found.sandwich.violation < 1e-12


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(-0.02, 0.02))
def test_the_sufficient_condition_gives_the_optimal_policy_and_the_discounted_offset(seed: int, delta: float) -> None:
    world = random_mdp(np.random.default_rng(seed), 10, 3, 0.9)
    solved = policy_iteration(world)
    try:
        model = sufficient_model(world, solved.value, delta)
    except NoModel:
        return
    found = compare(world, model)
    assert found.spread < 1e-12 and found.delta == pytest.approx(delta, abs=1e-12)
    assert found.same_policy
    offset = found.model.action_value + delta * 0.9 / (1 - 0.9)
    np.testing.assert_allclose(offset, found.world.action_value, atol=1e-11)


def test_a_delta_without_a_model_is_refused_with_its_value() -> None:
    world = two_states(1)
    with pytest.raises(NoModel, match="Delta = 9") as caught:
        sufficient_model(world, policy_iteration(world).value, 9.0)
    assert caught.value.exit_code == 65


def test_a_sandwich_exists_exactly_when_the_zeros_coincide() -> None:
    d = np.array([[0.0, 1.0, 2.0]])
    assert sandwich(d, np.array([[0.0, 3.0, 0.5]])).exists
    assert sandwich(d, np.array([[0.0, 3.0, 0.5]])).violation == 0.0
    flat = sandwich(d, np.array([[0.0, 0.0, 0.5]]))
    assert not flat.exists and flat.lower_residual == 1.0 and flat.upper_residual == 0.0
    forbidden = sandwich(np.array([[0.0, np.inf]]), np.array([[0.1, 0.0]]))
    assert forbidden.lower_residual == np.inf and forbidden.upper_residual == 0.1


def test_shapes_must_agree() -> None:
    with pytest.raises(BadProblem, match=r"\(2, 2\).*\(3, 2\)"):
        compare(two_states(1), random_mdp(np.random.default_rng(0), 3, 2, 0.5))
