"""The house MPC as an optimal control problem of 24 stages of half an hour, for code generation and the bench.

Six five-minute steps of the ARX are lifted into one stage: its powers are held, its state is the observer form of the
ARX (48 numbers in place of a history of 103), and the six temperatures on the way are linear in both:

    x+ = A^6 x + sum_i A^(5-i) (B_out Tout_i + B_P P + K bias),    y_i = C A^i x + ...,   i = 1..6

These matrices, and the stage cost as a quadratic form in (x, P), are the parameters p that `prepare` makes from theta,
once: then the generated Hessians only copy numbers. Costs and soft bounds are those of
`research/condensed/mpc.h`, which solves the same program for the tuner. Source: "All AI Models are Wrong, but Some are
Optimal", eq. (38) to (40); the index of the temperatures is shifted by one, so that a stage pays for what it causes.
"""

from __future__ import annotations

from dataclasses import dataclass

import casadi as ca
import numpy as np
from numpy.typing import ArrayLike, NDArray

from research.four_rooms.theta import (
    INPUTS,
    LAGS,
    ROOMS,
    HouseMpc,
    HouseMpcError,
    held_moves,
    house_theta,
    model_of_theta,
)
from systems.arx import ArxModel
from systems.problem import STAGE_INPUTS, TERMINAL_INPUTS, Problem, Signal, SoftPenalty

Array = NDArray[np.float64]
NX = LAGS * ROOMS
NW = NX + ROOMS
"""(x, P)"""
OUTDOOR_RANGE_C = (-35.0, 35.0)
ROOM_RANGE_C = (5.0, 35.0)
PRICE_RANGE_EUR_KWH = (-0.5, 3.0)


@dataclass(frozen=True)
class _Layout:
    """Where the lifted matrices lie in p, by name; each is stored column by column, as CasADi flattens."""

    steps: int

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        rows = self.steps * ROOMS
        return {
            "x_x": (NX, NX), "x_outdoor": (NX, self.steps), "x_power": (NX, ROOMS), "x_bias": (NX, 1),
            "y_x": (rows, NX), "y_outdoor": (rows, self.steps), "y_power": (rows, ROOMS), "y_bias": (rows, 1),
            "quadratic": (NW, NW), "cross": (NW, self.steps), "linear": (NW, 1),
            "set_point": (ROOMS, 1), "backoff_low": (ROOMS, 1), "backoff_high": (ROOMS, 1), "comfort_scale": (ROOMS, 1),
            "price_scale": (1, 1), "power_curvature": (1, 1), "slope": (ROOMS, 1), "curvature": (ROOMS, 1),
        }  # fmt: skip

    def split(self, p: ca.MX) -> dict[str, ca.MX]:
        parts, first = {}, 0
        for name, (rows, columns) in self.shapes.items():
            parts[name] = ca.reshape(p[first : first + rows * columns], rows, columns)
            first += rows * columns
        return parts

    @property
    def size(self) -> int:
        return sum(rows * columns for rows, columns in self.shapes.values())


