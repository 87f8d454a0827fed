"""A fleet that moves its price, against closed forms, another solver, finite differences and simulation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from nisse.cli import main
from research.experiments.performative import LEARNERS, growth
from research.performative import Fleet, Learner, Market, base_price, learn, learn_response, make_fleet, make_market

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def market() -> Market:
    return make_market(make_fleet(4, RNG(0)), 0.04)


def unbounded(market: Market) -> Market:
    """The same houses that may also feed in, so that nothing is at a bound: all is linear then."""
    return replace(market, fleet=Fleet(market.fleet.w, market.fleet.g + 60.0, market.fleet.constant, np.full(4, 1e6)))


def test_powers_are_those_of_another_solver(market: Market) -> None:
    fleet, theta = market.fleet, base_price() + 0.03 * RNG(1).normal(size=24)
    found = fleet.powers(theta)
    assert (found == 0.0).any() and (found[found > 0.0].size > 0)
    for i in range(4):
        other = minimize(
            lambda u, i=i: (0.5 * u @ fleet.w[i] @ u + (theta - fleet.g[i]) @ u, fleet.w[i] @ u + theta - fleet.g[i]),
            np.ones(24), jac=True, bounds=[(0.0, fleet.high[i])] * 24, method="L-BFGS-B",
            options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 5000},
        )  # fmt: skip
        np.testing.assert_allclose(found[i], other.x, atol=1e-4)


def test_fixed_point_and_optimum_in_closed_form_where_nothing_is_at_a_bound(market: Market) -> None:
    """U = c - M theta: the stable point solves (I + S M) theta = b + S (c - flat), the optimum has 2 S for S."""
    free = unbounded(market)
    assert (free.fleet.powers(free.base) > 0.0).all()
    inverse = np.linalg.inv(free.fleet.w)
    m, c = inverse.mean(axis=0), np.einsum("nij,nj->i", inverse, free.fleet.g) / 4
    s = np.diag(free.slope)
    for own in (0.0, 1.0):
        right = free.base + (1.0 + own) * s @ c - s @ free.flat
        exact = np.linalg.solve(np.eye(24) + (1.0 + own) * s @ m, right)
        np.testing.assert_allclose(free.fixed_point(own), exact, atol=1e-8)


def test_the_optimum_has_no_cheaper_neighbour_and_the_fixed_point_has(market: Market) -> None:
    best, stable = market.fixed_point(own=1.0), market.fixed_point(own=0.0)
    least = market.long_run_cost(best)
    for _ in range(30):
        assert market.long_run_cost(best + 0.005 * RNG(_).normal(size=24)) >= least
    np.testing.assert_allclose(market.gradient(best), 0.0, atol=1e-9)
    assert market.long_run_cost(stable - 1e-3 * market.gradient(stable)) < market.long_run_cost(stable)
    np.testing.assert_allclose(market.settled(market.fleet.powers(stable).mean(axis=0)), stable, atol=1e-10)


def test_the_gradient_through_the_response_against_differences(market: Market) -> None:
    theta = base_price() + 0.002 * RNG(2).normal(size=24)
    assert (market.fleet.powers(theta) == 0.0).any()
    gradient = market.gradient(theta)
    for k in range(8):
        way = 1e-6 * RNG(k).normal(size=24)
        difference = (market.long_run_cost(theta + way) - market.long_run_cost(theta - way)) / 2.0
        assert difference == pytest.approx(gradient @ way, rel=1e-4, abs=1e-12)


def test_the_long_run_cost_is_what_a_deployed_theta_ends_at(market: Market) -> None:
    """The limit of p' = memory p + ..., simulated, with the day's bill added up house by house."""
    theta = base_price() + 0.01
    u, price = market.fleet.powers(theta), market.base
    for _ in range(200):
        price = market.memory * price + (1.0 - market.memory) * market.settled(u.mean(axis=0))
    bills = [price @ u[i] for i in range(4)]
    assert market.long_run_cost(theta) == pytest.approx(np.mean(bills) + market.fleet.comfort(u), rel=1e-12)


@pytest.mark.parametrize("slope", [0.01, 0.04, 0.08])
def test_retraining_grows_or_shrinks_as_its_eigenvalues_say(slope: float) -> None:
    found = growth(make_market(make_fleet(4, RNG(3)), slope))
    assert found.measured == pytest.approx(found.expected, rel=0.02)
    assert (found.measured > 1.0) == (slope == 0.08)


def test_the_response_is_learned_from_days_that_differ(market: Market) -> None:
    """Without noise exactly; with noise within five times the spread of thirty data sets."""
    rng, shape = RNG(4), market.base / market.base.mean()

    def days(noise: float) -> tuple[np.ndarray, np.ndarray]:
        quiet, prices, loads = replace(market, noise_std=noise), [market.base], []
        for _ in range(60):
            loads.append(market.flat + 0.2 * rng.normal(size=24))
            prices.append(quiet.next_price(prices[-1], loads[-1], rng))
        return np.array(prices), np.array(loads)

    exact = learn_response(*days(0.0), shape)
    assert exact.memory == pytest.approx(market.memory, abs=1e-9)
    np.testing.assert_allclose(exact.slope, market.slope, rtol=1e-8)
    np.testing.assert_allclose(exact.settled(market.flat), market.base, rtol=1e-8)
    found = np.array([learn_response(*days(0.01), shape).slope[0] for _ in range(30)])
    assert abs(found.mean() - market.slope[0]) < 5.0 * found.std() / np.sqrt(30) + 0.02 * market.slope[0]


def test_only_the_gradient_through_the_response_goes_below_the_fixed_point() -> None:
    quiet = replace(make_market(make_fleet(4, RNG(5)), 0.06), noise_std=0.001)
    stable = quiet.long_run_cost(quiet.fixed_point(own=0.0))
    ends = {name: learn(quiet, replace(learner, rounds=60), RNG(6)) for name, learner in LEARNERS.items()}
    last = {name: history.cost[-5:].mean() for name, history in ends.items()}
    assert last["retraining"] > 1.02 * stable
    assert last["damped"] == pytest.approx(stable, rel=2e-4) and last["damped"] > last["through"]
    optimum = quiet.long_run_cost(quiet.fixed_point(own=1.0))
    assert last["through"] - optimum < 0.1 * (stable - optimum)
    assert (ends["through"].exploring[:12] > 0.0).all() and not ends["damped"].exploring.any()
    again = learn(quiet, Learner(rounds=3), RNG(6))
    np.testing.assert_array_equal(again.theta, ends["retraining"].theta[:3])


def test_command(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    arguments = ["experiment", "performative", "--houses", "2", "--seeds", "2", "--rounds", "12", "--slope", "0.05"]
    assert main([*arguments, "--json", str(path), "--output", str(tmp_path / "out")]) == 0
    case = json.loads(path.read_text())["cases"][0]
    assert np.array(case["cost_over_optimum_by_round"]["through"]).shape == (2, 12)
    assert (np.array(case["stable_point_over_optimum"]) > 0.0).all()
    assert (tmp_path / "out" / "performative.png").stat().st_size > 10_000
