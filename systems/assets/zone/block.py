"""What the MPC knows of the zones: one ARX in observer form, lifted to a stage, with comfort as a quadratic form.

The model's steps within a stage are lifted (`systems.lift`): powers are held, and the temperatures on the way are
linear in state, powers and weather. These matrices, and the comfort as a quadratic form in w = (x, powers), are what
`prepare` makes from theta, once: then the generated Hessians only copy numbers. Source of the program: "All AI Models
are Wrong, but Some are Optimal", eq. (38) to (40); the index of the temperatures is shifted by one, so that a stage
pays for what it causes. Set-points and bands are forecasts: they follow the week and whoever turns the knob.
"""

from __future__ import annotations

from dataclasses import dataclass

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from systems.arx import ArxModel
from systems.assets.heat_pump import heating_feeders
from systems.assets.zone.limits import zone_limits
from systems.assets.zone.model import check_fit, inputs_of, nameplate_model
from systems.assets.zone.observer import coefficient_names, zones_observer
from systems.block import Block, Forecast, Inflow, Scope, Soft, Symbols, Terms
from systems.house_file import House
from systems.lift import lift
from systems.problem import Parameter, Signal
from systems.weather import OUTDOOR_RANGE_C, SUN_RANGE_W_M2, outdoor_forecast, sun_forecast

Array = NDArray[np.float64]
ZONE_RANGE_C = (5.0, 35.0)
W_PER_KW = 1000.0


