"""The commands battery-case1, battery-case2, optimal-model and equivalence, from the command line to their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_rules import check_page

from nisse.cli import main


def run(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    path = tmp_path / "result.json"
    assert main(["experiment", *arguments, "--output", str(tmp_path / "out"), "--json", str(path)]) == 0
    page = (tmp_path / "out" / "index.html").read_text()
    check_page(page)
    return dict(json.loads(path.read_text()))


@pytest.mark.parametrize("number", [1, 2])
def test_battery_cases(tmp_path: Path, number: int) -> None:
    result = run(tmp_path, f"battery-case{number}", "--grid", "480")
    grid, v_star = np.array(result["grid"]), np.array(result["V_star"])
    assert {len(result[name]) for name in ("V_star", "pi_star", "V_hat", "pi_hat")} == {len(grid)}
    assert result["J_star"] == pytest.approx(np.trapezoid(v_star, grid), abs=1e-5)
    assert result["digits"]["V_star"] >= 5
    assert result["J_hat_policy_projected_on_world"] < result["J_star"] - 0.5
    if number == 1:
        assert result["J_hat_policy_on_world"] is None and "-infinity" in result["J_hat_policy_on_world_reason"]
    else:
        assert result["J_hat_policy_on_world"] == pytest.approx(-15.79527, abs=1e-4)
    assert (tmp_path / "out" / "figure4.png").stat().st_size > 10_000
    assert (tmp_path / "out" / "figure5.png").stat().st_size > 10_000


def test_penalised_leaving_makes_the_loss_finite_and_huge(tmp_path: Path) -> None:
    result = run(tmp_path, "battery-case1", "--grid", "80", "--leaving", "penalty=100")
    assert result["J_hat_policy_on_world"] == pytest.approx(-111.675, abs=0.02)


def test_quadrature_nodes_cost_what_is_reported(tmp_path: Path) -> None:
    exact = run(tmp_path, "battery-case2", "--grid", "80")
    rough = run(tmp_path, "battery-case2", "--grid", "80", "--noise-nodes", "7")
    worst = np.max(np.abs(np.array(exact["V_star"]) - np.array(rough["V_star"])))
    assert 1e-3 < worst <= 1.5 * rough["errors"]["V_star"]


def test_optimal_model_scan(tmp_path: Path) -> None:
    result = run(tmp_path, "optimal-model", "--case", "2", "--delta", "0.11", "--scan", "--grid", "160")
    assert result["covered_fraction"] == 1.0 and len(result["jumps"]) == 1
    assert result["largest_policy_difference"] < 1e-6
    assert result["delta_exists_everywhere"]["high"] == pytest.approx(0.126929, abs=2e-6)
    exists, continuous = result["delta_exists_everywhere"], result["delta_continuous"]
    # A jump closes at the critical Delta only; the slopes of V* there are 1, and jumps of 1e-6 are not counted.
    assert exists["high"] - 3e-6 < continuous["low"] < continuous["high"] == exists["high"]


@pytest.mark.parametrize(
    ("case", "branch", "everywhere_continuous"), [(1, "nearest", True), (2, "lower", True), (2, "nearest", False)]
)
def test_what_is_continuous_exists(tmp_path: Path, case: int, branch: str, everywhere_continuous: bool) -> None:
    result = run(tmp_path, "optimal-model", "--case", str(case), "--branch", branch, "--scan", "--grid", "80")
    exists, continuous = result["delta_exists_everywhere"], result["delta_continuous"]
    assert exists["low"] <= continuous["low"] <= continuous["high"] <= exists["high"]
    assert (continuous == exists) is everywhere_continuous


def test_equivalence_is_reproducible_with_seed_0(tmp_path: Path) -> None:
    arguments = ("equivalence", "--mdps", "4", "--seed", "0")
    first = run(tmp_path, *arguments)
    assert first == run(tmp_path, *arguments)
    assert first["random"] != run(tmp_path, "equivalence", "--mdps", "4", "--seed", "1")["random"]
    by_name = {case["name"]: case for case in first["cases"]}
    assert by_name["battery case 1, expected-value model"]["world_forbids_model_policy"]
    assert not by_name["battery case 2, expected-value model"]["same_policy"]
    built = [case for case in [*first["cases"], *first["random"]] if "sufficient" in case["name"]]
    assert len(built) == 6 and all(case["same_policy"] and case["corollary1_spread"] < 1e-9 for case in built)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("equivalence", "--seed", "-1"),
        ("equivalence", "--discount", "1.2"),
        ("battery-case1", "--noise-nodes", "0"),
    ],
)
def test_a_number_that_cannot_be_is_a_mistake_in_usage(
    capsys: pytest.CaptureFixture[str], name: str, option: str, value: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["experiment", name, option, value])
    error = capsys.readouterr().err
    assert caught.value.code == 2 and f"argument {option}: '{value}'" in error


def arrays() -> dict[str, Any]:
    p = np.zeros((2, 2, 2))
    p[0, 0, 0] = p[0, 1, 1] = p[1, :, 1] = 1.0
    model = p.copy()
    model[0, 1] = [1.0, 0.0]
    return {"P": p, "L": np.array([[1.0, 1.5], [0.0, 3.0]]), "gamma": 0.5, "P_hat": model}


def test_equivalence_of_ones_own_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", **arrays())
    result = run(tmp_path, "equivalence", "--problem", str(tmp_path / "mine.npz"))
    assert result["cases"][0]["regret"] == pytest.approx(0.5)
    assert result["modified_cost"][0][1] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["battery-case1", "--discount", "1"], 65, "gamma must lie strictly between 0 and 1, got 1.0"),
        (["battery-case2", "--noise-limit", "0.3"], 65, "|w| <= 0.3"),
        (["battery-case2", "--delta", "7", "--grid", "80"], 65, "--delta 7"),
        (["optimal-model", "--delta", "-9", "--grid", "80"], 65, "Delta = -9"),
        (["battery-case1", "--leaving", "softly"], 2, "--leaving softly"),
        (["battery-case1", "--leaving", "penalty=-1"], 2, "penalty=-1"),
        (["battery-case1", "--grid", "0"], 2, "--grid 0"),
        (["equivalence", "--problem", "absent.npz"], 65, "absent.npz"),
    ],
)
def test_bad_input_is_one_line_with_the_offending_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    assert main(["experiment", *arguments, "--output", str(tmp_path / "out")]) == code
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gamma": 1.0}, "got 1.0"),
        ({"P": arrays()["P"] * 1.1}, "sums to 1.1"),
        ({"P_hat": np.ones((2, 2, 3))}, "(2, 2, 3)"),
        ({"L": np.array([["a", "b"], ["c", "d"]])}, "arrays of numbers"),
        ({"L": arrays()["L"] + 2.5j}, "L is complex, with 1+2.5j first"),
        ({"P": arrays()["P"] + 0.0j}, "P is complex"),
        ({"gamma": np.array([0.9, 0.8])}, "gamma is [0.9 0.8]"),
        ({"gamma": np.array(0.9 + 0.1j)}, "gamma is [0.9+0.1j]"),
        ({"L": np.array([[1.0, 1e300], [0.0, 3.0]])}, "L[0, 1] is 1e+300"),
        ({"L_hat": np.full((2, 2), np.inf)}, "of the model: every action of state 0"),
        ({"P_hat": np.full((3, 2, 3), 1 / 3), "L_hat": np.ones((3, 2))}, "P is (2, 2, 2) and P_hat is (3, 2, 3)"),
    ],
)
def test_bad_arrays_name_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    np.savez(tmp_path / "mine.npz", **{**arrays(), **change})
    assert main(["experiment", "equivalence", "--problem", str(tmp_path / "mine.npz")]) == 65
    error = capsys.readouterr().err
    assert "mine.npz" in error and said in error


def test_a_model_may_differ_in_its_costs_or_its_discount_alone(tmp_path: Path) -> None:
    world = {k: v for k, v in arrays().items() if k != "P_hat"}
    for change in ({"L_hat": 2.0 * world["L"]}, {"gamma_hat": 0.3}):
        np.savez(tmp_path / "mine.npz", **world, **change)
        cases = run(tmp_path, "equivalence", "--problem", str(tmp_path / "mine.npz"))["cases"]
        assert cases[0]["name"] == "mine.npz" and len(cases) == 2


def test_files_that_hold_no_arrays_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04" + bytes(40))
    np.save(tmp_path / "one.npy", np.ones((2, 2)))
    for name, said in (("cut.npz", "cannot be read as an npz file"), ("one.npy", "holds one array of shape (2, 2)")):
        assert main(["experiment", "equivalence", "--problem", str(tmp_path / name)]) == 65
        error = capsys.readouterr().err
        assert name in error and said in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        ("equivalence", ["equivalence", "--states", "900", "--actions", "90"], "900 states that lead to as many"),
        ("lqr", ["lqr", "--transitions", "9000000"], "9000000 transitions take 3.6 GB"),
    ],
)
def test_more_than_memory_holds_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str, arguments: list[str], said: str
) -> None:
    monkeypatch.setattr(f"research.experiments.{module}.free_memory", lambda: 1_000_000_000)
    assert main(["experiment", *arguments]) == 65
    error = capsys.readouterr().err
    assert said in error and "ask for at most" in error and error.count("\n") == 1


def test_a_missing_array_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "mine.npz", **{k: v for k, v in arrays().items() if k != "L"})
    assert main(["experiment", "equivalence", "--problem", str(tmp_path / "mine.npz")]) == 65
    assert "no L" in capsys.readouterr().err
