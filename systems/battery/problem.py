"""What the MPC knows of a home battery: energy balance, tariff, soft state-of-charge band, tunable theta.

Power is positive into the battery for `charge`, out of it for `discharge`, and positive from the grid for import.
"""

from __future__ import annotations

import casadi as ca

from systems.battery.spec import BatterySpec
from systems.problem import STAGE_INPUTS, TERMINAL_INPUTS, Parameter, Problem, Signal, SoftPenalty

# A little curvature keeps the problem from being a linear program, whose solutions jump and have no derivative.
REGULARISATION_EUR_PER_KW2 = 1e-4
SOC_PENALTY = SoftPenalty(linear=(20.0, 20.0), quadratic=(200.0, 200.0))


def home_battery(
    spec: BatterySpec | None = None, *, horizon: int = 96, dt_s: float = 900.0, discount: float = 1.0
) -> Problem:
    """The home battery: state soc; actions charge and discharge; cost in EUR.

    Stage cost: buy * import - sell * export + spread / 2 * (charge + discharge), each over one step of dt.
    Terminal value of stored energy: capacity * (mean(buy) * slope * soc - |mean(buy)| * curvature / 2 * soc**2),
    concave even where power is paid for being taken.
    """
    spec = spec or BatterySpec()
    x, u, d = ca.SX.sym("soc"), ca.SX.sym("u", 3), ca.SX.sym("d", 3)
    z = ca.SX.sym("mean_buy_price")
    theta = (
        Parameter("charge_efficiency", "1", 0.95, 0.70, 1.0, "AC to cell", "model"),
        Parameter("discharge_efficiency", "1", 0.95, 0.70, 1.0, "cell to AC", "model"),
        Parameter("net_load_bias", "kW", 0.0, -1.0, 1.0, "added to the forecast net load", "model"),
        Parameter("soc_backoff_low", "1", 0.0, 0.0, 0.3, "distance kept from the lower soc limit", "backoff"),
        Parameter("soc_backoff_high", "1", 0.0, 0.0, 0.3, "distance kept from the upper soc limit", "backoff"),
        Parameter("price_spread", "EUR/kWh", 0.0, 0.0, 0.2, "cost of a kWh in plus a kWh out of the battery", "cost"),
        Parameter("terminal_slope", "1", 0.9, 0.0, 2.0, "value of stored energy over the mean buy price", "terminal"),
        Parameter("terminal_curvature", "1", 0.1, 0.0, 2.0, "how that value falls with soc", "terminal"),
    )
    p = ca.SX.sym("theta", len(theta))
    eta_c, eta_d, bias, low, high, spread, slope, curvature = ca.vertsplit(p)
    charge, discharge, grid_import = ca.vertsplit(u)
    buy, sell, net_load = ca.vertsplit(d)
    dt_h = dt_s / 3600.0
    grid = net_load + bias + charge - discharge
    grid_export = grid_import - grid

    soc_next = x + dt_h / spec.capacity_kwh * (eta_c * charge - discharge / eta_d)
    stage = dt_h * (buy * grid_import - sell * grid_export + spread / 2 * (charge + discharge))
    stage += REGULARISATION_EUR_PER_KW2 / 2 * (charge**2 + discharge**2 + 1e-2 * grid_import**2)
    terminal = -spec.capacity_kwh * (z * slope * x - ca.fabs(z) * curvature / 2 * x**2)
    soft = ca.vertcat(x - spec.soc_min - low, spec.soc_max - high - x)

    forecast = ca.SX.sym("forecast", horizon + 1, 3)
    stage_args, terminal_args = [x, u, d, z, p], [x, d, z, p]
    return Problem(
        name="battery",
        dt_s=dt_s,
        horizon=horizon,
        discount=discount,
        states=(Signal("soc", "1", 0.0, 1.0, "state of charge"),),
        actions=(
            Signal("charge", "kW", 0.0, spec.max_charge_kw, "AC power into the battery"),
            Signal("discharge", "kW", 0.0, spec.max_discharge_kw, "AC power out of the battery"),
        ),
        auxiliaries=(Signal("grid_import", "kW", 0.0, 2 * spec.max_grid_kw, "power bought"),),
        forecasts=(
            Signal("buy_price", "EUR/kWh", -0.5, 3.0, "what a kWh from the grid costs, all included"),
            Signal("sell_price", "EUR/kWh", -0.5, 3.0, "what a kWh to the grid earns; never above the buy price"),
            Signal("net_load", "kW", -spec.max_grid_kw, spec.max_grid_kw, "consumption minus production"),
        ),
        theta=theta,
        dynamics=ca.Function("dynamics", stage_args, [soc_next], list(STAGE_INPUTS), ["x_next"]),
        stage_cost=ca.Function("stage_cost", stage_args, [stage], list(STAGE_INPUTS), ["cost"]),
        terminal_cost=ca.Function("terminal_cost", terminal_args, [terminal], list(TERMINAL_INPUTS), ["cost"]),
        soft=ca.Function("soft", stage_args, [soft], list(STAGE_INPUTS), ["h"]),
        soft_penalty=SOC_PENALTY,
        soft_terminal=ca.Function("soft_terminal", terminal_args, [soft], list(TERMINAL_INPUTS), ["h"]),
        soft_terminal_penalty=SOC_PENALTY,
        hard=ca.Function("hard", stage_args, [grid_export], list(STAGE_INPUTS), ["g"]),
        features=ca.Function("features", [forecast], [ca.sum1(forecast[:, 0]) / (horizon + 1)], ["forecast"], ["z"]),
    )
