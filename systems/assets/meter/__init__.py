"""The meter: where the house meets the grid. What all assets draw is bought or sold here, within limits, at a price.

A house without [meter] buys every kWh at `buy`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field

from systems.asset_plant import AssetPlant
from systems.assets import AssetKind, Mistake, Nameplate, Portrait
from systems.assets.meter.capacity import Capacity
from systems.block import Block, Concave, Inflow, Scope, Soft, Symbols, Terms
from systems.house_file import House
from systems.logs.lesson import Lesson
from systems.logs.log import Log, LogColumn, Quantity
from systems.money import (
    CURVATURE_PER_KW2,
    PRICE,
    ROW_SCALE,
    buy_forecast,
    chord,
    peak_price,
    price_scales,
    sell_forecast,
    tangents,
)
from systems.problem import Parameter, Signal


class Meter(Nameplate):
    """[meter]"""

    import_limit_kw: Annotated[float, Field(gt=0)] = 25.0
    export_limit_kw: Annotated[float, Field(ge=0)] = 25.0
    capacity: Capacity | None = None


def meter_block(house: House, meter: Meter) -> Block:
    """grid = sum of what is drawn; import - export = grid, import >= 0, export >= 0.

    Stage cost: h (price_scale buy import - sell export), concave where selling pays more than buying costs. Both limits
    are soft, priced above what breaking them could earn: a load that is beyond a limit by itself leaves a program that
    can be solved, and is not added to. With a capacity charge the import that raises nothing is a state and an epigraph
    variable carries it on: peak+ = new >= peak, new >= import + reserve; the end of the horizon pays for the peak. A
    decision counts as an interval of the charge, and a horizon as a day of it.
    """
    hours, capacity = house.grid.hold_h, meter.capacity
    most_kw = house_range_kw(house)
    theta = [Parameter("price_scale", "1", 1.0, 0.2, 3.0, "factor on the price of what is bought", "cost")]
    auxiliaries = [Signal("grid_import", "kW", 0.0, most_kw, "power bought")]
    states: list[Signal] = []
    if capacity is not None:
        theta += [
            Parameter("peak_belief", "1", 1.0, 0.0, 2.0, "how much of the capacity charge decisions believe", "cost"),
            Parameter("peak_reserve", "kW", 0.0, 0.0, 5.0, "distance kept from the month's peak", "backoff"),
        ]
        states = [Signal("month_peak", "kW", 0.0, 2 * meter.import_limit_kw, "import that raises no charge")]
        auxiliaries.append(Signal("new_peak", "kW", 0.0, 2 * most_kw, "the month's peak after the stage"))

    def prices(scope: Scope) -> tuple[Symbols, Symbols]:
        return scope.p[0] * scope.forecast("buy"), scope.forecast("sell")

    def stage(scope: Scope, inflow: Inflow) -> Terms:
        import casadi as ca

        bought, (buy, sell) = scope.u[0], prices(scope)
        sold = bought - inflow.electric_kw
        cost = hours * (buy * bought - sell * sold) + CURVATURE_PER_KW2 * scope.z[1] / 200 * bought**2
        if capacity is None:
            return Terms(cost=cost, hard=sold, soft=limits(scope, inflow))
        peak, new = scope.x, scope.u[1]
        return Terms(new, cost, ca.vertcat(sold, new - peak, new - bought - scope.p[2]), limits(scope, inflow))

    def limits(scope: Scope, inflow: Inflow) -> Soft:
        import casadi as ca

        grid, idle = inflow.electric_kw, inflow.idle_kw
        above, below = idle > meter.import_limit_kw, idle < -meter.export_limit_kw
        # Where the load alone is beyond a limit decisions may help. What adds to it there, or breaks a limit at another
        # time so as to help there, costs three times what it can help.
        rows = ca.vertcat(
            (3 - 2 * above) * (meter.import_limit_kw - grid),
            (3 - 2 * below) * (meter.export_limit_kw + grid),
            2 * (above - below) * (idle - grid) + (1 - above - below),
        )
        return Soft(hours * scope.z[2] / ROW_SCALE * rows, (PRICE,) * 3, (0.0,) * 3)

    def terminal(scope: Scope) -> Terms:
        if capacity is None:
            return Terms()
        import casadi as ca

        # Of the days that make the charge one rises; where a kW costs more from some power on, a soft row pays that.
        believed = scope.p[1] / capacity.days
        (_, least), *more = capacity.slopes()
        steps = [b - a for (_, a), (_, b) in pairwise(capacity.slopes())]
        rows = ca.vertcat(*(believed * (start - scope.x) for start, _ in more))
        soft = Soft(rows, tuple(steps), (0.0,) * len(more)) if more else None
        return Terms(cost=believed * least * scope.x, soft=soft)

    def relaxed(scope: Scope, inflow: Inflow) -> dict[str, Symbols]:
        import casadi as ca

        idle = inflow.idle_kw
        lowest = ca.fmax(inflow.lowest_kw, ca.fmin(idle, -meter.export_limit_kw))
        highest = ca.fmin(inflow.highest_kw, ca.fmax(idle, meter.import_limit_kw))
        buy, sell = chord(*prices(scope), lowest, highest)
        return {"buy": buy / scope.p[0], "sell": sell}

    def tangent(scope: Scope, inflow: Inflow) -> dict[str, Symbols]:
        buy, sell = tangents(*prices(scope), inflow.electric_kw)
        return {"buy": buy / scope.p[0], "sell": sell}

    def settled(scope: Scope, inflow: Inflow) -> Symbols:
        import casadi as ca

        bought = ca.fmax(inflow.electric_kw, 0.0)
        return bought if capacity is None else ca.vertcat(bought, ca.fmax(scope.x, bought + scope.p[2]))

    def observer(theta: Mapping[str, float]) -> dict[str, Any]:
        assert capacity is not None
        return capacity.observer(asdict(Signal("grid_power", "kW", -most_kw, most_kw, "power from the grid")))

    return Block(
        asset=meter.name,
        states=tuple(states),
        auxiliaries=tuple(auxiliaries),
        forecasts=(buy_forecast(house), sell_forecast(house)),
        theta=tuple(theta),
        stage=stage,
        terminal=terminal,
        features=lambda forecasts, x: price_scales(forecasts, x, peak_price(house)),
        concave=Concave(relaxed, tangent, settled),
        observer=None if capacity is None or capacity.measured else observer,
        power_limits=(
            {"name": f"{meter.name}_import", "upper": meter.import_limit_kw, "meter": "grid_power"},
            {"name": f"{meter.name}_export", "lower": -meter.export_limit_kw, "meter": "grid_power"},
        ),
        tracks={
            "meter": "grid_power",
            "import_limit_kw": meter.import_limit_kw,
            "export_limit_kw": meter.export_limit_kw,
            "buy": "buy",
            "sell": "sell",
            **({} if capacity is None else {"peak": "month_peak", "interval_s": capacity.interval_s}),
        },
    )


def house_range_kw(house: House) -> float:
    """More than all assets together can draw or deliver, by what their nameplates call a largest power."""
    ends = ("peak_kw", "max_power_kw", "max_charge_kw", "max_discharge_kw", "power_kw")
    powers = [getattr(asset, end, 0.0) for asset in house.assets for end in ends]
    return 2.0 * sum(powers) + 1.0


def bought_only(house: House) -> Block:
    """No meter: h price_scale buy (what is drawn)."""
    return Block(
        asset="meter",
        forecasts=(buy_forecast(house),),
        theta=(Parameter("price_scale", "1", 1.0, 0.2, 3.0, "factor on the price of what is bought", "cost"),),
        stage=lambda scope, inflow: Terms(
            cost=house.grid.weights_h.sum() * scope.p[0] * scope.forecast("buy") * inflow.electric_kw
        ),
    )


def _mistakes(house: House) -> Iterable[Mistake]:
    meter = house.only("meter")
    if meter is None and (house.of("pv") or house.of("battery")):
        table = "pv" if house.of("pv") else "battery"
        yield Mistake((table, 0), "power can flow to the grid here, so a [meter] is needed; add one with its limits")


def _portrait(house: House, meter: Meter) -> Portrait:
    capacity = meter.capacity
    charge = "" if capacity is None else f", {_in_words(house, capacity)}"
    return Portrait(
        f"imports up to {meter.import_limit_kw:g} kW, exports up to {meter.export_limit_kw:g} kW{charge}",
        measured=("grid_power", "month_peak") if capacity is not None and capacity.measured else ("grid_power",),
        forecast=("buy", "sell"),
        kept=f"import up to {meter.import_limit_kw:g} kW, export up to {meter.export_limit_kw:g} kW",
    )


def _in_words(house: House, capacity: Capacity) -> str:
    peak = "the month's peak" if capacity.days == 1 else f"the mean peak of {capacity.days} days"
    if capacity.price_per_kw is None:
        return f"{len(capacity.tiers)} tiers for {peak}"
    return f"{capacity.price_per_kw:g} {house.currency}/kW for {peak}"


def _blocks(house: House, fits: Mapping[str, Any]) -> tuple[Block, ...]:
    meter = house.only("meter")
    return (bought_only(house) if meter is None else meter_block(house, meter),)


def _plants(house: House, fits: Mapping[str, Any]) -> tuple[AssetPlant, ...]:
    from systems.assets.meter.plant import MeterPlant

    meter = house.only("meter")
    return (MeterPlant(meter is not None, None if meter is None else meter.capacity),)


def _columns(house: House, meter: Meter) -> tuple[LogColumn, ...]:
    largest = 3 * max(meter.import_limit_kw, meter.export_limit_kw)
    return (
        LogColumn("import_kw", Quantity.POWER, largest, text="bought", bus=-1),
        LogColumn("export_kw", Quantity.POWER, largest, needed=False, text="sold", bus=1),
    )


def _learn(house: House, meters: tuple[Meter, ...], log: Log) -> tuple[Lesson, ...]:
    from systems.assets.meter.fit import learn_meter

    return tuple(learn_meter(house, meter, log) for meter in meters)


KINDS = (
    AssetKind("meter", Meter, 90, _blocks, _portrait, _mistakes, _plants, columns=_columns, learn=_learn, many=False),
)
