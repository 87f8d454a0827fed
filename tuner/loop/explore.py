"""What learning sees of a described house: exploring stretches, and what a theta says of them.

Actions are in units of each one's exploring noise, so that one learner serves powers, shares and any number of them. Of
a power in and a power out, which a plan never has at once, the difference is explored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.controller import Controller, DerivativeError
from systems.design import HouseDesign
from systems.grid import HOUR_S
from systems.logs.log import Array
from systems.plant import HousePlant
from systems.problem import Parameter
from systems.world import Exogenous
from tuner.evaluate.described import design_of
from tuner.learn.transitions import Labelled, Transitions, join, mean_within_bounds
from tuner.learn.world import EXPLORE, TRY, Tried
from tuner.loop.policies import Mpc, loaded
from tuner.loop.view import Estimator, Moment, pairs_of
from tuner.loop.week import run_stretch
from tuner.loop.workers import Workers
from tuner.trainer import TrainingError

DAY_S = 86_400.0
NOISE_SHARE = 0.1
"""Of an action's range, standard deviation."""
LEARN = ("cost", "terminal")
"""What learns by default: the weights, which a data fit knows nothing of."""
SCALE_SHARE, ARX_SHARE = 0.1, 0.01
"""Of the width of a parameter's bounds: how far from the data fit it may plausibly lie."""
LOOKS_AHEAD_H = 25.0
"""Time constant of the discount where the house's own is 1: the program looks a day ahead."""
NO_ADVANTAGE: Array = np.empty(0)


