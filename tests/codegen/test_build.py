"""A bundle from a command line: built, verified, signed, packed, opened, called from C; what verification catches."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codegen.reference import ReferenceSolver
from codegen.solver import build_solver, clear_abandoned
from codegen.targets import host_arch
from codegen.verify import certify, compare, failures, reference_values, sample_cases, solve_here
from nisse.cli import main
from runtime.abi.controller import Controller
from runtime.abi.library import SolveStatus
from runtime.bundle.archive import open_bundle
from tests.codegen.problems import bare_problem

THETA = {"home_charge_efficiency": 0.9, "home_terminal_slope": 0.8}
HOUSE = """
[house]
name = "barn"
[grid]
step = "15 min"
hold = "15 min"
horizon = "6 h"
[meter]
[load]
[[battery]]
name = "home"
capacity_kwh = 13.5
max_charge_kw = 5
max_discharge_kw = 5
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("build")
    (work / "theta.json").write_text(json.dumps({"system": "barn", "theta": THETA}))
    (work / "barn.toml").write_text(HOUSE)
    assert main(["key", "new", str(work / "key.pem")]) == 0
    arguments = [str(work / "barn.toml"), "--theta", str(work / "theta.json"), "--key", str(work / "key.pem")]
    arguments += ["--problems", "12", "--output", str(work / "barn.nisse")]
    assert main(["build", *arguments, "--json", str(work / "result.json")]) == 0
    return work / "barn.nisse"


def test_bundle_opens_and_its_controller_has_the_theta_it_was_built_with(bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle, None, platform.machine(), tmp_path)
    assert opened.theta["home_charge_efficiency"] == 0.9
    assert opened.manifest.safety is not None and opened.manifest.horizon == 24
    values = {"load": 1.0, "buy": 0.3, "sell": 0.1}
    forecast = np.tile([values[spec.name] for spec in opened.manifest.forecasts], (25, 1))
    with Controller(opened.library_or_fail()) as controller:
        fresh = controller.solve([0.5], forecast)
        controller.set_theta(list(opened.theta.values()))
        assert controller.solve([0.5], forecast).value == fresh.value


def test_verify_repeats_the_certificate(bundle: Path, tmp_path: Path) -> None:
    assert main(["verify", str(bundle), "--problems", "12", "--json", str(tmp_path / "c.json")]) == 0
    again = json.loads((tmp_path / "c.json").read_text())
    before = open_bundle(bundle, None, "any", tmp_path / "u").certificate
    assert again["arch"][host_arch()] == before["arch"][host_arch()]
    assert again["arch"][host_arch()]["max_relative_objective_gap"] <= 1e-6


def test_nothing_in_a_bundle_names_the_machine_it_was_built_on(bundle: Path, tmp_path: Path) -> None:
    directory = open_bundle(bundle, None, "any", tmp_path / "u").directory
    home = str(Path.home()).encode()
    texts = [p for p in directory.rglob("*") if p.suffix in {".c", ".h", ".json", ".sh", ".txt"}]
    assert len(texts) > 20 and not [p for p in texts if home in p.read_bytes()]


def test_a_controller_of_another_problem_is_caught() -> None:
    problem = bare_problem()
    x, u = problem.stage_cost.sx_in(0), problem.stage_cost.sx_in(1)
    d, z, p = (problem.stage_cost.sx_in(i) for i in (2, 3, 4))
    import casadi as ca

    dearer = ca.Function("stage_cost", [x, u, d, z, p], [problem.stage_cost(x, u, d, z, p) + 1e-4 * u**2])
    other = build_solver(replace(problem, stage_cost=dearer), host_arch())
    certificate = certify(problem, {host_arch(): other.library}, count=12)
    assert not certificate["arch"][host_arch()]["verified"]
    assert "objective gap" in failures(certificate)[0]


def test_a_solve_that_fails_where_the_reference_succeeds_is_a_failure() -> None:
    problem = bare_problem()
    cases = sample_cases(problem, 5, seed=0)
    expected = reference_values(ReferenceSolver(problem), cases, lambda what, done, total: None)
    answers = solve_here(build_solver(problem, host_arch()).library, cases)
    assert compare(answers, expected)["verified"]
    answers[3] = replace(answers[3], status=SolveStatus.MAX_ITERATIONS)
    assert compare(answers, expected)["failed"] == [3] and not compare(answers, expected)["verified"]


def test_builds_that_were_killed_are_cleared_away_and_running_ones_are_not(tmp_path: Path) -> None:
    now = 1_700_000_000.0
    ages_s = {".partial-old": 2 * 86400.0, ".partial-running": 600.0, "house-x86_64-0123456789abcdef": 9e6}
    for name, age_s in ages_s.items():
        (tmp_path / name / "solver").mkdir(parents=True)
        os.utime(tmp_path / name, (now - age_s, now - age_s))
    clear_abandoned(tmp_path, now)
    assert {folder.name for folder in tmp_path.iterdir()} == {".partial-running", "house-x86_64-0123456789abcdef"}
