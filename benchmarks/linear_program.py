"""A plain linear program for a home battery, as anybody would write it: what the MPC is held against.

    min  sum_k h (buy_k import_k - sell_k export_k) + charge of the peak - worth of what is stored at the end
    soc_k+1 = soc_k + h / C (0.95 charge_k - discharge_k / 0.95),  import_k - export_k = net_k + charge_k - discharge_k

Later import and earlier export win ties, by 1e-4 of the price an hour.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from systems.design import HouseDesign
from systems.logs.log import Array
from tuner.loop.view import Moment

EFFICIENCY, END_WORTH, TIE_PER_H = 0.95, 0.9, 1e-4


class LinearProgram:
    """A policy of `tuner.loop.week`."""

    held, forecast_error = True, 1.0

    def __init__(self, design: HouseDesign) -> None:
        house = design.house
        self._battery, self._meter, self._hours = house.only("battery"), house.only("meter"), house.grid.hold_h
        self._names = [action.name for action in design.problem.actions]
        self._columns = [forecast.name for forecast in design.forecasts]
        self._stages = house.grid.stages
        self.failures, self.solve_time_s = 0, 0.0
        self.plan: Array | None = None
        n, h, b = self._stages, self._hours, self._battery
        eye, ones, zero = sp.identity(n), np.ones((n, 1)), sp.csr_matrix((n, n))
        # [charge, discharge, import, export, peak]
        self._balance = sp.hstack([-eye, eye, eye, -eye, sp.csr_matrix((n, 1))])
        sums = h / b.capacity_kwh * sp.csr_matrix(np.tril(np.ones((n, n))))
        soc = sp.hstack([EFFICIENCY * sums, -sums / EFFICIENCY, zero, zero, sp.csr_matrix((n, 1))])
        peak = sp.hstack([zero, zero, eye, zero, sp.csr_matrix(-ones)])
        self._rows = sp.vstack([soc, -soc, peak]).tocsc()
        self._balance = self._balance.tocsc()

    def begin(self) -> None:
        self.plan = None

    def act(self, values: Mapping[str, float]) -> Array:
        raise NotImplementedError("a plan is made for a stage")

    def decide(self, moment: Moment) -> Array:
        n, h, b = self._stages, self._hours, self._battery
        ahead = dict(zip(self._columns, moment.forecast[:n].T, strict=True))
        net = ahead["load"] - ahead.get("pv", 0.0)
        fade = 1.0 - TIE_PER_H * h * np.arange(n)
        now = moment.measured[f"{b.name}_soc"]
        high, low = max(b.soc_max, now), min(b.soc_min, now)
        worth = END_WORTH * float(ahead["buy"].mean()) * h
        stored = worth * np.array([EFFICIENCY, 1 / EFFICIENCY])
        cost = np.concatenate([
            np.full(n, -stored[0]), np.full(n, stored[1]), h * ahead["buy"] * fade, -h * ahead["sell"] * fade,
            [self._price_of_peak()],
        ])  # fmt: skip
        limit = (0.0, self._meter.import_limit_kw), (0.0, self._meter.export_limit_kw)
        bounds = [(0.0, b.max_charge_kw)] * n + [(0.0, b.max_discharge_kw)] * n + [limit[0]] * n + [limit[1]] * n
        so_far = float(moment.measured.get("month_peak", 0.0))
        found = linprog(
            cost,
            A_ub=self._rows,
            b_ub=np.concatenate([np.full(n, high - now), np.full(n, now - low), np.zeros(n)]),
            A_eq=self._balance,
            b_eq=net,
            bounds=[*bounds, (so_far, None)],
            method="highs",
        )
        action = np.zeros(len(self._names))
        self.plan = None
        if found.x is None:
            self.failures += 1
            return action
        self.plan = np.zeros((n, len(self._names)))
        for name, part in ((f"{b.name}_charge", found.x[:n]), (f"{b.name}_discharge", found.x[n : 2 * n])):
            self.plan[:, self._names.index(name)] = part
        return np.asarray(self.plan[0])

    def _price_of_peak(self) -> float:
        """Of a kW; in tiers the mean price of the staircase."""
        capacity = self._meter.capacity
        if capacity is None:
            return 0.0
        slopes = capacity.slopes()
        return float(np.mean([price for _, price in slopes])) / capacity.days
