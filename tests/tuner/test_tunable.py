"""The home battery behind the trainer: the compiled MPC as a policy."""

import json

import numpy as np
import pytest

from codegen.controller import DerivativeError
from codegen.solver import compiled_controller
from systems.battery.exogenous import generated
from systems.battery.problem import home_battery
from tuner.evaluate.periods import split_at
from tuner.policy import MpcPolicy, Observation
from tuner.trainer import self_check
from tuner.transitions import RolloutSpec, rollout
from tuner.tunable.home_battery import home_battery_system


def defaults(system) -> np.ndarray:
    return np.array([p.default for p in system.parameters])


@pytest.fixture(scope="module")
def home():
    split = split_at(generated(6))
    return home_battery_system(home_battery(horizon=24), split, held_in_weeks=1, episode_steps=12)


def test_gradients_of_the_compiled_home_battery_pass_the_self_check(home):
    report = self_check(home, defaults(home), 3, seed=0)
    assert report.worst < 1e-5
    assert report.skipped == 0


def test_a_rollout_depends_on_its_seed_alone(home):
    spec = RolloutSpec(1, 12, 0.1, True)
    first, again, other = (rollout(home, defaults(home), spec, (seed,)).episode for seed in (0, 0, 1))
    assert first.cost.tobytes() == again.cost.tobytes()
    assert first.policy_jacobian.tobytes() == again.policy_jacobian.tobytes()
    assert first.cost.tobytes() != other.cost.tobytes()


def test_q_at_the_policys_own_action_is_v(home):
    world = home.training_world(np.random.default_rng(0))
    policy = MpcPolicy(home.controller(), home.actions, defaults(home))
    for _ in range(5):
        observation = world.observe()
        decision = policy.decide(observation)
        value = policy.q(observation, decision.action).value
        assert value == pytest.approx(decision.value, abs=1e-5)
        assert policy.q(observation, decision.action + 0.3).value >= decision.value - 1e-7
        world.step(decision.action)


def test_training_worlds_never_see_the_held_out_part(home):
    boundary = split_at(generated(6)).boundary
    assert len(home.training) == boundary
    assert max(home.weeks) + home.training.steps_per_week <= boundary


def test_a_failed_solve_is_an_admissible_action_and_not_ok():
    problem = home_battery(horizon=24)
    with compiled_controller(problem) as controller:
        home_actions = home_battery_system(problem, split_at(generated(6)), held_in_weeks=1).actions
        policy = MpcPolicy(controller, home_actions, problem.theta_default())
        decision = policy.decide(Observation(np.array([np.nan]), np.zeros((25, 3))))
    assert not decision.ok
    assert np.all(decision.action == 0.0)
    assert policy.failures == 1


@pytest.mark.slow
def test_the_tune_command_writes_theta_and_says_what_it_found(tmp_path, capsys):
    from nisse.cli import main

    arguments = ["tune", "--system", "battery", "--iterations", "1", "--held-in-weeks", "1", "--held-out-weeks", "0"]
    arguments += ["--output", str(tmp_path / "theta.json"), "--json", str(tmp_path / "result.json"), "--jobs", "1"]
    assert main(arguments) == 0
    theta = json.loads((tmp_path / "theta.json").read_text())
    result = json.loads((tmp_path / "result.json").read_text())
    assert theta["theta"] == result["theta"]
    assert result["held_in_cost"] <= result["held_in_cost_start"]
    assert len(result["history"]) == 1
    assert "held-in weeks" in capsys.readouterr().out
    assert main([*arguments, "--resume", "--learn", "wings"]) == 2


def test_a_derivative_that_cannot_be_had_is_a_transition_lost_and_not_the_run(home, monkeypatch):
    """Every third: the action is applied all the same, the transition teaches nothing, and is counted."""
    world = home.training_world(np.random.default_rng(0))
    policy = MpcPolicy(home.controller(), home.actions, defaults(home))
    differentiate, asked = policy.controller.differentiate, []

    def now_and_then(**what):
        asked.append(what)
        if len(asked) % 3 == 0:
            raise DerivativeError("no derivative at the last solve")
        return differentiate(**what)

    monkeypatch.setattr(policy.controller, "differentiate", now_and_then)
    decisions = []
    for _ in range(9):
        decisions.append(policy.decide(world.observe()))
        world.step(decisions[-1].action)
    assert [d.ok for d in decisions] == [True, True, False] * 3
    assert policy.failures == 3
    plain = policy.decide(world.observe(), gradients=False)
    assert plain.ok and all(np.isfinite(d.action).all() for d in decisions)
