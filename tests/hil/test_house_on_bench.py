"""The physical house as the bench drives it: registers, forecasts, true quantities, and scenarios that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hil.errors import ScenarioError
from hil.kpi import discomfort
from hil.plants import make_plant
from hil.scenario import Scenario, load_scenario
from systems.house.plant import PhysicalHouse

SCENARIO = Path(__file__).parents[2] / "scenarios" / "house-winter-week.toml"
POWERS = [f"power_{i}" for i in range(1, 5)]


def scenario(tmp_path: Path, *replacements: tuple[str, str]) -> Scenario:
    text = SCENARIO.read_text(encoding="utf-8").replace(
        'site = "house-site.toml"', f'site = "{SCENARIO.parent}/house-site.toml"'
    )
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "scenario.toml"
    path.write_text(text, encoding="utf-8")
    return load_scenario(path)


def test_the_plant_on_the_bench_is_the_physical_house(tmp_path: Path) -> None:
    plant = make_plant(scenario(tmp_path))
    inner = plant._plant  # type: ignore[attr-defined]
    twin = PhysicalHouse(inner.conditions, steps=inner.steps)
    y, _ = twin.reset(seed=0, options={"first": 288, "initial_c": 21.0})
    assert plant.time_s() == 1705273200.0  # 2024-01-15T00:00+01:00
    rng = np.random.default_rng(0)
    for _ in range(300):
        assert [plant.measured()[f"room_{i}"] for i in range(1, 5)] == y.tolist()
        powers = rng.uniform(0, 1.5, 4)
        truth = plant.advance(dict(zip(POWERS, powers.tolist(), strict=True)))
        y, _, _, _, info = twin.step(powers)
        assert [truth[f"power_{i}_kw"] for i in range(1, 5)] == info["power_kw"].tolist()
        assert truth["grid_kw"] == pytest.approx(info["power_kw"].sum())
        assert truth["cost_eur"] == pytest.approx(info["cost_eur"])
        assert set(truth) == set(plant.quantities)


def test_every_reading_fits_its_register(tmp_path: Path) -> None:
    plant = make_plant(scenario(tmp_path))
    for _ in range(50):
        measured = plant.measured()
        assert {r.name for r in plant.sensors} == set(measured)
        for register in plant.sensors:
            value = measured[register.name]
            assert register.decode(register.encode(value)) == pytest.approx(value, abs=register.scale)
        plant.advance(dict.fromkeys(POWERS, 0.4))
    addresses = [r.address for r in (*plant.sensors, *plant.set_points)]
    assert len(set(addresses)) == len(addresses)


def test_the_forecast_reaches_a_day_ahead_whatever_the_step_of_the_controller(tmp_path: Path) -> None:
    plant = make_plant(scenario(tmp_path))
    forecasts = plant.forecasts(24)
    assert set(forecasts) == {"price", *(f"outdoor_{i}" for i in range(6))}
    table = plant._plant.forecast(288)  # type: ignore[attr-defined]
    assert forecasts["outdoor_2"].values[:3] == tuple(table[[2, 8, 14], 0])
    for forecast in forecasts.values():
        assert forecast.start_s == plant.time_s()
        assert len(forecast.values) * forecast.step_s >= 86400.0
        assert np.isfinite(forecast.values).all()


def test_discomfort_is_counted_per_room(tmp_path: Path) -> None:
    plant = make_plant(scenario(tmp_path, ("initial_c = 21.0", "initial_c = 16.0")))
    truth = plant.advance(dict.fromkeys(POWERS, 0.0))
    assert truth["discomfort_k.room_1"] == pytest.approx(2.0)
    assert discomfort({k: np.array([v]) for k, v in truth.items()}, 1.0) == pytest.approx(2.0)


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"unknown option 'inital_c'.*initial_c"):
        make_plant(scenario(tmp_path, ("initial_c", "inital_c")))
    with pytest.raises(ScenarioError, match="not on a step of five minutes"):
        make_plant(scenario(tmp_path, ("T00:00:00+01:00", "T00:01:00+01:00")))
    prices = tmp_path / "prices.csv"
    rows = "\n".join(f"2024-01-{d:02d}T{h:02d}:00:00+00:00,0.{h:02d}" for d in range(10, 18) for h in range(24))
    prices.write_text(f"time,price_eur_per_kwh\n{rows}\n", encoding="utf-8")
    tariff = ("[plant]", f'[tariff]\nprices = "{prices}"\n\n[plant]')
    with pytest.raises(ScenarioError, match="do not cover"):
        make_plant(scenario(tmp_path, tariff))
    short = make_plant(scenario(tmp_path, tariff, ('duration = "7 d"', 'duration = "4 h"'), ("01-15T", "01-12T")))
    assert short.advance(dict.fromkeys(POWERS, 0.4))["price"] == pytest.approx(0.23)  # 23 UTC
