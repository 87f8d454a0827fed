"""The house that an agent learns in: the ARX with its innovations, their mean included, in the agent's own period.

Eq. (37) of "All AI Models are Wrong, but Some are Optimal". Gaussian noise on the first moves explores, held like them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research.condensed.solver import ClosedLoop, CondensedMpc, run
from research.four_rooms.theta import ROOMS, HouseMpc
from research.smart_home.data import STEPS_PER_DAY
from research.smart_home.experience import HouseStretch, states_at
from research.smart_home.protocol import closed_loop, rest_history
from systems.arx import ArxModel
from systems.world.weather import Conditions
from tuner.learn.transitions import mean_within_bounds
from tuner.learn.world import EXPLORE, TRY, Tried

Array = NDArray[np.float64]
STRETCH_DAYS = 10
"""Of uninterrupted closed loop; each begins at rest at the set-point."""


@dataclass(frozen=True, eq=False)
class ArxWorld:
    """`first` and `days`: the period, of which each iteration runs `days_per_iteration`, going on where it stopped."""

    model: ArxModel
    mpc: HouseMpc
    conditions: Conditions
    first: int
    days: int
    days_per_iteration: int
    std_kw: float
    seed: tuple[int, ...]
    held_in: tuple[int, ...] = ()
    """First steps of weeks to try a theta on; the paper tries none."""
    name: str = "the identified model with its innovations"
    recorded: bool = False

    def explore(self, theta: Array, iteration: int) -> list[HouseStretch]:
        controller, episodes, noises = CondensedMpc(self.mpc, theta), [], []
        for k, (first, days) in enumerate(self._stretches(iteration)):
            rng, steps = np.random.default_rng([EXPLORE, *self.seed, iteration, k]), days * STEPS_PER_DAY
            part = slice(first, first + steps + self.mpc.horizon)
            outdoor, price = self.conditions.outdoor_c[part], self.conditions.price_eur_kwh[part]
            rest = rest_history(self.model, self.mpc.cost.setpoint_c, float(outdoor[0]), self.mpc.max_power_kw)
            noises.append(self.std_kw * rng.standard_normal((steps // self.mpc.apply, controller.na)))
            innovations = self.model.sample_innovations(rng, (steps,))
            episodes.append(ClosedLoop(controller, self.model, *rest, outdoor, price, innovations, noises[-1]))
        found = []
        for episode, rollout, noise in zip(episodes, run(episodes), noises, strict=True):
            steps = len(rollout.temperature)
            powers = np.repeat(rollout.action.reshape(-1, ROOMS), self.mpc.apply // self.mpc.decision, axis=0)
            outputs = np.vstack([episode.outputs, rollout.temperature])
            inputs = np.vstack([episode.inputs, np.column_stack([episode.outdoor[:steps], powers])])
            ahead = self.mpc.apply * np.arange(len(noise))[:, None] + np.arange(self.mpc.horizon)
            states = states_at(outputs, inputs, episode.outdoor[ahead], episode.price[ahead], every=self.mpc.apply)
            asked = (rollout.policy + noise)[:-1]
            mean = mean_within_bounds(rollout.policy[:-1], self.std_kw, 0.0, self.mpc.max_power_kw)
            found.append(HouseStretch(states, asked, rollout.action[:-1], mean, rollout.costs[:-1, 3]))
        return found

    def _stretches(self, iteration: int) -> Iterator[tuple[int, int]]:
        """(first step, days) of what an iteration runs, round and round in the period."""
        day, left = iteration * self.days_per_iteration % self.days, self.days_per_iteration
        while left > 0:
            days = min(STRETCH_DAYS, left, self.days - day)
            yield self.first + day * STEPS_PER_DAY, days
            day, left = (day + days) % self.days, left - days

    def try_out(self, theta: Array) -> Tried | None:
        if not self.held_in:
            return None
        mpc = CondensedMpc(self.mpc, theta)
        episodes = [
            closed_loop(mpc, self.model, self.conditions, first, 7, np.random.default_rng([TRY, *self.seed, week]))
            for week, first in enumerate(self.held_in)
        ]
        costs = np.array([rollout.costs[:, :3].sum(0) for rollout in run(episodes)])
        return Tried(costs[:, 0], costs[:, 1:].sum(1))
