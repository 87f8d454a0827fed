"""A log of the daemon as a world to learn in: it shows what happened once, and nothing can be tried in it.

What teaches is exploration: the part of an action that does not follow from the state. The log has the MPC's own
decision beside what was done, so the rest is noise, clipped by the bounds; its spread is that of a censored normal,
found by expectation and maximisation. Near a bound noise has a mean, E[a|s], which must not be credited to the action.
Of a power in and a power out the daemon explores each; what reality sees is their difference, whose positive and
negative parts have the means that quadrature says.

Costs are the house's own: its stage cost and soft rows at a model step's grid, along the recorded states and with what
the meter showed, at the nameplate's weights, and what a higher peak of the month charges.
A log tells dQ/da at what was decided then. At the policy that learning has reached it is dQ/da + K (pi - pi_then).

Source of the censored normal's moments: Tobin, "Estimation of relationships for limited dependent variables" (1958).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from codegen.controller import Controller
from systems.design import HouseDesign
from systems.grid import HOUR_S
from systems.logs.log import Array, LogError
from systems.problem import Problem, SoftPenalty
from tuner.learn.world import Tried
from tuner.loop.field_log import LoggedDecision, read_decisions
from tuner.loop.label import Deeds, Noise, pairs_of
from tuner.loop.model_step import FineProgram
from tuner.loop.policies import loaded

LEAST_DECISIONS = 80
LEAST_SHARE = 0.004
"""Of an action's range: exploration below it teaches nothing in any time."""
NODES = ndtri((np.arange(61) + 0.5) / 61)
"""Of the quadrature: quantiles of the standard normal."""
SAME = 0.02
"""Of an action's range: by how much the program may differ from what the log says it decided."""


LOG_SUPPORT = 0.1
"""Eq. (30): nothing can be tried on a log, so the data fit holds theta, by this share of the largest curvature."""
LEAST_PART = 12
"""Decisions of a stretch that stays worth having when a log is divided."""


class ExplorationError(LogError):
    """The actions of a log follow from what the controller saw."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """n decisions that follow each other and the n + 1 states and forecasts around them."""

    states: tuple[Array, ...]
    forecasts: tuple[Array, ...]
    deeds: Deeds

    def seen(self, design: HouseDesign, theta: Array) -> tuple[Sequence[Array], Sequence[Array]]:
        """As the daemon estimated and knew them."""
        return self.states, self.forecasts

    def part(self, first: int, last: int) -> Recorded:
        """Its decisions from `first` to before `last`."""
        deeds = Deeds(
            *(None if v is None else v[first:last] for v in vars(self.deeds).values())  # type: ignore[arg-type]
        )
        return Recorded(self.states[first : last + 1], self.forecasts[first : last + 1], deeds)


@dataclass(frozen=True, eq=False)
class RecordedWorld:
    """The same experience at every iteration."""

    stretches: tuple[Recorded, ...]
    exploration: Array
    """(na,) standard deviation of what was explored, in the actions' units"""
    left_out: int
    """Decisions that were not whole."""
    name: str = "the log of the daemon"
    recorded: bool = True

    @property
    def decisions(self) -> int:
        return sum(len(stretch.deeds.cost) for stretch in self.stretches)

    def explore(self, theta: Array, iteration: int) -> Sequence[Recorded]:
        return self.stretches

    def try_out(self, theta: Array) -> Tried | None:
        return None

    def divided(self, share: float) -> tuple[RecordedWorld, RecordedWorld]:
        """The earlier `share` of its decisions, and the later ones: one to learn from, the other to judge by."""
        earlier, later, left = list[Recorded](), list[Recorded](), round(share * self.decisions)
        for stretch in self.stretches:
            count = len(stretch.deeds.cost)
            cut = min(count, left)
            left -= cut
            for into, first, last in ((earlier, 0, cut), (later, cut, count)):
                if last - first >= min(LEAST_PART, count):
                    into.append(stretch.part(first, last))
        return replace(self, stretches=tuple(earlier)), replace(self, stretches=tuple(later))


