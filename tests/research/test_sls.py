"""Responses by convex programs, against closed forms, another formulation and solver, and simulation."""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nisse.cli import main
from research.errors import Unsolved
from research.experiments.lqr import SYSTEM
from research.experiments.sls import PROBLEM, violations, worst_row
from research.lqr import explore
from research.sls import RobustSynthesis, estimate, square_root, synthesise
from runtime.version import DISTRIBUTION
from systems.polytope import Polytope, vertices

A, B, Q, R = PROBLEM.a, PROBLEM.b, PROBLEM.q, PROBLEM.r


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    assert main(["experiment", "sls"]) == 2
    assert capsys.readouterr().err.endswith(f"'{DISTRIBUTION}[research]'\n")


@pytest.fixture(scope="module")
def cp():
    return pytest.importorskip("cvxpy", reason="it is in the extra `research`")


def test_without_bounds_it_is_the_regulator_that_ends_at_zero(cp) -> None:
    """min sum s'Qs + a'Ra from each unit vector to s_T = 0 by its linear optimality conditions."""
    steps, n = 6, 2
    reach = [np.linalg.matrix_power(A, k) @ B for k in range(steps)]
    forced = np.array([sum((reach[k - 1 - j] * (np.arange(steps) == j) for j in range(k)), np.zeros((n, steps)))
                       for k in range(steps + 1)])  # fmt: skip
    free = np.array([np.linalg.matrix_power(A, k) for k in range(steps + 1)])
    hessian = sum(f.T @ Q @ f for f in forced[:-1]) + np.kron(np.eye(steps), R)
    linear = sum(f.T @ Q @ x for f, x in zip(forced[:-1], free[:-1], strict=True))
    kkt = np.block([[hessian, forced[-1].T], [forced[-1], np.zeros((n, n))]])
    actions = np.linalg.solve(kkt, -np.vstack([linear, free[-1]]))[:steps]
    found = synthesise(PROBLEM, steps)
    np.testing.assert_allclose(found.actions[:, 0], actions, atol=1e-5)
    assert found.cost_in(A, B, Q, R) == pytest.approx(found.cost(Q, R), rel=1e-6)


def test_with_the_horizon_it_becomes_the_optimal_gain(cp) -> None:
    found = synthesise(PROBLEM, 25)
    np.testing.assert_allclose(found.gain, SYSTEM.optimal_gain(), atol=1e-4)
    best = SYSTEM.average_cost(SYSTEM.optimal_gain()) / SYSTEM.noise_std**2
    assert 0.0 < found.cost(Q, R) / best - 1.0 < 1e-5


@pytest.mark.parametrize(("turned", "size", "share"), [(False, 0.6, 1.0), (True, 0.6, 1.0), (False, 3.5, 0.0)])
def test_bounds_for_all_disturbances_against_corners_and_another_solver(
    cp, turned: bool, size: float, share: float
) -> None:
    """The program with a maximum over the corners of W in the place of its dual; W a box or a rotated one.

    From problem.start bounds are touched at once; from 0 only by what disturbances of many steps add up to.
    """
    angle = np.array([[0.8, -0.6], [0.6, 0.8]]) if turned else np.eye(2)
    shape = Polytope(PROBLEM.disturbance.normals @ angle.T, size * PROBLEM.disturbance.offsets)
    problem, steps = replace(PROBLEM, disturbance=shape, start=share * PROBLEM.start), 12
    corners = vertices(shape)
    s = [np.eye(2), *(cp.Variable((2, 2)) for _ in range(steps - 1))]
    a = [cp.Variable((1, 2)) for _ in range(steps)]
    rules = [y == A @ x + B @ u for x, u, y in zip(s, a, [*s[1:], np.zeros((2, 2))], strict=True)]
    for allowed, phi in ((problem.state, s), (problem.action, a)):
        for t in range(steps + 1):
            came = sum(cp.max(allowed.normals @ phi[k] @ corners.T, axis=1) for k in range(t))
            free = allowed.normals @ phi[t] @ problem.start if t < steps else 0
            rules.append(cp.Constant(-allowed.offsets) + free + came <= 0)
    cost = sum(cp.sum_squares(square_root(Q) @ x) for x in s) + sum(cp.sum_squares(square_root(R) @ u) for u in a)
    program = cp.Problem(cp.Minimize(cost), rules)
    program.solve(solver=cp.OSQP, eps_abs=1e-7, eps_rel=1e-7, max_iter=200_000)
    found = synthesise(problem, steps, bounded=True, disturbance=shape)
    assert found.cost(Q, R) == pytest.approx(program.value, rel=1e-4)
    assert abs(worst_row(problem, found)) < 1e-5  # it holds, and some bound is touched
    drawn = corners[np.random.default_rng(0).integers(len(corners), size=(2000, 3 * steps))]
    assert violations(problem, found, drawn) == 0
    unbounded = synthesise(problem, steps, bounded=True)
    assert unbounded.cost(Q, R) < 0.999 * found.cost(Q, R) and violations(problem, unbounded, drawn) > 0


