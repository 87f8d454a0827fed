"""The scalar battery s+ = s + a + w of "All AI Models are Wrong, but Some are Optimal" (Example V-A) as an MPC."""

from __future__ import annotations

from dataclasses import dataclass

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from systems.problem import STAGE_INPUTS, TERMINAL_INPUTS, Parameter, Problem, Signal, SoftPenalty

MAX_MOVE = 0.25
DISCOUNT = 0.99


@dataclass(frozen=True)
class ScalarCase:
    """One of the two cases of Example V-A, as costs (the paper's rewards with the sign changed)."""

    number: int
    noise_std: float
    noise_limit: float
    buy_price: float
    """Cost per unit of a > 0."""
    sell_price: float
    """Income per unit of a < 0; negative where selling costs."""
    deviation_weight: float
    """Cost per unit of |s - 1/2|."""

    def forecast(self, horizon: int) -> NDArray[np.float64]:
        """Constant forecast rows (horizon + 1, 3) that make `scalar_battery` this case."""
        return np.tile([self.buy_price, self.sell_price, self.deviation_weight], (horizon + 1, 1))


CASE_1 = ScalarCase(1, 0.05, 0.05, 2.0, 1.0, 0.0)
CASE_2 = ScalarCase(2, 0.10, 0.25, 1.0, -1.0, 1.0)
CASES = {1: CASE_1, 2: CASE_2}

REGULARISATION = 1e-4
SOFT = SoftPenalty(linear=(50.0, 50.0), quadratic=(100.0, 100.0))


def scalar_battery(*, horizon: int = 40, discount: float = DISCOUNT) -> Problem:
    """Expected-value MPC of both cases: f = s + buy - sell + drift, with the modifications that tuning may learn.

    The optimal policy of either case moves s into a band and rests inside it. A deterministic model sees no reason to
    rest; theta can give it one: energy below `backoff_low + reserve` has a worth of its own (case 1), and deviations
    from 1/2 below `deviation_band` are free (case 2). With the defaults both vanish: the expected-value MPC remains.
    """
    x, u, d = ca.SX.sym("s"), ca.SX.sym("u", 4), ca.SX.sym("d", 3)
    z = ca.SX.sym("z", 0)
    theta = (
        Parameter("drift", "1", 0.0, -0.1, 0.1, "added to the expected next state", "model"),
        Parameter("backoff_low", "1", 0.0, 0.0, 0.3, "distance kept from s = 0", "backoff"),
        Parameter("backoff_high", "1", 0.0, 0.0, 0.3, "distance kept from s = 1", "backoff"),
        Parameter("reserve", "1", 0.0, 0.0, 0.5, "energy above the lower backoff that is worth keeping", "cost"),
        Parameter("reserve_worth", "1", 0.8, 0.0, 2.0, "worth of a unit of reserve kept over the horizon", "cost"),
        Parameter("deviation_band", "1", 0.0, 0.0, 0.3, "|s - 1/2| below this costs nothing", "cost"),
        Parameter("price_spread", "1", 0.0, 0.0, 2.0, "added to the cost of buying and of selling", "cost"),
        Parameter("deviation_curvature", "1", 0.0, 0.0, 5.0, "quadratic cost on s - 1/2", "cost"),
        Parameter("deviation_scale", "1", 1.0, 0.0, 2.0, "factor on the cost of |s - 1/2|", "cost"),
        Parameter("terminal_slope", "1", 0.0, -3.0, 3.0, "value per unit of s left at the end", "terminal"),
        Parameter("terminal_curvature", "1", 0.0, 0.0, 5.0, "quadratic terminal cost on s - 1/2", "terminal"),
    )
    p = ca.SX.sym("theta", len(theta))
    drift, low, high, reserve, worth, band, spread, curvature, scale, slope, terminal_curvature = ca.vertsplit(p)
    buy, sell, deviation, shortfall = ca.vertsplit(u)
    buy_price, sell_price, deviation_weight = ca.vertsplit(d)
    stage = (buy_price + spread) * buy + (spread - sell_price) * sell
    stage += deviation_weight * (scale * deviation + curvature / 2 * (x - 0.5) ** 2)
    stage += (1 - discount) / (1 - discount**horizon) * worth * shortfall
    stage += REGULARISATION / 2 * (buy**2 + sell**2 + deviation**2 + shortfall**2)
    terminal = -slope * x + terminal_curvature / 2 * (x - 0.5) ** 2
    soft = ca.vertcat(x - low, 1 - high - x)
    epigraphs = ca.vertcat(deviation + band - (x - 0.5), deviation + band + (x - 0.5), shortfall + x - low - reserve)
    stage_args, terminal_args = [x, u, d, z, p], [x, d, z, p]
    return Problem(
        name="scalar_battery",
        dt_s=3600.0,
        horizon=horizon,
        discount=discount,
        states=(Signal("s", "1", 0.0, 1.0, "relative stored energy"),),
        actions=(
            Signal("buy", "1", 0.0, MAX_MOVE, "energy bought"),
            Signal("sell", "1", 0.0, MAX_MOVE, "energy sold"),
        ),
        auxiliaries=(
            Signal("deviation", "1", 0.0, 2.0, "epigraph of max(0, |s - 1/2| - deviation_band)"),
            Signal("shortfall", "1", 0.0, 2.0, "epigraph of max(0, backoff_low + reserve - s)"),
        ),
        forecasts=(
            Signal("buy_price", "1", -5.0, 5.0),
            Signal("sell_price", "1", -5.0, 5.0),
            Signal("deviation_weight", "1", 0.0, 5.0),
        ),
        theta=theta,
        dynamics=ca.Function("dynamics", stage_args, [x + buy - sell + drift], list(STAGE_INPUTS), ["x_next"]),
        stage_cost=ca.Function("stage_cost", stage_args, [stage], list(STAGE_INPUTS), ["cost"]),
        terminal_cost=ca.Function("terminal_cost", terminal_args, [terminal], list(TERMINAL_INPUTS), ["cost"]),
        soft=ca.Function("soft", stage_args, [soft], list(STAGE_INPUTS), ["h"]),
        soft_penalty=SOFT,
        soft_terminal=ca.Function("soft_terminal", terminal_args, [soft], list(TERMINAL_INPUTS), ["h"]),
        soft_terminal_penalty=SOFT,
        hard=ca.Function("hard", stage_args, [epigraphs], list(STAGE_INPUTS), ["g"]),
    )
