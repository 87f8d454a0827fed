"""The off-policy estimate on a linear-quadratic system, where what another gain costs is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from linear_quadratic import GAMMA, NOISE, A, B, OneStepController, Q, R, cost_of_gain, gain

from systems.logs.log import Array
from tuner.evaluate.off_policy import Other, off_policy_saving, other_moves
from tuner.learn.transitions import Labelled, Transitions

STD, STEPS = 0.3, 6000


def log_of(theta: Array, seed: int) -> tuple[list[Array], list[Array], Labelled]:
    """An exploring log of the gain of theta, labelled by its program: (states, forecasts, transitions)."""
    rng, controller = np.random.default_rng(seed), OneStepController()
    controller.set_theta(theta)
    states, shocks = [np.array([rng.normal()])], STD * rng.standard_normal(STEPS)
    costs = []
    for k in range(STEPS):
        s, a = float(states[-1][0]), -gain(theta) * float(states[-1][0]) + shocks[k]
        costs.append(Q * s**2 + R * a**2)
        states.append(np.array([A * s + B * a + NOISE * rng.standard_normal()]))
    values = np.array([controller.solve(s, None).value for s in states])
    policy = np.array([-gain(theta) * s for s in states[:-1]])
    zeros = np.zeros((STEPS, 1))
    transitions = Transitions(
        value=values[:-1], next_value=values[1:], cost=np.array(costs), policy=policy / STD,
        asked=(policy + shocks[:, None]) / STD, action=(policy + shocks[:, None]) / STD, mean_action=policy / STD,
        drift=zeros, policy_jacobian=np.zeros((STEPS, 1, 3)), probe=np.full((STEPS, 1), np.nan),
        rise=np.full(STEPS, np.nan), foretold_cost=np.empty(0), foretold_value=np.empty(0),
        segment=np.zeros(STEPS, dtype=np.int64), advantage=np.empty(0), advantage_gradient=np.empty(0),
    )  # fmt: skip
    forecasts = [np.zeros((2, 0))] * STEPS
    return states[:-1], forecasts, Labelled(transitions, STEPS, 0, np.ones(STEPS, dtype=bool))


def saving(old: Array, new: Array, seed: int) -> tuple[float, float, float]:
    states, forecasts, labelled = log_of(old, seed)
    other = other_moves(OneStepController(), (old, new), states, forecasts, labelled, np.array([STD]))
    found = off_policy_saving(other, gamma=GAMMA, trace=0.9, per=1.0)
    assert found is not None
    return found.low, found.mean, found.high


def truth(old: Array, new: Array, seed: int) -> float:
    """Q_old(s, -k_old s) - Q_old(s, -k_new s) of the true world, over the states of the log."""
    squares = float((np.array(log_of(old, seed)[0]) ** 2).mean())

    def q(k: float) -> float:
        return Q + R * k**2 + GAMMA * cost_of_gain(gain(old)) * (A - B * k) ** 2

    return (q(gain(old)) - q(gain(new))) * squares


@pytest.mark.parametrize("seed", range(3))
def test_it_tells_better_from_worse_and_about_how_much(seed: int) -> None:
    idle, poor, best = np.array([0.6, 0.3, 0.2]), np.array([0.6, 0.7, 1.0]), np.array([A, B, 2.0])
    assert gain(idle) < 0.11 < gain(poor) < gain(best)
    for old, new in ((idle, poor), (poor, best)):
        low, mean, _ = saving(old, new, seed)
        assert low > 0.0
        assert mean == pytest.approx(truth(old, new, seed), rel=1.0)
    assert saving(best, idle, seed)[2] < 0.0


def test_too_few_transitions_and_the_same_moves_say_nothing() -> None:
    theta = np.array([0.6, 0.7, 1.0])
    states, forecasts, labelled = log_of(theta, 0)
    same = other_moves(OneStepController(), (theta, theta), states, forecasts, labelled, np.array([STD]))
    assert off_policy_saving(same, gamma=GAMMA, trace=0.5, per=1.0) is None
    few = Other(same.transitions.select(np.arange(STEPS) < 30), np.ones((30, 1)), np.zeros(30))
    assert off_policy_saving(few, gamma=GAMMA, trace=0.5, per=1.0) is None
