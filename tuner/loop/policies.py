"""What decides in a closed loop: the compiled MPC at a theta, and the rules that run as its fallback."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from codegen.controller import Controller
from codegen.solver import build_solver
from codegen.targets import host_arch
from runtime.decide.rules import Rulebook
from runtime.decide.rules_data import AnyRule
from systems.design import HouseDesign
from systems.logs.log import Array
from tuner.loop.view import Moment, ThetaEstimator


def loaded(design: HouseDesign, library: Path) -> Controller:
    """One solver per process: loading it for every stretch would cost more than its first solves.

    A worker on another machine has not the library of this one; it builds its own.
    """
    return _loaded(library if library.exists() else build_solver(design.problem, host_arch()).library)


@lru_cache(maxsize=4)
def _loaded(library: Path) -> Controller:
    return Controller(library)


class Mpc:
    """The compiled program. Where a solve fails the last action stays."""

    held = True

    def __init__(self, design: HouseDesign, library: Path, theta: Array, *, forecast_error: float = 1.0) -> None:
        self.forecast_error = forecast_error
        self.failures, self.solve_time_s = 0, 0.0
        self._controller, self._theta = loaded(design, library), np.asarray(theta, dtype=float)
        self._estimator = ThetaEstimator(design, self._theta)
        self._last = np.zeros(design.problem.na)
        self.plan: Array | None = None
        """(N, na) of the last decision; None where its solve failed."""

    def begin(self) -> None:
        # What follows depends on its arguments alone.
        self._controller.set_theta(self._theta)
        self._controller.reset()
        self._last = np.zeros_like(self._last)

    def decide(self, moment: Moment) -> Array:
        solution = self._controller.solve(self._estimator.state(moment), moment.forecast)
        self.solve_time_s += solution.time_s
        self.plan = solution.plan_a if solution.ok else None
        if solution.ok:
            self._last = solution.action
        else:
            self.failures += 1
            self._controller.reset()
        return np.asarray(self._last)

    def act(self, values: Mapping[str, float]) -> Array:
        raise NotImplementedError("a plan is made for a stage")


class RulePolicy:
    """The rules that a bundle of the house carries, by the code that runs them."""

    held, forecast_error = False, 1.0
    plan: Array | None = None

    def __init__(self, design: HouseDesign, theta: Array) -> None:
        problem = design.problem
        named = {p.name: float(v) for p, v in zip(problem.theta, theta, strict=True)}
        rules = TypeAdapter(tuple[AnyRule, ...]).validate_python(design.rules(named))
        bounds = {action.name: (action.lower, action.upper) for action in problem.actions}
        usual = {f.name: f.schedule.default for f in design.forecasts if f.schedule is not None}
        self._book = Rulebook(rules, bounds, {}, usual)
        self.failures, self.solve_time_s = 0, 0.0
        self._last: tuple[float, ...] | None = None

    def begin(self) -> None:
        self._last = None

    def decide(self, moment: Moment) -> Array:
        raise NotImplementedError("rules act at each step")

    def act(self, values: Mapping[str, float]) -> Array:
        self._last = self._book.act(values, last=self._last, before=self._last).action
        return np.array(self._last)
