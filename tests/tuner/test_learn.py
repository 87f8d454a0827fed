"""The learner's own equations: the mean of clipped noise, and a log that is asked again as theta moves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.learn.critic import StepOptions, gauss_newton, propose, sums_of, weights
from tuner.learn.transitions import Transitions, mean_within_bounds


def test_hours_in_which_selling_pays_for_buying_do_not_outweigh_all_others():
    value, none = np.concatenate([np.full(96, 4.0), [0.0, -0.01, -3.0, 0.01]]), np.empty(0)
    t = Transitions(value, *[none] * 15)
    assert weights(t)[96:].sum() < 0.2 * weights(t).sum() and weights(t)[0] == 0.25


@settings(max_examples=25, deadline=None)
@given(policy=st.floats(0.0, 1.5), std=st.floats(0.02, 0.6))
def test_the_mean_of_clipped_noise_is_that_of_a_sample(policy, std):
    sample = np.clip(policy + std * np.random.default_rng(0).standard_normal(200_000), 0.0, 1.5)
    assert mean_within_bounds(np.array([policy]), std, 0.0, 1.5)[0] == pytest.approx(sample.mean(), abs=0.006 * std)


def test_a_log_is_asked_again_at_the_policy_that_learning_has_reached():
    """However often the same log teaches, theta ends at its optimum: dQ/da is that at pi_theta, not at what decided."""
    rng, n, spread = np.random.default_rng(2), 4000, 0.2
    jacobian, best = rng.standard_normal((n, 1, 2)), np.array([0.7, -0.4])
    decided, curvature = rng.uniform(0.0, 1.0, (n, 1)), 3.0
    action = decided + spread * rng.standard_normal((n, 1))
    wanted = decided + jacobian @ best
    value = 1.0 + curvature / 2 * ((decided - wanted) ** 2).sum(1)
    cost = 1.0 + curvature / 2 * ((action - wanted) ** 2).sum(1)
    theta = np.zeros(2)
    for _ in range(6):
        drift = jacobian @ theta
        empty = np.empty(0)
        t = Transitions(
            value=value, next_value=np.zeros(n), cost=cost,
            policy=decided + drift, asked=action, action=action, mean_action=decided, drift=drift,
            policy_jacobian=jacobian, probe=np.ones((n, 1)), rise=np.full(n, curvature / 2), foretold_cost=empty,
            foretold_value=empty, segment=np.arange(n), advantage=empty, advantage_gradient=empty,
        )  # fmt: skip
        theta = theta + propose(sums_of(t, gamma=0.0), theta, StepOptions(prior=1e-6, damping=1e-9)).change
    assert theta == pytest.approx(best, abs=1e-4)


def test_directions_on_which_no_decision_hangs_are_held_however_many_they_are():
    """Eq. (30) as a penalty: what it takes from the strong directions does not depend on the number of weak ones."""
    rng = np.random.default_rng(3)
    root = rng.standard_normal((4, 4))
    curvature, gradient, distance = root @ root.T, rng.standard_normal(4), rng.standard_normal(4)
    options = StepOptions(damping=0.0, support=0.1)
    alone = gauss_newton(gradient, curvature, distance, options)
    weak = 400
    padded = np.zeros((4 + weak, 4 + weak))
    padded[:4, :4] = curvature
    noise = 1e-3 * rng.standard_normal(weak)
    among = gauss_newton(np.concatenate([gradient, noise]), padded, np.concatenate([distance, np.ones(weak)]), options)
    assert among[:4] == pytest.approx(alone, rel=1e-9)
    pull = 0.1 * np.linalg.eigvalsh(curvature)[-1]
    assert among[4:] == pytest.approx(-1.0 - noise / pull)
