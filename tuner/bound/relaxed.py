"""A bill that no policy can go below, where the best one cannot be computed: a linear program that knows the future.

    min   sum_k h (buy_k import_k - sell_k export_k + wear / 2 (c_k + d_k)) + fee(charged) - worth (E_T - E_0)
    E_k+1 = E_k + h ((1 - r) c_k - (1 + r) d_k - cells_k),     cells_k + ac_k = standby
    import_k - export_k = net_k + c_k - d_k + ac_k,            0 <= E <= capacity,  c, d within the nameplate
    charged >= the mean of the n highest of the days' highest imports:  n t + sum_d s_d,  s_d >= 0, import - t

It is below every policy, causal or not: what it leaves out only costs (taper, the band, what varies inside a stage),
its loss r is the least that the inverter has at any power, and it begins with the charge it likes. A fee by tiers is
the least over tiers of one program each. How far below it lies nobody knows; it is no aim.

Source of the sum of the n largest: Boyd and Vandenberghe, "Convex Optimization", exercise 5.19.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, sqrt

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from systems.assets.battery.physics import BatteryPhysics, inverter_loss
from systems.assets.meter.capacity import Capacity
from tuner.bound.house import Horizon
from tuner.bound.plant_table import Cells

MINUTES_A_DAY = 1440


def least_loss(spec: BatteryPhysics) -> float:
    """Share of the AC power that the inverter loses where it loses the smallest one."""
    most = max(spec.max_charge_kw, spec.max_discharge_kw)
    best = sqrt(spec.idle_loss_kw / spec.quadratic_loss_per_kw) if spec.quadratic_loss_per_kw > 0.0 else most
    at = min(best, most)
    return inverter_loss(spec, at) / at


def least_cost(horizon: Horizon) -> float:
    """Of the counted stretch, less what is left in store. The month is to begin with the stretch.

    For a house with one battery and nothing else that decides; the charge's interval is at most a decision.
    """
    house = horizon.design.house
    battery, meter = house.only("battery"), house.only("meter")
    spec = BatteryPhysics(battery.capacity_kwh, battery.max_charge_kw, battery.max_discharge_kw)
    n, h, first = horizon.stages, house.grid.hold_h, horizon.first
    buy, sell, net = (v[first : first + n] for v in (horizon.world["buy"], horizon.world["sell"], horizon.net_kw))
    day = np.cumsum(np.diff(horizon.world.minute_of_week[first : first + n] // MINUTES_A_DAY, prepend=-1) != 0) - 1
    days, loss, full = int(day[-1]) + 1, least_loss(spec), battery.capacity_kwh
    worth = float(buy.mean()) * Cells(horizon.design).full_kwh / full
    # [c, d, import, export, standby of the cells (n each), E_0, t, charged, s (days)]
    eye, zero, one = sp.identity(n), sp.csr_matrix((n, n)), np.ones(n)
    rest = sp.csr_matrix((n, 3 + days))
    # ac = standby - cells stands on the side of what is known.
    balance = sp.hstack([-eye, eye, eye, -eye, eye, rest])
    sums = sp.csr_matrix(np.tril(np.ones((n, n))))
    energy = sp.hstack([
        h * (1 - loss) * sums, -h * (1 + loss) * sums, zero, zero, -h * sums,
        sp.csr_matrix(np.outer(one, [1.0, 0.0, 0.0])), sp.csr_matrix((n, days)),
    ])  # fmt: skip
    belongs = sp.csr_matrix((one, (np.arange(n), day)), shape=(n, days))
    highest = sp.hstack([zero, zero, eye, zero, zero, sp.csr_matrix(np.outer(one, [0.0, -1.0, 0.0])), -belongs])
    counted = 1 if meter.capacity is None else meter.capacity.days
    mean = sp.csr_matrix(np.r_[np.zeros(5 * n + 1), 1.0, -1.0, np.full(days, 1.0 / counted)])
    rows, limits = sp.vstack([energy, -energy, highest, mean]).tocsc(), np.r_[full * one, 0 * one, 0 * one, 0.0]
    total = np.asarray(energy.tocsr()[-1].todense()).ravel()
    price = np.r_[np.full(2 * n, h * battery.wear_per_kwh / 2), h * buy, -h * sell, np.zeros(n + 3 + days)]
    price -= worth * total
    price[5 * n] += worth
    box = [
        *[(0.0, spec.max_charge_kw)] * n, *[(0.0, spec.max_discharge_kw)] * n,
        *((0.0, max(meter.import_limit_kw, v)) for v in net), *((0.0, max(meter.export_limit_kw, -v)) for v in net),
        *[(0.0, spec.standby_kw)] * n, (0.0, full), (0.0, None),
    ]  # fmt: skip
    best = inf
    for least, most, slope, fee in _pieces(meter.capacity):
        price[5 * n + 2] = slope
        found = linprog(
            price, A_ub=rows, b_ub=limits, A_eq=balance.tocsc(), b_eq=net + spec.standby_kw,
            bounds=[*box, (least, most), *[(0.0, None)] * days], method="highs",
        )  # fmt: skip
        if found.x is not None:
            best = min(best, float(found.fun) + fee)
    return best


def _pieces(capacity: Capacity | None) -> Iterator[tuple[float, float | None, float, float]]:
    """(from kW, up to kW, money for each kW, money) beside what is charged for no import."""
    if capacity is None:
        yield 0.0, None, 0.0, 0.0
    elif capacity.price_per_kw is not None:
        yield capacity.free_kw, None, capacity.price_per_kw, -capacity.fee(0.0)
    else:
        for k, (edge, fee) in enumerate(capacity.tiers):
            yield capacity.free_kw, None if k == len(capacity.tiers) - 1 else edge, 0.0, fee - capacity.fee(0.0)