def test_the_certificate_holds_in_the_whole_ball(cp) -> None:
    eps_a, eps_b = 0.05, 0.03
    program = RobustSynthesis(Q, R, 10)
    found = program.solve(A, B, eps_a, eps_b)
    assert found is not None
    z = np.exp(1j * np.linspace(0, np.pi, 400))[:, None, None, None] ** -np.arange(1, 11)[None, :, None, None]
    both = np.concatenate([eps_a * found.response.states, eps_b * found.response.actions], axis=1) * np.sqrt(2)
    norm = np.linalg.norm((z * both).sum(axis=1), 2, axis=(1, 2)).max()
    others = [program.at(A, B, eps_a, eps_b, gamma) for gamma in np.linspace(0.1, 0.9, 9)]
    assert found.bound <= 1.01 * min(others)
    assert 0.95 * found.gamma < norm <= found.gamma * (1 + 1e-5)
    generator, costs = np.random.default_rng(0), []
    for _ in range(200):
        da, db = generator.normal(size=(2, 2)), generator.normal(size=(2, 1))
        da, db = eps_a * da / np.linalg.norm(da, 2), eps_b * db / np.linalg.norm(db, 2)
        costs.append(found.response.cost_in(A + da, B + db, Q, R))
    assert max(costs) <= found.bound and min(costs) < max(costs)
    assert RobustSynthesis(Q, R, 6).solve(A, B, 0.6, 0.6) is None


def test_error_bounds_hold_as_often_as_they_say() -> None:
    held = []
    for seed in range(100):
        data = explore(SYSTEM, np.zeros((1, 2)), 200, action_std=0.5, seed=seed)
        found = estimate(data.s, data.a, data.s_next)
        errors = np.linalg.norm(found.a - A, 2), np.linalg.norm(found.b - B, 2)
        held.append(errors[0] <= found.eps_a and errors[1] <= found.eps_b)
    assert np.mean(held) >= 0.9


@pytest.mark.parametrize("delta", [0.05, 0.5])
def test_error_bounds_of_independent_regressors_are_those_of_a_gaussian_matrix(delta: float) -> None:
    """With Z'Z = 100 I the error is sigma G / 10: by the formula itself, and as often as it says."""
    rng, count = np.random.default_rng(3), 400
    z = 10.0 * np.linalg.qr(rng.normal(size=(200, 3)))[0]
    spread = {p: np.sqrt(2.0) + np.sqrt(p) + np.sqrt(2.0 * np.log(2.0 / delta)) for p in (2, 1)}
    held = np.zeros((count, 2), dtype=bool)
    for k in range(count):
        found = estimate(z[:, :2], z[:, 2:], z @ np.vstack([A.T, B.T]) + 0.1 * rng.normal(size=(200, 2)), delta)
        for bound, p in ((found.eps_a, 2), (found.eps_b, 1)):
            assert bound == pytest.approx(0.1 * spread[p] / 10.0, rel=0.2)
        held[k] = np.linalg.norm(found.a - A, 2) <= found.eps_a, np.linalg.norm(found.b - B, 2) <= found.eps_b
    assert held.mean(axis=0).min() >= 1.0 - delta


def test_command(tmp_path: Path, cp) -> None:
    path = tmp_path / "sls.json"
    arguments = ["experiment", "sls", "--trajectories", "200", "--transitions", "30", "--seeds", "1"]
    assert main([*arguments, "--json", str(path), "--output", str(tmp_path / "out")]) == 0
    result = json.loads(path.read_text())
    assert result["designs"]["robust"]["sampled_violations"] == [0]
    assert result["designs"]["nominal"]["extreme_violations"] > 0
    assert (tmp_path / "out" / "sls.png").stat().st_size > 10_000


def test_more_states_than_the_shortest_horizon(cp, tmp_path: Path) -> None:
    """Three states, one action: no response of two steps ends at zero, and nobody asks for one."""
    path = tmp_path / "mine.toml"
    path.write_text(
        "A = [[0.8, 0.2, 0.0], [0.0, 0.7, 0.2], [0.0, 0.0, 0.6]]\nB = [[0.0], [0.0], [0.5]]\n"
        "Q = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]\nstart = [0.1, 0.1, 0.1]\n"
        "state = { limit = [2, 2, 2] }\naction = { limit = [2] }\ndisturbance = { limit = [0.02, 0.02, 0.02] }\n"
    )
    arguments = ["experiment", "sls", "--system", str(path), "--trajectories", "50", "--transitions", "30"]
    assert main([*arguments, "--seeds", "1", "--output", str(tmp_path / "out")]) == 0
    gaps = [row["cost_gap"] for row in json.loads((tmp_path / "out" / "result.json").read_text())["against_horizon"]]
    assert gaps[-1] < 1e-3 and all(a > b for a, b in itertools.pairwise(gaps))


def test_what_has_no_response_is_told(cp, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Unsolved, match="no response of 1 steps"):
        synthesise(PROBLEM, 1)
    for text, words in (
        ("start = [5.0, 0.0]", "start [5.0, 0.0] is outside the state set"),
        ("A = [[1.2, 0.0], [0.0, 0.9]]", "eigenvalue of modulus 1.2"),
        ("noise_std = 0.0", "noise_std is 0"),
        ("R = [[0.0]]", "R must be symmetric and positive definite"),
    ):
        path = tmp_path / "mine.toml"
        path.write_text(text)
        assert main(["experiment", "sls", "--system", str(path), "--output", str(tmp_path / "out")]) == 65
        told = capsys.readouterr().err.strip()
        assert words in told and "\n" not in told
