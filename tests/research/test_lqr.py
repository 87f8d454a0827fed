"""The three routes to the linear-quadratic gain."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nisse.cli import main
from research.experiments.lqr import SYSTEM
from research.lqr import (
    certainty_equivalence,
    explore,
    finite_difference_gradient_descent,
    lstd_policy_iteration,
)

START = np.zeros((1, 2))


def test_the_gain_is_a_minimum_of_the_exact_cost_and_the_printed_one_is_not() -> None:
    best = SYSTEM.optimal_gain()
    cost = SYSTEM.average_cost(best)
    for direction in np.eye(2):
        for sign in (-1.0, 1.0):
            assert SYSTEM.average_cost(best + sign * 1e-3 * direction) > cost
    p = np.eye(2)
    for _ in range(2000):  # the Riccati recursion, independent of the solver
        gain = -np.linalg.solve(SYSTEM.r + SYSTEM.b.T @ p @ SYSTEM.b, SYSTEM.b.T @ p @ SYSTEM.a)
        p = SYSTEM.q + SYSTEM.a.T @ p @ (SYSTEM.a + SYSTEM.b @ gain)
    np.testing.assert_allclose(best, gain, atol=1e-9)
    printed = -np.linalg.solve(SYSTEM.r + SYSTEM.b.T @ p @ SYSTEM.b, SYSTEM.b.T @ SYSTEM.q @ p @ SYSTEM.a)
    assert SYSTEM.average_cost(printed) > 1.05 * cost


def test_average_cost_agrees_with_a_long_rollout() -> None:
    data = explore(SYSTEM, SYSTEM.optimal_gain(), 40_000, action_std=0.0, seed=0)
    assert data.cost.mean() == pytest.approx(SYSTEM.average_cost(SYSTEM.optimal_gain()), rel=0.05)
    assert SYSTEM.average_cost(np.array([[5.0, 5.0]])) == np.inf


def test_without_noise_model_and_critic_are_exact() -> None:
    quiet = replace(SYSTEM, noise_std=0.0)
    data = explore(quiet, START, 200, action_std=0.5, seed=0)
    np.testing.assert_allclose(certainty_equivalence(data, quiet.q, quiet.r), quiet.optimal_gain(), atol=1e-9)
    np.testing.assert_allclose(lstd_policy_iteration(data, START), quiet.optimal_gain(), atol=1e-6)


def test_every_route_gets_closer_with_more_data() -> None:
    best = SYSTEM.optimal_gain()

    def errors(count: int) -> list[float]:
        found = []
        for seed in range(4):
            data = explore(SYSTEM, START, count, action_std=0.5, seed=seed)
            gains = (
                certainty_equivalence(data, SYSTEM.q, SYSTEM.r),
                lstd_policy_iteration(data, START),
                finite_difference_gradient_descent(SYSTEM, START, count, seed=seed),
            )
            found.append([float(np.linalg.norm(gain - best)) for gain in gains])
        return list(np.median(found, axis=0))

    few, many = errors(400), errors(10_000)
    assert all(later < 0.7 * earlier for earlier, later in zip(few, many, strict=True))
    assert many[0] < 0.02 and many[1] < 0.3 and many[2] < 1.0


def test_command(tmp_path: Path) -> None:
    path = tmp_path / "lqr.json"
    arguments = ["experiment", "lqr", "--transitions", "1000", "--seeds", "2", "--output", str(tmp_path / "out")]
    assert main([*arguments, "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    assert result["settings"]["shown_seeds"] == [0, 1] and result["settings"]["on_both"] == []
    assert result["transitions"] == [300, 1000] and np.shape(result["gain_error"]["policy_gradient"]) == (2, 2)
    assert (tmp_path / "out" / "lqr.png").stat().st_size > 10_000
