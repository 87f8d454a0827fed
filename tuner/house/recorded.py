"""A recorded closed loop as a world to learn in: it shows what happened once, and nothing can be tried in it.

What teaches is the part of the recorded powers that was not decided by the state: exploration. It is what a regression
of the powers on the policy and on what the controller saw leaves over, with the bounds of the heat pumps in it:

    a = clip(x(s)'w + noise, 0, largest power),    E[a|s] as of a clipped normal

for near a bound exploration has a mean, which must not be credited to the power. Where next to nothing is left, a
change of power and its cause cannot be told apart, whatever the amount of data, and the log is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.special import ndtr

from codegen.condensed.solver import CondensedMpc, States, solve
from systems.house.theta import LAGS, HouseMpc
from systems.logs.log import LogError
from tuner.house.experience import Experience
from tuner.identify.house_log import HouseLog
from tuner.learn.transitions import mean_within_bounds
from tuner.learn.world import Tried

Array = NDArray[np.float64]
LEAST_EXPLORATION_KW = 0.03
REGRESSION_STEPS = 12
OUTDOOR_GAP_STEPS = 12
"""Holes in the outdoor temperature up to an hour are bridged: it only serves as its own forecast there."""


class ExplorationError(LogError):
    """The powers of a log follow from what the controller saw."""


@dataclass(frozen=True, eq=False)
class RecordedWorld:
    """The log's experience, the same at every iteration."""

    experience: list[Experience]
    exploration_kw: Array
    """(rooms,) standard deviation of the powers that nothing in the state explains"""
    name: str = "a recorded log"
    recorded: bool = True

    def explore(self, theta: Array, iteration: int) -> list[Experience]:
        return self.experience

    def try_out(self, theta: Array) -> Tried | None:
        return None

    @property
    def decisions(self) -> int:
        return sum(len(stretch) for stretch in self.experience)


def recorded_world(log: HouseLog, price_eur_kwh: Array, mpc: HouseMpc, theta: Array) -> RecordedWorld:
    """Decisions on the half hours of Unix time wherever the log holds an hour before and the horizon's weather after.

    price_eur_kwh (T,) at the log's samples, NaN where unknown; theta the one that decided, and that learning starts
    from. Costs are those of the recorded temperatures and powers; the outdoor temperature that came stands for its
    forecast.
    Raises LogError for too few decisions, ExplorationError where the powers explore too little.
    """
    outdoor = _bridged(log.inputs[:, 0], OUTDOOR_GAP_STEPS)
    inputs = np.column_stack([outdoor, log.inputs[:, 1:]])
    starts = _decisions(log.outputs, inputs, price_eur_kwh, mpc, round(log.start_s / mpc.dt_s))
    stretches = [part for part in np.split(starts, np.flatnonzero(np.diff(starts) != mpc.apply) + 1) if len(part) > 1]
    count = sum(len(part) - 1 for part in stretches)
    if count < 96:
        raise LogError(
            f"{log.source or 'the log'} holds {count} usable decisions with the 12 hours after them; bring at least "
            "two unbroken days of temperatures, powers and prices, better some weeks"
        )
    found = [_stretch(part, log.outputs, inputs, price_eur_kwh, mpc) for part in stretches]
    controller = CondensedMpc(mpc, theta)
    decided = [solve(controller, stretch.states).action[:-1] for stretch in found]
    means = _explained(found, decided, mpc.max_power_kw)
    spread = np.vstack([e.action - mean for e, mean in zip(found, means, strict=True)]).std(0)
    if (spread < LEAST_EXPLORATION_KW).all():
        raise ExplorationError(
            f"{log.source or 'the log'}: all but {spread.max():.3f} kW of the powers follows from what the controller "
            "saw, so what another decision would have cost cannot be known. Record some weeks with exploration: "
            "half-hour steps of about 0.15 kW at random on each heat pump"
        )
    return RecordedWorld([replace(e, mean=m, decided=d) for e, m, d in zip(found, means, decided, strict=True)], spread)


def _bridged(values: Array, longest: int) -> Array:
    """values (T,) with holes of up to `longest` samples interpolated."""
    known = np.isfinite(values)
    if not known.any():
        return values
    index = np.arange(len(values))
    filled = np.interp(index, index[known], values[known])
    before = np.maximum.accumulate(np.where(known, index, -1))
    after = np.minimum.accumulate(np.where(known, index, len(values) * 2)[::-1])[::-1]
    bridged = (before >= 0) & (after < len(values)) & (after - before - 1 <= longest)
    return np.where(known | bridged, filled, np.nan)


