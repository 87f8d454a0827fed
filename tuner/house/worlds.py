"""The simulated houses that a theta learns in and is tried on: the ARX with its innovations, and the physical house.

Both explore with Gaussian noise on the first moves, held like them, and both are tried on held-in weeks: paired, the
same weather, prices, people and noise for every theta. Held-in weeks share no step with any exploring day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from codegen.condensed.solver import CondensedMpc, Episode, States, run, solve
from systems.house.arx import ArxModel
from systems.house.plant import PhysicalHouse
from systems.house.theta import INPUTS, LAGS, ROOMS, HouseMpc
from systems.house.weather import Conditions
from tuner.evaluate.house import WARM_UP_DAYS, MpcPolicy, run_week, spread_weeks
from tuner.evaluate.periods import PeriodError
from tuner.house.data import STEPS_PER_DAY, window_starts
from tuner.house.experience import Experience, states_at
from tuner.house.protocol import closed_loop, rest_history
from tuner.learn.transitions import mean_within_bounds
from tuner.learn.world import EXPLORE, TRY, Tried

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Exploration:
    """How much an iteration sees."""

    episodes: int = 6
    days: int = 7
    std_kw: float = 0.15


@dataclass(frozen=True, eq=False)
class Season:
    """Learning data with its days split into those that explore and the weeks that are held in."""

    conditions: Conditions
    held_in: tuple[int, ...]
    """First counted steps of the held-in weeks; a warm-up day lies before each."""
    starts: NDArray[np.int64]
    """Where an exploring episode may begin"""


def split_season(conditions: Conditions, days: int, weeks: int, horizon: int) -> Season:
    """Weeks spread over the heating months, and the starts of episodes of `days` that do not touch them.

    Raises PeriodError when the data hold too little.
    """
    try:
        held_in = spread_weeks(conditions, weeks, horizon)
    except ValueError as error:
        raise PeriodError(str(error)) from error
    starts = window_starts(conditions, days, horizon)
    free = np.ones(len(starts), dtype=bool)
    for first in held_in:
        begin, end = first - WARM_UP_DAYS * STEPS_PER_DAY, first + 7 * STEPS_PER_DAY
        free &= (starts + days * STEPS_PER_DAY <= begin) | (starts >= end)
    if not free.any():
        raise PeriodError(
            f"beside {weeks} held-in weeks no {days} days are left to learn from; ask for fewer or bring more data"
        )
    return Season(conditions, held_in, starts[free])


@dataclass(frozen=True, eq=False)
class ArxWorld:
    """The identified model with its innovations, their mean included: eq. (37) of "All AI Models are Wrong, ..."."""

    season: Season
    model: ArxModel
    mpc: HouseMpc
    exploration: Exploration
    seed: int
    jobs: int
    name: str = "the identified model with its innovations"
    recorded: bool = False

    def explore(self, theta: Array, iteration: int) -> list[Experience]:
        controller, size = CondensedMpc(self.mpc, theta), self.exploration
        steps, episodes, noises = size.days * STEPS_PER_DAY, [], []
        for k in range(size.episodes):
            rng = np.random.default_rng([EXPLORE, self.seed, iteration, k])
            first = int(rng.choice(self.season.starts))
            part = slice(first, first + steps + self.mpc.horizon)
            outdoor, price = self.season.conditions.outdoor_c[part], self.season.conditions.price_eur_kwh[part]
            rest = rest_history(self.model, self.mpc.cost.setpoint_c, float(outdoor[0]), self.mpc.max_power_kw)
            noises.append(size.std_kw * rng.standard_normal((steps // self.mpc.apply, controller.na)))
            innovations = self.model.sample_innovations(rng, (steps,))
            episodes.append(Episode(controller, self.model, *rest, outdoor, price, innovations, noises[-1]))
        rollouts = run(episodes, threads=self.jobs)
        found = []
        for episode, rollout, noise in zip(episodes, rollouts, noises, strict=True):
            powers = np.repeat(rollout.action.reshape(-1, ROOMS), self.mpc.apply // self.mpc.decision, axis=0)
            outputs = np.vstack([episode.outputs, rollout.temperature])
            inputs = np.vstack([episode.inputs, np.column_stack([episode.outdoor[:steps], powers])])
            ahead = self.mpc.apply * np.arange(len(noise))[:, None] + np.arange(self.mpc.horizon)
            states = states_at(outputs, inputs, episode.outdoor[ahead], episode.price[ahead], every=self.mpc.apply)
            asked = (rollout.policy + noise)[:-1]
            mean = mean_within_bounds(rollout.policy[:-1], size.std_kw, 0.0, self.mpc.max_power_kw)
            found.append(Experience(states, asked, rollout.action[:-1], mean, rollout.costs[:-1, 3]))
        return found

    def try_out(self, theta: Array) -> Tried:
        mpc = CondensedMpc(self.mpc, theta)
        rngs = (np.random.default_rng([TRY, self.seed, week]) for week in range(len(self.season.held_in)))
        episodes = [
            closed_loop(mpc, self.model, self.season.conditions, first, 7, rng)
            for first, rng in zip(self.season.held_in, rngs, strict=True)
        ]
        costs = np.array([rollout.costs[:, :3].sum(0) for rollout in run(episodes, threads=self.jobs)])
        return Tried(costs[:, 0], costs[:, 1:].sum(1))


@dataclass(frozen=True, eq=False)
class PhysicalWorld:
    """The physical house: people, sun, heat pumps whose COP falls with load. Nothing of it is told to the learner."""

    season: Season
    mpc: HouseMpc
    exploration: Exploration
    seed: int
    jobs: int
    name: str = "the physical house"
    recorded: bool = False

    def explore(self, theta: Array, iteration: int) -> list[Experience]:
        calls = [
            delayed(explore_physical)(
                self.season.conditions, self.season.starts, self.mpc, theta, self.exploration, (self.seed, iteration, k)
            )
            for k in range(self.exploration.episodes)
        ]
        return list(Parallel(n_jobs=self.jobs)(calls))

    def try_out(self, theta: Array) -> Tried:
        calls = [
            delayed(_week)(self.season.conditions, self.mpc, theta, first, [TRY, self.seed, k])
            for k, first in enumerate(self.season.held_in)
        ]
        weeks = list(Parallel(n_jobs=self.jobs)(calls))
        return Tried(np.array([price for price, _ in weeks]), np.array([comfort for _, comfort in weeks]))


def explore_physical(
    conditions: Conditions,
    starts: NDArray[np.int64],
    mpc: HouseMpc,
    theta: Array,
    exploration: Exploration,
    key: Sequence[int],
) -> Experience:
    """One exploring episode in the physical house from one of `starts`."""
    rng = np.random.default_rng([EXPLORE, *key])
    controller, decisions = CondensedMpc(mpc, theta), exploration.days * STEPS_PER_DAY // mpc.apply
    plant = PhysicalHouse(conditions, cost=mpc.cost, steps=decisions * mpc.apply)
    plant.reset(seed=int(rng.integers(2**31)), options={"first": int(rng.choice(starts))})
    outputs, inputs = np.empty((decisions, LAGS, ROOMS)), np.empty((decisions, LAGS - 1, INPUTS))
    ahead = np.empty((decisions, mpc.horizon, 2))
    policy, asked, action = (np.empty((decisions, ROOMS)) for _ in range(3))
    cost = np.empty(decisions)
    discount = mpc.discount ** np.arange(mpc.apply)
    for k in range(decisions):
        outputs[k], inputs[k] = plant.history()
        ahead[k] = plant.forecast(mpc.horizon)[: mpc.horizon]
        now = States(outputs[k : k + 1], inputs[k : k + 1], ahead[k : k + 1, :, 0], ahead[k : k + 1, :, 1])
        policy[k] = solve(controller, now).action[0]
        asked[k] = policy[k] + exploration.std_kw * rng.standard_normal(ROOMS)
        action[k] = np.clip(asked[k], 0.0, mpc.max_power_kw)
        cost[k] = sum(factor * -plant.step(action[k])[1] for factor in discount)
    states = States(outputs, inputs, ahead[:, :, 0], ahead[:, :, 1])
    mean = mean_within_bounds(policy[:-1], exploration.std_kw, 0.0, mpc.max_power_kw)
    return Experience(states, asked[:-1], action[:-1], mean, cost[:-1])


def _week(conditions: Conditions, mpc: HouseMpc, theta: Array, first: int, key: Sequence[int]) -> tuple[float, float]:
    """(electricity corrected for the heat left in the house, comfort) of a held-in week, EUR."""
    plant = PhysicalHouse(conditions, cost=mpc.cost, steps=(7 + WARM_UP_DAYS) * STEPS_PER_DAY)
    seed = int(np.random.SeedSequence(list(key)).generate_state(1)[0])
    week = run_week(plant, MpcPolicy(CondensedMpc(mpc, theta)), start=first, seed=seed)
    return week.cost_eur, week.comfort_eur
