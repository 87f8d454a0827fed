"""The experiment battery-tuning: exact judgement, marks in the right order, files."""

import json

import numpy as np
import pytest

from nisse.cli import main
from research.experiments.battery_tuning import PENALTY, direct_search, exact_return, off_kinks, spec_for
from research.scalar_system import ScalarBatterySystem
from research.tabular.scalar import scalar_world


@pytest.mark.slow
def test_direct_search_finds_the_resting_band_of_case_2():
    """Dynamic programming rests within 0.0697 of 1/2; the search knows nothing of that."""
    system = ScalarBatterySystem(2, PENALTY)
    world = scalar_world(system.case, penalty=PENALTY, intervals=200)
    start = np.array([p.default for p in system.parameters])
    _, j = direct_search(system, world, [start], evaluations=40)
    best = world.solve().mean_return
    assert exact_return(system, world, start) < j <= best + 1e-3
    assert (best - j) / abs(best) < 2e-3


def test_learning_starts_off_the_kinks_and_moves_nothing_else():
    system = ScalarBatterySystem(1, PENALTY)
    default = np.array([p.default for p in system.parameters])
    begin = off_kinks(system, spec_for(1, "dpg", 0, None).learn)
    moved = [p.name for p, a, b in zip(system.parameters, begin, default, strict=True) if a != b]
    assert moved == ["backoff_low", "backoff_high", "reserve"]


@pytest.mark.slow
def test_the_command_judges_every_seed_exactly_and_writes_page_figures_and_json(tmp_path):
    path = tmp_path / "result.json"
    arguments = ["experiment", "battery-tuning", "--case", "2", "--methods", "dpg", "--iterations", "3"]
    arguments += ["--seeds", "1", "2"]
    assert main([*arguments, "--output", str(tmp_path / "out"), "--json", str(path)]) == 0
    case = json.loads(path.read_text())["cases"]["2"]
    closed = []
    for study in (case["seeds"]["1"], case["seeds"]["2"]):
        learned = study["methods"]["dpg"]
        assert case["J_data_fitted"] < learned["J"] <= case["J_star"]
        assert learned["J"] <= study["J_best_of_parameterisation"] + 1e-9
        assert learned["gap_closed"] > 0.5
        assert len(learned["J_by_iteration"]) == 4
        closed.append(learned["gap_closed"])
    assert case["over_seeds"]["dpg"]["gap_closed"] == [min(closed), max(closed)] and closed[0] != closed[1]
    assert (tmp_path / "out" / "case2.png").stat().st_size > 10_000
    page = (tmp_path / "out" / "index.html").read_text()
    assert "seeds 1, 2" in page and f"{100 * min(closed):.3f} to {100 * max(closed):.3f}" in page
