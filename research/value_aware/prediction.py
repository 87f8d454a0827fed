"""What a theta predicts of a decision's end: the power at the meter and the next state, with derivatives in theta."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from research.value_aware.record import ProgramRecord
from systems.compose import house_power
from systems.design import HouseDesign
from systems.logs.log import Array
from tuner.loop.explore import SCALE_SHARE

MODEL_GROUPS = ("model", "bias")
"""Of theta: what a likelihood can tell. Weights, back-offs and terminal costs predict nothing."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """(power at the meter kW, x+) of a house from (theta, x, a, forecast); `entries` of theta may change."""

    design: HouseDesign
    entries: NDArray[np.int64]

    @classmethod
    def of(cls, design: HouseDesign) -> Prediction:
        entries = [i for i, p in enumerate(design.problem.theta) if p.group in MODEL_GROUPS]
        return cls(design, np.array(entries))

    @property
    def scale(self) -> Array:
        """(p,) how far from the data fit an entry may plausibly lie."""
        chosen = [self.design.problem.theta[i] for i in self.entries]
        return np.array([SCALE_SHARE * (p.upper - p.lower) for p in chosen])

    @property
    def names(self) -> list[str]:
        return [self.design.problem.theta[i].name for i in self.entries]

    def measured(self, record: ProgramRecord) -> NDArray[np.int64]:
        """Places of what a sensor shows among (meter, x+)."""
        shown = record.stretch.moments[0].measured
        return np.array([0, *(1 + k for k, state in enumerate(self.design.problem.states) if state.name in shown)])

    def after(self, theta: Array, record: ProgramRecord) -> tuple[Array, Array]:
        """Predictions (n, 1 + nx) of a record's decisions, and their derivatives (n, 1 + nx, p)."""
        moments = record.stretch.moments[:-1]
        found = [
            self._function(theta, x, a, moment.forecast)
            for x, a, moment in zip(record.states[:-1], record.action, moments, strict=True)
        ]
        values = np.array([np.asarray(value).ravel() for value, _ in found])
        return values, np.array([np.asarray(slope) for _, slope in found])

    @staticmethod
    def came(record: ProgramRecord) -> Array:
        """(n, 1 + nx) what was predicted, as it came."""
        return np.column_stack([record.grid_kw, record.states[1:]])

    @cached_property
    def _function(self) -> ca.Function:
        problem = self.design.problem
        theta, x, a = (
            ca.MX.sym(name, size)
            for name, size in (("theta", len(problem.theta)), ("x", problem.nx), ("a", problem.na))
        )
        forecast = ca.MX.sym("forecast", problem.horizon + 1, problem.nd)
        p = theta if problem.prepare is None else problem.prepare(theta)
        z = ca.MX(0, 1) if problem.features is None else problem.features(forecast, x)
        d, u = forecast[0, :].T, ca.vertcat(a, ca.MX.zeros(problem.nu - problem.na))
        u = u if problem.settled is None else problem.settled(x, u, d, z, p)
        drawn = house_power(self.design.house, self.design.blocks)(a, d, p)
        value = ca.vertcat(drawn, problem.dynamics(x, u, d, z, p))
        slope = ca.densify(ca.jacobian(value, theta)[:, self.entries.tolist()])
        return ca.Function("after", [theta, x, a, forecast], [ca.densify(value), slope])
