"""The two-layer critic on labelled transitions, against the exact policy gradient of a linear-quadratic problem."""

from __future__ import annotations

import numpy as np
import pytest
from linear_quadratic import GAMMA, NOISE, A, B, Q, R, cost_of_gain, gain

from systems.design import HouseDesign
from systems.house_file import read_house
from tuner.critics.stretches import propose_by_two_layer, samples_of
from tuner.critics.two_layer import TwoLayer
from tuner.errors import CriticError, TrainingError
from tuner.learn.critic import StepOptions, propose, sums_of
from tuner.learn.improve import Credit, by_policy_gradient, keep_what_is_sure
from tuner.learn.transitions import Transitions
from tuner.learn.tuning import TuningSpec
from tuner.loop.explore import trace_of

THETA = np.array([0.6, 0.7, 1.0])
K = gain(THETA)
OPTIONS = StepOptions(prior=1e-3)


def stretch(n: int, seed: int) -> Transitions:
    """Actions in units of exploration, as labelled by a theta whose value p s^2 is not the true one."""
    rng, std, s = np.random.default_rng(seed), 0.3, np.zeros(n + 1)
    policy, action = np.zeros(n + 1), np.zeros(n)
    for k in range(n):
        policy[k] = -K * s[k]
        action[k] = policy[k] + std * rng.standard_normal()
        s[k + 1] = A * s[k] + B * action[k] + NOISE * rng.standard_normal()
    policy[n] = -K * s[n]
    h = 1e-6
    slope = np.array([(gain(THETA + h * e) - gain(THETA - h * e)) / (2 * h) for e in np.eye(3)])
    value, empty, ones = THETA[2] * s**2, np.empty(0), np.ones((n, 1))
    return Transitions(
        value[:-1], value[1:], Q * s[:-1] ** 2 + R * action**2, policy[:-1, None] / std, action[:, None] / std,
        action[:, None] / std, policy[:-1, None] / std, np.zeros((n, 1)),
        -s[:-1, None, None] * slope / std, ones, std**2 * ones[:, 0], empty, empty,
        np.zeros(n, dtype=np.int64), empty, empty,
    )  # fmt: skip


def exact_gradient(t: Transitions) -> np.ndarray:
    s = -t.policy[:, 0] * 0.3 / K
    exact = 2 * R * -K * s + 2 * GAMMA * cost_of_gain(K) * B * (A - B * K) * s
    return np.einsum("np,n->p", t.policy_jacobian[:, 0], 0.3 * exact) / len(t)


def test_it_finds_the_policy_gradient_that_the_value_of_the_program_hides() -> None:
    """V_theta is p s^2 with a wrong p: the critic with a constant beside it inherits that, this one does not."""
    found, compatible = [], []
    for seed in range(3):
        t = stretch(12_000, seed)
        exact = exact_gradient(t)
        learner = TwoLayer(updates=6000, seed=seed)
        found.append(propose_by_two_layer(t, np.zeros(3), OPTIONS, GAMMA, learner).gradient @ exact / (exact @ exact))
        linear = propose(sums_of(t, gamma=GAMMA), np.zeros(3), OPTIONS)
        compatible.append(linear.gradient @ exact / (exact @ exact))
    assert max(compatible) < 0.4
    assert np.mean(found) == pytest.approx(1.0, abs=0.15) and min(found) > 0.8 and max(found) < 1.3


def test_where_a_part_is_left_out_no_row_is_taken_for_the_next_state() -> None:
    t = stretch(400, 0)
    left = np.ones(400, dtype=bool)
    left[100:150] = False
    samples = samples_of(t.select(left), GAMMA)
    assert len(samples) == 348
    np.testing.assert_array_equal(samples.next_state[:98], samples.state[1:99])


def test_it_is_chosen_by_name_where_a_method_has_a_critic() -> None:
    t = stretch(3000, 5)
    found = [
        by_policy_gradient(t, np.zeros(3), Credit(GAMMA, 0.0, 1.0, OPTIONS, critic)).change
        for critic in ("lstdq", "two-layer")
    ]
    assert not np.array_equal(*found)
    credit = Credit(GAMMA, 0.0, 1.0, OPTIONS, "two-layer")
    kept = keep_what_is_sure(t, lambda part: by_policy_gradient(part, np.zeros(3), credit), found[1], certainty=1.0)
    assert kept @ found[1] > 0.0
    with pytest.raises(TrainingError, match="method q has no critic"):
        TuningSpec(method="q", critic="two-layer").validate()
    with pytest.raises(TrainingError, match="lstdq, two-layer"):
        TuningSpec(critic="deep").validate()
    with pytest.raises(CriticError, match="49 transitions"):
        propose_by_two_layer(stretch(50, 0), np.zeros(3), OPTIONS, GAMMA, TwoLayer())


def test_what_was_paid_counts_for_as_long_as_heat_lasts() -> None:
    """The same ten hours whatever a decision's length; a house without heat keeps the learner's own lambda."""
    flat, battery = (HouseDesign(read_house(name)[0]).house for name in ("flat", "battery"))
    assert trace_of(flat) ** (10 * 3600 / flat.grid.hold_s) == pytest.approx(np.exp(-1.0))
    assert trace_of(battery) == TuningSpec().trace
