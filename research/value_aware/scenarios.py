"""Scenario MPC: one first move for many forecasts, each of which is certain from then on.

    a = argmin_a  1/M sum_j Q_theta(s, a; d_j),     d_j = forecast + a path of errors that the record has seen

Q is that of the compiled program with its first move fixed, so modes, soft rows and money are those that are deployed.
The search is along the line through the mean of the scenarios' own moves that follows their greatest spread, by golden
section: exact for one action (of a power in and a power out the difference), an upper bound for more.
Source: Bernardini and Bemporad, "Scenario-based model predictive control of stochastic constrained linear systems"
(2009); "All AI Models are Wrong, but Some are Optimal", III-B, for models of what may happen.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from codegen.controller import Controller
from research.memory import TooManyScenarios, free_memory, require_memory
from research.value_aware.fits import free
from research.value_aware.record import ProgramRecord
from systems.design import HouseDesign
from systems.logs.log import Array
from tuner.loop.label import Noise
from tuner.loop.policies import Mpc
from tuner.loop.view import Moment

SECTIONS = 7
"""Evaluations of the line search: what is left of it is 6 % of the spread of the scenarios' own moves."""
NEARLY = 1e-4
"""KKT residual up to which a value is good enough to compare moves by, solved to the tolerance or not."""
SAME = 1e-6
"""Of an action's exploring noise: moves that differ by less are one."""
COPIES = 3
"""Forecast, error path and sum are in memory at once."""


def check_scenarios(count: int, shape: tuple[int, int], paths: int, free_bytes: int) -> None:
    """Raises TooManyScenarios; shape (N + 1, nd) of a forecast, `paths` of errors that a record has."""
    each = COPIES * 8 * shape[0] * shape[1]
    require_memory(count, f"scenarios of {shape[0]} x {shape[1]} numbers", each, free_bytes)
    if count > paths:
        raise TooManyScenarios(
            f"{count} scenarios asked for, and the record has {paths} paths of forecast errors; bring more days of it, "
            "or ask for fewer"
        )


class ScenarioMpc(Mpc):
    """Decides by scenarios from the first counted day on; before, to settle, by the one forecast."""

    def __init__(
        self,
        design: HouseDesign,
        library: Path,
        theta: Array,
        record: ProgramRecord,
        count: int,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(design, library, theta)
        problem = design.problem
        check_scenarios(count, (problem.horizon + 1, problem.nd), len(record.errors), free_memory())
        self._noise, self._record, self._count, self._rng = Noise.of(problem), record, count, rng
        self._low = np.array([f.lower for f in problem.forecasts])
        self._high = np.array([f.upper for f in problem.forecasts])
        self._decided = 0

    def begin(self) -> None:
        super().begin()
        self._decided = 0

    def decide(self, moment: Moment) -> Array:
        stage, self._decided = self._decided, self._decided + 1
        if stage < self._record.per_day:
            return super().decide(moment)
        x, scenarios = self._estimator.state(moment), self.scenarios(moment.forecast, stage)
        found = first_move(self._controller, self._noise, x, scenarios)
        if found is None:
            self.failures += 1
            return np.asarray(self._last)
        self._last = found
        return found

    def scenarios(self, forecast: Array, stage: int) -> Array:
        """(M, N + 1, nd): error paths of the same time of day, as near as there are enough."""
        per_day = self._record.per_day
        apart = (np.arange(len(self._record.errors)) - stage) % per_day
        apart = np.minimum(apart, per_day - apart)
        order = np.lexsort((self._rng.random(len(apart)), apart))
        return np.clip(forecast + self._record.errors[order[: self._count]], self._low, self._high)


def first_move(controller: Controller, noise: Noise, x: Array, scenarios: Array) -> Array | None:
    """(na,) or None where no scenario has a solution."""
    own = []
    for forecast in scenarios:
        solution = controller.solve(x, forecast)
        if solution.ok:
            own.append(solution.action)
        else:
            controller.reset()
    if not own:
        return None
    moves = free(noise, np.array(own))
    std = np.delete(noise.std, [o for _, o in noise.pairs])
    middle = moves.mean(axis=0)
    _, size, directions = np.linalg.svd((moves - middle) / std, full_matrices=False)
    if size[0] < SAME:
        return whole(noise, middle)
    direction = directions[0] * std
    places = ((moves - middle) / std) @ directions[0]

    def cost(t: float) -> float:
        action, total = whole(noise, middle + t * direction), 0.0
        for forecast in scenarios:
            solution = controller.solve_fixed(x, forecast, action)
            if not solution.ok:
                controller.reset()
            if not solution.residual < NEARLY:
                return np.inf
            total += solution.value
        return total

    t = golden(cost, float(places.min()), float(places.max()), SECTIONS)
    return whole(noise, middle + t * direction)


def whole(noise: Noise, move: Array) -> Array:
    """(na,) within the bounds, of a free move (m,)."""
    outs = [o for _, o in noise.pairs]
    action = np.zeros(len(noise.std))
    action[[k for k in range(len(action)) if k not in outs]] = move
    for i, o in noise.pairs:
        action[i], action[o] = max(action[i], 0.0), max(-action[i], 0.0)
    return np.clip(action, noise.lower, noise.upper)


def golden(cost: Callable[[float], float], low: float, high: float, evaluations: int) -> float:
    """The best of so many points of a unimodal function on [low, high]."""
    ratio = (np.sqrt(5.0) - 1.0) / 2.0
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at = {left: cost(left), right: cost(right)}
    for _ in range(evaluations - 2):
        if at[left] < at[right]:
            high, right = right, left
            left = high - ratio * (high - low)
            at[left] = cost(left)
        else:
            low, left = left, right
            right = low + ratio * (high - low)
            at[right] = cost(right)
    return min(at, key=lambda t: at[t])