def recorded_world(
    path: Path, design: HouseDesign, library: Path, theta: Array, *, since_s: float = 0.0
) -> RecordedWorld:
    """theta: the one that decided, from which learning starts. since_s: Unix time from which on it did.

    Raises LogError for too few decisions or those of another theta, ExplorationError where nothing was explored.
    """
    problem, steps = design.problem, design.house.grid.steps
    decisions, left_out = read_decisions(path, problem, steps)
    decisions = [decision for decision in decisions if decision.made_s >= since_s]
    parts = [part for part in _unbroken(decisions, problem.dt_s) if len(part) > 1]
    count = sum(len(part) - 1 for part in parts)
    if count < LEAST_DECISIONS:
        raise LogError(
            f"{path}: {count} whole decisions of the MPC that follow each other, and {left_out} that are not; at least "
            f"{LEAST_DECISIONS} are needed, better some weeks"
        )
    _check_theta(path, loaded(design, library), problem, theta, decisions)
    nominal, action = (np.array([getattr(d, name) for d in decisions]) for name in ("nominal", "action"))
    noise = Noise.of(problem)
    std = np.array([censored_std(nominal[:, a], action[:, a], lo, up) for a, (lo, up) in enumerate(_bounds(noise))])
    if np.all(std < LEAST_SHARE * (noise.upper - noise.lower)):
        raise ExplorationError(
            f"{path}: the actions follow from what the controller saw, so what another decision would have cost cannot "
            "be known; record some weeks with [exploration] in the site file, a tenth of each action's range"
        )
    costs = cost_of(design)
    return RecordedWorld(tuple(_stretch(part, problem, noise, std, costs) for part in parts), std, left_out)


def _bounds(noise: Noise) -> list[tuple[float, float]]:
    return list(zip(noise.lower.tolist(), noise.upper.tolist(), strict=True))


def _unbroken(decisions: Sequence[LoggedDecision], hold_s: float) -> list[list[LoggedDecision]]:
    breaks = [k + 1 for k, (a, b) in enumerate(pairwise(decisions)) if abs(b.made_s - a.made_s - hold_s) > 0.1 * hold_s]
    return [list(decisions[a:b]) for a, b in pairwise([0, *breaks, len(decisions)])]


def _check_theta(
    path: Path, controller: Controller, problem: Problem, theta: Array, decisions: Sequence[LoggedDecision]
) -> None:
    controller.set_theta(theta)
    controller.reset()
    width = np.array([a.upper - a.lower for a in problem.actions])
    apart = []
    for k in np.unique(np.linspace(0, len(decisions) - 1, 24).round().astype(int)).tolist():
        solution = controller.solve(decisions[k].state, decisions[k].forecast)
        if solution.ok:
            apart.append(float(np.max(np.abs(solution.action - decisions[k].nominal) / width)))
    if not apart or np.median(apart) > SAME:
        raise LogError(
            f"{path}: another theta or model decided there than the one to start from; name it by --theta and --model"
        )


def censored_std(nominal: Array, action: Array, lower: float, upper: float) -> float:
    """Spread of noise n (T,) of which action = clip(nominal + n, lower, upper) was seen."""
    deviation = action - nominal
    edge = 1e-6 * (upper - lower)
    low, high = action <= lower + edge, action >= upper - edge
    free = ~(low | high)
    std = max(float(np.sqrt(np.mean(deviation**2))), 1e-12)
    for _ in range(60):
        squares = np.where(free, deviation**2, 0.0)
        for hit, sign, bound in ((low, -1.0, lower), (high, 1.0, upper)):
            beyond = sign * (bound - nominal[hit]) / std
            tail = np.maximum(ndtr(-beyond), 1e-300)
            squares[hit] = std**2 * (1.0 + beyond * np.exp(-(beyond**2) / 2) / np.sqrt(2 * np.pi) / tail)
        std = max(float(np.sqrt(squares.mean())), 1e-12)
    return std


def means_of(noise: Noise, nominal: Array, std: Array) -> Array:
    """E[a|s] (n, na) of what reality saw, at what the MPC decided (n, na)."""
    drawn = np.clip(nominal[:, :, None] + std[:, None] * NODES, noise.lower[:, None], noise.upper[:, None])
    found = drawn.mean(2)
    for i, o in noise.pairs:
        net = drawn[:, i, :, None] - drawn[:, o, None, :]
        found[:, i], found[:, o] = np.maximum(net, 0.0).mean((1, 2)), np.maximum(-net, 0.0).mean((1, 2))
    return np.asarray(found)


def netted(problem: Problem, action: Array) -> Array:
    """(n, na) where of a power in and a power out at most one is above 0: their difference, as the meter sees it."""
    found = action.copy()
    for i, o in pairs_of(problem):
        net = action[:, i] - action[:, o]
        found[:, i], found[:, o] = np.maximum(net, 0.0), np.maximum(-net, 0.0)
    return found


