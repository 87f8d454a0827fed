"""Batteries that follow the meter inside a step, by the daemon's law, in the loop that judges policies."""

from __future__ import annotations

import numpy as np
import pytest

from systems.design import HouseDesign
from systems.house_file import read_house
from systems.logs.log import Array
from systems.plant import HousePlant
from systems.world import Exogenous
from systems.world.generate import generated_world, moment
from systems.world.inside import Inside, Kind
from tuner.loop.follow import Follower
from tuner.loop.policies import RulePolicy
from tuner.loop.week import run_stretch


@pytest.fixture(scope="module")
def design() -> HouseDesign:
    text, source = read_house("battery")
    return HouseDesign(text.replace("[meter]", "[meter]\ncapacity = { price_per_kw = 4 }", 1), {}, source)


@pytest.fixture(scope="module")
def world(design: HouseDesign) -> Exogenous:
    return generated_world(design.house, moment("2023-05-01", design.house.timezone), 6.0)


def theta(design: HouseDesign) -> Array:
    return np.array([p.default for p in design.problem.theta])


def test_the_rule_in_real_time_leaves_nothing_to_the_grid_that_the_battery_can_take(
    design: HouseDesign, world: Exogenous
) -> None:
    plant, follower = HousePlant(design.house, world, inside=Inside(0)), Follower(design, theta(design))
    plant.reset(seed=0, options={"first": 40, "steps": 24, "initial": {"home_soc": 0.5}})
    covered = 0
    for _ in range(24):
        asked = np.zeros(len(plant.actions))
        plant.begin_step(asked)
        for _ in range(plant.minutes):
            follower.rule()
            plant.minute(follower.minute(plant, asked))
            soc = plant.measured()["home_soc"]
            if 0.25 < soc < 0.75:  # where the battery gives what it is asked for
                assert abs(plant.measured()["grid_power"]) < 0.05 or abs(plant.flows()["home_kw"]) < 0.03
                covered += 1
        plant.end_step()
    assert covered > 60


def test_in_real_time_the_rule_pays_less_than_held(design: HouseDesign, world: Exogenous) -> None:
    def bill(inside: Inside | None, follower: Follower | None) -> float:
        plant = HousePlant(design.house, world, inside=inside)
        rule = RulePolicy(design, theta(design))
        return run_stretch(design, plant, rule, first=96, stages=192, seed=0, follower=follower).bill

    held, real_time = bill(Inside(0), None), bill(Inside(0), Follower(design, theta(design)))
    assert real_time < held - 0.05
    # Where nothing varies within a step it is what it knows late that costs the rule: its meter is of the step before.
    assert bill(None, Follower(design, theta(design))) < bill(None, None)


class Oven(Inside):
    """6 kW for five minutes of a quarter of an hour, and no sun."""

    def minutes(self, kind: Kind, column: str, step: int, mean: float, count: int) -> Array:
        return np.where((np.arange(count) >= 3) & (np.arange(count) < 8), 6.0, 0.5) * (kind == "appliances")


def test_an_interval_keeps_below_the_peak_that_the_plan_accepts(design: HouseDesign, world: Exogenous) -> None:
    """The plan gives nothing and foresees 1 kW, and 3 kW come: the battery keeps the quarter of an hour at the peak."""
    plant, follower = HousePlant(design.house, world, inside=Oven(0)), Follower(design, theta(design))
    plant.reset(seed=0, options={"first": 96, "steps": 1, "initial": {"home_soc": 0.5, "month_peak": 1.2}})
    names = [f.name for f in design.forecasts]
    row = np.array([{"load": 1.0}.get(name, 0.0) for name in names])
    forecast = np.tile(row, (design.problem.horizon + 1, 1))
    action = np.zeros(design.problem.na)
    follower.decide(action, None, forecast, plant.measured())
    plant.begin_step(action)
    total = 0.0
    for _ in range(plant.minutes):
        plant.minute(follower.minute(plant, action))
        total += max(plant.measured()["grid_power"], 0.0) / plant.minutes
    # Without it 2.33 kW. The first minutes left something, which the oven has; after it nothing more is needed.
    first = (1.2 * 15 - 0.5 * 3) / 12
    assert total == pytest.approx((3 * 0.5 + 5 * first + 7 * 0.5) / 15, abs=0.02)
