"""A home battery: energy balance, soft band of the state of charge, wear, value of what is stored at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from systems.asset_plant import AssetPlant
from systems.assets import AssetKind, Mistake, Nameplate, Portrait
from systems.assets.battery.by_hour import HOUR_OF_DAY, ByHour
from systems.block import Block, Inflow, Ports, Scope, Soft, Symbols, Terms
from systems.house_file import House
from systems.logs.lesson import Lesson
from systems.logs.log import Log, LogColumn, Quantity
from systems.money import (
    CURVATURE_PER_KW2,
    PRICE,
    PRICE_SCALES,
    RENT_PER_H,
    ROW_SCALE,
    buy_forecast,
    peak_price,
    price_scales,
)
from systems.problem import Parameter, Signal

EFFICIENCY_ERROR = 0.10
"""How far the true efficiency of either direction may be from the model's."""
MEASUREMENT_ERROR = 0.005
"""Rounding of the measured state of charge."""
RESERVE = 0.5
"""The filter's limits lie this share of the way from the MPC's band to empty and full: the MPC may use all of its band
without being corrected, and its slack does not reach the cell limits."""


class Battery(Nameplate):
    """[[battery]]; powers are those of the AC side."""

    capacity_kwh: Annotated[float, Field(gt=0)]
    max_charge_kw: Annotated[float, Field(gt=0)]
    max_discharge_kw: Annotated[float, Field(gt=0)]
    soc_min: Annotated[float, Field(ge=0, le=1)] = 0.05
    """What the inverter is set to keep: a plan, the rule and the best policy all give nothing below it."""
    soc_max: Annotated[float, Field(ge=0, le=1)] = 0.95
    wear_per_kwh: Annotated[float, Field(ge=0)] = 0.0
    """Cost of a kWh in plus a kWh out, in the currency of the house."""
    knots: Literal[0, 1, 2, 3, 4, 6, 8, 12, 24] = 0
    """Hours of the day, evenly spaced, at which theta holds a reserve and a worth of its own; 0: none."""


KEEPING_PER_H = 1e-4
"""Of the usual price, for a kWh that is stored for an hour: of plans that cost the same the one that buys later and
sells earlier is taken, which decides no sooner than it must."""


def soc_limit(signal: str, soc_min: float, soc_max: float, largest_step: float) -> dict[str, Any]:
    """What the safety filter keeps of a battery, as plain data; largest_step: of the soc, in one decision."""
    error = largest_step * EFFICIENCY_ERROR + MEASUREMENT_ERROR
    lowest, highest = soc_min * (1 - RESERVE), soc_max + (1.0 - soc_max) * RESERVE
    return {"name": signal, "lower": lowest, "upper": highest, "disturbance": [-error, error]}


