"""The scalar battery as a tunable system: the compiled MPC in the world s+ = s + a + w.

The program sees one number, so its policy and value are tabulated once per theta and read by interpolation: millions of
transitions for a few hundred solves. Q_theta(s, a) and the gradient self-check use the solver itself.
Source: "All AI Models are Wrong, but Some are Optimal", Example V-A.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from codegen.solver import compiled_controller
from research.scalar_battery import CASES, DISCOUNT, MAX_MOVE, ScalarCase, scalar_battery
from research.tabular.noise import TruncatedGaussian
from research.training.policy import Array, MpcController, NetAction, SystemObservation
from systems.problem import Parameter, Problem

HORIZON = 20
"""Stages of the MPC: its first move is that of the infinite-horizon expected-value plan from about ten on."""
TABLE = np.linspace(0.0, 1.0, 161)
NOISE_BLOCK = 256
HATS = 40
"""Intervals of the piecewise-linear state features of the critic."""


@lru_cache(maxsize=2)
def _compiled(problem: Callable[[], Problem]) -> MpcController:
    return compiled_controller(problem())


def scalar_problem() -> Problem:
    return scalar_battery(horizon=HORIZON, discount=DISCOUNT)


@dataclass(frozen=True)
class TabulatedSolution:
    """What a read of the table yields, in the form of a solve."""

    action: Array
    value: float
    ok: bool
    time_s: float


class TabulatedController:
    """A controller that solves on the nodes of TABLE, once per theta, and interpolates linearly between them."""

    def __init__(self, exact: MpcController, forecast: Array) -> None:
        self.exact = exact
        self.forecast = forecast
        self._key = b""
        self._fixed = False
        self._position = 0.0

    def set_theta(self, theta: Array) -> None:
        self.exact.set_theta(theta)
        key = np.asarray(theta, float).tobytes()
        if key != self._key:
            self._key, self._table = key, None

    def reset(self) -> None:
        self.exact.reset()

    def solve(self, x0: Array, forecast: Array) -> TabulatedSolution:
        if self._table is None:
            self._table = self._tabulate()
        actions, values, ok, _, _ = self._table
        self._fixed, self._position = False, float(np.clip(x0[0], 0.0, 1.0)) * (len(TABLE) - 1)
        lower, weight = self._cell()
        return TabulatedSolution(
            (1 - weight) * actions[lower] + weight * actions[lower + 1],
            float((1 - weight) * values[lower] + weight * values[lower + 1]),
            bool(ok[lower] and ok[lower + 1]),
            0.0,
        )

    def solve_fixed(self, x0: Array, forecast: Array, action: Array) -> Any:
        self._fixed = True
        return self.exact.solve_fixed(x0, forecast, action)

    def differentiate(self) -> tuple[Array, Array]:
        if self._fixed:
            return self.exact.differentiate()
        lower, weight = self._cell()
        _, _, _, value_gradients, jacobians = self._table
        # Between nodes with different active sets the nearer one counts: a mean of the two belongs to neither.
        nearest = lower + int(weight >= 0.5)
        return value_gradients[nearest], jacobians[nearest]

    def net_policy(self) -> Array:
        """a = buy - sell on TABLE."""
        if self._table is None:
            self._table = self._tabulate()
        return self._table[0] @ np.array([1.0, -1.0])

    def _cell(self) -> tuple[int, float]:
        lower = min(int(self._position), len(TABLE) - 2)
        return lower, self._position - lower

    def _tabulate(self) -> tuple[Array, Array, Array, Array, Array]:
        self.exact.reset()
        actions, values, oks, value_gradients, jacobians = [], [], [], [], []
        for s in TABLE:
            solution = self.exact.solve(np.array([s]), self.forecast)
            gradients = self.exact.differentiate() if solution.ok else None
            actions.append(solution.action)
            values.append(solution.value if solution.ok else np.nan)
            oks.append(solution.ok)
            value_gradients.append(gradients[0] if gradients else np.zeros_like(value_gradients[0]))
            jacobians.append(gradients[1] if gradients else np.zeros_like(jacobians[0]))
        return np.array(actions), np.array(values), np.array(oks), np.array(value_gradients), np.array(jacobians)


class ScalarWorld:
    """s+ = clip(s + a + w, 0, 1); what does not fit is charged at `penalty` per unit."""

    def __init__(self, case: ScalarCase, penalty: float, forecast: Array, rng: np.random.Generator) -> None:
        self.case, self.penalty, self.forecast, self.rng = case, penalty, forecast, rng
        self.noise = TruncatedGaussian(case.noise_std, case.noise_limit)
        self.s = float(rng.uniform())
        self._drawn: list[float] = []

    def observe(self) -> SystemObservation:
        return SystemObservation(np.array([self.s]), self.forecast)

    def step(self, action: Array) -> float:
        a = float(action[0])
        if not self._drawn:
            # In blocks: a draw of one costs as much as a draw of hundreds.
            self._drawn = self.noise.sample(self.rng, NOISE_BLOCK).tolist()
        target = self.s + a + self._drawn.pop()
        cost = self.case.deviation_weight * abs(self.s - 0.5) + self.penalty * max(-target, target - 1.0, 0.0)
        cost += (self.case.buy_price if a > 0.0 else self.case.sell_price) * a
        self.s = min(max(target, 0.0), 1.0)
        return cost


def stage_cost(case: ScalarCase, s: Any, a: Any) -> Any:
    """L(s, a), elementwise: the paper's reward with the sign changed."""
    trade = case.buy_price * np.maximum(a, 0.0) + case.sell_price * np.minimum(a, 0.0)
    return case.deviation_weight * np.abs(s - 0.5) + trade


