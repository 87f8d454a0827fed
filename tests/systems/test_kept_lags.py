"""Sets over the lags of a fitted house, against simulation of the fit itself, worst sequences, the daemon's filter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from research.experiments.invariant_sets import LECTURE
from research.four_rooms.reference import reference_model
from runtime.bundle.manifest import Manifest
from runtime.decide.safety import safety_filter
from systems.arx import ArxModel
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.invariant import Bulge, invariant_rows, largest_invariant
from systems.kept import limited_models
from systems.kept_lags import LaggedLimits, lagged_limits
from systems.polytope import Polytope
from systems.set_errors import EmptySet

OUTDOOR_C = -5.0
STEPS = 60


def design_of(model: ArxModel) -> HouseDesign:
    return HouseDesign(read_house("four-heat-pumps")[0], {"zone": model.to_json()})


def lags_of(model: ArxModel) -> LaggedLimits:
    found = lagged_limits(design_of(model), forecast={"outdoor": OUTDOOR_C})
    assert found is not None
    return found


@pytest.fixture(scope="module")
def model() -> ArxModel:
    return reference_model()


@pytest.fixture(scope="module")
def limits(model: ArxModel) -> LaggedLimits:
    return lags_of(model)


@pytest.fixture(scope="module")
def kept(limits: LaggedLimits) -> Polytope:
    return limits.kept(0.9 * limits.largest_share)


def border(kept: Polytope, count: int, rng: np.random.Generator) -> np.ndarray:
    """Points (count, n) of x - x0 where a ray from x0 leaves the set."""
    directions = rng.normal(size=(count, kept.dimension)) * np.where(np.arange(kept.dimension) < 4, 1.0, 0.3)
    return directions / (directions @ kept.normals.T / kept.offsets).max(axis=1, keepdims=True)


def leaves(limits: LaggedLimits, x: np.ndarray, w: np.ndarray) -> bool:
    """Whether from x - x0 = x under w (k, n) a temperature or an action ever goes beyond its bounds."""
    x, ny = limits.x0 + x, len(limits.names)
    for k in range(len(w) + 1):
        u = limits.law(x)
        if ((u > limits.highest + 1e-7) | (u < limits.lowest - 1e-7)).any():
            return True
        if ((x[:ny] > limits.upper + 1e-7) | (x[:ny] < limits.lower - 1e-7)).any():
            return True
        if k < len(w):
            x = limits.a @ x + limits.b @ u + limits.c + w[k]
    return False


def worst(limits: LaggedLimits, share: float, row: np.ndarray, steps: int) -> np.ndarray:
    """(steps, n): what drives row'x farthest after so many steps."""
    found = []
    for _ in range(steps):
        found.append(share * limits.disturbance.farthest(row))
        row = row @ limits.closed
    return np.array(found[::-1]).reshape(steps, len(row))


def test_a_decision_of_the_model_is_six_steps_of_the_fit(model: ArxModel, limits: LaggedLimits) -> None:
    """From a history, by the ARX equation itself with innovations; and W is what such innovations can add."""
    rng, lags = np.random.default_rng(0), model.lags
    y, u = rng.uniform(18, 23, size=(lags, 4)), rng.uniform(0, 1, size=(lags - 1, 5))
    x = model.state_from_history(y, u)
    held, root = np.array([OUTDOOR_C, *rng.uniform(0, 1, size=4)]), np.linalg.cholesky(model.innovation_covariance)

    def rolled(innovations: np.ndarray) -> np.ndarray:
        past_y, past_u = list(y), list(u)
        for e in innovations:
            past_u.append(held)
            terms = [model.output_coefficients[i] @ past_y[-1 - i] for i in range(lags)]
            terms += [model.input_coefficients[i] @ past_u[-1 - i] for i in range(lags)]
            past_y.append(e + sum(terms))
        return model.state_from_history(np.array(past_y[-lags:]), np.array(past_u[1 - lags :]))

    following = limits.a @ x + limits.b @ held[1:] + limits.c
    np.testing.assert_allclose(rolled(np.zeros((6, 4))), following, atol=1e-9)
    for _ in range(5):
        # The innovations of a decision that lead farthest along some direction are at the support of W, others inside.
        direction, z = rng.normal(size=len(x)), rng.normal(size=(6, 4))
        ways = np.array([[direction @ (rolled(np.eye(24)[4 * i + j].reshape(6, 4)) - following) for j in range(4)]
                         for i in range(6)])  # fmt: skip
        farthest = 3.0 * (ways @ root) / np.linalg.norm(ways @ root) @ root.T
        mean = np.sign((ways @ model.innovation_mean).sum()) * model.innovation_mean
        reach = limits.disturbance.support(direction[None])[0]
        assert direction @ (rolled(mean + farthest) - following) == pytest.approx(reach, rel=1e-6)
        other = mean + 3.0 * z / np.linalg.norm(z) @ root.T
        assert direction @ (rolled(other) - following) < reach


def test_of_a_temperature_the_disturbance_is_the_daemons(model: ArxModel, limits: LaggedLimits) -> None:
    design = design_of(model)
    safety = design.safety({p.name: p.default for p in design.problem.theta})
    assert safety is not None
    told = [limit["disturbance"][1] for limit in safety["limits"]]
    np.testing.assert_allclose(limits.disturbance.support(np.eye(4, len(limits.x0))), told, rtol=1e-9)
    assert [limit["name"] for limit in safety["limits"]] == list(limits.names) and limited_models(design) == ()


