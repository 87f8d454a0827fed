"""A described house in closed loop: its controller sees what is, policies are judged alike, and theta gets better."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from codegen.solver import build_solver
from codegen.targets import host_arch
from nisse.cli import main
from systems.assets.zone.model import nameplate_model
from systems.design import HouseDesign
from systems.logs.log import Log
from systems.plant import HousePlant
from systems.tariff import Tariff
from systems.world import Exogenous
from systems.world.generate import generated_world
from tests.e2e.test_described_house import SMALL
from tuner.errors import TrainingError
from tuner.evaluate.comparison import PERFECT, RULE, contenders, evaluate_house
from tuner.learn.tuning import TuningSpec, tune
from tuner.loop.explore import CompiledLabeller, PlantWorld, learning_entries
from tuner.loop.label import Noise
from tuner.loop.periods import spread, weeks_of
from tuner.loop.view import ThetaEstimator, View
from tuner.loop.workers import LocalWorkers
from tuner.loop.worlds import own_worlds

START = datetime(2024, 1, 8, tzinfo=UTC)
LEARNED = SMALL.replace('feeds = ["living"]', 'feeds = ["living"]\ncop = "learned"')


@pytest.fixture(scope="module")
def design() -> HouseDesign:
    return HouseDesign(SMALL)


@pytest.fixture(scope="module")
def world(design: HouseDesign) -> Exogenous:
    return generated_world(design.house, START, 30, seed=2)


def test_the_program_foresees_what_its_own_model_does() -> None:
    """State, forecasts and history together: with the model as the truth, a stage ends where the dynamics say."""
    design = HouseDesign(LEARNED)
    house, problem = design.house, design.problem
    rng = np.random.default_rng(0)
    a, b = 0.4 * rng.standard_normal((2, 1, 1)), 0.3 * rng.standard_normal((2, 1, 2))
    model = replace(nameplate_model(house).deterministic(), output_coefficients=a, input_coefficients=np.abs(b))
    design = HouseDesign(LEARNED, {"zone": model.to_json()})
    problem = design.problem
    theta = problem.theta_default()
    plant = HousePlant(house, generated_world(house, START, 3, seed=1), fits={"zone": model})
    plant.reset(seed=0, options={"steps": 240, "initial": {"living_temperature": 20.0}})
    view, estimator = View(design, plant), ThetaEstimator(design, theta)
    view.begin()
    prepared = np.array(problem.prepare(theta)).ravel()
    place = [s.name for s in problem.states].index("living_temperature")
    for stage in range(12):
        moment = view.moment(error=0.0)
        x = estimator.state(moment)
        action, drawn = np.array([0.5, 0.0, rng.uniform(0.3, 0.9)]), []
        by_name = dict(zip([a.name for a in problem.actions], action.tolist(), strict=True))
        for _ in range(house.grid.steps):
            asked = np.array([by_name[a.name] for a in plant.actions])
            _, _, _, _, info = plant.step(asked)
            view.after(asked, info)
            drawn.append(info["hp_kw"])
        u = np.concatenate([action[:2], [np.mean(drawn)], np.zeros(problem.nu - problem.na)])
        z = np.array(problem.features(moment.forecast, x)).ravel()
        foreseen = np.array(problem.dynamics(x, u, moment.forecast[0], z, prepared)).ravel()
        found = estimator.state(view.moment(error=0.0))
        if stage > 0:  # before the first, nothing is known of the hour that was
            steady = np.ptp(drawn) < 1e-9  # else its frost or its limit moved it
            zone = slice(place, place + 2)
            assert found[zone] == pytest.approx(foreseen[zone], abs=1e-6 if steady else 0.05)
            assert found[0] == pytest.approx(foreseen[0], abs=0.02)


def test_policies_meet_the_same_weeks_and_the_program_beats_the_rules(design: HouseDesign, world: Exogenous) -> None:
    starts = spread(weeks_of(design.house, world), 2, "held-out")
    policies = contenders(design.problem.theta, None)
    assert [p.name for p in policies] == [RULE, "data fit", PERFECT]
    found = evaluate_house(design, world, starts, policies, days=1.0)
    assert found.totals("data fit").mean() < found.totals(RULE).mean()
    loads = [found.results[name][0].trace["load_kw"] for name in (RULE, PERFECT)]
    np.testing.assert_array_equal(*loads)
    for results in found.results.values():
        assert sum(r.failures for r in results) == 0
        result = results[0]
        bought = np.maximum(result.trace["grid_kw"], 0) * result.trace["buy"]
        sold = np.minimum(result.trace["grid_kw"], 0) * result.trace["sell"]
        assert result.energy == pytest.approx((bought + sold).sum() / 12, rel=1e-9)
        assert max(result.discomfort_kh.values()) < 10.0
    # A theta that stayed is the data fit under another name, and its weeks are run once.
    twice, ran = [policies[1], replace(policies[1], name="tuned")], list[tuple[int, int]]()
    again = evaluate_house(
        design, world, starts[:1], twice, days=1.0, report=lambda done, total: ran.append((done, total))
    )
    assert again.totals("data fit")[0] == again.totals("tuned")[0] == found.totals("data fit")[0]
    assert ran == [(1, 1)]


def test_noise_of_a_power_in_and_a_power_out_is_that_of_their_difference(design: HouseDesign) -> None:
    noise, rng = Noise.of(design.problem), np.random.default_rng(1)
    assert len(noise.pairs) == 1
    charge, discharge = noise.pairs[0]
    policy = np.zeros(design.problem.na)
    policy[charge], policy[-1] = 0.3, 0.1
    drawn = np.array([noise.draw(policy, rng)[1] for _ in range(20_000)])
    assert not (np.minimum(drawn[:, charge], drawn[:, discharge]) > 0).any()
    assert (drawn >= noise.lower).all() and (drawn <= noise.upper).all()
    assert noise.mean(policy[None])[0] == pytest.approx(drawn.mean(0), abs=0.01)


def test_learning_mends_a_theta_that_is_wrong(design: HouseDesign, world: Exogenous) -> None:
    """Twice the price of power: too little heat. What the weeks cost says so."""
    library = build_solver(design.problem, host_arch()).library
    parameters, weeks = design.problem.theta, weeks_of(design.house, world)
    start = np.array([2.5 if p.name == "living_comfort_scale" else p.default for p in parameters])
    learn = ("living_comfort_scale",)
    plants = PlantWorld(
        design, library, world, tuple(weeks[1:]), tuple(weeks[:1]), 4, 2.0, 0, LocalWorkers(), held_in_days=2.0
    )
    spec = TuningSpec(learn=learn, iterations=1)
    tuning = tune(
        plants,
        CompiledLabeller(design, library, LocalWorkers()),
        parameters,
        learning_entries(parameters, learn),
        start,
        spec,
    )
    record = tuning.course.history[0]
    assert record.failures == 0 and record.transitions > 300
    moved = {p.name: after - before for p, before, after in tuning.changes()}
    assert set(moved) <= set(learn)
    before, after = tuning.course.tried[0], tuning.course.tried[-1]
    assert before is not None and after is not None and after.total.mean() <= before.total.mean()
    with pytest.raises(TrainingError, match=r"'cots' to learn; choose among .* groups .*cost"):
        learning_entries(parameters, ["cots"])


def test_own_series_replace_generated_ones_from_both_sides_of_the_cut(design: HouseDesign) -> None:
    n = 42 * 288
    load = 0.5 + 0.25 * np.sin(np.arange(n) * 2 * np.pi / 288)
    log = Log(START.timestamp(), 300.0, {"load_kw": load}, {"load_kw": np.arange(n)}, {"load_kw": 300.0}, (), "log")
    found = own_worlds(design.house, prices=None, log=log, until=None, seed=0, kind="nordic", tariff=Tariff())
    own = found.held_out
    assert "own: load; generated: " in found.told and "prices" in found.told
    step = found.held_out_weeks[0]
    logged = load[round((own.time_s(step) - START.timestamp()) / 300.0) :][:2016]
    np.testing.assert_allclose(own["load"][step : step + 2016], logged)
    # What is usual was learned before the cut, and says so: an hour's mean.
    assert own.forecast("load", step, 288) == pytest.approx(logged[:288], abs=0.06)
    assert max(found.learning_weeks) + 2016 <= min(found.held_out_weeks)


def test_a_house_is_judged_by_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.json"
    model.write_text(json.dumps({"format": "nisse-model-1", "house": "cabin", "theta": {}, "fits": {}}))
    assert main(["evaluate", "flat", "--model", str(model)]) == 65
    assert "identify 'flat' from its log" in capsys.readouterr().err
