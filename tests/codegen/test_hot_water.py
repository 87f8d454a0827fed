"""A tank by its file alone: draws that nobody publishes, and the weekly hour in which it must be hot."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.reference import ReferenceSolver
from codegen.solver import compiled_controller
from codegen.verify import sample_cases
from runtime.abi.library import SolveStatus
from systems.design import HouseDesign

HOUSE = """
[house]
name = "water"
[grid]
hold = "1 h"
horizon = "24 h"
[[tank]]
name = "water"
litres = 180
lower = { default = 45, schedule = [{ days = "sun", from = "13:00", to = "15:00", value = 60 }] }
upper = 70
[[heat_pump]]
name = "heater"
kind = "electric"
feeds = ["water"]
max_power_kw = 3
"""
DAY_MIN = 24 * 60


@pytest.mark.parametrize("day", range(5, 7))
def test_the_tank_is_hot_in_its_hour_of_the_week_and_in_no_other(day: int) -> None:
    design = HouseDesign(HOUSE)
    problem = design.problem
    rows = range(problem.horizon + 1)
    columns = {
        f.name: [0.2 if f.schedule is None else f.schedule.at(day * DAY_MIN + 60 * k) for k in rows]
        for f in design.forecasts
    }
    assert columns.keys() == {"water_lower", "water_upper", "water_draw", "water_draw_spread", "buy", "outdoor"}
    assert 4.0 < sum(columns["water_draw"][:24]) < 10.0, "three persons, in kWh"
    assert columns["water_draw"][7] > 2 * columns["water_draw"][13] > columns["water_draw"][3]
    forecast = np.hstack([np.tile(columns[f.name], (f.steps, 1)).T for f in design.forecasts])
    solution = ReferenceSolver(problem).solve(problem.theta_default(), [50.0], forecast)
    assert solution.solved
    water_c = solution.plan_x[:, 0]
    assert water_c[1:].min() > 45.0 - 1e-3
    if day == 6:
        assert water_c[13:15].min() > 60.0 - 1e-3
    assert water_c[:11].max() < 60.0


def test_a_small_tank_is_solved_however_much_is_drawn() -> None:
    """80 litres that are drawn empty several times an hour cool by thousands of kelvins in the plan: multipliers are
    above 1e4, and at the barrier of 1e-12 their distances below 1e-16."""
    small = HOUSE.replace('name = "water"', 'name = "small"', 1).replace("litres = 180", "litres = 80")
    problem = HouseDesign(small.replace('horizon = "24 h"', 'horizon = "48 h"')).problem
    controller = compiled_controller(problem)
    solved = []
    for case in sample_cases(problem, 12, 0):
        controller.set_theta(case.theta)
        solution = controller.solve(case.x0, case.forecast)
        solved.append((solution.status, solution.iterations))
    assert {status for status, _ in solved} == {SolveStatus.OK}
    assert max(iterations for _, iterations in solved) <= 60
