"""The plant on the bench: any described house behind one gateway's registers, with its forecasts on MQTT."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from hil.errors import ScenarioError
from hil.registers import FIRST_SENSOR, FIRST_SET_POINT, register_map
from hil.scenario import Scenario
from runtime.formats.toml_lines import did_you_mean
from systems.asset_plant import SetPoint
from systems.csv_rows import SeriesError
from systems.house_file import House, HouseFileError, load_house
from systems.plant import HousePlant, PlantError
from systems.portrait import asset_portraits
from systems.prices import PriceOptions, load_prices
from systems.world import Exogenous
from systems.world.files import with_file
from systems.world.generate import WorldError, generated_world
from systems.world.inside import Inside

DAY_S, HOUR_S = 86_400.0, 3600.0
LEAD_DAYS, AHEAD_DAYS = 1, 3
"""Of the world before the start, for the yesterday that price forecasts fall back on, and beyond the end."""
FORECAST_ERROR = "forecast_error"


@dataclass(frozen=True)
class PublishedForecast:
    """A forecast as it is published: values[k] holds from start_s + k * step_s (unix seconds)."""

    topic: str
    start_s: float
    step_s: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class ReportPanel:
    """One plot of the report: quantities of the record that share a unit."""

    title: str
    unit: str
    quantities: tuple[str, ...]
    stairs: bool = True
    limits: tuple[float, ...] = ()
    stacked: bool = False
    """Parts of a sum, which is shown as well."""


class Plant:
    """What stands behind the links. One instance is one run; `advance` moves it by `step_s`."""

    def __init__(
        self, plant: HousePlant, *, first: int, steps: int, seed: int, initial: Mapping[str, float], error: float
    ) -> None:
        """error: how wrong forecasts are, 0 perfect, 1 as they usually are. Raises PlantError."""
        self.house, self._plant, self._error = plant.house, plant, error
        self.step_s = plant.house.grid.step_s
        self.minutes = plant.minutes
        """Of a step, those that are told apart."""
        self.inside_s = self.step_s / plant.minutes if plant.minutes > 1 else 0.0
        """Seconds of each; 0 where a step is all one."""
        self._before: Mapping[str, float] = {}
        self.set_point_signals: tuple[SetPoint, ...] = tuple(s for p in plant.plants for s in p.set_points())
        self.sensors = register_map((s for p in plant.plants for s in p.sensors()), FIRST_SENSOR)
        self.set_points = register_map((s.signal for s in self.set_point_signals), FIRST_SET_POINT)
        self.published = _published(plant.house)
        """Columns of the world that are forecast, by name."""
        plant.reset(seed=seed, options={"first": first, "steps": steps, "initial": initial})

    @cached_property
    def quantities(self) -> tuple[str, ...]:
        """Names of what `advance` returns; predicates may use them."""
        return tuple(dict.fromkeys([*self._plant.states(), *self._plant.flows(), *self.published]))

    @property
    def panels(self) -> tuple[ReportPanel, ...]:
        return panels(self.house)

    @property
    def plan_state(self) -> str | None:
        """The quantity of which the report shows what the controller's plan expected."""
        names = [f"{a.name}_soc" for a in self.house.of("battery")]
        names += [f"{a.name}_temperature" for table in ("zone", "tank") for a in self.house.of(table)]
        return next(iter(names), None)

    def time_s(self) -> float:
        """Unix time at which the coming step begins."""
        return self._plant.time_s

    def measured(self) -> Mapping[str, float]:
        """What the sensors show now, by register name."""
        return self._plant.measured()

    def forecasts(self) -> Mapping[str, PublishedForecast]:
        """What is known of the future now, by column: the horizon and a decision, a day at least."""
        grid = self.house.grid
        count = math.ceil((max(grid.horizon_s, DAY_S) + grid.hold_s) / self.step_s)
        rows = {name: self._plant.forecast(name, count, error=self._error) for name in self.published}
        return {
            name: PublishedForecast(f"forecast/{name}", self.time_s(), self.step_s, tuple(values.tolist()))
            for name, values in rows.items()
        }

    @property
    def world(self) -> Exogenous:
        """What comes from outside."""
        return self._plant.world

    def foreseen(self, name: str, step: int, count: int) -> Sequence[float]:
        """A column of the world from a step of it on, as it is foreseen at its beginning."""
        found: list[float] = self.world.forecast(
            name, step, count, seed=self._plant.episode_seed, error=self._error
        ).tolist()
        return found

    def shown(self) -> Mapping[str, float]:
        """What meters anywhere in the house may show now: the sensors, and the powers of the last step."""
        return {**self._plant.flows(), **self.measured()}

    def advance(self, set_points: Mapping[str, float]) -> Mapping[str, float]:
        """Hold the set-points for one step; the true quantities: states at its begin, flows as means over it."""
        self.begin(set_points)
        for _ in range(self.minutes):
            self.minute(set_points)
        return self.end()

    def advance_by_minutes(self, applied: Mapping[str, Sequence[float]]) -> Mapping[str, float]:
        """The same with set-points of each minute; what does not change inside a step goes by those of the first."""
        self.begin({name: values[0] for name, values in applied.items()})
        for j in range(self.minutes):
            self.minute({name: values[j] for name, values in applied.items()})
        return self.end()

    def begin(self, set_points: Mapping[str, float]) -> None:
        """A step of which the minutes follow."""
        self._before = self._plant.states()
        self._plant.begin_step(self._asked(set_points))

    def minute(self, set_points: Mapping[str, float]) -> None:
        self._plant.minute(self._asked(set_points))

    def end(self) -> Mapping[str, float]:
        *_, info = self._plant.end_step()
        return {name: float(self._before.get(name, info[name])) for name in self.quantities}

    def showing(self, set_points: Mapping[str, float]) -> Mapping[str, float]:
        """What the sensors show inside a step: the meter what flows in this moment."""
        return {**self.measured(), "grid_power": self._plant.others_kw(self._asked(set_points), ())}

    def _asked(self, set_points: Mapping[str, float]) -> list[float]:
        asked = {
            action: value
            for point in self.set_point_signals
            for action, value in point.actions(set_points[point.signal.name]).items()
        }
        return [asked[action.name] for action in self._plant.actions]


