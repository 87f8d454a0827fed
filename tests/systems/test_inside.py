"""Minutes inside a step: the means stay, the bill tells them apart, and nothing else of the plant changes."""

from __future__ import annotations

import numpy as np
import pytest

from systems.grid import HOUR_S
from systems.house_file import load_house
from systems.plant import HousePlant
from systems.world import Exogenous
from systems.world.generate import generated_world, moment
from systems.world.inside import Inside, Kind

DAY = 96


@pytest.fixture(scope="module")
def world() -> Exogenous:
    house = load_house("battery")
    return generated_world(house, moment("2023-05-01", house.timezone), 3.0)


@pytest.mark.parametrize("kind", ["appliances", "clouds"])
def test_minutes_have_the_mean_of_their_step_and_are_the_same_again(kind: Kind) -> None:
    rng, spread = np.random.default_rng(0), []
    for step in range(400):
        mean, count = float(rng.uniform(0.05, 6.0)), int(rng.integers(2, 61))
        minutes = Inside(7).minutes(kind, "any", step, mean, count)
        assert minutes.shape == (count,) and minutes.min() >= 0.0
        assert minutes.mean() == pytest.approx(mean, rel=1e-9)
        assert np.array_equal(minutes, Inside(7).minutes(kind, "any", step, mean, count))
        spread.append(minutes.std() / mean)
    assert 0.1 < np.mean(spread) < 1.5
    assert np.array_equal(Inside(7).minutes(kind, "any", 0, 0.0, 15), np.zeros(15))


def test_a_day_of_minutes_has_the_energy_of_its_steps_and_a_dearer_bill(world: Exogenous) -> None:
    """Held powers meet a load that comes and goes: import and export within one quarter of an hour."""
    house = load_house("battery")
    plain, told_apart = HousePlant(house, world), HousePlant(house, world, inside=Inside(0))
    assert (plain.minutes, told_apart.minutes) == (1, 15)
    bills, grids = [], []
    for plant in (plain, told_apart):
        plant.reset(seed=1, options={"first": DAY, "steps": DAY})
        net = world["load"][DAY : 2 * DAY] - world["pv"][DAY : 2 * DAY]
        infos = [plant.step([max(-n, 0.0) / 2, max(n, 0.0) / 2])[-1] for n in net]
        bills.append(sum(info["energy_cost"] for info in infos))
        grids.append(np.array([info["grid_kw"] - info["home_kw"] for info in infos]))
    assert np.allclose(grids[0], grids[1], atol=1e-9)
    assert bills[1] > bills[0]


def test_the_charge_for_peaks_counts_the_minutes_of_its_interval() -> None:
    """A quarter of an hour of a house whose step is one of five minutes, against the sum written out."""
    house = load_house("villa")
    world = generated_world(house, moment("2023-01-09", house.timezone), 2.0)
    plant = HousePlant(house, world, inside=Inside(3))
    plant.reset(seed=0, options={"first": 0, "steps": 12})
    imported, peak = 0.0, 0.0
    for _ in range(12):
        plant.begin_step(np.zeros(len(plant.actions)))
        for _ in range(plant.minutes):
            plant.minute(np.zeros(len(plant.actions)))
            imported += max(0.0, plant.measured()["grid_power"]) * plant.minute_s / HOUR_S
        info = plant.end_step()[-1]
        peak = info["month_peak"]
    assert plant.minutes == 5 and peak == pytest.approx(imported, rel=1e-9)  # an hour of kW is its kWh