def _decisions(outputs: Array, inputs: Array, price: Array, mpc: HouseMpc, first: int) -> NDArray[np.int64]:
    """Samples on the half hours at which the state, the forecasts and the next half hour are known.

    `first`: number of the log's first sample since the Unix epoch. Half hours that lie across two decisions would take
    what the second saw of the first for exploration.
    """
    seen = np.isfinite(outputs).all(1) & np.isfinite(inputs).all(1)
    ahead = np.isfinite(inputs[:, 0]) & np.isfinite(price)
    begin = LAGS - 1 + (-(first + LAGS - 1)) % mpc.apply
    starts = np.arange(begin, len(outputs) - mpc.horizon, mpc.apply)
    history = sliding_window_view(seen, LAGS).all(1)[starts - LAGS + 1]
    forecast = sliding_window_view(ahead, mpc.horizon).all(1)[starts]
    return np.asarray(starts[history & forecast], dtype=np.int64)


def _stretch(starts: NDArray[np.int64], outputs: Array, inputs: Array, price: Array, mpc: HouseMpc) -> Experience:
    """Experience of decisions that follow each other."""
    lags, ahead = np.arange(1 - LAGS, 1), np.arange(mpc.horizon)
    at, step = starts[:, None], np.arange(mpc.apply)
    states = States(outputs[at + lags], inputs[at + lags[:-1]], inputs[at + ahead, 0], price[at + ahead])
    power = inputs[at[:-1] + step, 1:]
    rate = mpc.cost.price_rate(power, price[at[:-1] + step]) + mpc.cost.comfort_rate(outputs[at[:-1] + step + 1])
    cost = (rate * mpc.discount**step).sum(1) * mpc.dt_s / 3600.0
    action = np.clip(power.mean(1), 0.0, mpc.max_power_kw)
    return Experience(states, action, action, action, cost)


def _explained(stretches: Sequence[Experience], decided: Sequence[Array], max_power_kw: float) -> list[Array]:
    """Per stretch (n, rooms) the mean of the powers given the state, kW; `decided` are the policy's."""
    features = []
    for stretch, policy in zip(stretches, decided, strict=True):
        s = stretch.states
        now, hour = s.outputs[:-1, -1], s.outputs[:-1, -1] - s.outputs[:-1, 0]
        seen = (s.outdoor[:-1, 0], s.price[:-1, 0], s.price[:-1].mean(1))
        features.append(np.column_stack([policy, now, hour, s.inputs[:-1, -1, 1:], *seen]))
    x, action = np.vstack(features), np.vstack([stretch.action for stretch in stretches])
    x = np.column_stack([np.ones(len(x)), (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)])
    mean = np.column_stack([clipped_regression(x, action[:, room], max_power_kw) for room in range(action.shape[1])])
    return np.split(mean, np.cumsum([len(policy) for policy in decided])[:-1])


def clipped_regression(x: Array, action: Array, upper: float) -> Array:
    """(n,) E[a|x] of a = clip(x'w + noise, 0, upper), for x (n, k) and a (n,); Gauss-Newton on the squared residuals.

    The noise's spread is that of the residuals where the bounds are two spreads away.
    """
    # A light ridge: temperatures of four rooms and their hour's change are nearly collinear in a calm log.
    ridge = 1e-3 * np.eye(x.shape[1])
    w = np.linalg.solve(x.T @ x + ridge, x.T @ action)
    std = LEAST_EXPLORATION_KW
    for _ in range(REGRESSION_STEPS):
        centre = x @ w
        free = (centre > 2.0 * std) & (centre < upper - 2.0 * std)
        std = max(float((action - centre)[free].std()) if free.sum() > x.shape[1] else std, LEAST_EXPLORATION_KW / 2)
        share = ndtr((upper - centre) / std) - ndtr(-centre / std)
        slope = share[:, None] * x
        residual = action - mean_within_bounds(centre, std, 0.0, upper)
        w = w + np.linalg.solve(slope.T @ slope + ridge, slope.T @ residual)
    return mean_within_bounds(x @ w, std, 0.0, upper)