def battery_block(house: House, battery: Battery) -> Block:
    """soc+ = soc + h / capacity (eta_c charge - discharge / eta_d) over a stage of h hours.

    Terminal value of what is stored: capacity * (mean(buy) slope soc - |mean(buy)| curvature / 2 soc^2), concave even
    where power is paid for being taken. What depends on the hour of the day is in `by_hour`.
    """
    name, hours, wear = battery.name, house.grid.hold_h, battery.wear_per_kwh
    by_hour = ByHour(battery, hours, KEEPING_PER_H) if battery.knots else None
    theta: tuple[Parameter, ...] = (
        Parameter(f"{name}_charge_efficiency", "1", 0.95, 0.70, 1.0, "AC to cell", "model"),
        Parameter(f"{name}_discharge_efficiency", "1", 0.95, 0.70, 1.0, "cell to AC", "model"),
        Parameter(f"{name}_soc_backoff_low", "1", 0.0, 0.0, 0.3, "distance kept from the lower soc limit", "backoff"),
        Parameter(f"{name}_soc_backoff_high", "1", 0.0, 0.0, 0.3, "distance kept from the upper soc limit", "backoff"),
        Parameter(
            f"{name}_price_spread", f"{house.currency}/kWh", wear, 0.0, max(0.2, 2 * wear),
            "cost of a kWh in plus a kWh out of the battery", "cost",
        ),
        Parameter(f"{name}_terminal_slope", "1", 0.9, 0.0, 2.0, "value of a kWh stored over the mean buy", "terminal"),
        Parameter(f"{name}_terminal_curvature", "1", 0.1, 0.0, 2.0, "how that value falls with soc", "terminal"),
    )  # fmt: skip
    eta_c, eta_d, low, high, spread, slope, curvature = range(7)
    plain = len(theta)
    if by_hour is not None:
        theta += by_hour.theta

    def ports(scope: Scope) -> Ports:
        return Ports(electric_kw=scope.u[0] - scope.u[1])

    def kwh_beyond(scope: Scope, lowest: Symbols, highest: Symbols) -> Soft:
        """Priced above whatever breaking the band could earn, and twice what it could spare where a load is beyond the
        meter's limit: energy that is not there is not planned with."""
        import casadi as ca

        worth = 2.0 * battery.capacity_kwh * scope.z[2] / ROW_SCALE
        return Soft(worth * ca.vertcat(scope.x - lowest, highest - scope.x), (PRICE,) * 2, (0.0,) * 2)

    def band(scope: Scope) -> tuple[Symbols, Symbols]:
        return battery.soc_min + scope.p[low], battery.soc_max - scope.p[high]

    def stage(scope: Scope, inflow: Inflow) -> Terms:
        import casadi as ca

        charge, discharge, p = scope.u[0], scope.u[1], scope.p
        usual_price, measured_soc = scope.z[1], scope.z[PRICE_SCALES]
        cost = hours * p[spread] / 2 * (charge + discharge)
        cost += CURVATURE_PER_KW2 * usual_price / 2 * (charge**2 + discharge**2)
        keeping = KEEPING_PER_H if by_hour is None else by_hour.keeping(p[plain:])
        cost += hours * keeping * usual_price * battery.capacity_kwh * scope.x
        soc = scope.x + hours / battery.capacity_kwh * (p[eta_c] * charge - discharge / p[eta_d])
        # What is measured outside the band goes no further; above it may stay until the end of the horizon.
        lowest, highest = band(scope)
        soft = kwh_beyond(scope, ca.fmin(lowest, measured_soc), ca.fmax(highest, measured_soc))
        missing = battery.capacity_kwh * usual_price / ROW_SCALE * (scope.x - lowest)
        soft = soft.and_row(missing, RENT_PER_H * hours * ROW_SCALE)
        if by_hour is not None:
            row, price = by_hour.missing(scope, p[plain:], usual_price)
            soft = soft.and_row(row, price)
        return Terms(soc, cost, soft=soft)

    def terminal(scope: Scope) -> Terms:
        import casadi as ca

        soc, p, mean_buy = scope.x, scope.p, scope.z[0]
        slope_now = p[slope] if by_hour is None else p[slope] + by_hour.worth(scope, p[plain:])
        worth = mean_buy * slope_now * soc - ca.fabs(mean_buy) * p[curvature] / 2 * soc**2
        return Terms(cost=-battery.capacity_kwh * worth, soft=kwh_beyond(scope, *band(scope)))

    def features(forecasts: Mapping[str, Symbols], soc: Symbols) -> Symbols:
        import casadi as ca

        return ca.vertcat(price_scales(forecasts, soc, peak_price(house)), soc)

    def limits(theta: Mapping[str, float]) -> tuple[dict[str, Any], ...]:
        largest = hours / battery.capacity_kwh * max(battery.max_charge_kw, battery.max_discharge_kw)
        return (soc_limit(f"{name}_soc", battery.soc_min, battery.soc_max, largest),)

    band_of_all = {"soc": f"{name}_soc", "soc_min": battery.soc_min, "soc_max": battery.soc_max}
    return Block(
        asset=name,
        states=(Signal(f"{name}_soc", "1", 0.0, 1.0, "state of charge"),),
        actions=(
            Signal(f"{name}_charge", "kW", 0.0, battery.max_charge_kw, "AC power into the battery"),
            Signal(f"{name}_discharge", "kW", 0.0, battery.max_discharge_kw, "AC power out of the battery"),
        ),
        exclusive=((f"{name}_charge", f"{name}_discharge"),),
        forecasts=(buy_forecast(house), *(() if by_hour is None else (HOUR_OF_DAY,))),
        theta=theta,
        ports=ports,
        stage=stage,
        terminal=terminal,
        features=features,
        limits=limits,
        rules=(
            {
                "kind": "self_consumption",
                "charge": f"{name}_charge",
                "discharge": f"{name}_discharge",
                "meter": "grid_power",
                "meter_at": "grid",
                **band_of_all,
            },
        ),
        tracked={"charge": f"{name}_charge", "discharge": f"{name}_discharge", **band_of_all},
    )


