"""A heat pump, or a heater: electric power in, heat out, to the zones and tanks that it feeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from systems.asset_plant import AssetPlant
from systems.assets import AssetKind, Mistake, Nameplate, Portrait
from systems.block import Block, Inflow, Ports, Scope, Symbols, Terms
from systems.house_file import Duration, House
from systems.logs.lesson import Lesson
from systems.logs.log import Log, LogColumn, Quantity
from systems.money import buy_forecast, price_scales
from systems.names import AssetName
from systems.problem import Parameter, Signal
from systems.weather import outdoor_forecast

REGULARISATION_PER_KW2_H = 1e-3
"""Keeps the plan smooth where price and comfort leave it open, a per cent or so of the cost."""
PART_LOAD = 0.5
"""What a kWh of heat costs more at full power than at the least, as a share of what it costs. A rated COP is that of
full load, and exchangers that move less heat need less lift: Carnot's ratio with approaches that grow from 8 to 18 and
from 4 to 10 K says 0.8 to 1.4. Without it a plan runs at full power and rests, half an hour each, where one power would
do."""
LEAST_RESERVE_K = 3.0
"""Above the lower bound of a tank, where a thermostat begins to heat."""
CopMap = tuple[tuple[float, float], ...]
"""((outdoor degC, COP), ...), ascending."""
COP_BY_KIND: dict[str, CopMap] = {
    "air-air": ((-15.0, 2.1), (-7.0, 2.5), (2.0, 3.0), (7.0, 3.4), (15.0, 4.2)),
    "air-water": ((-15.0, 2.0), (-7.0, 2.4), (2.0, 3.0), (7.0, 3.6), (15.0, 4.4)),
    "electric": ((0.0, 1.0),),
}
"""Full load, water at 35 degC: what units are commonly rated at under EN 14511."""
TANK_COP_BY_KIND: dict[str, CopMap] = {
    "air-air": ((0.0, 1.0),),
    "air-water": ((-15.0, 1.6), (-7.0, 1.9), (2.0, 2.3), (7.0, 2.7), (15.0, 3.3)),
    "electric": ((0.0, 1.0),),
}
"""Water at 55 degC."""


class HeatPump(Nameplate):
    """[[heat_pump]]"""

    feeds: Annotated[tuple[AssetName, ...], Field(min_length=1)]
    kind: Literal["air-air", "air-water", "electric"] = "air-air"
    max_power_kw: Annotated[float, Field(gt=0)]
    """Electric, at the most."""
    min_power_kw: Annotated[float, Field(ge=0)] = 0.0
    """Below it the compressor cannot turn."""
    min_run: Duration | None = None
    min_rest: Duration | None = None
    cop: CopMap | Literal["learned"] | None = None
    """By outdoor temperature; "learned": the fitted model of the zones takes electric power as it is."""
    tank_cop: CopMap | None = None

    @field_validator("cop", "tank_cop")
    @classmethod
    def _ascending(cls, value: Any) -> Any:
        if isinstance(value, tuple) and (not value or any(a[0] >= b[0] for a, b in pairwise(value))):
            raise ValueError("outdoor temperatures must ascend: [[-7, 2.5], [7, 3.4]]")
        if isinstance(value, tuple) and any(cop <= 0 for _, cop in value):
            raise ValueError("a COP is above 0")
        return value

    def zones(self, house: House) -> tuple[str, ...]:
        return tuple(name for name in self.feeds if name in {zone.name for zone in house.of("zone")})

    def tanks(self, house: House) -> tuple[str, ...]:
        return tuple(name for name in self.feeds if name in {tank.name for tank in house.of("tank")})

    def zone_cop(self) -> CopMap | None:
        """None where the fitted model has it inside."""
        return None if self.cop == "learned" else self.cop or COP_BY_KIND[self.kind]

    def tank_cop_map(self) -> CopMap:
        return self.tank_cop or TANK_COP_BY_KIND[self.kind]


def interpolate(cop: CopMap, outdoor_c: Symbols) -> Symbols:
    """Piecewise linear in the outdoor temperature, constant beyond the ends; for symbols and numbers alike."""
    import casadi as ca

    value = cop[0][1]
    for (low, at_low), (high, at_high) in pairwise(cop):
        slope = (at_high - at_low) / (high - low)
        value = value + slope * (ca.fmax(outdoor_c - low, 0) - ca.fmax(outdoor_c - high, 0))
    return value


def heating_feeders(house: House) -> tuple[HeatPump, ...]:
    """Those that feed a zone: the columns of the zones' model, in this order."""
    return tuple(pump for pump in house.of("heat_pump") if pump.zones(house))


