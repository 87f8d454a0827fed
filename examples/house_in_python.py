"""A house described in Python, its controller compiled, and one plan of it, hour by hour.

    .venv/bin/python examples/house_in_python.py

The first run compiles the controller (some ten seconds); later runs take it from the cache.
"""

from __future__ import annotations

import numpy as np

from codegen.solver import compiled_controller
from systems.design import HouseDesign

HOUSE = """
[house]
name = "barn"
timezone = "Europe/Berlin"

[grid]
step = "15 min"
hold = "15 min"
horizon = "24 h"

[meter]
import_limit_kw = 11
export_limit_kw = 11

[load]
base_kw = 0.4

[[battery]]
name = "home"
capacity_kwh = {capacity_kwh}
max_charge_kw = 4
max_discharge_kw = 4
"""


def main() -> None:
    design = HouseDesign(HOUSE.format(capacity_kwh=12))
    problem = design.problem
    controller = compiled_controller(problem)

    # One row per stage and one after the last, one column per forecast, in the order of `problem.forecasts`.
    hour = np.arange(problem.horizon + 1) * problem.dt_s / 3600.0
    forecast = {
        "load": np.where((hour > 17) & (hour < 21), 2.0, 0.4),
        "buy": np.where((hour > 1) & (hour < 5), 0.12, np.where((hour > 17) & (hour < 21), 0.42, 0.28)),
        "sell": np.full_like(hour, 0.08),
    }
    rows = np.column_stack([forecast[signal.name] for signal in problem.forecasts])
    solution = controller.solve(np.array([0.3]), rows)
    assert solution.ok, solution.status

    print(f"{problem.name}: {solution.iterations} iterations, residual {solution.residual:.0e}")
    print("hour   buy   load  charge  discharge   soc")
    for k in range(0, problem.horizon, 4):
        charge, discharge = solution.plan_a[k]
        print(
            f"{hour[k]:4.0f}  {forecast['buy'][k]:4.2f}  {forecast['load'][k]:5.2f}  {charge:6.2f}  {discharge:9.2f}  "
            f"{solution.plan_x[k, 0]:4.2f}"
        )


if __name__ == "__main__":
    main()
