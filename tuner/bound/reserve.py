"""A start for what theta says by the hour of the day: the reserve that the best causal policy keeps, from its values.

A kWh that covers the house's import now saves what is bought; kept, it is worth -dV/dE of the best causal policy. Below
the charge at which the two meet a battery does not give: that charge, as a mean over days, is the reserve of an hour.
It is a start and no answer, since the program knows prices by itself, and its plan looks ahead as well.
"""

from __future__ import annotations

import numpy as np

from systems.logs.log import Array
from systems.plant import HousePlant
from tuner.bound.house import BestPolicy, Horizon
from tuner.loop.follow import Holder
from tuner.loop.view import Moment
from tuner.loop.week import run_stretch

GIVES = 0.93
"""Of a kWh in the cells, what the house gets."""
DAY_H = 24


def reserve_by_hour(horizon: Horizon, plant: HousePlant, knots: int) -> Array:
    """(knots,) share of the battery's band to keep at the knots of the day, by a stretch that the best policy ran.

    plant: of the horizon's world, telling apart as many pieces of a step. Raises ValueError where the house has no
    bound.
    """
    policy, seen = BestPolicy(horizon), list[float]()

    def look(moment: Moment, action: Array, paid: float) -> None:
        seen.append(float(moment.measured.get("month_peak", 0.0)))

    theta = [p.default for p in horizon.design.problem.theta]
    follower = Holder(horizon.design, theta) if horizon.pieces > 1 else None
    run_stretch(
        horizon.design, plant, policy, first=horizon.first, stages=horizon.stages, seed=0, follower=follower,
        on_stage=look,
    )  # fmt: skip
    kept = [_kept(policy, horizon, k, peak) for k, peak in enumerate(seen)]
    hours = [horizon.world.minute_of_week[horizon.first + k] % 1440 / 60.0 for k in range(len(kept))]
    return _through_knots(np.array(hours) + horizon.design.house.grid.hold_h / 2, np.array(kept), knots)


def _kept(policy: BestPolicy, horizon: Horizon, stage: int, peak_kw: float) -> float:
    """Share of the band below which nothing is given in a stage."""
    solution, t = policy.solution, stage + horizon.first - horizon.begin
    battery, stakes = horizon.design.house.only("battery"), solution.stakes
    soc = solution.store.soc
    lower, share = stakes.peaks.place(np.array([peak_kw]))
    upper = np.minimum(lower + 1, solution.values[t + 1].shape[2] - 1)
    bins = horizon.bin_before(horizon.first + stage + 1)
    values = solution.values[t + 1][:, bins, :]
    level = values[:, lower[0]] * (1 - share[0]) + values[:, upper[0]] * share[0]
    worth = -np.diff(level) / np.diff(soc) / battery.capacity_kwh
    above = np.flatnonzero(worth <= GIVES * stakes.buy[t])
    kept = soc[above[0]] if len(above) else soc[-1]
    return float(np.clip((kept - battery.soc_min) / (battery.soc_max - battery.soc_min), 0.0, 1.0))


def _through_knots(hours: Array, values: Array, knots: int) -> Array:
    """(knots,) least squares of what is linear between them, round the day; within 0 and 1."""
    away = np.abs(hours[:, None] - DAY_H / knots * np.arange(knots)) % DAY_H
    hats = np.maximum(0.0, 1.0 - np.minimum(away, DAY_H - away) * knots / DAY_H)
    found = np.linalg.lstsq(hats, values, rcond=None)[0]
    kept: Array = np.clip(found, 0.0, 1.0)
    return kept
