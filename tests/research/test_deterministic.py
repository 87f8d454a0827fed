"""Deterministic models on arrays, against exhaustive search and a world that is deterministic already."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nisse.cli import main
from research.experiments.existence import existence
from research.optimality import compare
from research.optimality_model import delta_range
from research.scalar_battery import CASE_2
from research.tabular.deterministic import as_mdp, deterministic_model
from research.tabular.mdp import make_mdp, policy_iteration
from research.tabular.scalar import scalar_world
from research.tabular.tabulate import random_mdp, tabulate


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


def test_the_map_of_existence_by_search_over_every_state_and_action() -> None:
    """Case 2 of the scalar battery with forbidden actions: the ends for all (s, a), and the shares, by plain loops."""
    world = tabulate(scalar_world(CASE_2, penalty=None, intervals=20, discount=0.99), 11)
    value, found = policy_iteration(world).value, existence("case 2", world)
    pairs = [(s, a) for s in range(21) for a in range(11) if np.isfinite(world.stage_cost[s, a])]
    assert 0 < len(pairs) < 21 * 11
    expected = {pair: float(world.transition[pair] @ value) for pair in pairs}

    def have_one(delta: float, within: bool) -> int:
        count = 0
        for pair in pairs:
            among = value[world.transition[pair] > 0.0] if within else value
            count += bool(among.min() - 1e-9 <= expected[pair] - delta <= among.max() + 1e-9)
        return count

    for k, delta in enumerate(found.deltas):
        assert found.share[k] == pytest.approx(have_one(delta, False) / len(pairs))
        assert found.share_in_support[k] == pytest.approx(have_one(delta, True) / len(pairs))
    for ends, within in ((found.everywhere, False), (found.everywhere_in_support, True)):
        assert ends[0] <= 0.0 <= ends[1] or not within
        for end, outwards in zip(ends, (-1e-3, 1e-3), strict=True):
            assert have_one(end, within) == len(pairs) > have_one(end + outwards, within)
    # The scalar solver on a finer grid, with every action in between, says nearly the same.
    fine = scalar_world(CASE_2, penalty=None, intervals=400, discount=0.99)
    coarse = tabulate(scalar_world(CASE_2, penalty=None, intervals=80, discount=0.99), 41)
    assert existence("coarse", coarse).everywhere == pytest.approx(delta_range(fine, fine.solve()), abs=0.01)


def test_a_file_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, path = random_mdp(np.random.default_rng(1), 6, 2, 0.9), tmp_path / "mine.npz"
    arguments = ["experiment", "equivalence", "--problem", str(path), "--output", str(tmp_path / "out")]
    np.savez(path, P=world.transition, L=world.stage_cost, gamma=0.9)
    assert main(arguments) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    (found,) = result["deterministic"]
    middle = found["over_delta"][len(found["over_delta"]) // 2]
    assert middle["delta"] == pytest.approx(0.0) and middle["share_in_range_of_support"] == 1.0
    assert (tmp_path / "out" / "existence.png").stat().st_size > 10_000
    capsys.readouterr()
    np.savez(path, P=1.5 * world.transition, L=world.stage_cost, gamma=0.9)
    assert main(arguments) == 65 and "sums to 1.5, not to 1" in capsys.readouterr().err
