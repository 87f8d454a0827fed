"""From the bench back to the tuner: a daemon that explores writes a log that teaches, of whole decisions alone."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from built_bundle import BuiltBundle

from codegen.solver import build_solver
from codegen.targets import host_arch
from hil.bench import run_scenario
from hil.house_run import HouseRun, house_scenario
from hil.plant import make_plant
from hil.site import site_template
from nisse.cli import main
from runtime.bundle.archive import open_bundle
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.logs.log import LogError
from systems.world.generate import generated_world
from tuner.commands.evaluate import verdict
from tuner.evaluate.comparison import contenders, evaluate_house
from tuner.learn.tuning import TuningSpec, tune
from tuner.loop.explore import CompiledLabeller, learning_entries
from tuner.loop.field_log import read_decisions
from tuner.loop.label import Noise
from tuner.loop.periods import weeks_of
from tuner.loop.recorded import (
    ExplorationError,
    RecordedWorld,
    censored_std,
    cost_of,
    means_of,
    netted,
    recorded_world,
)
from tuner.loop.workers import LocalWorkers

STD_KW, HOLD_S = 0.5, 900
DESIGN = HouseDesign(read_house("battery")[0])


@dataclass(frozen=True)
class Run:
    log: Path
    record: Path


@pytest.fixture(scope="module")
def run(battery_bundle: BuiltBundle, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A day and a half of the battery in the daemon, with exploration in its site file."""
    folder = tmp_path_factory.mktemp("exploring")
    scenario = house_scenario("battery", HouseRun(days=1.5))
    manifest = open_bundle(battery_bundle.path, [battery_bundle.trusted_key]).manifest
    std = ", ".join(f"{action.name} = {STD_KW}" for action in manifest.actions)
    site = site_template(make_plant(scenario), manifest)
    (folder / "site.toml").write_text(f"{site}\n[exploration]\nseed = 1\nhold_s = {HOLD_S}\nstd = {{ {std} }}\n")
    head = scenario.head.model_copy(update={"site": str(folder / "site.toml")})
    result = run_scenario(
        scenario.model_copy(update={"head": head}), battery_bundle.path, battery_bundle.trusted_key, folder / "run",
        page=False,
    )  # fmt: skip
    return Run(folder / "run" / "nisse.db", result.record_path)


def world_of(log: Path) -> RecordedWorld:
    library = build_solver(DESIGN.problem, host_arch()).library
    return recorded_world(log, DESIGN, library, DESIGN.problem.theta_default())


def changed(log: Path, folder: Path, *statements: str) -> Path:
    copy = folder / "changed.db"
    with sqlite3.connect(log) as db, sqlite3.connect(copy) as target:
        db.backup(target)
        for statement in statements:
            target.execute(statement)
    return copy