def _prepare(mpc: HouseMpc, ntheta: int) -> ca.Function:
    """theta -> p. In matrix operations, so that the generated code stays small."""
    steps = mpc.apply
    theta = ca.MX.sym("theta", ntheta)
    n_a, n_b = LAGS * ROOMS * ROOMS, LAGS * ROOMS * INPUTS
    a = ca.reshape(theta[:n_a], ROOMS, NX).T
    b = ca.reshape(theta[n_a : n_a + n_b], INPUTS, NX).T
    rest = theta[n_a + n_b :]
    bias, rest = rest[:ROOMS], rest[ROOMS:]
    step = ca.MX(ca.DM(np.eye(NX, k=ROOMS))) + ca.horzcat(a, ca.MX(ca.DM.zeros(NX, NX - ROOMS)))
    x_x, x_power = ca.MX(ca.DM.eye(NX)), ca.MX(ca.DM.zeros(NX, ROOMS))
    x_outdoor, x_bias = ca.MX(ca.DM.zeros(NX, steps)), ca.MX(ca.DM.zeros(NX, 1))
    push = ca.vertcat(bias, ca.MX(ca.DM.zeros(NX - ROOMS, 1)))
    outputs: dict[str, list[ca.MX]] = {"y_x": [], "y_outdoor": [], "y_power": [], "y_bias": []}
    for i in range(steps):
        enters = ca.DM.zeros(1, steps)
        enters[i] = 1.0
        x_x, x_power, x_bias = step @ x_x, step @ x_power + b[:, 1:], step @ x_bias + push
        x_outdoor = step @ x_outdoor + b[:, 0] @ ca.MX(enters)
        for name, matrix in zip(outputs, (x_x, x_outdoor, x_power, x_bias), strict=True):
            outputs[name].append(matrix[:ROOMS, :])
    stacked = [ca.vertcat(*blocks) for blocks in outputs.values()]
    y_x, y_outdoor, y_power, y_bias = stacked
    # Comfort as w'Q w / 2 + w'(S outdoor + s) + a part without w = (x, P); see `house_problem`.
    y_w = ca.horzcat(y_x, y_power)
    weight = 2.0 * ca.DM(_row_weights(mpc)) * mpc.cost.beta * ca.repmat(rest[3 * ROOMS : 4 * ROOMS], steps, 1)
    weighted = y_w.T @ ca.diag(weight)
    linear = weighted @ (y_bias - ca.repmat(mpc.cost.setpoint_c + rest[:ROOMS], steps, 1))
    parts = (x_x, x_outdoor, x_power, x_bias, *stacked, weighted @ y_w, weighted @ y_outdoor, linear)
    p = ca.vertcat(*(ca.vec(ca.densify(part)) for part in parts), rest)
    return ca.Function("prepare", [theta], [ca.densify(p)], ["theta"], ["p"])


def _row_weights(mpc: HouseMpc) -> Array:
    """(apply * rooms,) discount within the stage times the step in hours, row by row of the lifted temperatures."""
    return np.repeat(mpc.discount ** np.arange(mpc.apply) * mpc.dt_s / 3600.0, ROOMS)


def house_problem(model: ArxModel, mpc: HouseMpc | None = None) -> Problem:
    """The problem with the data-fitted `model` as the default of theta.

    Raises HouseMpcError for moves that are not held for exactly the applied steps, and for another structure of ARX.
    """
    mpc = mpc or HouseMpc()
    if mpc.moves != held_moves(mpc.horizon, mpc.apply):
        raise HouseMpcError(
            "stages of half an hour hold their moves that long; use held_moves, or the condensed solver"
        )
    cost, steps = mpc.cost, mpc.apply
    table, layout = house_theta(model), _Layout(mpc.apply)
    # Matrix symbols: derivatives with respect to the 6,000 numbers of p then are products, not a line of C each.
    x, u, d = ca.MX.sym("x", NX), ca.MX.sym("power", ROOMS), ca.MX.sym("d", steps + 1)
    z, p = ca.MX.sym("z", 0), ca.MX.sym("p", layout.size)
    m = layout.split(p)
    outdoor, price = d[:steps], d[steps]

    def lifted(of: str) -> ca.MX:
        return m[f"{of}_x"] @ x + m[f"{of}_outdoor"] @ outdoor + m[f"{of}_power"] @ u + m[f"{of}_bias"]

    y, w, row_weights = lifted("y"), ca.vertcat(x, u), _row_weights(mpc)
    hours = row_weights[::ROOMS].sum()
    without_w = m["y_outdoor"] @ outdoor + m["y_bias"] - ca.repmat(cost.setpoint_c + m["set_point"], steps, 1)
    stage = cost.alpha * m["price_scale"] * price * hours * ca.sum1(u)
    stage += (mpc.regularisation + m["power_curvature"]) / 2 * hours * ca.sumsqr(u)
    stage += ca.dot(w, m["quadratic"] @ w) / 2 + ca.dot(w, m["cross"] @ outdoor + m["linear"])
    stage += cost.beta * ca.dot(ca.DM(row_weights) * ca.repmat(m["comfort_scale"], steps, 1), without_w**2)
    soft = ca.vertcat(
        y - ca.repmat(cost.lower_c + m["backoff_low"], steps, 1),
        ca.repmat(cost.upper_c - m["backoff_high"], steps, 1) - y,
    )
    at_end = x[:ROOMS] - cost.setpoint_c
    terminal = ca.dot(m["slope"], at_end) + ca.dot(m["curvature"], at_end**2) / 2
    stage_args, terminal_args = [x, u, d, z, p], [x, d, z, p]
    rows = 2 * steps * ROOMS
    return Problem(
        name="house",
        dt_s=mpc.dt_s * steps,
        horizon=mpc.horizon // steps,
        discount=mpc.discount**steps,
        states=_states(model, mpc.max_power_kw),
        actions=tuple(
            Signal(f"power_{room + 1}", "kW", 0.0, mpc.max_power_kw, "electrical power of the heat pump")
            for room in range(ROOMS)
        ),
        forecasts=(
            *(
                Signal(f"outdoor_{i}", "degC", *OUTDOOR_RANGE_C, f"outdoor temperature, step {i + 1} of the stage")
                for i in range(steps)
            ),
            Signal("price", "EUR/kWh", *PRICE_RANGE_EUR_KWH, "of electricity over the stage"),
        ),
        theta=table,
        dynamics=ca.Function("dynamics", stage_args, [lifted("x")], list(STAGE_INPUTS), ["x_next"]),
        stage_cost=ca.Function("stage_cost", stage_args, [stage], list(STAGE_INPUTS), ["cost"]),
        terminal_cost=ca.Function("terminal_cost", terminal_args, [terminal], list(TERMINAL_INPUTS), ["cost"]),
        soft=ca.Function("soft", stage_args, [soft], list(STAGE_INPUTS), ["h"]),
        soft_penalty=SoftPenalty(
            linear=(0.0,) * rows,
            quadratic=tuple(np.tile(cost.violation_quadratic * row_weights, 2).tolist()),
        ),
        prepare=_prepare(mpc, len(table)),
        decide_every_s=mpc.dt_s * steps,
    )


