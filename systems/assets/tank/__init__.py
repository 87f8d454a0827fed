"""A hot-water tank: stored heat, standing loss, draws as a forecast, a cold shower as a priced soft bound."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from runtime.formats.weekly import Weekly, WeeklyValue
from systems.asset_plant import AssetPlant
from systems.assets import AssetKind, Mistake, Nameplate, Portrait
from systems.assets.heat_pump import tank_feeders
from systems.assets.tank.draws import usual_week
from systems.assets.tank.limits import coldest_c, limit_mistakes, tank_limits
from systems.block import Block, Forecast, Inflow, Scope, Soft, Terms
from systems.house_file import House
from systems.logs.lesson import Lesson
from systems.logs.log import Log, LogColumn, Quantity
from systems.money import buy_forecast, price_scales
from systems.problem import Parameter, Signal
from systems.profile import WeekProfile

if TYPE_CHECKING:
    from systems.world import WorldColumn
    from systems.world.generate import WorldSurroundings

KWH_PER_LITRE_K = 4.186 / 3600.0
TEMPERATURE_RANGE_C = (0.0, 95.0)
NOMINAL_COP = 2.5
"""A kWh kept in the tank saves the power that would make it again."""


class Tank(Nameplate):
    """[[tank]]; temperatures in degC, money in the currency of the house."""

    litres: Annotated[float, Field(gt=0)]
    lower: WeeklyValue = Weekly(default=45.0)
    """Below it a shower is cold. A weekly hour at 60 is the legionella day."""
    upper: WeeklyValue = Weekly(default=60.0)
    loss_w_per_k: Annotated[float, Field(gt=0)] = 2.0
    ambient_c: float = 18.0
    cold_shower_per_kh: Annotated[float, Field(gt=0)] = 0.5
    """Price of a kelvin below the lower bound for an hour."""
    draw_peak_kw: Annotated[float, Field(gt=0)] = 15.0
    """The most heat that is ever drawn, as a mean over a decision."""
    never_below_c: float | None = None
    """Heated to stay above it as far as there is power, whatever the plan says; see `coldest_c`."""
    never_above_c: Annotated[float, Field(le=TEMPERATURE_RANGE_C[1])] = 90.0
    """Not heated beyond it, whatever the plan says."""

    @property
    def capacity_kwh_per_k(self) -> float:
        return self.litres * KWH_PER_LITRE_K


def tank_block(house: House, tank: Tank, draws: WeekProfile | None = None) -> Block:
    """C dT/dt = delivered - scale draw - loss (T - ambient), exact over a stage with everything held.

    Where nobody publishes draws, those that a log taught are the forecast; before there is one, those of a household.
    """
    week = draws or usual_week(tank, house.grid.hold_h)
    name, hours = tank.name, house.grid.hold_h
    loss_kw = tank.loss_w_per_k / 1000.0
    theta = (
        Parameter(f"{name}_loss_scale", "1", 1.0, 0.2, 5.0, "factor on the standing loss", "model"),
        Parameter(f"{name}_draw_scale", "1", 1.0, 0.0, 3.0, "factor on the forecast draws", "model"),
        Parameter(f"{name}_draw_reserve", "1", 0.0, 0.0, 3.0, "share of the draws' spread kept in reserve", "backoff"),
        Parameter(f"{name}_backoff", "K", 0.0, -5.0, 15.0, "distance kept from the lower bound", "backoff"),
        Parameter(f"{name}_terminal_slope", "1", 0.8, 0.0, 2.0, "worth of stored heat over its price", "terminal"),
    )  # fmt: skip
    loss, draw, spread, backoff, slope = range(5)
    price = tank.cold_shower_per_kh * hours

    def rows(scope: Scope) -> Soft:
        import casadi as ca

        p, capacity = scope.p, tank.capacity_kwh_per_k
        reserve = p[backoff] + p[spread] * scope.forecast(f"{name}_draw_spread") * hours / capacity
        low = scope.x - scope.forecast(f"{name}_lower") - reserve
        high = scope.forecast(f"{name}_upper") - scope.x
        return Soft(ca.vertcat(low, high), (price, price), (price / 5.0, price / 5.0))

    def stage(scope: Scope, inflow: Inflow) -> Terms:
        import casadi as ca

        p, capacity = scope.p, tank.capacity_kwh_per_k
        rate = p[loss] * loss_kw / capacity
        kept = ca.exp(-rate * hours)
        heat = ca.sum1(inflow.delivered) - p[draw] * scope.forecast(f"{name}_draw")
        rest = tank.ambient_c + heat / (p[loss] * loss_kw)
        return Terms(rest + kept * (scope.x - rest), soft=rows(scope))

    def terminal(scope: Scope) -> Terms:
        worth = scope.p[slope] * scope.z[0] / NOMINAL_COP * tank.capacity_kwh_per_k
        return Terms(cost=-worth * scope.x, soft=rows(scope))

    def degrees(what: str, text: str, schedule: Weekly) -> Forecast:
        return Forecast(f"{name}_{what}", "degC", *TEMPERATURE_RANGE_C, text, schedule=schedule)

    def drawn(what: str, text: str, of: str) -> Forecast:
        return Forecast(f"{name}_{what}", "kW", 0.0, tank.draw_peak_kw, text, schedule=week.weekly(of=of))

    return Block(
        asset=name,
        states=(Signal(f"{name}_temperature", "degC", *TEMPERATURE_RANGE_C, "mean temperature of the water"),),
        forecasts=(
            degrees("lower", "below it a shower is cold", tank.lower),
            degrees("upper", "as hot as it may be", tank.upper),
            drawn("draw", "heat of the water drawn", "mean"),
            drawn("draw_spread", "standard deviation of the draws", "spread"),
            buy_forecast(house),
        ),
        theta=theta,
        stage=stage,
        terminal=terminal,
        features=price_scales,
        limits=lambda theta: tank_limits(house, tank, draws),
    )


def _mistakes(house: House) -> Iterable[Mistake]:
    for i, tank in enumerate(house.of("tank")):
        if not tank_feeders(house, tank.name):
            yield Mistake(("tank", i), f"nothing heats tank {tank.name!r}; name it in `feeds` of a [[heat_pump]]")
        minutes = sorted({minute for value in (tank.lower, tank.upper) for minute, _ in value.values()})
        if any(tank.lower.at(minute) >= tank.upper.at(minute) for minute in minutes):
            yield Mistake(("tank", i, "lower"), "the lower bound reaches the upper one; move one of them")
        yield from limit_mistakes(i, tank)


def _portrait(house: House, tank: Tank) -> Portrait:
    heats = ", ".join(pump.name for pump in tank_feeders(house, tank.name))
    band = f"{tank.lower.lowest:g} to {tank.upper.highest:g} degC"
    return Portrait(
        f"{tank.litres:g} litres, {band}, heated by {heats}",
        measured=(f"{tank.name}_temperature",),
        kept=f"{coldest_c(tank):g} to {tank.never_above_c:g} degC",
    )


def _blocks(house: House, fits: Mapping[str, Any]) -> tuple[Block, ...]:
    draws = fits.get("tank", {})
    return tuple(tank_block(house, tank, draws.get(tank.name)) for tank in house.of("tank"))


def _plants(house: House, fits: Mapping[str, Any]) -> tuple[AssetPlant, ...]:
    from systems.assets.tank.plant import TankPlant

    return tuple(TankPlant(tank) for tank in house.of("tank"))


def _world(house: House, around: WorldSurroundings) -> Mapping[str, WorldColumn]:
    from systems.assets.tank.plant import draw_columns

    every = [draw_columns(tank, house.grid.hold_h, around, i) for i, tank in enumerate(house.of("tank"))]
    return {name: column for columns in every for name, column in columns.items()}


def _columns(house: House, tank: Tank) -> tuple[LogColumn, ...]:
    powers = tuple(
        LogColumn(f"{pump.name}_{tank.name}_kw", Quantity.POWER, 3 * pump.max_power_kw, text="electric power", bus=1)
        for pump in tank_feeders(house, tank.name)
    )
    water = LogColumn(f"{tank.name}_c", Quantity.WATER, text="mean temperature of the water")
    return (
        water,
        *powers,
        LogColumn("outdoor_c", Quantity.OUTDOOR, world="outdoor", needed=False, text="outdoor temperature"),
    )


def _learn(house: House, tanks: tuple[Tank, ...], log: Log) -> tuple[Lesson, ...]:
    from systems.assets.tank.fit import learn_tank

    return tuple(learn_tank(house, tank, log) for tank in tanks)


def _read(text: str) -> dict[str, WeekProfile]:
    """Draws by name of the tank."""
    return {name: WeekProfile.from_json(json.dumps(profile)) for name, profile in json.loads(text).items()}


KINDS = (
    AssetKind(
        "tank", Tank, 60, _blocks, _portrait, _mistakes, _plants, _world, columns=_columns, learn=_learn, read=_read
    ),
)