def test_the_log_teaches_and_the_verdict_is_computed(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    command = ["tune", "battery", "--log", str(run.log), "--output", str(tmp_path / "theta.json"), "--jobs", "1"]
    assert main([*command, "--held-out-weeks", "2", "--iterations", "1", "--json", str(out)]) == 0
    told, found = capsys.readouterr().out, json.loads(out.read_text())
    assert "whole decisions" in told and "explored (standard deviation): home_charge 0." in told
    assert found["history"][0]["transitions"] > 80 and found["history"][0]["total"] is None
    # A day and a half shows little: either it is borne out and judged, or the old theta stays.
    assert found["improved"] == (found["verdict"] is not None)
    assert found["improved"] or "no change was borne out" in told
    assert main([*command, "--method", "spg"]) == 2
    assert "learns from its own decisions alone" in capsys.readouterr().err
    # Taken at its word, without asking whether it is sure, it moves theta; and that can be judged.
    learn, parameters = ("home_charge_efficiency",), DESIGN.problem.theta
    library = build_solver(DESIGN.problem, host_arch()).library
    start = DESIGN.problem.theta_default()
    tuning = tune(
        world_of(run.log), CompiledLabeller(DESIGN, library, LocalWorkers()), parameters,
        learning_entries(parameters, learn), start, TuningSpec(learn=learn, iterations=2, certainty=0.0),
    )  # fmt: skip
    assert [p.name for p, _, _ in tuning.changes()] == list(learn)
    # It goes on from where it is: gradients are those at the policy reached, so the second step is not the first again.
    place = [p.name for p in parameters].index(learn[0])
    first, second = np.diff(tuning.course.thetas[:, place])
    assert first != 0.0 and second != pytest.approx(first)
    world = generated_world(DESIGN.house, datetime(2024, 1, 8, tzinfo=UTC), 24, seed=2)
    weeks = weeks_of(DESIGN.house, world)[:2]
    theta = {p.name: float(v) for p, v in zip(parameters, tuning.theta, strict=True)}
    judged = evaluate_house(DESIGN, world, weeks, contenders(parameters, theta), days=1.0)
    assert "95 % interval" in verdict(judged)


def test_its_costs_are_those_of_the_plant(run: Run) -> None:
    decisions, _ = read_decisions(run.log, DESIGN.problem, DESIGN.house.grid.steps)
    lines = [json.loads(line) for line in run.record.read_text().splitlines()]
    truth = {round(line["time_s"]): line["plant"] for line in lines if "plant" in line}
    cost = cost_of(DESIGN)
    pairs = np.array(
        [
            (cost(now, after.state), plant["energy_cost"] + plant["cost.home"])
            for now, after in pairwise(decisions)
            if after.made_s - now.made_s == HOLD_S
            for plant in [truth[round(now.made_s)]]
        ]
    )
    assert len(pairs) > 80
    np.testing.assert_allclose(pairs[:, 0], pairs[:, 1], atol=2e-3)
    assert pairs[:, 0].sum() == pytest.approx(pairs[:, 1].sum(), rel=0.01)


def test_no_decision_is_a_mixture_and_what_was_explored_is_found(run: Run, tmp_path: Path) -> None:
    world = world_of(run.log)
    assert world.exploration == pytest.approx(np.array([STD_KW, STD_KW]), rel=0.25)
    deviation = np.concatenate([s.deeds.action - s.deeds.mean for s in world.stretches])
    # Most decisions are at a bound, where noise has a mean; what reality saw has the mean that is said of it.
    assert np.abs(deviation.mean(0)).max() < 0.08
    # A cycle at another level, one that the filter changed, a gap: each costs its own decision.
    middle = world.decisions // 2
    broken = changed(
        run.log, tmp_path,
        f"UPDATE transition SET level = 'rule' WHERE id = {middle}",
        f"DELETE FROM transition WHERE id = {middle + 10}",
    )  # fmt: skip
    assert world.decisions - world_of(broken).decisions in (3, 4)


def test_what_cannot_teach_is_refused(run: Run, tmp_path: Path) -> None:
    still = changed(run.log, tmp_path, "UPDATE transition SET action = nominal")
    with pytest.raises(ExplorationError, match=r"follow from what the controller saw.*\[exploration\]"):
        world_of(still)
    shifted = "json_set(nominal, '$.home_charge', 3.0, '$.home_discharge', 0.0)"
    with pytest.raises(LogError, match="another theta or model decided there"):
        world_of(changed(run.log, tmp_path, f"UPDATE transition SET nominal = {shifted}"))
    with pytest.raises(LogError, match=r"no cycle has the states \(living_temperature"):
        read_decisions(run.log, HouseDesign(read_house("flat")[0]).problem, 6)
    with pytest.raises(LogError, match="whole decisions of the MPC that follow each other"):
        world_of(changed(run.log, tmp_path, "DELETE FROM transition WHERE id > 40"))
    with pytest.raises(LogError, match="not a log of the daemon"):
        (tmp_path / "text.db").write_text("time,load_kw\n" * 100)
        world_of(tmp_path / "text.db")


def test_the_spread_of_clipped_noise() -> None:
    rng = np.random.default_rng(0)
    nominal = np.where(rng.random(4000) < 0.7, 0.0, rng.uniform(0, 2, 4000))
    action = np.clip(nominal + 0.3 * rng.standard_normal(4000), 0.0, 2.0)
    assert censored_std(nominal, action, 0.0, 2.0) == pytest.approx(0.3, rel=0.03)


def test_the_mean_of_what_is_explored_on_both_sides_of_the_meter() -> None:
    rng, noise = np.random.default_rng(1), Noise.of(DESIGN.problem)
    nominal, std = np.array([[0.0, 0.0], [0.2, 0.0], [0.0, 4.9]]), np.array([0.5, 0.3])
    drawn = np.clip(nominal + std * rng.standard_normal((200_000, 3, 2)), noise.lower, noise.upper)
    seen = netted(DESIGN.problem, drawn.reshape(-1, 2)).reshape(drawn.shape).mean(0)
    np.testing.assert_allclose(means_of(noise, nominal, std), seen, atol=5e-3)
    assert seen[0].min() > 0.05
