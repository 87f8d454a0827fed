"""A home battery written out by hand, to hold what is composed against, and as a small program for tests:
 energy balance, meter, soft state-of-charge band, tunable theta.

Power is positive into the battery for `charge`, out of it for `discharge`, and positive from the grid for import.
Prices may have either sign and any order: selling above the buy price makes the bill concave in the grid's power, and
negative prices make it worth to waste energy, which a battery cannot do by charging and discharging at once.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import casadi as ca

from systems.assets.battery import KEEPING_PER_H
from systems.money import CURVATURE_PER_KW2, PRICE, RENT_PER_H, ROW_SCALE, SMALLEST_PRICE, chord, tangents
from systems.problem import STAGE_INPUTS, TERMINAL_INPUTS, Parameter, Problem, Signal, SoftPenalty


class BatterySpecError(ValueError):
    """A nameplate that no battery has."""

    exit_code = 2


@dataclass(frozen=True)
class BatterySpec:
    """Nameplate of a battery and its inverter, AC side. Raises BatterySpecError."""

    capacity_kwh: float = 10.0
    max_charge_kw: float = 5.0
    max_discharge_kw: float = 5.0
    max_grid_kw: float = 25.0
    """What the meter's connection carries, either way."""
    import_limit_kw: float = 1000.0
    """Limit of its own for power bought; what is above `max_grid_kw` sets none."""
    export_limit_kw: float = 1000.0
    """The same for power sold."""
    max_price: float = 100.0
    """Of a kWh, either sign, in the house's currency: a price beyond it is taken for one in another unit."""
    soc_min: float = 0.05
    soc_max: float = 0.95

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not name.startswith("soc_") and not 0.0 < value < math.inf:
                raise BatterySpecError(f"{name}={value:g}: give a number above 0")
        if not 0.0 <= self.soc_min < self.soc_max <= 1.0:
            raise BatterySpecError(
                f"soc_min={self.soc_min:g}, soc_max={self.soc_max:g}: give 0 <= soc_min < soc_max <= 1"
            )

    @property
    def most_import_kw(self) -> float:
        return min(self.max_grid_kw, self.import_limit_kw)

    @property
    def most_export_kw(self) -> float:
        return min(self.max_grid_kw, self.export_limit_kw)


