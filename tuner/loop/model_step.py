"""A house's model at its model step, where the controller's own holds each move for a whole decision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import casadi as ca
import numpy as np

from systems.compose import compose_blocks, house_blocks, house_power
from systems.design import HouseDesign, with_defaults
from systems.grid import TimeGrid
from systems.logs.log import Array
from systems.model_file import THETA


class FineProgram:
    """Dynamics, costs and power of a house over one model step; states, actions and forecasts by the same names."""

    def __init__(self, design: HouseDesign, *, fitted: bool) -> None:
        """fitted: at the theta that a log has taught; else at the nameplate's."""
        grid = design.house.grid
        fine = replace(
            design.house,
            grid=TimeGrid(grid.step_s, grid.step_s, round(grid.horizon_s / grid.step_s) * grid.step_s, 1.0),
        )
        fits: dict[str, Any] = {table: fit for table, fit in design.fitted.items() if table != THETA}
        blocks = house_blocks(fine, fits)
        if fitted:
            learned = {p.name: p.default for p in design.problem.theta}
            known = {p.name for block in blocks for p in block.theta}
            blocks = with_defaults(blocks, {name: value for name, value in learned.items() if name in known})
        self.program, self.power = compose_blocks(fine, blocks), house_power(fine, blocks).expand()
        theta = self.program.theta_default()
        prepare = self.program.prepare
        self.p: Array = theta if prepare is None else np.array(ca.densify(prepare(theta))).ravel()
        self.firsts: list[int] = np.cumsum([0, *(f.steps for f in design.forecasts)])[:-1].tolist()
        """Of each forecast its first column in the row of the controller's own problem."""

        self._after = self._composed()
        x, a, *rest = self._after.sx_in()
        self._slopes = ca.Function("slopes", [x, a, *rest], [ca.densify(ca.jacobian(self._after(x, a, *rest), a))])

    def _composed(self) -> ca.Function:
        """(x, actions, d, z, p) -> x a step later, in scalars: called a hundred thousand times a year of log."""
        q = self.program
        x, a, d = (ca.MX.sym(name, size) for name, size in (("x", q.nx), ("a", q.na), ("d", q.nd)))
        z, p = ca.MX.sym("z", q.nz), ca.MX.sym("p", q.np)
        u = ca.vertcat(a, ca.MX.zeros(q.nu - q.na))
        if q.settled is not None:
            u = q.settled(x, u, d, z, p)
        return ca.Function("after", [x, a, d, z, p], [ca.densify(q.dynamics(x, u, d, z, p))]).expand()

    def after(self, x: Array, action: Array, d: Array, z: Array) -> Array:
        """(nx,) a step later."""
        return np.array(self._after(x, action, d, z, self.p)).ravel()

    def slopes(self, x: Array, action: Array, d: Array, z: Array) -> Array:
        """(nx, na) by how much each action moves each state in a step."""
        return np.array(self._slopes(x, action, d, z, self.p)).reshape(self.program.nx, self.program.na)

    def kw(self, action: Array, d: Array) -> float:
        """What the house draws; negative where it gives."""
        return float(self.power(action, d, self.p))
