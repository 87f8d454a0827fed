"""The two-layer critic in a described house, against what an action really costs there.

Q has no closed form in a house. But its plants can be lived through twice from one state, with the same weather, prices
and people: once with the action moved by +e and once by -e, and by the program's own decisions from then on. With G the
cost of h decisions, discounted, and the program's value of where they end,

    G = sum_{k < h} gamma^k L_k + gamma^h V_theta(s_h),     m = [G(pi + e) - G(pi - e)] / 2     against     dQ/da(s)'e

m holds one course of the disturbance, so it is dQ/da'e and noise, which no critic can foretell. The program believes
its own decision optimal: inside the bounds it says 0, whose relative error is 1.

The critic learns from a stretch that explores, as in `nisse tune --critic two-layer` (`tuner.critics.stretches`).
Beside it stands the same class of Q solved for in place of iterated: LSTDQ on every product of the critic's inputs.
Source: "Remarks on deep RL"; paired rollouts are common random numbers (Glasserman and Yao, 1992).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codegen.controller import Solution
from research.lqr import quadratic_features, symmetric
from research.two_layer import Agreement
from research.value_aware.fits import free
from research.value_aware.scenarios import whole
from systems.design import HouseDesign
from systems.plant import HousePlant
from systems.tariff import Tariff
from systems.world import Exogenous
from tuner.critics.stretches import followed, samples_of
from tuner.critics.two_layer import FittedCritic, Inputs, Samples, TwoLayer
from tuner.errors import CriticError
from tuner.evaluate.comparison import design_of
from tuner.loop.explore import LEARN, CompiledLabeller, PlantWorld, learning_entries
from tuner.loop.label import Noise
from tuner.loop.policies import Mpc, loaded
from tuner.loop.view import Moment, ThetaEstimator, View
from tuner.loop.week import WARM_UP_H, stage_cost
from tuner.loop.workers import LocalWorkers
from tuner.loop.worlds import generated_worlds

Array = NDArray[np.float64]
NEWS = "news off"
"""The semi-gradient on TD errors without what no action brought (`tuner.learn.critic`)."""
CRITICS = {"semi": TwoLayer(gradient="semi"), "both": TwoLayer(gradient="both"), NEWS: TwoLayer(gradient="semi")}
LEAST_SQUARES = "least squares"
RIDGE = 1e-3
"""Of the mean diagonal: a house shows fewer transitions than there are products of its inputs."""
APART_H = 5.0
"""Between two tries: so that they come at all hours."""
WIDE = 1.0
"""Of a move, in standard deviations of exploration."""


@dataclass(frozen=True)
class HousePlan:
    """What one seed does in a house."""

    house: str
    """Text of a house file"""
    library: Path
    seed: int
    days: float
    """Of exploring data"""
    tries: int
    """Pairs of rollouts"""
    ahead_h: float
    """How far a rollout goes before the program's value stands for the rest"""
    updates: int


@dataclass(frozen=True)
class HouseCritic:
    """A critic in a house: against the tries over its updates, and at the end."""

    updates: tuple[int, ...]
    course: tuple[Agreement, ...]
    end: Agreement
    excitation: float
    largest_norm: float
    left: str = ""
    """Why it has no end."""


@dataclass(frozen=True, eq=False)
class HouseFound:
    """Of one seed."""

    transitions: int
    critics: Mapping[str, HouseCritic]
    least_squares: Agreement
    measured: Array
    """(k,) m of the tries, in the currency of the house"""
    foretold: Mapping[str, Array]
    """(k,) dQ/da'e by critic"""


@dataclass(frozen=True, eq=False)
class Tries:
    """k paired rollouts: the program's value and action in each state (k, 1 + na), half the move (k, na), m (k,).

    Actions are in units of exploration, as in transitions.
    """

    state: Array
    move: Array
    measured: Array

    def foretold(self, slope: Array) -> Array:
        """(k,) of dQ/da (k, na)."""
        return np.asarray(np.einsum("ka,ka->k", slope, self.move))