def _stretch(
    part: Sequence[LoggedDecision],
    problem: Problem,
    noise: Noise,
    std: Array,
    costs: Callable[[LoggedDecision, Array], float],
) -> Recorded:
    nominal = np.array([d.nominal for d in part[:-1]])
    asked = np.clip(np.array([d.action for d in part[:-1]]), noise.lower, noise.upper)
    action = netted(problem, asked)
    cost = np.array([costs(now, after.state) for now, after in pairwise(part)])
    deeds = Deeds(asked, action, cost, mean=means_of(noise, nominal, std), decided=netted(problem, nominal))
    return Recorded(tuple(d.state for d in part), tuple(d.forecast for d in part), deeds)


def cost_of(design: HouseDesign) -> Callable[[LoggedDecision, Array], float]:
    """What a decision cost in reality, from its cycles and the state (nx,) in which it left the house."""
    fine = FineProgram(design, fitted=False)
    program, power, p, grid = fine.program, fine.power, fine.p, design.house.grid
    firsts, names = fine.firsts, [f.name for f in design.forecasts]
    wide = {f.name: f.steps for f in design.forecasts}
    features, hours = design.problem.features, grid.step_s / HOUR_S
    meter = design.house.only("meter")
    capacity = None if meter is None else meter.capacity
    peak = None if capacity is None else [s.name for s in program.states].index("month_peak")

    def row_of(decision: LoggedDecision, k: int) -> Array:
        """The forecast of the k-th step for that step: each cycle's own where it has one, the decision's otherwise."""
        return np.array(
            [
                decision.cycles[k].row[first] if wide[name] == 1 else decision.forecast[0, first + k]
                for name, first in zip(names, firsts, strict=True)
            ]
        )

    def cost(decision: LoggedDecision, after: Array) -> float:
        z = np.zeros(0) if features is None else np.array(features(decision.forecast, decision.state)).ravel()
        total = 0.0
        for k, cycle in enumerate(decision.cycles):
            action, d = netted(design.problem, cycle.action[None])[0], row_of(decision, k)
            u = np.concatenate([action, np.zeros(program.nu - program.na)])
            if program.settled is not None:
                u = np.array(program.settled(cycle.state, u, d, z, p)).ravel()
            total += float(program.stage_cost(cycle.state, u, d, z, p))
            if program.soft is not None:
                total += _penalty(program.soft_penalty, np.array(program.soft(cycle.state, u, d, z, p)).ravel())
            if meter is not None and np.isfinite(decision.grid_kw[k]):
                prices = d[names.index("buy")], d[names.index("sell")]
                thought, seen = float(power(action, d, p)), float(decision.grid_kw[k])
                total += hours * sum(
                    sign * kw * (prices[0] if kw > 0.0 else prices[1]) for sign, kw in ((1.0, seen), (-1.0, thought))
                )
        if capacity is not None and peak is not None:
            before, later = float(decision.state[peak]), float(after[peak])
            total += sum(
                step / capacity.days * max(0.0, later - max(start, before)) for start, step in _steps(capacity.slopes())
            )
        return total

    return cost


def _steps(slopes: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """(where it begins, by how much a kW costs more from there on)."""
    before = [0.0, *(slope for _, slope in slopes)]
    return [(start, slope - less) for (start, slope), less in zip(slopes, before, strict=False)]


def _penalty(prices: SoftPenalty, rows: Array) -> float:
    slack = np.maximum(-rows, 0.0)
    return float(np.dot(prices.linear, slack) + np.dot(prices.quadratic, slack**2) / 2)


def check_states_stay(design: HouseDesign, entries: NDArray[np.int64]) -> None:
    """Raises LogError where a parameter that may move changes what the estimator makes of the sensors."""
    parameters = design.problem.theta
    at = {p.name: p.default for p in parameters}
    for i in entries.tolist():
        p = parameters[i]
        other = p.upper if p.upper != p.default else p.lower
        if design.estimator(at | {p.name: other}) != design.estimator(at):
            raise LogError(
                f"{p.name} changes the estimated state, and a log holds the states of the model that ran; leave it out "
                "of --learn, and identify the house from its log instead"
            )


def told_of_log(world: RecordedWorld, problem: Problem) -> list[str]:
    """How much the log holds, and how it explored."""
    spread = ", ".join(
        f"{a.name} {std:.3g} {a.unit}" for a, std in zip(problem.actions, world.exploration.tolist(), strict=True)
    )
    return [
        f"{world.decisions} whole decisions, {world.left_out} left out (another level, a filter, or a gap)",
        f"explored (standard deviation): {spread}",
    ]
