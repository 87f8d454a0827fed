"""The bill that no policy can go below: closed form for a battery too small to matter, and the bound that is exact."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from systems.design import HouseDesign
from systems.house_file import SHIPPED
from systems.plant import HousePlant
from systems.world import Exogenous
from systems.world.generate import generated_world
from tuner.bound.house import BestPolicy, Horizon
from tuner.bound.relaxed import least_cost
from tuner.loop.policies import RulePolicy
from tuner.loop.week import run_stretch

HOURLY = (SHIPPED / "battery.toml").read_text().replace('"15 min"', '"1 h"')
CHARGES = {
    "none": "",
    "peak": 'capacity = { price_per_kw = 1.05, interval = "1 h", free_kw = 2.5 }',
    "tiers": 'capacity = { tiers = [[1, 2.75], [2, 4.5], [4, 7.5], [15, 11]], interval = "1 h", days = 3 }',
    "days": 'capacity = { price_per_kw = 2.0, interval = "1 h", days = 4 }',
}
STAGES = 144
"""Six days."""


def house(charge: str, size: float = 1.0) -> tuple[HouseDesign, Exogenous, int]:
    """With a battery of `size` of the shipped one's; a month begins at the returned step, by the clock of the house."""
    text = HOURLY.replace("export_limit_kw = 25", f"export_limit_kw = 25\n{CHARGES[charge]}")
    for name, value in (("capacity_kwh", 10), ("max_charge_kw", 5), ("max_discharge_kw", 5)):
        text = text.replace(f"{name} = {value}", f"{name} = {value * size}")
    design = HouseDesign(text)
    world = generated_world(design.house, datetime(2022, 3, 25, tzinfo=UTC), 18, seed=4, prices="continental")
    return design, world, world.step_at(datetime(2022, 4, 1, tzinfo=world.zone))


@pytest.mark.parametrize("charge", CHARGES)
def test_without_a_battery_worth_the_name_it_is_the_bill(charge: str) -> None:
    design, world, first = house(charge, size=1e-6)
    horizon = Horizon(design, world, first, STAGES)
    net = horizon.net_kw[first : first + STAGES]
    drawn = net + 0.015  # the standby of the inverter
    part = slice(first, first + STAGES)
    bill = float(np.where(drawn > 0, world["buy"][part] * drawn, world["sell"][part] * drawn).sum())
    capacity = design.house.only("meter").capacity
    if capacity is not None:
        bill += capacity.fee(capacity.charged_kw(np.maximum(drawn, 0.0).reshape(-1, 24).max(1).tolist()))
        bill -= capacity.fee(0.0)
    assert least_cost(horizon) == pytest.approx(bill, abs=1e-3)


@pytest.mark.parametrize("charge", ["none", "peak", "tiers"])
def test_no_policy_goes_below_it(charge: str) -> None:
    design, world, first = house(charge)
    floor = least_cost(Horizon(design, world, first, STAGES))

    def total(policy: BestPolicy | RulePolicy) -> float:
        plant = HousePlant(design.house, world)
        return run_stretch(design, plant, policy, first=first, stages=STAGES, seed=0).total

    rule = total(RulePolicy(design, design.problem.theta_default()))
    assert floor < rule
    if charge != "tiers":
        known = total(BestPolicy(Horizon(design, world, first, STAGES, known=True)))
        assert floor < known < rule
        assert floor > known - 0.2 * (rule - known)  # it is no empty promise