def examine_house(plan: HousePlan) -> HouseFound:
    design = design_of(plan.house, ())
    worlds = generated_worlds(design.house, seed=plan.seed, prices="nordic", tariff=Tariff())
    theta, parameters = np.array(design.problem.theta_default()), design.problem.theta
    workers = LocalWorkers()
    world = PlantWorld(
        design, plan.library, worlds.learning, worlds.learning_weeks, (), 1, plan.days, plan.seed, workers
    )
    labeller = CompiledLabeller(design, plan.library, workers)
    entries, scale = learning_entries(parameters, LEARN)
    stretches = world.explore(theta, 0)
    transitions = labeller.label(stretches, theta, entries, scale, with_advantage=False).transitions
    samples, gamma = samples_of(transitions, labeller.gamma), labeller.gamma
    without_news = replace(samples, cost=transitions.surprise(gamma)[followed(transitions)])
    # States of other weeks than those that are learned from.
    tries = tried(Rollouts(design, plan.library, worlds.held_out, theta, gamma), worlds.held_out_weeks, plan)
    found, foretold = {}, {}
    for name, learner in CRITICS.items():
        chosen = replace(learner, updates=plan.updates, seed=plan.seed)
        found[name], foretold[name] = against(chosen, without_news if name == NEWS else samples, gamma, tries)
    solved = tries.foretold(least_squares_slope(samples, gamma, tries.state))
    return HouseFound(
        len(samples),
        found,
        Agreement.of(solved, tries.measured),
        tries.measured,
        {**foretold, LEAST_SQUARES: solved},
    )


def against(learner: TwoLayer, samples: Samples, gamma: float, tries: Tries) -> tuple[HouseCritic, Array]:
    """The critic, and what it foretells of the tries."""
    updates, course = list[int](), list[Agreement]()

    def keep(update: int, learned: FittedCritic) -> None:
        updates.append(update)
        course.append(Agreement.of(tries.foretold(learned.slope(tries.state)), tries.measured))

    try:
        learned = learner.learn(samples, gamma, keep)
    except CriticError as error:
        lost = Agreement(np.nan, np.nan)
        none = np.full_like(tries.measured, np.nan)
        return HouseCritic(tuple(updates), tuple(course), lost, np.nan, np.inf, str(error)), none
    foretold = tries.foretold(learned.slope(tries.state))
    end = Agreement.of(foretold, tries.measured)
    critic = HouseCritic((*updates, learner.updates), (*course, end), end, learned.excitation, learned.largest_norm)
    return critic, foretold


def least_squares_slope(samples: Samples, gamma: float, state: Array) -> Array:
    """dQ/da at the policy's action (k, na) of LSTDQ on all products of the critic's inputs z = (1, whitened)."""
    inputs = Inputs.of(samples)
    x = quadratic_features(inputs(samples.state, samples.deviation))
    following = quadratic_features(inputs(samples.next_state))
    matrix = x.T @ (x - gamma * following)
    matrix += RIDGE * float(np.trace(x.T @ x)) / len(matrix) * np.eye(len(matrix))
    weights = np.asarray(np.linalg.solve(matrix, x.T @ samples.cost))
    z = inputs(state)
    return np.asarray(2.0 * (z @ symmetric(weights, z.shape[1]))[:, 1:] @ inputs.whiten[:, inputs.states :])


@dataclass(frozen=True, eq=False)
class Rollouts:
    """The program at a theta in the plants of a house, from any state as often as wanted."""

    design: HouseDesign
    library: Path
    world: Exogenous
    theta: Array
    gamma: float

    @cached_property
    def policy(self) -> Mpc:
        """Begin it wherever what follows must not depend on what was before."""
        return Mpc(self.design, self.library, self.theta)

    @cached_property
    def estimator(self) -> ThetaEstimator:
        return ThetaEstimator(self.design, self.theta)

    def says(self, moment: Moment) -> Solution:
        """The program's own value and decision, from a cold start."""
        controller = loaded(self.design, self.library)
        controller.set_theta(self.theta)
        controller.reset()
        return controller.solve(self.estimator.state(moment), moment.forecast)

    def begin(self, first: int, hours: float, seed: int) -> Twin:
        """From step `first` of the world on."""
        plant = HousePlant(self.design.house, self.world)
        steps = round(hours * 3600.0 / self.design.house.grid.step_s)
        plant.reset(seed=seed, options={"first": first, "steps": min(steps, len(self.world) - first)})
        view = View(self.design, plant)
        view.begin()
        return Twin(self, plant, view)


