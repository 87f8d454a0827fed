"""Of plans that cost the same the one is taken that decides no sooner than it must: buy later, sell earlier."""

from __future__ import annotations

import numpy as np

from codegen.solver import compiled_controller
from systems.design import HouseDesign
from systems.house_file import SHIPPED
from tests.codegen.problems import stores_problem


def test_on_a_flat_tariff_a_battery_covers_the_load_first_and_stores_the_last_of_the_sun() -> None:
    design = HouseDesign((SHIPPED / "battery.toml").read_text().replace('"15 min"', '"1 h"'))
    problem = design.problem
    controller = compiled_controller(problem)
    controller.set_theta(problem.theta_default())
    names = [a.name for a in problem.actions]
    columns = [f.name for f in problem.forecasts]

    def planned(load: float, sun: float, soc: float) -> np.ndarray:
        forecast = np.zeros((problem.horizon + 1, problem.nd))
        for name, value in (("buy", 0.30), ("sell", 0.06), ("load", load), ("pv", sun)):
            forecast[:, columns.index(name)] = value
        controller.reset()
        solution = controller.solve(np.array([soc]), forecast)
        assert solution.ok
        power = solution.plan_a[:, names.index("home_charge")] - solution.plan_a[:, names.index("home_discharge")]
        return np.asarray(power)

    evening = -planned(1.0, 0.0, 0.5)
    assert evening[0] > 0.8 and evening[-1] < 0.05 and (np.diff(evening) < 1e-3).all()
    day = planned(0.0, 1.0, 0.5)
    assert day[-1] > day[0] + 0.5 and (np.diff(day) > -1e-3).all()


def test_a_cost_that_is_linear_in_a_state_counts_at_every_stage() -> None:
    """What goes out at stage k saves its price at all that follow, N - 1 - k stages: u_k = -price (N - 1 - k)."""
    problem = stores_problem(price=0.01)
    controller = compiled_controller(problem)
    controller.set_theta(problem.theta_default())
    solution = controller.solve(np.full(problem.nx, 5.0), np.zeros((problem.horizon + 1, 0)))
    expected = -0.01 * np.arange(problem.horizon - 1, -1, -1.0)
    assert solution.ok and np.abs(solution.plan_a - expected[:, None]).max() < 1e-6