@dataclass(frozen=True)
class Noise:
    """How actions are explored, (na,) each, in their own units."""

    std: Array
    lower: Array
    upper: Array
    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, design: HouseDesign) -> Noise:
        actions = design.problem.actions
        lower, upper = np.array([a.lower for a in actions]), np.array([a.upper for a in actions])
        return cls(NOISE_SHARE * (upper - lower), lower, upper, pairs_of(design))

    def draw(self, policy: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """(asked (na,), the same within the bounds)."""
        shock = self.std * rng.standard_normal(len(policy))
        asked = policy + shock
        action = np.clip(asked, self.lower, self.upper)
        for i, o in self.pairs:
            asked[o] = policy[o] - shock[i]
            net = policy[i] - policy[o] + shock[i]
            action[i], action[o] = min(max(net, 0.0), self.upper[i]), min(max(-net, 0.0), self.upper[o])
        return asked, action

    def mean(self, policy: Array) -> Array:
        """E[action] (n, na) at policies (n, na)."""
        found = np.column_stack(
            [
                mean_within_bounds(policy[:, a], self.std[a], self.lower[a], self.upper[a])
                for a in range(policy.shape[1])
            ]
        )
        for i, o in self.pairs:
            net = policy[:, i] - policy[:, o]
            found[:, i] = mean_within_bounds(net, self.std[i], 0.0, self.upper[i])
            found[:, o] = mean_within_bounds(-net, self.std[i], 0.0, self.upper[o])
        return found


class Explorer(Mpc):
    """The program with noise on its first move, held for the stage."""

    def __init__(self, design: HouseDesign, library: Path, theta: Array, rng: np.random.Generator) -> None:
        super().__init__(design, library, theta)
        self.noise, self._rng = Noise.of(design), rng
        self.asked: list[Array] = []

    def decide(self, moment: Moment) -> Array:
        asked, action = self.noise.draw(super().decide(moment), self._rng)
        self.asked.append(asked)
        return action


@dataclass(frozen=True, eq=False)
class Stretch:
    """n decisions and the n + 1 moments around them; costs are those of reality, what is billed and what is not."""

    moments: tuple[Moment, ...]
    asked: Array
    """(n, na)"""
    action: Array
    cost: Array
    """(n,)"""


@dataclass(frozen=True, eq=False)
class Opinion:
    """What a theta says of the n + 1 moments of a stretch."""

    solved: NDArray[np.bool_]
    value: Array
    policy: Array
    """(n + 1, na)"""
    jacobian: Array
    """(n + 1, na, p) in units of scale"""
    inverse: Array
    """(n + 1, na, na)"""


@dataclass(frozen=True, eq=False)
class PlantWorld:
    """The plants of a house in a world, to explore from `starts` and to try a theta on the held-in weeks."""

    design: HouseDesign
    library: Path
    world: Exogenous
    starts: tuple[int, ...]
    held_in: tuple[int, ...]
    episodes: int
    days: float
    seed: int
    workers: Workers
    name: str = "the plants of the house"
    truth: dict[str, Any] = field(default_factory=dict)
    """Fitted models that are the truth, by table, in the place of plants."""
    held_in_days: float = 7.0
    recorded: bool = False

    def explore(self, theta: Array, iteration: int) -> list[Stretch]:
        shared = (*self._shared(), theta, self.starts, self.days)
        seeds = [((EXPLORE, self.seed, iteration, k),) for k in range(self.episodes)]
        return list(self.workers.run(_explored, shared, seeds))

    def try_out(self, theta: Array) -> Tried:
        return self.try_all([theta])[0]

    def try_all(self, thetas: Sequence[Array]) -> list[Tried]:
        """Each of the thetas on the same held-in weeks, side by side."""
        weeks = [(first, self.held_in_days, (TRY, self.seed, k)) for k, first in enumerate(self.held_in)]
        tasks = [(theta, *week) for theta in thetas for week in weeks]
        found = np.array(list(self.workers.run(_tried, self._shared(), tasks))).reshape(len(thetas), len(weeks), 2)
        return [Tried(costs[:, 0], costs[:, 1]) for costs in found]

    def _shared(self) -> tuple[Any, ...]:
        return _key(self.design), self.library, self.world, self.truth


@dataclass(frozen=True, eq=False)
class CompiledLabeller:
    """By the compiled program that is deployed, and its derivatives in C."""

    design: HouseDesign
    library: Path
    workers: Workers
    exploration: float = 1.0

    @property
    def gamma(self) -> float:
        grid = self.design.house.grid
        return min(grid.discount, float(np.exp(-grid.hold_s / HOUR_S / LOOKS_AHEAD_H)))

    def label(
        self,
        experience: Sequence[Stretch],
        theta: Array,
        entries: NDArray[np.int64],
        scale: Array,
        *,
        with_advantage: bool,
    ) -> Labelled:
        shared = (_key(self.design), self.library, theta, entries, scale, with_advantage)
        tasks = [(stretch, number) for number, stretch in enumerate(experience)]
        parts = list(self.workers.run(_labelled, shared, tasks))
        return Labelled(
            join([part.transitions for part in parts]),
            sum(part.solves for part in parts),
            sum(part.failures for part in parts),
        )


def learning_entries(parameters: Sequence[Parameter], learn: Sequence[str]) -> tuple[NDArray[np.int64], Array]:
    """(indices in theta (p,), scales (p,)) of groups and single parameters. Raises TrainingError for unknown names."""
    groups = {p.group for p in parameters}
    unknown = sorted(set(learn) - groups - {p.name for p in parameters})
    if unknown or not learn:
        raise TrainingError(
            f"theta of this house has no {unknown[0] if unknown else ''!r} to learn; choose among its parameters and "
            f"the groups {', '.join(sorted(groups))}"
        )
    entries = [i for i, p in enumerate(parameters) if p.group in learn or p.name in learn]
    scale = [
        (ARX_SHARE if parameters[i].group == "arx" else SCALE_SHARE) * (parameters[i].upper - parameters[i].lower)
        for i in entries
    ]
    return np.array(entries), np.array(scale)


def _key(design: HouseDesign) -> tuple[str, tuple[tuple[str, str], ...]]:
    return design.text, tuple(sorted(design.fits.items()))


def _explored(
    key: tuple[str, tuple[tuple[str, str], ...]],
    library: Path,
    world: Exogenous,
    truth: dict[str, Any],
    theta: Array,
    starts: Sequence[int],
    days: float,
    seeds: tuple[int, ...],
) -> Stretch:
    rng, design = np.random.default_rng(list(seeds)), design_of(*key)
    explorer = Explorer(design, library, theta, rng)
    moments: list[Moment] = []
    actions: list[Array] = []
    costs: list[float] = []

    def keep(moment: Moment, action: Array, cost: float) -> None:
        moments.append(moment)
        actions.append(action)
        costs.append(cost)

    run_stretch(
        design,
        HousePlant(design.house, world, fits=truth),
        explorer,
        first=int(rng.choice(np.asarray(starts))),
        stages=round(days * DAY_S / design.house.grid.hold_s),
        seed=int(rng.integers(2**31)),
        on_stage=keep,
    )
    asked = np.array(explorer.asked[-len(actions) :])
    return Stretch(tuple(moments), asked[:-1], np.array(actions)[:-1], np.array(costs)[:-1])


def _tried(
    key: tuple[str, tuple[tuple[str, str], ...]],
    library: Path,
    world: Exogenous,
    truth: dict[str, Any],
    theta: Array,
    first: int,
    days: float,
    seeds: tuple[int, ...],
) -> tuple[float, float]:
    """(bill, what is not billed) of a held-in week."""
    design = design_of(*key)
    result = run_stretch(
        design,
        HousePlant(design.house, world, fits=truth),
        Mpc(design, library, theta),
        first=first,
        stages=round(days * DAY_S / design.house.grid.hold_s),
        seed=int(np.random.SeedSequence(list(seeds)).generate_state(1)[0]),
    )
    return result.bill, sum(result.unbilled.values())


def _labelled(
    key: tuple[str, tuple[tuple[str, str], ...]],
    library: Path,
    theta: Array,
    entries: NDArray[np.int64],
    scale: Array,
    with_advantage: bool,
    stretch: Stretch,
    number: int,
) -> Labelled:
    design = design_of(*key)
    controller = loaded(design, library)
    controller.set_theta(theta)
    controller.reset()
    estimator, noise = Estimator(design, theta), Noise.of(design)
    states = [estimator.state(moment) for moment in stretch.moments]
    said = _opinion(controller, states, stretch.moments, entries, scale)
    use = said.solved[:-1] & said.solved[1:]
    mean = noise.mean(said.policy[:-1])
    solves = len(states)
    advantage = gradient = NO_ADVANTAGE
    if with_advantage:
        taken, mean_q = (
            _q(controller, states, stretch.moments, actions, entries, scale) for actions in (stretch.action, mean)
        )
        use &= np.isfinite(taken[0]) & np.isfinite(mean_q[0])
        advantage, gradient = (taken[0] - mean_q[0])[use], (taken[1] - mean_q[1])[use]
        solves += 2 * len(stretch.cost)
    std = noise.std
    transitions = Transitions(
        value=said.value[:-1][use],
        next_value=said.value[1:][use],
        cost=stretch.cost[use],
        policy=said.policy[:-1][use] / std,
        asked=stretch.asked[use] / std,
        action=stretch.action[use] / std,
        mean_action=mean[use] / std,
        drift=np.zeros_like(mean[use]),
        policy_jacobian=said.jacobian[:-1][use] / std[:, None],
        action_inverse=said.inverse[:-1][use] / np.outer(std, std),
        # A failed solve within a stretch breaks it in two.
        segment=number * 1_000_000 + np.cumsum(~use)[use],
        advantage=advantage,
        advantage_gradient=gradient,
    )
    return Labelled(transitions, solves, int((~said.solved).sum()))


def _opinion(
    controller: Controller,
    states: Sequence[Array],
    moments: Sequence[Moment],
    entries: NDArray[np.int64],
    scale: Array,
) -> Opinion:
    n, na, p = len(states), controller.dimensions.na, len(entries)
    solved, value = np.zeros(n, dtype=bool), np.full(n, np.nan)
    policy, jacobian, inverse = np.zeros((n, na)), np.zeros((n, na, p)), np.zeros((n, na, na))
    for k, (state, moment) in enumerate(zip(states, moments, strict=True)):
        solution = controller.solve(state, moment.forecast)
        if not solution.ok:
            controller.reset()
            continue
        try:
            jacobian[k] = controller.differentiate(value=False)[1][:, entries] * scale
            inverse[k] = controller.action_inverse()
        except DerivativeError:
            continue
        solved[k], value[k], policy[k] = True, solution.value, solution.action
    return Opinion(solved, value, policy, jacobian, inverse)


def _q(
    controller: Controller,
    states: Sequence[Array],
    moments: Sequence[Moment],
    actions: Array,
    entries: NDArray[np.int64],
    scale: Array,
) -> tuple[Array, Array]:
    """Q_theta(s, a) (n,), NaN where it cannot be had, and its gradient (n, p) in units of scale."""
    n = len(actions)
    value, gradient = np.full(n, np.nan), np.zeros((n, len(entries)))
    for k in range(n):
        solution = controller.solve_fixed(states[k], moments[k].forecast, actions[k])
        if solution.ok:
            value[k] = solution.value
            gradient[k] = controller.differentiate(action=False)[0][entries] * scale
        else:
            controller.reset()
    return value, gradient