def _mistakes(house: House) -> Iterable[Mistake]:
    for i, battery in enumerate(house.of("battery")):
        band = battery.soc_max - battery.soc_min
        if band <= 0:
            yield Mistake(("battery", i, "soc_max"), "soc_max is not above soc_min; correct one of them")
            continue
        usable = band * battery.capacity_kwh
        for key in ("max_charge_kw", "max_discharge_kw"):
            moved = getattr(battery, key) * house.grid.hold_h
            if moved > usable:
                yield Mistake(
                    ("battery", i, "capacity_kwh"),
                    f"one decision of {house.grid.hold_s / 60:g} min at {key} moves {moved:g} kWh, more than the "
                    f"{usable:g} kWh between soc_min and soc_max; shorten [grid] hold or correct capacity_kwh",
                )


def _portrait(house: House, battery: Battery) -> Portrait:
    name = battery.name
    return Portrait(
        f"{battery.capacity_kwh:g} kWh, charges {battery.max_charge_kw:g} kW, gives {battery.max_discharge_kw:g} kW",
        measured=(f"{name}_soc",),
        moved=(f"{name}_charge", f"{name}_discharge"),
        kept="within {lower:.1%} and {upper:.1%}".format(**soc_limit("", battery.soc_min, battery.soc_max, 0.0)),
    )


def _blocks(house: House, fits: Mapping[str, Any]) -> tuple[Block, ...]:
    return tuple(battery_block(house, battery) for battery in house.of("battery"))


def _plants(house: House, fits: Mapping[str, Any]) -> tuple[AssetPlant, ...]:
    from systems.assets.battery.plant import BatteryPlant

    return tuple(BatteryPlant(battery, battery_block(house, battery)) for battery in house.of("battery"))


def _columns(house: House, battery: Battery) -> tuple[LogColumn, ...]:
    largest = 3 * max(battery.max_charge_kw, battery.max_discharge_kw)
    return (
        LogColumn(f"{battery.name}_soc", Quantity.SHARE, text="state of charge, 0 to 1"),
        LogColumn(
            f"{battery.name}_kw",
            Quantity.NET_POWER,
            largest,
            text="AC power, positive when charging",
            bus=1,
            sum_of=((f"{battery.name}_charge_kw", 1.0), (f"{battery.name}_discharge_kw", -1.0)),
        ),
    )


def _learn(house: House, batteries: tuple[Battery, ...], log: Log) -> tuple[Lesson, ...]:
    from systems.assets.battery.fit import learn_battery  # NumPy and SciPy, which the runtime's computer lacks

    return tuple(learn_battery(battery, log) for battery in batteries)


KINDS = (AssetKind("battery", Battery, 30, _blocks, _portrait, _mistakes, _plants, columns=_columns, learn=_learn),)