def tank_feeders(house: House, tank: str) -> tuple[HeatPump, ...]:
    return tuple(pump for pump in house.of("heat_pump") if tank in pump.tanks(house))


def heat_pump_block(house: House, pump: HeatPump) -> Block:
    """One action for the zones together, one for each tank; their sum within the compressor's limit."""
    zones, tanks, name = pump.zones(house), pump.tanks(house), pump.name
    purposes = [(f"{name}_power", "the zones")] if zones else []
    purposes += [(f"{name}_{tank}_power", tank) for tank in tanks]
    actions = [Signal(signal, "kW", 0.0, pump.max_power_kw, f"electric power for {what}") for signal, what in purposes]
    needs_outdoor = (zones and pump.zone_cop() is not None) or tanks
    # Where a log has taught what power does to zones it has taught this, too; and a resistance knows no load.
    rated = pump.kind != "electric" and not (zones and pump.zone_cop() is None)

    def ports(scope: Scope) -> Ports:
        import casadi as ca

        powers: list[Symbols] = list(ca.vertsplit(scope.u))
        delivered: dict[str, Symbols] = {}
        if needs_outdoor:
            steps = scope.forecast("outdoor")
            outdoor = ca.sum1(steps) / steps.shape[0]
        if zones:
            cop = pump.zone_cop()
            power = powers.pop(0)
            delivered["zones"] = power if cop is None else interpolate(cop, outdoor) * power
        for tank, power in zip(tanks, powers, strict=True):
            delivered[tank] = interpolate(pump.tank_cop_map(), outdoor) * power
        return Ports(ca.sum1(scope.u), delivered)

    def stage(scope: Scope, inflow: Inflow) -> Terms:
        import casadi as ca

        hours = house.grid.weights_h.sum()
        total: Symbols = ca.sum1(scope.u)
        cost = (REGULARISATION_PER_KW2_H + scope.p[0]) / 2 * hours * ca.sumsqr(scope.u)
        if rated:
            cost += PART_LOAD * scope.z[1] / pump.max_power_kw / 2 * hours * total**2
        return Terms(cost=cost, hard=pump.max_power_kw - total if len(actions) > 1 else None)

    return Block(
        asset=name,
        actions=tuple(actions),
        forecasts=(
            *((outdoor_forecast(house),) if needs_outdoor else ()),
            *((buy_forecast(house),) if rated else ()),
        ),
        features=price_scales if rated else None,
        theta=(
            Parameter(
                f"{name}_power_curvature", f"{house.currency}/(kW^2 h)", 0.0, 0.0, 0.3,
                "quadratic cost of power: the COP falls with load", "cost",
            ),
        ),
        ports=ports,
        stage=stage,
        power_limits=compressor_limit(pump, [action.name for action in actions]),
        gains=heat_gains(house, pump),
        compressors=compressor(pump, [action.name for action in actions]),
        rules=heat_rules(house, pump),
    )  # fmt: skip