def _published(house: House) -> tuple[str, ...]:
    """Forecasts of the house's problem that come from outside; set-points and bands are the house's own."""
    needed = [name for _, _, portrait in asset_portraits(house) for name in portrait.forecast]
    return tuple(dict.fromkeys([*needed, "buy"]))


def make_plant(scenario: Scenario) -> Plant:
    """The plant of a scenario. Raises ScenarioError for a house, an option or prices that do not fit."""
    head = scenario.head
    options = dict(scenario.plant)
    error = options.pop(FORECAST_ERROR, 1.0)
    try:
        house = load_house(scenario.house_path)
        start_s, step_s = head.start.timestamp(), house.grid.step_s
        if start_s % step_s:
            raise ScenarioError(
                f"{head.name}: start {head.start} is not on a step of {step_s / 60:g} minutes; move it there"
            )
        # Weather is generated by the hour.
        lead_days = LEAD_DAYS + (0 if scenario.feeds is None else math.ceil(scenario.feeds.learned / DAY_S))
        begin = datetime.fromtimestamp(start_s // HOUR_S * HOUR_S - lead_days * DAY_S, UTC)
        days = head.duration / DAY_S + lead_days + AHEAD_DAYS + 1
        spot = (
            None
            if scenario.tariff.prices is None
            else load_prices(scenario.path(scenario.tariff.prices), PriceOptions(currency=house.currency))
        )
        world = generated_world(house, begin, days, seed=head.seed, prices=scenario.tariff.generator, spot=spot)
        if scenario.world.file is not None:
            world = with_file(world, scenario.path(scenario.world.file))
        inside = Inside(head.seed, head.inside) if head.inside else None
        if inside is not None and house.only("meter") is None:
            raise ScenarioError(f"{head.name}: inside is for a house with a [meter]; leave it out")
        plant = HousePlant(house, world, inside=inside)
        return Plant(
            plant,
            first=round((start_s - world.start.timestamp()) / step_s),
            steps=math.ceil(head.duration / step_s),
            seed=head.seed,
            initial=options,
            error=error,
        )
    except PlantError as problem:
        unknown = next((name for name in options if name not in initial_names(plant)), None)
        if unknown is None:
            raise ScenarioError(f"{head.name}: {problem}") from problem
        hint = did_you_mean(unknown, [*initial_names(plant), FORECAST_ERROR])
        raise ScenarioError(f"{head.name}: [plant] has an unknown option {unknown!r}{hint}") from problem
    except (WorldError, HouseFileError, SeriesError) as problem:
        raise ScenarioError(f"{head.name}: {problem}") from problem


def initial_names(plant: HousePlant) -> list[str]:
    """States that a run may begin at."""
    return [name for part in plant.plants for name in part.initial_names()]


def panels(house: House) -> tuple[ReportPanel, ...]:
    """The plots of a house, of what it has."""

    def named(table: str, suffix: str) -> tuple[str, ...]:
        return tuple(f"{asset.name}_{suffix}" for asset in house.of(table))

    zones, tanks, batteries = house.of("zone"), house.of("tank"), house.of("battery")
    prices = ("buy", "sell") if house.only("meter") is not None else ("buy",)
    power = [*named("battery", "kw"), *named("pv", "kw"), *(["load_kw"] if house.of("load") else []), "grid_kw"]
    every = (
        ReportPanel("Prices", f"{house.currency}/kWh", prices),
        ReportPanel("Zones", "degC", named("zone", "temperature"), stairs=False, limits=_band(zones)),
        ReportPanel("Tanks", "degC", named("tank", "temperature"), stairs=False, limits=_band(tanks)),
        ReportPanel(
            "State of charge",
            "1",
            named("battery", "soc"),
            stairs=False,
            limits=tuple(sorted({b.soc_min for b in batteries} | {b.soc_max for b in batteries})),
        ),
        ReportPanel("Heat pumps", "kW", named("heat_pump", "kw"), stacked=True),
        ReportPanel("Power", "kW", tuple(power)),
        ReportPanel("Outdoors", "degC", ("outdoor",) if "outdoor" in _published(house) else (), stairs=False),
    )
    return tuple(panel for panel in every if panel.quantities)


def _band(assets: Sequence[object]) -> tuple[float, ...]:
    """The outermost bounds."""
    if not assets:
        return ()
    lowest, highest = min(a.lower.lowest for a in assets), max(a.upper.highest for a in assets)  # type: ignore[attr-defined]
    return (lowest, highest)
