"""The two-layer critic in a house: pairs against plants lived through anew, least squares against a closed form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from codegen.solver import build_solver
from codegen.targets import host_arch
from nisse.cli import main
from research.two_layer import GAMMA, Agreement, regulated
from research.two_layer_house import HousePlan, Rollouts, Twin, least_squares_slope, pair, tried
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.tariff import Tariff
from tuner.loop.label import Noise
from tuner.loop.worlds import generated_worlds

SMALL = read_house("battery")[0].replace('horizon = "24 h"', 'horizon = "4 h"')


@pytest.fixture(scope="module")
def rollouts() -> Rollouts:
    design = HouseDesign(SMALL)
    world = generated_worlds(design.house, seed=3, prices="nordic", tariff=Tariff()).learning
    library = build_solver(design.problem, host_arch()).library
    return Rollouts(design, library, world, np.array(design.problem.theta_default()), 0.99)


def lived(rollouts: Rollouts, decisions: int) -> Twin:
    twin = rollouts.begin(960, 48.0, 5)
    rollouts.policy.begin()
    for _ in range(decisions):
        twin.live(rollouts.policy.decide(twin.view.moment()))
    return twin


def test_a_pair_is_what_two_lives_from_the_start_differ_by(rollouts: Rollouts) -> None:
    noise, ahead = Noise.of(rollouts.design.problem), 6
    twin = lived(rollouts, 20)
    before = twin.plant.truth()
    state, move, measured = pair(twin, noise, ahead, np.random.default_rng(1))
    assert twin.plant.truth() == before
    middle = state[1:] * noise.std
    net = middle[0] - middle[1]
    costs = []
    for sign in (1.0, -1.0):
        power = net + sign * (move[0] - move[1]) * noise.std[0]
        other = lived(rollouts, 20)
        total = other.live(np.array([max(power, 0.0), max(-power, 0.0)]))
        rollouts.policy.begin()
        for k in range(1, ahead):
            total += rollouts.gamma**k * other.live(rollouts.policy.decide(other.view.moment()))
        total += rollouts.gamma**ahead * rollouts.says(other.view.moment()).value
        costs.append(total)
    assert measured == pytest.approx((costs[0] - costs[1]) / 2.0, abs=1e-6)
    assert abs(measured) > 1e-4


def test_tries_are_of_the_seed_and_as_many_as_asked(rollouts: Rollouts) -> None:
    plan = HousePlan(SMALL, rollouts.library, 4, 3.0, 3, 1.0, 10)
    one, again = tried(rollouts, [960, 2000], plan), tried(rollouts, [960, 2000], plan)
    np.testing.assert_allclose(one.measured, again.measured, atol=1e-9)
    assert one.state.shape == (3, 3) and one.move.shape == (3, 2)
    assert one.foretold(np.ones((3, 2))) == pytest.approx(one.move.sum(axis=1))


def test_least_squares_find_the_slope_of_a_linear_regulator() -> None:
    loop = regulated(0.1)
    samples, states = loop.samples(30_000, 0.5, 1), loop.samples(200, 0.5, 2).state
    found = Agreement.of(least_squares_slope(samples, GAMMA, states), loop.slope(states))
    assert found.correlation > 0.995 and found.error < 0.05


def test_command(tmp_path: Path) -> None:
    house, path = tmp_path / "small.toml", tmp_path / "found.json"
    house.write_text(SMALL)
    arguments = ["experiment", "two-layer", "--house", str(house), "--days", "3", "--tries", "3", "--seeds", "2"]
    arguments += ["--jobs", "1", "--updates", "20", "--output", str(tmp_path / "out"), "--json", str(path)]
    assert main(arguments) == 0
    result = json.loads(path.read_text())
    found = result["houses"]["battery"]
    assert result["settings"]["shown_seeds"] == [10, 11] and len(found["measured"]) == 2
    assert set(found["critics"]) == {"semi", "both", "news off"} and min(found["transitions"]) > 250
    assert (tmp_path / "out" / "two-layer-battery.png").stat().st_size > 5_000
