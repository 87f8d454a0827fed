"""What the house MPC is told (weights, horizon, move pattern) and what of it may be tuned: the vector theta, by name.

Both formulations read it: the lifted one of `research.four_rooms.problem`, the condensed one of `research.condensed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from research.four_rooms.cost import HouseCost
from systems.arx import ArxModel
from systems.problem import Parameter

Array = NDArray[np.float64]
LAGS, ROOMS, INPUTS = 12, 4, 5
GROUPS = ("arx", "bias", "set_point", "backoff", "cost", "terminal")


class HouseMpcError(ValueError):
    """A house MPC that cannot be built."""

    exit_code = 78


def held_moves(horizon: int = 144, every: int = 6) -> tuple[int, ...]:
    """First step of each move when every move is held for `every` steps; 1 is the paper's pattern."""
    return tuple(range(0, horizon, every))


def coarsening_moves(horizon: int = 144, every: int = 6, fine: int = 72, later: int = 12) -> tuple[int, ...]:
    """Moves held `every` steps until step `fine`, then `later` steps."""
    return tuple(range(0, fine, every)) + tuple(range(fine, horizon, later))


@dataclass(frozen=True)
class HouseMpc:
    """The decision problem (eq. 39 and 40 of "All AI Models are Wrong, but Some are Optimal") without its model."""

    horizon: int = 144
    """Steps; 12 h of 5 min."""
    apply: int = 6
    """Steps between solves: the plan's first `apply` steps are applied."""
    moves: tuple[int, ...] = field(default_factory=held_moves)
    """First step of each move of the heat pumps."""
    dt_s: float = 300.0
    discount: float = 0.99 ** (1 / 6)
    """Per step; 0.99 per half hour, a look-ahead of some two days."""
    cost: HouseCost = field(default_factory=HouseCost)
    max_power_kw: float = 1.5
    regularisation: float = 1e-3
    """EUR/(kW^2 h): keeps the plan smooth where price and comfort leave it open, a per cent or so of the cost."""

    def __post_init__(self) -> None:
        if self.horizon % self.apply or self.horizon <= 0:
            raise HouseMpcError(
                f"a horizon of {self.horizon} steps is no multiple of the {self.apply} applied; change one"
            )
        ordered = all(a < b for a, b in zip(self.moves, self.moves[1:], strict=False))
        if not self.moves or self.moves[0] != 0 or not ordered or self.moves[-1] >= self.horizon:
            raise HouseMpcError("moves must begin at step 0, increase, and end before the horizon")
        if self.moves[self.decision - 1] >= self.apply or (*self.moves, self.horizon)[self.decision] != self.apply:
            raise HouseMpcError(f"a move must begin {self.apply} steps after the first: plans are applied that far")
        if self.cost.violation_linear != 0.0:
            raise HouseMpcError(
                "the house MPC prices the comfort band by quadratic violation only: violation_linear = 0"
            )

    @property
    def decision(self) -> int:
        """Moves per heat pump that begin within the applied steps."""
        return sum(start < self.apply for start in self.moves)

    @property
    def interval_discount(self) -> float:
        """Discount from one solve to the next."""
        return float(self.discount**self.apply)


def _names(prefix: str) -> list[str]:
    return [f"{prefix}_{room + 1}" for room in range(ROOMS)]


def house_theta(model: ArxModel) -> tuple[Parameter, ...]:
    """theta in its one order: A, B, bias, set-point offsets, back-offs, comfort and price scales, terminal cost.

    The defaults are the data-fitted model and the user's own cost. Raises HouseMpcError for another structure of ARX.
    """
    if (model.lags, model.ny) != (LAGS, ROOMS):
        raise HouseMpcError(
            f"the ARX has {model.lags} lags and {model.ny} rooms; the house MPC is for {LAGS} and {ROOMS}"
        )
    inputs = ["outdoor", *_names("power")]
    table: list[Parameter] = []
    for lag in range(LAGS):
        for out in range(ROOMS):
            for room in range(ROOMS):
                value = float(model.output_coefficients[lag, out, room])
                name = f"a{lag + 1}_{out + 1}{room + 1}"
                table.append(Parameter(name, "1", value, value - 0.2, value + 0.2, group="arx"))
    for lag in range(LAGS):
        for out in range(ROOMS):
            for i, source in enumerate(inputs):
                value = float(model.input_coefficients[lag, out, i])
                unit = "1" if i == 0 else "K/kW"
                name = f"b{lag + 1}_{out + 1}_{source}"
                table.append(Parameter(name, unit, value, value - 0.2, value + 0.2, group="arx"))

    def rooms(prefix: str, unit: str, default: float, lower: float, upper: float, text: str, group: str) -> None:
        table.extend(Parameter(name, unit, default, lower, upper, text, group) for name in _names(prefix))

    rooms("bias", "K", 0.0, -0.1, 0.1, "added to the predicted temperature at each step", "bias")
    rooms("set_point_offset", "K", 0.0, -3.0, 3.0, "added to the set-point", "set_point")
    rooms("backoff_low", "K", 0.0, -1.0, 2.0, "distance kept from the lower comfort bound", "backoff")
    rooms("backoff_high", "K", 0.0, -1.0, 2.0, "distance kept from the upper comfort bound", "backoff")
    rooms("comfort_scale", "1", 1.0, 0.1, 5.0, "factor on the cost of distance from the set-point", "cost")
    table.append(Parameter("price_scale", "1", 1.0, 0.2, 3.0, "factor on the price of electricity", "cost"))
    table.append(
        Parameter(
            "power_curvature", "EUR/(kW^2 h)", 0.0, 0.0, 0.3, "quadratic cost of power: the COP falls with load", "cost"
        )
    )
    rooms("terminal_slope", "EUR/K", 0.0, -0.5, 0.5, "cost per K of temperature at the end of the horizon", "terminal")
    rooms(
        "terminal_curvature",
        "EUR/K^2",
        0.0,
        0.0,
        0.5,
        "quadratic cost of distance from the set-point at the end",
        "terminal",
    )
    return tuple(table)


def theta_values(model: ArxModel, **changes: float | Array) -> Array:
    """The default theta of `model` with named entries, or named groups of four rooms ("bias"), replaced."""
    table = house_theta(model)
    names = [p.name for p in table]
    values = np.array([p.default for p in table])
    for name, value in changes.items():
        if name in names:
            values[names.index(name)] = value
        elif f"{name}_1" in names:
            first = names.index(f"{name}_1")
            values[first : first + ROOMS] = value
        else:
            raise HouseMpcError(f"theta of the house has no entry {name!r}")
    return values


def model_of_theta(theta: Array, model: ArxModel) -> tuple[ArxModel, Array]:
    """The ARX that theta holds, and its bias (4,) K per step."""
    n = LAGS * ROOMS * (ROOMS + INPUTS)
    return model.with_vector(theta[:n]), np.asarray(theta[n : n + ROOMS])