def _states(model: ArxModel, max_power_kw: float) -> tuple[Signal, ...]:
    """Block 1 is the temperatures; block j is what the past adds to the temperatures j - 1 steps ahead.

    Ranges: what any history within the rooms', the outdoor and the power range gives.
    """
    low_u, high_u = (
        np.array([end, *[power] * ROOMS]) for end, power in zip(OUTDOOR_RANGE_C, (0.0, max_power_kw), strict=True)
    )
    signals = [Signal(f"room_{room + 1}", "degC", *ROOM_RANGE_C, "measured temperature") for room in range(ROOMS)]
    for j in range(1, LAGS):
        a, b = model.output_coefficients[j:], model.input_coefficients[j:]
        low = (np.minimum(a * ROOM_RANGE_C[0], a * ROOM_RANGE_C[1])).sum((0, 2)) + np.minimum(
            b * low_u, b * high_u
        ).sum((0, 2))
        high = (np.maximum(a * ROOM_RANGE_C[0], a * ROOM_RANGE_C[1])).sum((0, 2)) + np.maximum(
            b * low_u, b * high_u
        ).sum((0, 2))
        signals += [
            Signal(
                f"past_{j + 1}_{room + 1}", "K", float(low[room]), float(high[room]), f"the past's part {j} steps ahead"
            )
            for room in range(ROOMS)
        ]
    return tuple(signals)


def house_state(theta: Array, model: ArxModel, outputs: ArrayLike, inputs: ArrayLike) -> Array:
    """x_0 (..., 48) under theta from outputs (..., 12, rooms) and inputs (..., 11, 1 + rooms), newest last."""
    return model_of_theta(theta, model)[0].state_from_history(outputs, inputs)


def house_forecast(mpc: HouseMpc, outdoor_c: ArrayLike, price_eur_kwh: ArrayLike) -> Array:
    """Rows (stages + 1, apply + 1) from outdoor temperature and price (horizon,) at every step.

    The price of a stage is the mean of its steps', weighted as the condensed solver does: the programs are equal.
    """
    steps = mpc.apply
    outdoor = np.asarray(outdoor_c, dtype=float).reshape(-1, steps)
    weights = mpc.discount ** np.arange(steps)
    price = np.asarray(price_eur_kwh, dtype=float).reshape(-1, steps) @ weights / weights.sum()
    rows = np.column_stack([outdoor, price])
    return np.vstack([rows, rows[-1:]])