def home_battery(
    spec: BatterySpec | None = None, *, horizon: int = 96, dt_s: float = 900.0, discount: float = 1.0
) -> Problem:
    """The home battery: state soc; actions charge and discharge, which exclude each other; cost in money.

    Stage cost: buy * import - sell * export + spread / 2 * (charge + discharge), each over one step of dt.
    Terminal value of stored energy: capacity * (mean(buy) * slope * soc - |mean(buy)| * curvature / 2 * soc**2),
    concave even where power is paid for being taken.
    Soft rows, priced above whatever breaking them could earn: soc within its band, import and export each within its
    limit. A soc that is measured outside the band goes no further; above it may stay until the end of the horizon, and
    below it each hour has its price.
    """
    spec = spec or BatterySpec()
    x, u, d, z = ca.SX.sym("soc"), ca.SX.sym("u", 3), ca.SX.sym("d", 3), ca.SX.sym("z", 4)
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
    mean_buy, usual_price, largest_price, measured_soc = ca.vertsplit(z)
    dt_h = dt_s / 3600.0
    grid = net_load + bias + charge - discharge
    grid_export = grid_import - grid

    soc_next = x + dt_h / spec.capacity_kwh * (eta_c * charge - discharge / eta_d)
    stage = dt_h * (buy * grid_import - sell * grid_export + spread / 2 * (charge + discharge))
    stage += dt_h * KEEPING_PER_H * usual_price * spec.capacity_kwh * x
    stage += CURVATURE_PER_KW2 * usual_price / 2 * (charge**2 + discharge**2 + 1e-2 * grid_import**2)
    terminal = -spec.capacity_kwh * (mean_buy * slope * x - ca.fabs(mean_buy) * curvature / 2 * x**2)
    # Rows in money: kWh beyond a limit at the largest price, over ROW_SCALE.
    kwh = largest_price / ROW_SCALE
    lowest, highest = spec.soc_min + low, spec.soc_max - high
    in_band = ca.vertcat(x - ca.fmin(lowest, measured_soc), ca.fmax(highest, measured_soc) - x)
    in_band = 2.0 * kwh * spec.capacity_kwh * in_band
    missing = spec.capacity_kwh * usual_price / ROW_SCALE * (x - lowest)
    back_in_band = 2.0 * spec.capacity_kwh * kwh * ca.vertcat(x - lowest, highest - x)
    load = net_load + bias
    above, below = load > spec.most_import_kw, load < -spec.most_export_kw
    meter = ca.vertcat(
        (3 - 2 * above) * (spec.most_import_kw - grid),
        (3 - 2 * below) * (spec.most_export_kw + grid),
        # Where the load alone is beyond a limit the battery may help, and never breaks one to help at another time.
        2 * (above - below) * (discharge - charge) + (1 - above - below),
    )

    stage_args, terminal_args = [x, u, d, z, p], [x, d, z, p]
    # Loads beyond the connection occur, and must leave a program that can be solved.
    most_load = 2 * spec.max_grid_kw
    prices = "may have either sign and any order"
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
        auxiliaries=(Signal("grid_import", "kW", 0.0, most_load + spec.max_charge_kw + 1.0, "power bought"),),
        forecasts=(
            Signal(
                "buy_price", "EUR/kWh", -spec.max_price, spec.max_price, f"what a kWh costs, all included; {prices}"
            ),
            Signal("sell_price", "EUR/kWh", -spec.max_price, spec.max_price, f"what a kWh earns; {prices}"),
            Signal("net_load", "kW", -most_load, most_load, "consumption minus production"),
        ),
        theta=theta,
        dynamics=ca.Function("dynamics", stage_args, [soc_next], list(STAGE_INPUTS), ["x_next"]),
        stage_cost=ca.Function("stage_cost", stage_args, [stage], list(STAGE_INPUTS), ["cost"]),
        terminal_cost=ca.Function("terminal_cost", terminal_args, [terminal], list(TERMINAL_INPUTS), ["cost"]),
        soft=_function("soft", stage_args, ca.vertcat(in_band, missing, kwh * dt_h * meter)),
        soft_penalty=SoftPenalty(
            linear=(PRICE, PRICE, RENT_PER_H * dt_h * ROW_SCALE, PRICE, PRICE, PRICE), quadratic=(0.0,) * 6
        ),
        soft_terminal=ca.Function("soft_terminal", terminal_args, [back_in_band], list(TERMINAL_INPUTS), ["h"]),
        soft_terminal_penalty=SoftPenalty(linear=(PRICE,) * 2, quadratic=(0.0,) * 2),
        hard=_function("hard", stage_args, grid_export),
        exclusive=(("charge", "discharge"),),
        relaxed=_function("relaxed", stage_args, _relaxed_row(spec, load, d)),
        tangent=_function("tangent", stage_args, _tangent_row(grid, d)),
        settled=_function("settled", stage_args, ca.vertcat(charge, discharge, ca.fmax(grid, 0.0))),
        features=_features(horizon),
    )


def _function(name: str, arguments: list[Any], value: Any) -> ca.Function:
    return ca.Function(name, arguments, [value], list(STAGE_INPUTS), ["value"])


def _features(horizon: int) -> ca.Function:
    """z = [mean buy price, mean and largest size of a price (both at least SMALLEST_PRICE), measured soc]."""
    forecast, soc = ca.SX.sym("forecast", horizon + 1, 3), ca.SX.sym("soc")
    sizes = ca.fabs(forecast[:, :2])
    usual = ca.sum1(sizes[:, 0]) / (horizon + 1)
    z = ca.vertcat(
        ca.sum1(forecast[:, 0]) / (horizon + 1),
        ca.fmax(usual, SMALLEST_PRICE),
        ca.fmax(ca.mmax(sizes), SMALLEST_PRICE),
        soc,
    )
    return ca.Function("features", [forecast, soc], [z], ["forecast", "x"], ["z"])


def _relaxed_row(spec: BatterySpec, load: Any, d: Any) -> Any:
    """d with the chord of the bill over what the grid can see."""
    buy, sell, net_load = ca.vertsplit(d)
    lowest = ca.fmax(load - spec.max_discharge_kw, ca.fmin(load, -spec.most_export_kw))
    highest = ca.fmin(load + spec.max_charge_kw, ca.fmax(load, spec.most_import_kw))
    return ca.vertcat(*chord(buy, sell, lowest, highest), net_load)


def _tangent_row(grid: Any, d: Any) -> Any:
    buy, sell, net_load = ca.vertsplit(d)
    return ca.vertcat(*tangents(buy, sell, grid), net_load)
