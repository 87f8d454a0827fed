"""A recorded closed loop as a world to learn in: it shows what happened once, and nothing can be tried in it.

What teaches is the part of the recorded powers that was not decided by the state: exploration. It is what a regression
of the powers on the policy and on what the controller saw leaves over. Where next to nothing is left, a change of
power and its cause cannot be told apart, whatever the amount of data, and the log is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from codegen.condensed.solver import CondensedMpc, States, solve
from systems.house.theta import LAGS, HouseMpc
from tuner.house.transitions import Experience
from tuner.house.worlds import Tried
from tuner.identify.house_log import HouseLog, HouseLogError

Array = NDArray[np.float64]
LEAST_EXPLORATION_KW = 0.03
OUTDOOR_GAP_STEPS = 12
"""Holes in the outdoor temperature up to an hour are bridged: it only serves as its own forecast there."""


class ExplorationError(HouseLogError):
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
    """Decisions every half hour wherever the log holds an hour before and the horizon's outdoor temperature after it.

    price_eur_kwh (T,) at the log's samples, NaN where unknown; theta the one to start from. Costs are those of the
    recorded temperatures and powers; the outdoor temperature that came stands for its forecast.
    Raises HouseLogError for too few decisions, ExplorationError where the powers explore too little.
    """
    outdoor = _bridged(log.inputs[:, 0], OUTDOOR_GAP_STEPS)
    inputs = np.column_stack([outdoor, log.inputs[:, 1:]])
    starts = _decisions(log.outputs, inputs, price_eur_kwh, mpc)
    stretches = [part for part in np.split(starts, np.flatnonzero(np.diff(starts) != mpc.apply) + 1) if len(part) > 1]
    count = sum(len(part) - 1 for part in stretches)
    if count < 96:
        raise HouseLogError(
            f"{log.source or 'the log'} holds {count} usable decisions with the 12 hours after them; bring at least "
            "two unbroken days of temperatures, powers and prices, better some weeks"
        )
    found = [_stretch(part, log.outputs, inputs, price_eur_kwh, mpc) for part in stretches]
    means, left = _explained(found, CondensedMpc(mpc, theta))
    spread = left.std(0)
    if (spread < LEAST_EXPLORATION_KW).all():
        raise ExplorationError(
            f"{log.source or 'the log'}: all but {spread.max():.3f} kW of the powers follows from what the controller "
            "saw, so what another decision would have cost cannot be known. Record some weeks with exploration: "
            "half-hour steps of about 0.15 kW at random on each heat pump"
        )
    return RecordedWorld(
        [Experience(e.states, e.asked, e.action, mean, e.cost) for e, mean in zip(found, means, strict=True)], spread
    )


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


def _decisions(outputs: Array, inputs: Array, price: Array, mpc: HouseMpc) -> NDArray[np.int64]:
    """Samples on the half-hour grid at which the state, the forecasts and the next half hour are known."""
    seen = np.isfinite(outputs).all(1) & np.isfinite(inputs).all(1)
    ahead = np.isfinite(inputs[:, 0]) & np.isfinite(price)
    starts = np.arange(LAGS - 1, len(outputs) - mpc.horizon, mpc.apply)
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


def _explained(stretches: list[Experience], controller: CondensedMpc) -> tuple[list[Array], Array]:
    """(per stretch (n, rooms) the powers that the state explains, all the rest (N, rooms)), kW."""
    features, actions = [], []
    for stretch in stretches:
        s = stretch.states
        policy = solve(controller, s).action[:-1]
        now, hour = s.outputs[:-1, -1], s.outputs[:-1, -1] - s.outputs[:-1, 0]
        seen = (s.outdoor[:-1, 0], s.price[:-1, 0], s.price[:-1].mean(1))
        features.append(np.column_stack([np.ones(len(policy)), policy, now, hour, s.inputs[:-1, -1, 1:], *seen]))
        actions.append(stretch.action)
    x, a = np.vstack(features), np.vstack(actions)
    # A light ridge: temperatures of four rooms and their hour's change are nearly collinear in a calm log.
    x_scaled = x / np.maximum(x.std(0), 1e-6)
    x_scaled[:, 0] = 1.0
    weights = np.linalg.lstsq(x_scaled.T @ x_scaled + 1e-3 * np.eye(x.shape[1]), x_scaled.T @ a, rcond=None)[0]
    mean = x_scaled @ weights
    return np.split(mean, np.cumsum([len(part) for part in actions])[:-1]), a - mean