def compressor_limit(pump: HeatPump, actions: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """What all purposes of the one compressor may draw together; a single one has its own bounds."""
    if len(actions) < 2:
        return ()
    terms = [{"signal": name, "factor": 1.0} for name in actions]
    return ({"name": pump.name, "upper": pump.max_power_kw, "actions": terms},)


def compressor(pump: HeatPump, actions: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """What its motor can do; nothing where it can do anything at any time."""
    if not (pump.min_power_kw or pump.min_run or pump.min_rest):
        return ()
    can = {"least_kw": pump.min_power_kw, "most_kw": pump.max_power_kw}
    times = {"min_run_s": pump.min_run or 0.0, "min_rest_s": pump.min_rest or 0.0}
    return ({"name": pump.name, "actions": list(actions), **can, **times},)


def heat_gains(house: House, pump: HeatPump) -> tuple[dict[str, Any], ...]:
    """Heat from power, by the COP at the outdoor temperature."""
    maps = [(f"{pump.name}_power", pump.zone_cop())] if pump.zones(house) else []
    maps += [(f"{pump.name}_{tank}_power", pump.tank_cop_map()) for tank in pump.tanks(house)]
    return tuple(
        {"action": action, "by": "outdoor", "points": [list(point) for point in cop]}
        for action, cop in maps
        if cop is not None and len(cop) > 1
    )


def _reserve_k(house: House, name: str) -> float:
    """A thermostat knows of no draw to come: it keeps a third of the band in reserve."""
    tank = next(tank for tank in house.of("tank") if tank.name == name)
    return max(LEAST_RESERVE_K, float(tank.upper.default - tank.lower.default) / 3.0)


def heat_rules(house: House, pump: HeatPump) -> tuple[dict[str, Any], ...]:
    """A thermostat for the zones together, one in each tank, by the set-points and bounds of now."""
    rules: list[dict[str, Any]] = [
        {
            "kind": "tank",
            "action": f"{pump.name}_{tank}_power",
            "measurement": f"{tank}_temperature",
            "lower": f"{tank}_lower",
            "upper": f"{tank}_upper",
            "reserve": _reserve_k(house, tank),
            "on": pump.max_power_kw,
        }
        for tank in pump.tanks(house)
    ]
    zones = pump.zones(house)
    if zones:
        thermostat = {
            "kind": "thermostat",
            "action": f"{pump.name}_power",
            "measurement": [f"{zone}_temperature" for zone in zones],
            "set_point": [f"{zone}_set_point" for zone in zones],
            "on": pump.max_power_kw,
        }
        rules.insert(0, thermostat)
    return tuple(rules)


def _mistakes(house: House) -> Iterable[Mistake]:
    from runtime.formats.toml_lines import did_you_mean

    heated = [asset.name for table in ("zone", "tank") for asset in house.of(table)]
    for i, pump in enumerate(house.of("heat_pump")):
        for name in pump.feeds:
            if name not in heated:
                hint = did_you_mean(name, heated) if heated else "; add a [[zone]] or a [[tank]] of that name"
                yield Mistake(("heat_pump", i, "feeds"), f"there is no zone or tank {name!r} to feed{hint}")
        if len(set(pump.feeds)) != len(pump.feeds):
            yield Mistake(("heat_pump", i, "feeds"), "feeds names one of its own twice; name each once")
        if pump.min_power_kw > pump.max_power_kw:
            yield Mistake(("heat_pump", i, "min_power_kw"), "min_power_kw is above max_power_kw; correct one of them")


def _portrait(house: House, pump: HeatPump) -> Portrait:
    moved = tuple(signal.name for signal in heat_pump_block(house, pump).actions)
    return Portrait(
        f"{pump.kind}, {pump.max_power_kw:g} kW, feeds {', '.join(pump.feeds)}",
        moved=moved,
        forecast=("outdoor",),
        kept=_kept(pump, moved),
    )


def _kept(pump: HeatPump, moved: Sequence[str]) -> str:
    power = f"up to {pump.max_power_kw:g} kW" + (" together" if len(moved) > 1 else "")
    least = f", from {pump.min_power_kw:g} kW in pulses" if pump.min_power_kw else ""
    times = [(pump.min_run, "runs"), (pump.min_rest, "rests")]
    return power + least + "".join(f", {does} {s / 60:g} min at least" for s, does in times if s)


def _blocks(house: House, fits: Mapping[str, Any]) -> tuple[Block, ...]:
    return tuple(heat_pump_block(house, pump) for pump in house.of("heat_pump"))


def _plants(house: House, fits: Mapping[str, Any]) -> tuple[AssetPlant, ...]:
    from systems.assets.heat_pump.plant import HeatPumpPlant

    return tuple(HeatPumpPlant(house, pump, heat_pump_block(house, pump)) for pump in house.of("heat_pump"))


def power_columns(house: House, pump: HeatPump) -> tuple[str, ...]:
    """Of the log: one for the zones, one for each tank, as the actions are."""
    zones = (f"{pump.name}_kw",) if pump.zones(house) else ()
    return (*zones, *(f"{pump.name}_{tank}_kw" for tank in pump.tanks(house)))


def _columns(house: House, pump: HeatPump) -> tuple[LogColumn, ...]:
    return tuple(
        LogColumn(name, Quantity.POWER, 3 * pump.max_power_kw, text="electric power", bus=1)
        for name in power_columns(house, pump)
    )


def _learn(house: House, pumps: tuple[HeatPump, ...], log: Log) -> tuple[Lesson, ...]:
    from systems.assets.heat_pump.fit import learn_heat_pump

    return tuple(learn_heat_pump(house, pump, log) for pump in pumps)


KINDS = (AssetKind("heat_pump", HeatPump, 40, _blocks, _portrait, _mistakes, _plants, columns=_columns, learn=_learn),)
