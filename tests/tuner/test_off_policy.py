"""The off-policy estimate on a linear-quadratic system, where what another gain costs is known exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from linear_quadratic import GAMMA, NOISE, A, B, OneStepController, Q, R, cost_of_gain, gain

from systems.logs.log import Array
from tuner.evaluate.off_policy import Behaviour, OffPolicy, Other, off_policy_saving, other_moves
from tuner.evaluate.statistics import mean_interval
from tuner.learn.advantage import generalised_advantage
from tuner.learn.transitions import Labelled, Transitions

STD, STEPS = 0.3, 1500
IDLE, POOR, BEST = np.array([0.6, 0.3, 0.2]), np.array([0.6, 0.7, 1.0]), np.array([A, B, 2.0])
FREE = Behaviour(np.array([STD]), np.array([-50.0]), np.array([50.0]))


def log_of(theta: Array, seed: int, behaviour: Behaviour = FREE, hold: int = 1) -> tuple[Array, Labelled]:
    """An exploring log of the gain of theta, labelled by its program: (states, transitions)."""
    rng = np.random.default_rng(seed)
    shocks = np.repeat(STD * rng.standard_normal(STEPS), hold)[:STEPS]
    states, done, costs = [float(rng.normal())], [], []
    for shock, noise in zip(shocks, NOISE * rng.standard_normal(STEPS), strict=True):
        s = states[-1]
        a = float(np.clip(-gain(theta) * s + shock, behaviour.lower[0], behaviour.upper[0]))
        done.append(a)
        costs.append(Q * s**2 + R * a**2)
        states.append(A * s + B * a + noise)
    s, (model_a, model_b, p) = np.array(states), theta
    decided = -gain(theta) * s
    values = Q * s**2 + R * decided**2 + GAMMA * p * (model_a * s + model_b * decided) ** 2
    policy, action = decided[:-1, None], np.array(done)[:, None]
    zeros, empty = np.zeros((STEPS, 1)), np.empty(0)
    transitions = Transitions(
        value=values[:-1], next_value=values[1:], cost=np.array(costs), policy=policy / STD,
        asked=action / STD, action=action / STD, mean_action=policy / STD, drift=zeros,
        policy_jacobian=np.zeros((STEPS, 1, 3)), probe=np.full((STEPS, 1), np.nan), rise=np.full(STEPS, np.nan),
        foretold_cost=empty, foretold_value=empty, segment=np.zeros(STEPS, dtype=np.int64), advantage=empty,
        advantage_gradient=empty,
    )  # fmt: skip
    return s[:-1], Labelled(transitions, STEPS, 0, np.ones(STEPS, dtype=bool))


def other_of(old: Array, new: Array, seed: int, behaviour: Behaviour = FREE, hold: int = 1) -> tuple[Array, Other]:
    states, labelled = log_of(old, seed, behaviour, hold)
    seen = [np.array([s]) for s in states], [np.zeros((2, 0))] * STEPS
    return states, other_moves(OneStepController(), (old, new), *seen, labelled, np.array([STD]), behaviour)


def judged(other: Other) -> OffPolicy:
    return off_policy_saving(other, gamma=GAMMA, per=1.0)


def truth(old: Array, new: Array, states: Array) -> float:
    """Q_old(s, -k_old s) - Q_old(s, -k_new s) of the true world, over the states of the log."""

    def q(k: float) -> float:
        return Q + R * k**2 + GAMMA * cost_of_gain(gain(old)) * (A - B * k) ** 2

    return (q(gain(old)) - q(gain(new))) * float((states**2).mean())


@pytest.mark.parametrize(("old", "new"), [(IDLE, POOR), (POOR, BEST), (POOR, IDLE)])
def test_the_interval_covers_as_often_as_it_says(old: Array, new: Array) -> None:
    """Where V_theta is far from the truth: the program knows neither gain nor time."""
    logs, found, short = 40, [], 0
    for seed in range(logs):
        states, other = other_of(old, new, seed)
        interval, true = judged(other).interval, truth(old, new, states)
        if interval is None:
            continue  # the weights of this log are worth too little, as is said
        found.append((interval.low <= true <= interval.high, interval.mean - true))
        short += covers(shortened(other), true)
    covered, errors = np.array(found).T
    assert len(covered) >= 0.8 * logs
    # 0.95 is expected; less than 0.85 in less than 1 of 100 tries.
    assert covered.mean() >= 0.85
    assert abs(errors.mean()) < 3.0 * errors.std() / np.sqrt(len(errors))
    # The trace that learning uses would have missed.
    assert short < 0.75 * len(covered)


def shortened(other: Other) -> tuple[float, float]:
    """The ends where V_theta stands for what came later, by a trace of one half."""
    t = other.transitions
    worth = generalised_advantage(t.surprise(GAMMA), t.segment, 0.5 * GAMMA)
    saved = -(other.ratio - 1.0) * (worth - worth.mean())
    interval = mean_interval(np.array([part.mean() for part in np.array_split(saved, 12)]))
    return interval.low, interval.high


def covers(ends: tuple[float, float], true: float) -> bool:
    return ends[0] <= true <= ends[1]


def test_noise_that_bounds_clip_is_weighted_as_what_it_was() -> None:
    """With actions within narrow bounds, what is done at a bound has the weight of all that lies beyond it."""
    narrow = Behaviour(FREE.std, np.array([-0.25]), np.array([0.25]))
    ratios = [other_of(POOR, BEST, seed, narrow)[1].ratio for seed in range(12)]
    means = np.array([ratio.mean() for ratio in ratios])
    # A density's ratio has the mean 1, whatever share of the actions is at a bound.
    assert abs(means.mean() - 1.0) < 3.0 * means.std() / np.sqrt(len(means))
    assert np.isnan(other_of(POOR, BEST, 0, narrow)[1].noise).mean() > 0.3


def test_what_exploration_hardly_tried_is_not_judged() -> None:
    behaviour = Behaviour(np.array([0.02]), FREE.lower, FREE.upper)
    states, labelled = log_of(IDLE, 0)
    quiet = replace(labelled.transitions, asked=labelled.transitions.policy)
    seen = [np.array([s]) for s in states], [np.zeros((2, 0))] * STEPS
    far = other_moves(
        OneStepController(), (IDLE, BEST), *seen, replace(labelled, transitions=quiet), np.array([STD]), behaviour
    )
    found = judged(far)
    assert found.interval is None and found.effective < 0.1 * found.count and "exploration seldom tried" in found.why


def test_too_few_decisions_the_same_moves_and_noise_that_lasts_say_nothing() -> None:
    _, same = other_of(POOR, POOR, 0)
    assert judged(same).interval is None and "nothing else than the old" in judged(same).why
    few = Other(same.transitions.select(np.arange(STEPS) < 30), np.ones(30), same.noise[:30])
    assert judged(few).interval is None and "too few" in judged(few).why
    _, held = other_of(POOR, BEST, 0, hold=2)
    assert judged(held).interval is None and "hold_s" in judged(held).why
