"""A described house as the bench drives it: registers, forecasts, true quantities, and what does not fit it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hil.errors import BenchUsageError, ScenarioError
from hil.house_run import HouseRun, house_scenario, is_house
from hil.kpi import discomfort
from hil.plant import Plant, make_plant
from hil.scenario import Scenario, load_scenario
from hil.verdict import parse_expectations
from systems.compose import house_blocks
from systems.house_file import SHIPPED

SCENARIO = Path(__file__).parents[2] / "scenarios" / "house-winter-week.toml"
HOUSES = sorted(path.stem for path in SHIPPED.glob("*.toml"))


def scenario(tmp_path: Path, *replacements: tuple[str, str]) -> Scenario:
    text = SCENARIO.read_text(encoding="utf-8")
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "scenario.toml"
    path.write_text(text, encoding="utf-8")
    return load_scenario(path)


def at_rest(plant: Plant) -> dict[str, float]:
    return dict.fromkeys((register.name for register in plant.set_points), 0.0)


@pytest.mark.parametrize("name", HOUSES)
def test_any_house_has_registers_forecasts_and_expectations(name: str) -> None:
    run = house_scenario(name, HouseRun(days=0.5))
    plant = make_plant(run)
    assert plant.time_s() == 1705273200.0 + (3600.0 if plant.house.timezone.key == "UTC" else 0.0)
    assert {r.name for r in plant.sensors} == set(plant.measured())
    addresses = [r.address for r in (*plant.sensors, *plant.set_points)]
    assert len(set(addresses)) == len(addresses)
    for _ in range(20):
        for register in plant.sensors:
            value = plant.measured()[register.name]
            assert register.decode(register.encode(value)) == pytest.approx(value, abs=0.51 * register.scale)
        truth = plant.advance(at_rest(plant))
        assert set(truth) == set(plant.quantities)
    outside = {f.name for block in house_blocks(plant.house) for f in block.forecasts if f.schedule is None}
    assert set(plant.forecasts()) == outside
    grid = plant.house.grid
    for forecast in plant.forecasts().values():
        assert forecast.start_s == plant.time_s() and np.isfinite(forecast.values).all()
        assert len(forecast.values) * forecast.step_s >= max(86_400.0, grid.horizon_s) + grid.hold_s
    assert len(parse_expectations(run, plant)) >= 2
    assert {q for panel in plant.panels for q in panel.quantities} <= set(plant.quantities)


def test_set_points_reach_their_machines() -> None:
    plant = make_plant(house_scenario("cabin", HouseRun(days=0.1)))
    asked = {**at_rest(plant), "home_power": -1.5, "hp_bedroom_power": 0.9}
    truth = plant.advance(asked)
    assert truth["home_kw"] == pytest.approx(-1.5) and truth["hp_bedroom_kw"] == pytest.approx(0.9)
    assert truth["grid_kw"] == pytest.approx(truth["load_kw"] - truth["roof_kw"] - 1.5 + 0.9 + truth["hp_living_kw"])


def test_discomfort_is_counted_per_zone(tmp_path: Path) -> None:
    cold = ("[[expect]]", "[plant]\nliving_temperature = 15.5\n\n[[expect]]")
    text = SCENARIO.read_text(encoding="utf-8").replace(*cold, 1)
    (tmp_path / "cold.toml").write_text(text, encoding="utf-8")
    plant = make_plant(load_scenario(tmp_path / "cold.toml"))
    truth = plant.advance(at_rest(plant))
    after = plant.measured()["living_temperature"]
    assert truth["living_temperature"] == 15.5
    assert truth["discomfort_k.living"] == pytest.approx(18.0 - after, abs=0.1)
    assert discomfort({k: np.array([v]) for k, v in truth.items()}, 1.0) == pytest.approx((18.0 - after) / 4, abs=0.03)


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    wrong = ("seed = 0", "seed = 0\n\n[plant]\nliving_temprature = 20.0")
    with pytest.raises(ScenarioError, match=r"unknown option 'living_temprature'.*living_temperature"):
        make_plant(scenario(tmp_path, wrong))
    with pytest.raises(ScenarioError, match="not on a step of 5 minutes"):
        make_plant(scenario(tmp_path, ("T00:00:00+01:00", "T00:01:00+01:00")))
    with pytest.raises(ScenarioError, match="name a house file"):
        make_plant(scenario(tmp_path, ("four-heat-pumps", "five-heat-pumps")))
    with pytest.raises(BenchUsageError, match="write it as 2024-01-15"):
        house_scenario("flat", HouseRun(start="monday"))
    prices = tmp_path / "prices.csv"
    rows = "\n".join(f"2024-01-{d:02d}T{h:02d}:00:00+00:00,0.{h:02d}" for d in range(10, 18) for h in range(24))
    prices.write_text(f"time,price_eur_per_kwh\n{rows}\n", encoding="utf-8")
    tariff = ("seed = 0", f'seed = 0\n\n[tariff]\nprices = "{prices}"')
    with pytest.raises(ScenarioError, match="do not cover"):
        make_plant(scenario(tmp_path, tariff))
    short = make_plant(scenario(tmp_path, tariff, ('duration = "7 d"', 'duration = "4 h"'), ("01-15T", "01-12T")))
    # 23 UTC is midnight in Oslo: spot with VAT, the night's fee, tax and what the supplier takes
    assert short.advance(at_rest(short))["buy"] == pytest.approx(0.23 * 1.25 + 0.030 + 0.016 + 0.005)


def test_a_house_is_told_from_a_scenario(tmp_path: Path) -> None:
    assert is_house("villa") and is_house(str(SHIPPED / "villa.toml"))
    assert not is_house("battery-week") and not is_house(str(SCENARIO)) and not is_house("no-such.toml")
