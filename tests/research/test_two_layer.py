"""The two-layer critic against the exact Q of a linear regulator, which a rollout confirms; and its command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nisse.cli import main
from research.experiments.lqr import SYSTEM
from research.experiments.two_layer_page import over
from research.two_layer import GAMMA, Agreement, CriticCase, examine, regulated
from tuner.critics.two_layer import TwoLayer


def test_the_exact_slope_is_that_of_a_rollout() -> None:
    """Noise adds a constant to Q, so a rollout without it has the same slope."""
    loop = regulated(0.1)

    def q(s: np.ndarray, a: np.ndarray) -> float:
        total = 0.0
        for k in range(400):
            total += GAMMA**k * float(SYSTEM.stage_cost(s, a))
            s = SYSTEM.a @ s + SYSTEM.b @ a
            a = loop.gain @ s
        return total

    states, h = np.random.default_rng(0).normal(size=(5, 2)), 1e-4
    measured = [(q(s, loop.gain @ s + h) - q(s, loop.gain @ s - h)) / (2 * h) for s in states]
    assert loop.slope(states)[:, 0] == pytest.approx(measured, rel=1e-6)


def test_the_semi_gradient_finds_it_and_both_sides_only_without_noise() -> None:
    for seed in (2, 3):
        case = CriticCase(TwoLayer()).with_seed(seed)
        semi = examine(case)
        assert semi.end.correlation > 0.95 and semi.end.error < 0.2
        assert semi.excitation > 1e-4 and semi.largest_norm < 10.0
        both = replace(case, learner=replace(case.learner, gradient="both"))
        assert examine(both).end.error > 0.7
        assert examine(replace(both, noise_std=0.0)).end.error < 0.05


def test_least_squares_on_the_same_data_are_nearer_the_more_there_are() -> None:
    loop, states = regulated(0.1), np.random.default_rng(0).normal(size=(50, 2))
    errors = [
        Agreement.of(loop.least_squares_slope(loop.samples(n, 0.5, 1), states), loop.slope(states)).error
        for n in (300, 30_000)
    ]
    assert errors[1] < 0.03 and errors[1] < errors[0]


def test_what_is_not_excited_has_an_eigenvalue_of_zero_or_is_refused() -> None:
    base = CriticCase(TwoLayer(updates=200), transitions=8)
    assert examine(base).excitation < 1e-12
    assert examine(replace(base, transitions=100)).excitation > 1e-5
    assert "explore" in examine(replace(base, exploration_std=0.0)).left


def test_command(tmp_path: Path) -> None:
    path = tmp_path / "two-layer.json"
    arguments = ["experiment", "two-layer", "--transitions", "300", "--updates", "30", "--seeds", "2", "--jobs", "1"]
    assert main([*arguments, "--json", str(path), "--output", str(tmp_path / "out")]) == 0
    result = json.loads(path.read_text())
    assert len(result["found"]["variants"]["semi"]) == 2
    assert result["found"]["excitation"]["no exploration"][0]["left"]
    assert (tmp_path / "out" / "two-layer.png").stat().st_size > 10_000


def test_numbers_are_the_median_and_the_range_over_the_seeds() -> None:
    assert over([4.0, 1.0, 2.0], ".1f") == "2.0 (1.0 to 4.0)"
    assert over([np.nan, 1.0, 3.0], ".1f") == "2.0 (1.0 to 3.0)" and over([np.nan]) == "none"