@dataclass(frozen=True, eq=False)
class Twin:
    """A plant with what its controller has seen of it."""

    of: Rollouts
    plant: HousePlant
    view: View

    def copied(self) -> Twin:
        """As it is now; what never changes is shared."""
        shared = {id(whole): whole for whole in (self.of.world, self.of.design.house, self.of.design.problem)}
        plant, view = copy.deepcopy((self.plant, self.view), shared)
        return Twin(self.of, plant, view)

    def live(self, action: Array) -> float:
        """One decision (na,); what it cost."""
        design, paid = self.of.design, 0.0
        names = [a.name for a in design.problem.actions]
        asked = action[[names.index(a.name) for a in self.plant.actions]]
        for _ in range(design.house.grid.steps):
            *_, info = self.plant.step(asked)
            self.view.after(asked, info)
            paid += stage_cost(info)
        return paid

    def cost(self, action: Array, decisions: int) -> float:
        """G: `action` first, then the program's own, and its value at the end."""
        policy, total = self.of.policy, 0.0
        policy.begin()
        for k in range(decisions):
            total += self.of.gamma**k * self.live(action if k == 0 else policy.decide(self.view.moment()))
        end = self.of.says(self.view.moment())
        return total + self.of.gamma**decisions * (end.value if end.ok else np.nan)


def tried(rollouts: Rollouts, weeks: Sequence[int], plan: HousePlan) -> Tries:
    """Pairs from states of one stretch under the program, every APART_H, after a warm-up."""
    design, rng = rollouts.design, np.random.default_rng((plan.seed, 7))
    grid, noise = design.house.grid, Noise.of(design.problem)
    apart, ahead = max(1, round(APART_H / grid.hold_h)), max(1, round(plan.ahead_h / grid.hold_h))
    hours = WARM_UP_H + APART_H * plan.tries + plan.ahead_h + 2.0 * grid.hold_h
    twin = rollouts.begin(int(rng.choice(np.asarray(weeks))), hours, int(rng.integers(2**31)))
    policy = rollouts.policy
    policy.begin()
    for _ in range(round(WARM_UP_H / grid.hold_h)):
        twin.live(policy.decide(twin.view.moment()))
    states, moves, measured = list[Array](), list[Array](), list[float]()
    for _ in range(plan.tries):
        state, move, cost = pair(twin, noise, ahead, rng)
        states.append(state)
        moves.append(move)
        measured.append(cost)
        policy.begin()
        for _ in range(apart):
            twin.live(policy.decide(twin.view.moment()))
    known = np.isfinite(measured)
    return Tries(np.array(states)[known], np.array(moves)[known], np.array(measured)[known])


def pair(twin: Twin, noise: Noise, ahead: int, rng: np.random.Generator) -> tuple[Array, Array, float]:
    """((V, pi / std), half the move / std, m) of the present state; NaN where the program has no solution."""
    solution = twin.of.says(twin.view.moment())
    shock = noise.std * rng.standard_normal(len(noise.std)) * WIDE
    outs = [o for _, o in noise.pairs]
    step = np.delete(shock, outs)
    middle = free(noise, solution.action[None, :])[0]
    ends = [whole(noise, middle + sign * step) for sign in (1.0, -1.0)]
    state = np.concatenate([[solution.value], solution.action / noise.std])
    costs = [twin.copied().cost(end, ahead) if solution.ok else np.nan for end in ends]
    return state, (ends[0] - ends[1]) / 2.0 / noise.std, (costs[0] - costs[1]) / 2.0
