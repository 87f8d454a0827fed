"""The training loop: it finds the known optimum, repeats itself to the byte, and refuses what it cannot do."""

from dataclasses import replace

import numpy as np
import pytest
from linear_quadratic import LinearQuadraticSystem, best_gain, cost_of_gain, gain

from research.training.policy_check import GradientCheckError
from research.training.trainer import TrainingSpec, self_check, step_direction, train
from research.training.trainer_state import Moments
from tuner.errors import CheckpointError, TrainingError
from tuner.learn.paired import worse

SYSTEM = LinearQuadraticSystem()
SPEC = TrainingSpec(iterations=12, episodes=4, steps=250, seed=0)
BEST = cost_of_gain(best_gain())


@pytest.mark.parametrize(("method", "closed"), [("dpg", 0.99), ("q", 0.95), ("spg", 0.95)])
def test_each_method_closes_the_gap_to_the_riccati_solution(method, closed):
    result = train(SYSTEM, replace(SPEC, method=method, episodes=8))
    start = cost_of_gain(gain(result.theta_start))
    assert (start - result.cost) / (start - BEST) > closed


def test_dpg_with_the_two_layer_critic_improves():
    result = train(SYSTEM, replace(SPEC, critic="two-layer", iterations=4))
    assert result.improved


def test_interrupted_and_resumed_is_the_same_to_the_byte(tmp_path):
    spec = replace(SPEC, iterations=6, replay=2, steps=60)
    straight = train(SYSTEM, spec, checkpoint=tmp_path / "straight.npz")
    train(SYSTEM, replace(spec, iterations=3), checkpoint=tmp_path / "stopped.npz")
    resumed = train(SYSTEM, spec, checkpoint=tmp_path / "stopped.npz", resume=True)
    assert (tmp_path / "straight.npz").read_bytes() == (tmp_path / "stopped.npz").read_bytes()
    assert resumed.theta.tobytes() == straight.theta.tobytes()
    assert resumed.history == straight.history
    assert resumed.cost_start == straight.cost_start


def test_the_number_of_processes_changes_nothing():
    spec = replace(SPEC, iterations=2, steps=60)
    assert train(SYSTEM, spec, jobs=2).theta.tobytes() == train(SYSTEM, spec, jobs=1).theta.tobytes()


def test_seed_zero_is_a_seed():
    spec = replace(SPEC, iterations=1, steps=60)
    first, second, other = (train(SYSTEM, replace(spec, seed=seed)).history[0].td_error for seed in (0, 0, 1))
    assert first == second != other


def test_every_step_stays_in_its_trust_region_and_bounds():
    spec = replace(SPEC, radius=0.05, iterations=5)
    result = train(SYSTEM, spec)
    path = np.array([result.theta_start, *(record.theta for record in result.history)])
    lower, upper = (np.array([getattr(p, side) for p in SYSTEM.parameters]) for side in ("lower", "upper"))
    assert np.all(np.abs(np.diff(path, axis=0)) <= 0.05 * (upper - lower) + 1e-12)
    assert np.all((path >= lower) & (path <= upper))


def test_support_of_the_data_fit_holds_theta_back():
    free, held = (train(SYSTEM, replace(SPEC, iterations=6, regularisation=weight)) for weight in (0.0, 100.0))
    assert np.linalg.norm(held.theta - held.theta_start) < 0.5 * np.linalg.norm(free.theta - free.theta_start)


def test_a_wrong_gradient_is_found_before_learning_and_named():
    with pytest.raises(GradientCheckError, match=r"at point \d+: derivative .* finite difference"):
        train(LinearQuadraticSystem(gradient_error=1e-3), SPEC)


def test_right_gradients_pass_far_below_the_tolerance():
    report = self_check(SYSTEM, np.array([0.6, 0.7, 1.0]), 5, 0)
    assert report.worst < 1e-6
    assert report.compared >= 40


def test_failures_are_counted_and_do_not_end_the_run():
    history = train(LinearQuadraticSystem(fail_above=1.0), replace(SPEC, iterations=2, gradient_points=8)).history
    assert all(record.failures > 0 and record.masked > 0 for record in history)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    with pytest.raises(CheckpointError, match="no checkpoint"):
        train(SYSTEM, SPEC, checkpoint=path, resume=True)
    train(SYSTEM, replace(SPEC, iterations=1, steps=20), checkpoint=path)
    with pytest.raises(CheckpointError, match="belongs to another run"):
        train(SYSTEM, replace(SPEC, seed=1), checkpoint=path, resume=True)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        train(SYSTEM, SPEC, checkpoint=path, resume=True)


def test_unknown_choices_are_refused_with_the_known_ones():
    with pytest.raises(TrainingError, match="dpg, q, spg"):
        train(SYSTEM, replace(SPEC, method="sarsa"))
    with pytest.raises(TrainingError, match="lstdq, two-layer"):
        train(SYSTEM, replace(SPEC, critic="deep"))


def test_a_parameter_without_influence_is_not_moved():
    direction, _ = step_direction(np.array([1.0, 0.0]), Moments(np.zeros(2), np.zeros(2), 0))
    assert direction.tolist() == [-1.0, 0.0]


def test_a_gradient_that_keeps_changing_sign_moves_its_parameter_less():
    moments = Moments(np.zeros(2), np.zeros(2), 0)
    for k in range(20):
        direction, moments = step_direction(np.array([1.0, (-1.0) ** k]), moments)
    assert direction[0] == pytest.approx(-1.0)
    assert abs(direction[1]) < 0.3


def test_only_a_significant_increase_of_the_paired_costs_is_worse():
    reference = np.array([10.0, 20.0, 30.0])
    assert worse(reference + np.array([0.9, 1.0, 1.1]), reference, 2.0)
    assert not worse(reference + np.array([-1.0, 0.0, 1.1]), reference, 2.0)
    assert worse(reference + np.array([-1.0, 0.0, 1.1]), reference, 0.0)
