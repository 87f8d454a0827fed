"""Tries in pairs find the slope that is there and say nothing of one that is not; a run goes on where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from systems.problem import Parameter
from tuner.errors import TrainingError
from tuner.learn.differences import directions, slopes_of, steps_of, tries
from tuner.learn.proposals import Labeller
from tuner.learn.tuning import PAIRED, Course, Tuning, TuningSpec, tune
from tuner.learn.world import Tried, World

BEST = np.array([0.9, 0.35, 0.55, 0.0])
"""The last costs nothing wherever it stands; the third is best where it starts, nearly."""
START, SCALE = np.full(4, 0.5), np.full(4, 0.1)
ENTRIES = np.arange(4)
WEEKS = 10.0
"""Standard deviation of what a stretch costs whatever theta: a thousand times what theta changes."""


def parameters() -> list[Parameter]:
    return [Parameter(f"p{i}", "1", 0.5, 0.0, 1.0, f"number {i}", "cost") for i in range(4)]


@dataclass
class Noisy:
    """A bowl whose place differs from stretch to stretch, beneath costs that theta has no part in."""

    kink: float = 0.0
    lived: list[int] = field(default_factory=list)
    name: str = "a bowl"
    recorded: bool = False

    def cost(self, theta: np.ndarray, seed: Sequence[int]) -> float:
        rng = np.random.default_rng(list(seed))
        place = BEST + 0.05 * rng.standard_normal(4)
        away = (theta - place)[:3]
        return float(WEEKS * rng.standard_normal() + (away**2).sum() + self.kink * np.abs(away).sum())

    def compare(self, thetas: Sequence[np.ndarray], iteration: int) -> np.ndarray:
        self.lived.append(iteration)
        return np.array([[self.cost(theta, (1, iteration, k)) for k in range(6)] for theta in thetas])

    def explore(self, theta: np.ndarray, iteration: int) -> Sequence[Any]:
        raise AssertionError("nothing is explored")

    def try_out(self, theta: np.ndarray) -> Tried:
        return Tried(np.array([self.cost(theta, (2, k)) for k in range(4)]), np.zeros(4))


def learned(world: World, iterations: int = 1, **more: Any) -> Tuning:
    nobody = cast(Labeller, None)
    spec = TuningSpec(method=PAIRED, learn=("cost",), iterations=iterations)
    return tune(world, nobody, parameters(), (ENTRIES, SCALE), START, spec, **more)


@pytest.mark.parametrize("kink", [0.0, 1.0])
def test_pairs_find_the_best_beneath_noise_a_thousand_times_as_large(kink: float) -> None:
    tuning = learned(Noisy(kink), iterations=12)
    assert tuning.theta[:3] == pytest.approx(BEST[:3], abs=0.08)
    assert tuning.theta[3] == 0.5  # what changes nothing is not moved
    costs = [float(tried.total.mean()) for tried in tuning.course.tried if tried is not None]
    assert costs == sorted(costs, reverse=True)


def test_a_step_is_newtons_no_further_than_was_tried_and_none_where_the_interval_holds_zero() -> None:
    rng, width = np.random.default_rng(3), 0.5
    bounds = np.zeros(5), np.array([100.0, 100.0, 100.0, 100.0, 50.2])
    at, moves = np.array([50.0, 50.0, 50.0, 0.0, 50.0]), width * np.eye(5)
    asked = tries(at, moves, bounds)
    stretch = 100.0 * rng.standard_normal(8)  # of each stretch, whatever theta

    def cost(theta: np.ndarray) -> np.ndarray:
        x = theta - at
        near, far, nothing, inwards = (x[0] - 0.3) ** 2, (x[1] - 30.0) ** 2, rng.standard_normal(8) * 1e-3, -x[3]
        return np.asarray(stretch + near + far + nothing + inwards + (x[4] + 0.1) ** 2)

    slopes = slopes_of(asked, np.array([cost(theta) for theta in asked]), moves, width)
    # A bound lets the last one forth by 0.2 only, and the parabola is the same.
    assert slopes.ahead == pytest.approx([0.5, 0.5, 0.5, 0.5, 0.2])
    assert slopes.behind == pytest.approx([0.5, 0.5, 0.5, 0.0, 0.5])
    assert steps_of(slopes) == pytest.approx([0.3, width, 0.0, width, -0.1], abs=0.01)


def test_what_means_the_same_of_different_assets_is_turned_together_and_then_by_random_signs() -> None:
    same = [*parameters(), Parameter("q", "1", 0.5, 0.0, 1.0, "number 0", "cost")]
    first, later = (directions(same, np.arange(5), moves, 0) for moves in (0, 1))
    assert first.tolist() == [[1, 0, 0, 0, 1], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]
    assert np.abs(later).tolist() == first.tolist()
    signs = {tuple(directions(same, np.arange(5), moves, 0)[0][[0, 4]]) for moves in range(1, 12)}
    assert len(signs) == 4


def test_stretches_add_up_while_theta_stays_and_a_resumed_run_is_the_one_that_was_not_interrupted(
    tmp_path: Path,
) -> None:
    whole = learned(Noisy(), iterations=12)
    learned(Noisy(), iterations=10, checkpoint=tmp_path / "c.npz")
    world = Noisy()
    resumed = learned(world, iterations=12, checkpoint=tmp_path / "c.npz", resume=True)
    np.testing.assert_array_equal(whole.course.thetas, resumed.course.thetas)
    assert whole.course.history == resumed.course.history
    stayed = [r.transitions for r in whole.course.history if r.share == 0.0]
    # Of the second six stretches about the same theta only one kind of four is asked: no other can give 0.2 %.
    assert set(stayed) == {6 * 9, 6 * 9 + 6 * 3}


def test_a_log_cannot_be_lived_through_again() -> None:
    class Recorded:
        name, recorded = "the log", True

        def explore(self, theta: np.ndarray, iteration: int) -> Sequence[Any]:
            return []

        def try_out(self, theta: np.ndarray) -> None:
            return None

    with pytest.raises(TrainingError, match="the log cannot; choose dpg or q"):
        learned(Recorded())
    with pytest.raises(TrainingError, match="method paired has no critic"):
        replace(TuningSpec(method=PAIRED), critic="two-layer").validate()
    assert Course(START[None], (None,), ()).best == 0
