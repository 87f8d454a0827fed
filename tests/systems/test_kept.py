"""The sets that the daemon's limits keep on shipped houses: the limits themselves, a closed form, an adversary."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.bundle.manifest import Manifest
from runtime.decide.safety import safety_filter
from systems.design import HouseDesign
from systems.house_file import SHIPPED
from systems.kept import LimitedModel, coldest_kept, limited_models

HOUSES = ("battery", "cabin", "flat", "four-heat-pumps", "tank", "villa")


def models_of(house: str) -> list[tuple[HouseDesign, LimitedModel]]:
    design = HouseDesign((SHIPPED / f"{house}.toml").read_text())
    return [(design, model) for model in limited_models(design)]


ALL = [pair for house in HOUSES for pair in models_of(house)]
NAMES = [f"{design.house.name}-{model.name}" for design, model in ALL]


def limits_of(design: HouseDesign) -> dict[str, dict[str, object]]:
    safety = design.safety({p.name: p.default for p in design.problem.theta})
    assert safety is not None
    return {limit["name"]: limit for limit in safety["limits"]}


def extremes(model: LimitedModel) -> tuple[float, float]:
    """The least and the most that the actions add to y in a decision."""
    ends = np.stack([model.b * model.lowest, model.b * model.highest])
    return float(ends.min(axis=0).sum()), float(ends.max(axis=0).sum())


def test_every_limit_of_a_shipped_house_is_looked_at() -> None:
    assert [model.name for _, model in ALL] == [name for h in HOUSES for name in limits_of(models_of(h)[0][0])]
    kinds = {name.rpartition("_")[2] for name in NAMES}
    assert kinds == {"soc", "temperature"}


@pytest.mark.parametrize(("design", "model"), ALL, ids=NAMES)
def test_the_set_that_is_kept_is_the_limit_of_the_daemon(design: HouseDesign, model: LimitedModel) -> None:
    limit = limits_of(design)[model.name]
    assert model.kept(0.0) == pytest.approx((limit["lower"], limit["upper"]), abs=1e-9)
    if model.name.endswith("soc"):
        assert model.kept(1.0) == pytest.approx((limit["lower"], limit["upper"]), abs=1e-9)


@pytest.mark.parametrize(("design", "model"), ALL, ids=NAMES)
def test_the_largest_share_in_closed_form_and_against_an_adversary(design: HouseDesign, model: LimitedModel) -> None:
    """At a bound the best action has to make up for drift, loss and the worst w; then played, a thousand decisions."""
    least, most = extremes(model)
    rise = (model.a - 1.0) * -model.half + most + model.drift
    fall = -((model.a - 1.0) * model.half + least + model.drift)
    share = min(1.0, rise / -model.w[0], fall / model.w[1])
    assert model.largest_share() == pytest.approx(share, abs=2e-4)

    for w in model.w:
        y, edge = np.sign(w) * model.half, np.sign(w) * model.half
        for _ in range(500):
            pushed = model.a * y + model.drift + 0.99 * share * w
            y = pushed + np.clip(edge - pushed, least, most)
            assert abs(y) < model.half + 1e-9
    if share < 1.0:
        w, best = (model.w[0], most) if rise / -model.w[0] < fall / model.w[1] else (model.w[1], least)
        y = 0.0
        for _ in range(10_000):
            y = model.a * y + best + model.drift + 1.05 * share * w
        assert abs(y) > model.half


def manifest_of(design: HouseDesign, name: str) -> Manifest:
    """Of a house whose safety set has this one limit."""
    p, theta = design.problem, {parameter.name: parameter.default for parameter in design.problem.theta}
    safety = design.safety(theta)
    assert safety is not None
    signal = lambda s: {k: getattr(s, k) for k in ("name", "unit", "lower", "upper")}  # noqa: E731
    return Manifest.model_validate(
        {
            "format_version": 2, "name": p.name, "system": p.name, "dt_s": p.dt_s, "horizon": p.horizon,
            "discount": p.discount, "decide_every_s": p.decide_every_s, "theta": [signal(t) for t in p.theta],
            "states": [signal(s) for s in p.states], "actions": [signal(a) for a in p.actions],
            "forecasts": [{**signal(f), "steps": f.steps} for f in design.forecasts],
            "safety": {**safety, "limits": [x for x in safety["limits"] if x["name"] == name], "power": []},
            "estimator": design.estimator(theta),
        }
    )  # fmt: skip


@pytest.mark.parametrize(("design", "model"), ALL, ids=NAMES)
def test_the_filter_of_the_daemon_admits_what_the_barrier_of_these_sets_admits(
    design: HouseDesign, model: LimitedModel
) -> None:
    """The same nearest action, and none where there is none. A store is left to rest, so there: an admitted one."""
    manifest, keep, rng = manifest_of(design, model.name), model.filter(), np.random.default_rng(0)
    lower = np.array([a.lower for a in manifest.actions])
    upper = np.array([a.upper for a in manifest.actions])
    at, rests = list(model.moved_by), model.a == 1.0
    moved = refused = 0
    for _ in range(60):
        near = rng.uniform(-0.1, 1.0) * (model.w[1] - model.w[0] + extremes(model)[1])
        y = float(rng.choice([-1, 1])) * (model.half - near)
        state = np.zeros(len(manifest.states))
        state[[s.name for s in manifest.states].index(model.name)] = model.middle + y
        nominal = rng.uniform(lower, upper)
        found = safety_filter(nominal, state, np.zeros(manifest.forecast_columns), manifest)
        wanted = keep(np.array([y]), nominal[at])
        if rests:
            admitted = keep.constraints(np.array([y]))
            assert not admitted.contains(np.zeros(len(at))) or admitted.contains(np.array(found.action)[at], 1e-7)
            continue
        assert found.feasible == (wanted is not None)
        if wanted is not None:
            np.testing.assert_allclose(np.array(found.action)[at], wanted, atol=1e-6)
            moved += found.changed
        else:
            refused += 1
    assert rests or (moved > 0 and refused > 0)


def test_how_cold_it_may_be_outside_by_the_balance_of_heat() -> None:
    """flat: at 8 degC inside, what full power brings is what the walls lose."""
    design, model = models_of("flat")[0]
    coldest = coldest_kept(design)[model.name]
    for outdoor, kept in ((coldest, True), (coldest - 0.2, False)):
        (at,) = limited_models(design, forecast={"outdoor": outdoor})
        most = extremes(at)[1]
        assert ((at.a - 1.0) * -at.half + most + at.drift >= 0.0) is kept
