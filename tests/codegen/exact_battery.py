"""The home battery as a mixed-integer linear program: what no plan undercuts, to judge the compiled one by."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from tests.codegen.home_battery import BatterySpec

Array = NDArray[np.float64]


def best_plan(spec: BatterySpec, forecast: Array, soc: float, dt_h: float, slope: float, eta: float) -> Array:
    """Moves (N, 2) of the cheapest plan, soc within its band: HiGHS to 1e-6, 20 s at most. forecast (N + 1, 3).

    Terminal value: the mean buy price times `slope` per kWh. What the controller adds to make its program strictly
    convex is left out.
    """
    n = len(forecast) - 1
    buy, sell, net = forecast[:n].T
    value = forecast[:, 0].mean() * slope
    one, none = sp.eye(n), sp.csr_matrix((n, n))
    stored = sp.csr_matrix(np.tril(np.ones((n, n)))) * (dt_h / spec.capacity_kwh)
    # Columns: charge, discharge, import, export, charging, importing.
    objective = np.concatenate([
        np.full(n, -value * dt_h * eta), np.full(n, value * dt_h / eta), dt_h * buy, -dt_h * sell, np.zeros(2 * n),
    ])  # fmt: skip
    grid = 2 * spec.max_grid_kw
    constraints = [
        LinearConstraint(sp.hstack([-one, one, one, -one, none, none]), net, net),
        LinearConstraint(
            sp.hstack([stored * eta, -stored / eta, none, none, none, none]), spec.soc_min - soc, spec.soc_max - soc
        ),
        LinearConstraint(sp.hstack([one, none, none, none, -spec.max_charge_kw * one, none]), -np.inf, 0),
        LinearConstraint(
            sp.hstack([none, one, none, none, spec.max_discharge_kw * one, none]), -np.inf, spec.max_discharge_kw
        ),
        LinearConstraint(sp.hstack([none, none, one, none, none, -grid * one]), -np.inf, 0),
        LinearConstraint(sp.hstack([none, none, none, one, none, grid * one]), -np.inf, grid),
    ]
    most = np.repeat([spec.max_charge_kw, spec.max_discharge_kw, grid, grid, 1, 1], n)
    found = milp(
        objective, integrality=np.repeat([0, 0, 0, 0, 1, 1], n), bounds=Bounds(np.zeros(6 * n), most),
        constraints=constraints, options={"time_limit": 20, "mip_rel_gap": 1e-6},
    )  # fmt: skip
    return np.maximum(found.x[: 2 * n], 0.0).reshape(2, n).T
