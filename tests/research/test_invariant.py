"""Invariant sets and the barrier filter, against closed forms, simulation and search."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from nisse.cli import main
from research.experiments.invariant_sets import LECTURE, on_border, second_state
from systems.invariant import (
    BarrierFilter,
    controlled_invariant,
    largest_invariant,
    largest_level,
    lyapunov_matrix,
    nearest,
    quadratic_barrier,
    smallest_reach,
)
from systems.polytope import Polytope, box, irredundant, make_polytope, project, support, vertices
from systems.set_errors import BadSystem, EmptySet

A, B, SAFE, W = LECTURE.a, LECTURE.b, LECTURE.state, LECTURE.disturbance
RNG = np.random.default_rng


def stays(states: np.ndarray, steps: int = 300) -> np.ndarray:
    """Which of the states (k, 2) satisfy |theta_t| <= 1 at every t, simulated."""
    safe = np.ones(len(states), dtype=bool)
    for _ in range(steps):
        safe &= np.abs(states[:, 0]) <= 1.0
        states = states @ A.T
    return safe


def test_the_ellipsoid_of_the_lecture_in_closed_form() -> None:
    """A^t = 0.9^t [[1, t/9], [0, 1]], so P is made of the sums of x^t, t x^t, t^2 x^t at x = 0.81."""
    x = 0.81
    p = np.array([[1 / (1 - x), x / (1 - x) ** 2 / 9], [0, 1 / (1 - x) + x * (1 + x) / (1 - x) ** 3 / 81]])
    p[1, 0] = p[0, 1]
    np.testing.assert_allclose(lyapunov_matrix(A), p, rtol=1e-12)
    c = largest_level(lyapunov_matrix(A), SAFE)
    assert c == pytest.approx(p[0, 0] - p[0, 1] ** 2 / p[1, 1], rel=1e-12)
    angle = np.linspace(0, 2 * np.pi, 20_001)
    edge = np.linalg.solve(np.linalg.cholesky(p).T, np.sqrt(c) * np.vstack([np.cos(angle), np.sin(angle)])).T
    assert stays(edge * (1 - 1e-9)).all() and np.abs(edge[:, 0]).max() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("theta", [-1.0, -0.3, 0.0, 0.7, 1.0])
def test_the_condition_on_omega_of_the_lecture_in_closed_form(theta: float) -> None:
    t = np.arange(1, 200)
    bounds = (9 * (-(0.9**-t) - theta) / t).max(), (9 * (0.9**-t - theta) / t).min()
    assert second_state(largest_invariant(A, SAFE).polytope, theta) == pytest.approx(bounds, rel=1e-9)


def test_the_largest_set_is_what_simulation_finds() -> None:
    states = RNG(0).uniform([-1.1, -4.0], [1.1, 4.0], size=(20_000, 2))
    np.testing.assert_array_equal(largest_invariant(A, SAFE).polytope.contains(states), stays(states))


def test_scalar_robust_sets_are_those_of_the_lecture() -> None:
    """s+ = g s + w, |w| <= B: the smallest set is |s| <= B / (1 - g); narrower safe sets have none."""
    g, limit = np.array([[0.8]]), box([0.1])
    np.testing.assert_allclose(smallest_reach(g, limit, np.array([[1.0]])), 0.5, rtol=1e-9)
    assert largest_invariant(g, box([0.51]), limit).polytope.contains(np.array([[0.51]]), 1e-9).all()
    with pytest.raises(EmptySet, match="no state stays safe"):
        largest_invariant(g, box([0.49]), limit)


def test_the_robust_set_is_tight() -> None:
    """Of the border, all extreme sequences stay; a little outside, the worst sequence of some row leaves."""
    found = largest_invariant(A, SAFE, W).polytope
    worst = []
    for state in on_border(found, 200, RNG(1)):
        deterministic, noise = np.eye(2), 0.0
        most = 0.0
        for _ in range(200):  # theta_t is at most |e1'A^t s| plus the sum of the supports so far
            most = max(most, abs((deterministic @ state)[0]) + noise)
            noise += float(np.abs(deterministic[0]) @ W.offsets[:2])
            deterministic = deterministic @ A
        worst.append(most)
    np.testing.assert_allclose(worst, 1.0, atol=1e-7)


def test_a_controlled_set_is_kept_by_some_action_and_no_larger_one_is() -> None:
    bounded = Polytope(np.vstack([SAFE.normals, box([9, 7]).normals]), np.append(SAFE.offsets, box([9, 7]).offsets))
    found = controlled_invariant(A, B, bounded, LECTURE.action, W).polytope
    actions = np.linspace(-1, 1, 2001)[:, None]
    corners = vertices(W)

    def kept(state: np.ndarray) -> bool:
        following = (A @ state + actions @ B.T)[:, None] + corners
        return bool(found.contains(following, 1e-6).all(axis=1).any())

    border = np.vstack([vertices(found), on_border(found, 100, RNG(2))])
    assert all(kept(state) for state in border)
    inside = bounded.contains(border * 1.02, -1e-9)
    assert inside.any() and not any(kept(state) for state in border[inside] * 1.02)


def test_the_filter_takes_the_nearest_admitted_action() -> None:
    """Against a search over all actions of a grid; and up to the guaranteed gamma it has one everywhere."""
    bounded = Polytope(np.vstack([SAFE.normals, box([9, 7]).normals]), np.append(SAFE.offsets, box([9, 7]).offsets))
    found = controlled_invariant(A, B, bounded, LECTURE.action, W).polytope
    grid, corners = np.linspace(-1, 1, 4001)[:, None], vertices(W)
    keep = BarrierFilter(A, B, found, LECTURE.action, W, 0.6)
    for state in on_border(found, 40, RNG(3)) * RNG(4).uniform(size=(40, 1)):
        following = (A @ state + grid @ B.T)[:, None] + corners
        admitted = (keep.barrier(following) <= 0.6 * keep.barrier(state) + 1e-9).all(axis=1)
        nominal = RNG(5).uniform(-2, 2, size=1)
        best = grid[admitted][np.argmin(np.abs(grid[admitted] - nominal))]
        chosen = keep(state, nominal)
        assert chosen is not None and abs(chosen - best).item() < 1e-3
    safe_gamma = keep.guaranteed_gamma()
    states = on_border(found, 300, RNG(6)) * RNG(7).uniform(size=(300, 1))
    for gamma, all_have_one in ((safe_gamma, True), (1.0, False)):
        tried = BarrierFilter(A, B, found, LECTURE.action, W, gamma)
        assert all(tried(state, np.zeros(1)) is not None for state in states) == all_have_one


def test_the_exercise_on_quadratic_barriers_against_a_search() -> None:
    p = np.array([[3.0, 0.5], [0.5, 1.0]])
    unstable = np.array([[1.3, 0.4], [0.0, 0.9]])
    for a in (A, unstable):
        found, actions = quadratic_barrier(a, B, p, 1.0), np.linspace(-400, 400, 80_001)[:, None]
        states = RNG(8).normal(size=(60, 2)) * np.array([2.0, 2.0])
        for gamma in (0.2, 0.9):
            answers = found.feasible(states, gamma)
            for state, answer in zip(states, answers, strict=True):
                following = a @ state + actions @ B.T
                best = np.einsum("ki,ij,kj->k", following, p, following).min() - 1.0
                margin = gamma * (state @ p @ state - 1.0) - best
                assert abs(margin) < 1e-4 or answer == (margin > 0)
    inside = on_border(box([1, 1]), 500, RNG(9))
    inside = inside / np.sqrt(np.einsum("ki,ij,kj->k", inside, p, inside))[:, None]
    assert (found.mu <= 1.0) == bool(found.feasible(inside, 0.5).all())


def test_polytopes_against_enumeration() -> None:
    generator = RNG(10)
    normals = generator.normal(size=(14, 3))
    solid = irredundant(Polytope(normals / np.linalg.norm(normals, axis=1)[:, None], np.ones(14)))
    solid = Polytope(np.vstack([solid.normals, box([2, 2, 2]).normals]), np.append(solid.offsets, np.full(6, 2.0)))
    corners = [
        np.linalg.solve(solid.normals[list(rows)], solid.offsets[list(rows)])
        for rows in itertools.combinations(range(len(solid.offsets)), 3)
        if abs(np.linalg.det(solid.normals[list(rows)])) > 1e-9
    ]
    points = np.array([c for c in corners if solid.contains(c, 1e-9)])
    directions = generator.normal(size=(20, 3))
    np.testing.assert_allclose(support(solid, directions), (directions @ points.T).max(axis=1), rtol=1e-7)
    flat = np.column_stack([directions[:, :2], np.zeros(20)])
    np.testing.assert_allclose(support(project(solid, 2), directions[:, :2]), (flat @ points.T).max(axis=1), rtol=1e-7)
    assert nearest(box([1, 1]), np.array([3.0, 0.5])) == pytest.approx([1.0, 0.5])
    assert nearest(make_polytope([[1.0], [-1.0]], [0.0, -1.0]), np.zeros(1)) is None


def test_command(tmp_path: Path) -> None:
    path = tmp_path / "sets.json"
    arguments = ["experiment", "invariant-sets", "--trajectories", "500", "--seeds", "1", "--json", str(path)]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    result = json.loads(path.read_text())
    found = result["seeds"]["0"]
    assert result["extreme_disturbances"]["left"] == found["robust_left"] == found["filtered_left"] == 0
    assert found["nominal_left"] > 0 and found["unfiltered_left"] > 0
    assert {limit["limit"] for limit in result["daemon"]} >= {"home_soc", "living_temperature", "water_temperature"}
    plain = [limit for limit in result["daemon"] if not limit["house"].endswith("fitted")]
    assert len(plain) > 8 and all(limit["kept"] == limit["bounds"] for limit in plain)
    fitted = [limit for limit in result["daemon"] if limit["house"].endswith("fitted")]
    assert len(fitted) == 4 and all(0.5 < limit["share"] < 1.0 for limit in fitted)
    assert (tmp_path / "out" / "invariant-sets.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A = [[1.01, 0.0], [0.0, 0.5]]", "eigenvalue of modulus 1.01"),
        ("A = [[0.5]]", "B has shape (2, 1)"),
        ("A = [[0.5, 0.1]]", "A must be square, and has shape (1, 2)"),
        ("A = [[nan, 0.0], [0.0, 0.5]]", "A: [[nan, 0.0], [0.0, 0.5]]"),
        ("A = [0.5, 0.1]", "A: [0.5, 0.1]"),
        ("A = [[0.0, 1.0], [-1.0, 0.0]]", "eigenvalue of modulus 1,"),
        ("B = [[], []]", "B has shape (2, 0)"),
        ("state = { F = [[0.0, 0.0], [1.0, 0.0]], b = [-1.0, 1.0] }", "exclude each other by 1"),
        ("disturbance = { F = [[1.0, 0.0]], b = [1.0] }", "disturbance: number 2 of 2 has a bound on one side"),
        ("action = { F = [[1.0]], b = [1.0] }", "action: number 1 of 1 has a bound on one side"),
        ("noise_std = -0.1", "noise_std is -0.1"),
        ("A = [[0.5, 0.1], [0.2]]", "A: rows of one length"),
        ("state = { F = [[1.0, 0.0], [-1.0, 0.0]], b = [-1.0, 0.5] }", "exclude each other by 0.25"),
        ("state = { F = [[1.0, 0.0]], b = [1.0, 2.0] }", "F is (1, 2), b is (2,)"),
        ("state = { limit = [-1.0, 1.0] }", "limits of a box are numbers from 0 up"),
        ("disturbance = { limit = [0.5, 0.5] }", "no state stays safe"),
        ("Q = [[-1.0, 0.0], [0.0, 1.0]]", "lowest eigenvalue -1"),
        ("speed = 3", "'speed' is no entry"),
        ("A = ", "Invalid value"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert main(["experiment", "invariant-sets", "--system", str(path), "--output", str(tmp_path / "out")]) == 65
    told = capsys.readouterr().err.strip()
    assert words in told and "\n" not in told and not (tmp_path / "out").exists()


def test_a_marginal_system_is_no_stable_one() -> None:
    with pytest.raises(BadSystem, match="modulus 1"):
        lyapunov_matrix(np.array([[1.0, 0.1], [0.0, 0.5]]))