@dataclass(frozen=True)
class ArxLayout:
    """Where the lifted matrices lie in p, by name; each is stored column by column, as CasADi flattens.

    n zones, nx states, heaters, steps in a stage, weather inputs per step.
    """

    n: int
    nx: int
    heaters: int
    steps: int
    weather: int

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        rows, nw, w = self.steps * self.n, self.steps * self.weather, self.nx + self.heaters
        return {
            "x_x": (self.nx, self.nx), "x_u": (self.nx, self.heaters), "x_w": (self.nx, nw), "x_b": (self.nx, 1),
            "y_x": (rows, self.nx), "y_u": (rows, self.heaters), "y_w": (rows, nw), "y_b": (rows, 1),
            "quadratic": (w, w), "cross_weather": (w, nw), "cross_set_point": (w, self.n), "linear": (w, 1),
            "set_point_offset": (self.n, 1), "backoff_low": (self.n, 1), "backoff_high": (self.n, 1),
            "comfort_scale": (self.n, 1), "terminal_slope": (self.n, 1), "terminal_curvature": (self.n, 1),
        }  # fmt: skip

    def split(self, p: Symbols) -> dict[str, Symbols]:
        ends = np.cumsum([0, *(rows * columns for rows, columns in self.shapes.values())]).tolist()
        parts = ca.vertsplit(p, ends)
        return {name: ca.reshape(part, *shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}


def zones_theta(house: House, model: ArxModel) -> tuple[Parameter, ...]:
    """A, B, bias, set-point offsets, back-offs, comfort scales, terminal cost: by lag and zone, in this order."""
    names = [zone.name for zone in house.of("zone")]
    units = [{"outdoor": "1", "sun": "K m2/kW"}.get(source, "K/kW") for source in inputs_of(house)]
    names_a, names_b = coefficient_names(house, model.lags)
    fitted = [
        *((name, "1", value) for name, value in zip(names_a, model.output_coefficients.ravel(), strict=True)),
        *zip(names_b, units * (model.lags * model.ny), model.input_coefficients.ravel(), strict=True),
    ]
    table = [
        Parameter(name, unit, float(value), float(value) - 0.2, float(value) + 0.2, group="arx")
        for name, unit, value in fitted
    ]
    money = house.currency

    def each(what: str, unit: str, default: float, lower: float, upper: float, text: str, group: str) -> None:
        table.extend(Parameter(f"{zone}_{what}", unit, default, lower, upper, text, group) for zone in names)

    each("bias", "K", 0.0, -0.1, 0.1, "added to the predicted temperature at each step", "bias")
    each("set_point_offset", "K", 0.0, -3.0, 3.0, "added to the set-point", "set_point")
    each("backoff_low", "K", 0.0, -1.0, 2.0, "distance kept from the lower comfort bound", "backoff")
    each("backoff_high", "K", 0.0, -1.0, 2.0, "distance kept from the upper comfort bound", "backoff")
    each("comfort_scale", "1", 1.0, 0.1, 5.0, "factor on the cost of distance from the set-point", "cost")
    each("terminal_slope", f"{money}/K", 0.0, -0.5, 0.5, "cost per K of temperature at the end", "terminal")
    each(
        "terminal_curvature", f"{money}/K^2", 0.0, 0.0, 0.5, "quadratic cost of distance from the set-point", "terminal"
    )
    return tuple(table)


def zones_block(house: House, fit: ArxModel | None = None) -> Block:
    """With the fitted model, or without one the nameplate's. Raises HouseFileError for the fit of another house."""
    model = nameplate_model(house) if fit is None else check_fit(house, fit)
    zones, grid = house.of("zone"), house.grid
    n, weather = len(zones), model.nu - len(heating_feeders(house))
    layout = ArxLayout(n, model.nx, model.nu - weather, grid.steps, weather)
    row_weights = np.repeat(grid.weights_h, n)
    comfort = np.tile([zone.weight_per_k2h for zone in zones], grid.steps) * row_weights
    per_zone = tuple(
        Forecast(f"{zone.name}_{what}", "degC", *ZONE_RANGE_C, text, schedule=getattr(zone, what))
        for what, text in (
            ("set_point", "wanted temperature"),
            ("lower", "lower end of the band"),
            ("upper", "upper end"),
        )
        for zone in zones
    )

    def several(values: Symbols) -> Symbols:
        return ca.repmat(values, grid.steps, 1)

    def wishes(scope: Scope, what: str) -> Symbols:
        return ca.vertcat(*(scope.forecast(f"{zone.name}_{what}") for zone in zones))

    def weather_of(scope: Scope) -> Symbols:
        """[outdoor_1, sun_1, outdoor_2, ...]"""
        columns = [scope.forecast("outdoor")]
        columns += [scope.forecast("sun") / W_PER_KW] if weather > 1 else []
        return ca.vec(ca.horzcat(*columns).T)

    def stage(scope: Scope, inflow: Inflow) -> Terms:
        m, x, u, d = layout.split(scope.p), scope.x, inflow.delivered, weather_of(scope)
        set_point = wishes(scope, "set_point")

        def lifted(of: str) -> Symbols:
            return m[f"{of}_x"] @ x + m[f"{of}_u"] @ u + m[f"{of}_w"] @ d + m[f"{of}_b"]

        y, w = lifted("y"), ca.vertcat(x, u)
        without_w = m["y_w"] @ d + m["y_b"] - several(set_point + m["set_point_offset"])
        cost = ca.dot(w, m["quadratic"] @ w) / 2
        cost += ca.dot(w, m["cross_weather"] @ d + m["linear"] - m["cross_set_point"] @ set_point)
        cost += ca.dot(ca.DM(comfort) * several(m["comfort_scale"]), without_w**2)
        rows = ca.vertcat(
            y - several(wishes(scope, "lower") + m["backoff_low"]),
            several(wishes(scope, "upper") - m["backoff_high"]) - y,
        )
        price = np.tile(np.tile([zone.band_weight_per_k2h for zone in zones], grid.steps) * row_weights, 2)
        return Terms(lifted("x"), cost, soft=Soft(rows, (0.0,) * len(price), tuple(price.tolist())))

    def terminal(scope: Scope) -> Terms:
        m = layout.split(scope.p)
        at_end = scope.x[:n] - wishes(scope, "set_point")
        return Terms(cost=ca.dot(m["terminal_slope"], at_end) + ca.dot(m["terminal_curvature"], at_end**2) / 2)

    return Block(
        asset="zones",
        states=_states(house, model, weather),
        forecasts=(outdoor_forecast(house), *((sun_forecast(house),) if weather > 1 else ()), *per_zone),
        theta=zones_theta(house, model),
        stage=stage,
        terminal=terminal,
        prepare=lambda theta: _prepare(theta, model, layout, comfort),
        observer=lambda theta: zones_observer(house, model, theta),
        limits=lambda theta: zone_limits(house, None if fit is None else model),
        in_matrices=True,
    )


def _prepare(theta: Symbols, model: ArxModel, layout: ArxLayout, comfort: Array) -> Symbols:
    """theta -> p, in matrix operations, so that the generated code stays small."""
    n, nx, steps = layout.n, layout.nx, layout.steps
    n_a, n_b = model.output_coefficients.size, model.input_coefficients.size
    a = ca.reshape(theta[:n_a], n, nx).T
    b = ca.reshape(theta[n_a : n_a + n_b], model.nu, nx).T
    rest = theta[n_a + n_b :]
    bias, rest = rest[:n], rest[n:]
    offset, scale = rest[:n], rest[3 * n : 4 * n]
    shift = ca.MX(ca.DM(np.eye(nx, k=n)))
    step = shift + (ca.horzcat(a, ca.MX(ca.DM.zeros(nx, nx - n))) if nx > n else a)
    push = ca.vertcat(bias, ca.MX(ca.DM.zeros(nx - n, 1)))
    lifted = lift(step, b[:, layout.weather :], b[:, : layout.weather], push, steps=steps, rows=n)
    y_v = ca.horzcat(lifted.outputs["x"], lifted.outputs["u"])
    # Comfort as w'Q w / 2 + w'(S weather + s - Z set-point) + a part without w = (x, powers); see `stage`.
    weighted = y_v.T @ ca.diag(2.0 * ca.DM(comfort) * ca.repmat(scale, steps, 1))
    linear = weighted @ (lifted.outputs["b"] - ca.repmat(offset, steps, 1))
    parts = (
        *lifted.state.values(), *lifted.outputs.values(), weighted @ y_v, weighted @ lifted.outputs["w"],
        weighted @ ca.MX(ca.DM(np.tile(np.eye(n), (steps, 1)))), linear,
    )  # fmt: skip
    return ca.densify(ca.vertcat(*(ca.vec(ca.densify(part)) for part in parts), rest))


def _states(house: House, model: ArxModel, weather: int) -> tuple[Signal, ...]:
    """Block 1 is the temperatures; block j is what the past adds to the temperatures j - 1 steps ahead.

    Ranges: what any history within the ranges of temperature, weather and power gives.
    """
    names = [zone.name for zone in house.of("zone")]
    heat = [
        pump.max_power_kw * max(cop for _, cop in pump.zone_cop() or ((0.0, 1.0),)) for pump in heating_feeders(house)
    ]
    ranges = [OUTDOOR_RANGE_C, tuple(v / W_PER_KW for v in SUN_RANGE_W_M2)][:weather]
    low_u, high_u = (np.array([*(r[end] for r in ranges), *(h * end for h in heat)]) for end in (0, 1))
    signals = [Signal(f"{name}_temperature", "degC", *ZONE_RANGE_C, "measured temperature") for name in names]
    for j in range(1, model.lags):
        a, b = model.output_coefficients[j:], model.input_coefficients[j:]
        ends = [
            (pick(a * ZONE_RANGE_C[0], a * ZONE_RANGE_C[1])).sum((0, 2)) + pick(b * low_u, b * high_u).sum((0, 2))
            for pick in (np.minimum, np.maximum)
        ]
        signals += [
            Signal(
                f"{name}_past_{j + 1}", "K", float(ends[0][i]), float(ends[1][i]), f"the past's part {j} steps ahead"
            )
            for i, name in enumerate(names)
        ]
    return tuple(signals)
