"""One week of a policy on the plant, and what it cost.

    cost = sum of buy * import - sell * export  -  value of the energy stored more than at the start

Stored energy is worth what it saves or costs at the week's mean buy price: a kWh in the cells gives
NOMINAL_EFFICIENCY kWh to the house, a missing one takes 1 / NOMINAL_EFFICIENCY kWh from the grid. So emptying the
battery by Sunday night is no gain, and filling it is no loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systems.battery.plant import BatteryPlant
from tuner.evaluate.policies import Mpc, Policy

NOMINAL_EFFICIENCY = 0.95


@dataclass(frozen=True)
class WeekResult:
    """Money and energy of one policy over one week with one seed."""

    cost_eur: float
    """Bill less the value of the change in stored energy."""
    bill_eur: float
    import_kwh: float
    export_kwh: float
    discharged_kwh: float
    failures: int
    solve_time_s: float


@dataclass(frozen=True, eq=False)
class Plan:
    """What an MPC intended at one moment: N steps of dt_s from `start_step`."""

    start_step: int
    soc: NDArray[np.float64]
    """(N + 1,)."""
    power_kw: NDArray[np.float64]
    """(N,), positive while charging."""
    net_load_kw: NDArray[np.float64]
    """(N,), as forecast."""
    buy_price: NDArray[np.float64]
    """EUR/kWh (N,), as forecast."""


@dataclass(frozen=True, eq=False)
class Trace:
    """What happened, for plots: n steps of dt_s from the first step of the week."""

    start_step: int
    soc: NDArray[np.float64]
    """(n,), at the begin of each step."""
    power_kw: NDArray[np.float64]
    """(n,), battery, positive while charging."""
    net_load_kw: NDArray[np.float64]
    grid_kw: NDArray[np.float64]
    cost_eur: NDArray[np.float64]
    """(n,), of each step."""
    plan: Plan | None = None


def run_week(
    plant: BatteryPlant, policy: Policy, start_step: int, seed: int, *, plan_at: int = 0
) -> tuple[WeekResult, Trace]:
    """Run `policy` from `start_step` to the end of the plant's episode; keep the MPC's plan of step `plan_at` in it."""
    _, info = plant.reset(seed=seed, options={"step": start_step})
    soc_start = info["soc_true"]
    rows: list[tuple[float, float, float, float, float]] = []
    plan: Plan | None = None
    ended = False
    while not ended:
        soc = info["soc_true"]
        action = policy.action(plant)
        if len(rows) == plan_at and isinstance(policy, Mpc):
            plan = _plan_of(policy, plant.step_index)
        _, _, _, ended, info = plant.step(action)
        rows.append((soc, info["power_kw"], info["net_load_kw"], info["grid_kw"], info["cost_eur"]))
    soc_path, power, net_load, grid, cost = np.array(rows).T
    exogenous = plant.exogenous
    mean_buy = float(exogenous.buy_price[start_step : start_step + len(rows)].mean())
    gained_kwh = 0.0
    if policy.has_battery:
        gained_kwh = (info["soc_true"] - soc_start) * plant.physics.battery.capacity_kwh
    bill = float(cost.sum())
    dt_h = exogenous.dt_s / 3600.0
    result = WeekResult(
        cost_eur=bill - stored_value_eur(gained_kwh, mean_buy),
        bill_eur=bill,
        import_kwh=dt_h * float(np.maximum(grid, 0.0).sum()),
        export_kwh=dt_h * float(np.maximum(-grid, 0.0).sum()),
        discharged_kwh=dt_h * float(np.maximum(-power, 0.0).sum()),
        failures=policy.failures,
        solve_time_s=policy.solve_time_s,
    )
    return result, Trace(start_step, soc_path, power, net_load, grid, cost, plan)


def _plan_of(policy: Mpc, step: int) -> Plan | None:
    solution, forecast = policy.solution, policy.forecast
    if solution is None or forecast is None:
        return None
    power = solution.plan_a[:, 0] - solution.plan_a[:, 1]
    return Plan(step, solution.plan_x[:, 0], power, forecast[:-1, 2], forecast[:-1, 0])


def stored_value_eur(gained_kwh: float, mean_buy_price: float) -> float:
    """Value of more (or, negative, less) energy in the cells than at the start."""
    per_kwh = NOMINAL_EFFICIENCY if gained_kwh > 0.0 else 1.0 / NOMINAL_EFFICIENCY
    return gained_kwh * per_kwh * mean_buy_price