@dataclass(frozen=True)
class ScalarBatterySystem:
    """One case of Example V-A; held-in costs are simulated discounted returns with common noise."""

    case_number: int
    penalty: float = 50.0
    held_in: int = 256
    """Simulated trajectories of the held-in evaluation, from evenly spread starts."""
    held_in_steps: int = 300
    seed: int = 0
    name: str = "scalar_battery"
    discount: float = DISCOUNT
    model_discount: float = DISCOUNT

    @property
    def case(self) -> ScalarCase:
        return CASES[self.case_number]

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        return scalar_problem().theta

    @property
    def actions(self) -> NetAction:
        return NetAction(MAX_MOVE, MAX_MOVE)

    @property
    def forecast(self) -> Array:
        return self.case.forecast(HORIZON)

    def controller(self) -> MpcController:
        return _compiled(scalar_problem)

    def rollout_controller(self) -> MpcController:
        return _tabulated(self.case_number)

    def training_world(self, rng: np.random.Generator) -> ScalarWorld:
        return ScalarWorld(self.case, self.penalty, self.forecast, rng)

    def features(self, observation: SystemObservation, value: float) -> Array:
        """Hat functions on [0, 1] but the first: with the critic's constant they span all piecewise-linear V."""
        position = float(observation.state[0]) * HATS
        return np.maximum(0.0, 1.0 - np.abs(position - np.arange(1, HATS + 1)))

    def policy(self, theta: Array) -> Array:
        """a on TABLE."""
        controller = _tabulated(self.case_number)
        controller.set_theta(theta)
        return controller.net_policy()

    def evaluate(self, theta: Array, jobs: int) -> Array:
        policy = self.policy(theta)
        rng = np.random.default_rng([self.seed, 5])
        noise = TruncatedGaussian(self.case.noise_std, self.case.noise_limit)
        s = (np.arange(self.held_in) + 0.5) / self.held_in
        cost, weight = np.zeros(self.held_in), 1.0
        for _ in range(self.held_in_steps):
            a = np.interp(s, TABLE, policy)
            target = s + a + noise.sample(rng, self.held_in)
            leaving = np.maximum(np.maximum(-target, target - 1.0), 0.0)
            cost += weight * (stage_cost(self.case, s, a) + self.penalty * leaving)
            s, weight = np.clip(target, 0.0, 1.0), weight * self.discount
        return cost


@lru_cache(maxsize=4)
def _tabulated(case_number: int) -> TabulatedController:
    return TabulatedController(_compiled(scalar_problem), CASES[case_number].forecast(HORIZON))