def test_no_disturbance_leads_out_and_a_little_more_does(limits: LaggedLimits, kept: Polytope) -> None:
    rng, share = np.random.default_rng(1), 0.9 * limits.largest_share
    starts = border(kept, 40, rng)
    for x in starts[:20]:
        drawn = [share * limits.disturbance.farthest(d) for d in rng.normal(size=(STEPS, len(x)))]
        assert not leaves(limits, x, np.array(drawn))
    for x in starts[20:]:  # the worst sequence of every limit and action, after a few and after many decisions
        for row in limits.safe.normals:
            for steps in (1, 7, STEPS):
                assert not leaves(limits, x, worst(limits, share, row, steps))
    # The border is one: from a little outside, the worst sequence of the row that was crossed leads out.
    for x in starts[:10]:
        steps, row = divmod(int((kept.normals @ x - kept.offsets).argmax()), len(limits.safe.normals))
        assert leaves(limits, 1.01 * x, worst(limits, share, limits.safe.normals[row], steps))


def test_the_largest_share_is_where_the_law_just_keeps_its_rest(limits: LaggedLimits) -> None:
    rest, share = np.zeros(len(limits.x0)), limits.largest_share
    assert 0.3 < share < 1.0
    rows = limits.safe.normals
    assert not any(leaves(limits, rest, worst(limits, 0.999 * share, row, 400)) for row in rows)
    assert any(leaves(limits, rest, worst(limits, 1.002 * share, row, 400)) for row in rows)
    with pytest.raises(EmptySet, match="no state stays safe"):
        limits.kept(1.05 * share)


def test_a_house_at_rest_is_kept_up_to_the_ends_that_are_told(model: ArxModel, limits: LaggedLimits) -> None:
    """By the fit itself: temperatures that have stood somewhere for an hour, and then the law without disturbance."""
    ends = limits.kept_at_rest(0.0)
    for i, found in enumerate(ends):
        assert found is not None and limits.lower[i] - 1e-9 <= found[0] < limits.x0[i] < found[1] <= limits.upper[i]
        for end in found:
            for factor, safe in ((0.999, True), (1.002, False)):
                off = np.zeros(4)
                off[i] = factor * (end - limits.x0[i])
                x = model.state_from_history(np.tile(off, (model.lags, 1)), np.zeros((model.lags - 1, 5)))
                assert leaves(limits, x, np.zeros((200, len(x)))) is not safe


def test_the_filter_of_the_daemon_lets_the_law_pass(model: ArxModel) -> None:
    """Of a fit whose innovations are half as large W may come in every decision: then all states that are kept pass."""
    calm = replace(
        model, innovation_mean=model.innovation_mean / 2, innovation_covariance=model.innovation_covariance / 4
    )
    design, limits = design_of(calm), lags_of(calm)
    assert limits.largest_share == 1.0
    p, theta = design.problem, {parameter.name: parameter.default for parameter in design.problem.theta}
    signal = lambda s: {k: getattr(s, k) for k in ("name", "unit", "lower", "upper")}  # noqa: E731
    manifest = Manifest.model_validate(
        {
            "format_version": 2, "name": p.name, "system": p.name, "dt_s": p.dt_s, "horizon": p.horizon,
            "discount": p.discount, "decide_every_s": p.decide_every_s, "theta": [signal(t) for t in p.theta],
            "states": [signal(s) for s in p.states], "actions": [signal(a) for a in p.actions],
            "forecasts": [{**signal(f), "steps": f.steps} for f in design.forecasts],
            "safety": {**(design.safety(theta) or {}), "power": []}, "estimator": design.estimator(theta),
        }
    )  # fmt: skip
    row = np.concatenate([np.full(f.steps, OUTDOOR_C if f.name == "outdoor" else 0.0) for f in design.forecasts])
    for x in border(limits.kept(1.0), 200, np.random.default_rng(2)):
        action = limits.law(limits.x0 + 0.999 * x)
        found = safety_filter(action, limits.x0 + 0.999 * x, row, manifest)
        assert found.feasible
        np.testing.assert_allclose(found.action, action, atol=1e-9)


def test_rows_without_hulls_are_the_set_with_hulls() -> None:
    states = np.random.default_rng(3).uniform([-1.1, -4.0], [1.1, 4.0], size=(4000, 2))
    for disturbance in (None, LECTURE.disturbance):
        one = largest_invariant(LECTURE.a, LECTURE.state, disturbance).polytope
        other = invariant_rows(LECTURE.a, LECTURE.state, disturbance)
        np.testing.assert_array_equal(one.contains(states), other.contains(states))


def test_the_farthest_disturbance_is_at_the_support() -> None:
    rng = np.random.default_rng(4)
    bulge, directions = Bulge(rng.normal(size=5), rng.normal(size=(5, 9))), rng.normal(size=(50, 5))
    for direction, end in zip(directions, bulge.support(directions), strict=True):
        assert direction @ bulge.farthest(direction) == pytest.approx(end)
        sampled = rng.normal(size=(500, 9))
        w = rng.choice([-1, 1], size=(500, 1)) * bulge.middle
        w = w + (sampled / np.linalg.norm(sampled, axis=1, keepdims=True)) @ bulge.root.T
        assert (w @ direction).max() <= end + 1e-9


def test_where_no_power_is_enough_it_is_said(model: ArxModel) -> None:
    with pytest.raises(EmptySet, match="no power holds all zones"):
        lagged_limits(design_of(model), forecast={"outdoor": -90.0})
    assert lagged_limits(HouseDesign(read_house("cabin")[0])) is None
