"""Deterministic models on arrays, against exhaustive search and a world that is deterministic already."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nisse.cli import main
from research.optimality import compare
from research.tabular.deterministic import as_mdp, deterministic_model
from research.tabular.mdp import make_mdp, policy_iteration
from research.tabular.tabulate import random_mdp


@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_state_by_search_and_proposition_1(seed: int) -> None:
    world = random_mdp(np.random.default_rng(seed), 9, 3, 0.9)
    value = policy_iteration(world).value
    for delta in (0.0, 0.3):
        found = deterministic_model(world, value, delta)
        for s in range(9):
            for a in range(3):
                wanted = sum(world.transition[s, a, t] * value[t] for t in range(9)) - delta
                best = min(abs(value[t] - wanted) for t in range(9))
                assert found.residual[s, a] == pytest.approx(best)
                assert abs(value[found.following[s, a]] - wanted) == pytest.approx(best)
        assert (found.residual <= found.support_residual + 1e-12).all()
    assert np.max(deterministic_model(world, value, 0.0).outside_support) < 1e-12
    assert np.max(deterministic_model(world, value, 100.0).outside_support) > 50.0


def test_a_deterministic_world_is_its_own_model() -> None:
    generator = np.random.default_rng(0)
    world = make_mdp(np.eye(12)[generator.integers(12, size=(12, 4))], generator.uniform(size=(12, 4)), 0.9)
    found = deterministic_model(world, policy_iteration(world).value, 0.0)
    assert found.exists(1e-12) == 1.0 and np.nanmax(found.support_residual) < 1e-12
    outcome = compare(world, as_mdp(world, found))
    assert outcome.same_policy and outcome.spread < 1e-12


def test_a_file_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, path = random_mdp(np.random.default_rng(1), 6, 2, 0.9), tmp_path / "mine.npz"
    arguments = ["experiment", "equivalence", "--problem", str(path), "--output", str(tmp_path / "out")]
    np.savez(path, P=world.transition, L=world.stage_cost, gamma=0.9)
    assert main(arguments) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    middle = result["deterministic"]["over_delta"][5]
    assert middle["delta"] == pytest.approx(0.0) and middle["share_in_range_of_support"] == 1.0
    capsys.readouterr()
    np.savez(path, P=1.5 * world.transition, L=world.stage_cost, gamma=0.9)
    assert main(arguments) == 65 and "sums to 1.5, not to 1" in capsys.readouterr().err
