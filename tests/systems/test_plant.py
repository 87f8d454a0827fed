"""The plant of a described house: what adds up, what machines refuse, what repeats."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from systems.assets.heat_pump.plant import SimulatedCompressor
from systems.assets.tank import KWH_PER_LITRE_K
from systems.assets.zone.model import inputs_of, nameplate_model
from systems.compose import house_blocks
from systems.csv_rows import SeriesError
from systems.house_file import SHIPPED, House, load_house, parse_house
from systems.plant import HousePlant, PlantError
from systems.world import Exogenous
from systems.world.files import with_file
from systems.world.generate import generated_world

WINTER = datetime(2024, 1, 15, tzinfo=UTC)
HOUSES = sorted(path.stem for path in SHIPPED.glob("*.toml"))


def world_of(house: House, days: float = 2.0, seed: int = 0) -> Exogenous:
    return generated_world(house, WINTER, days, seed=seed)


def run(plant: HousePlant, steps: int, policy: Any = None, **options: Any) -> dict[str, np.ndarray]:
    """The info of every step, by name (steps,)."""
    plant.reset(seed=1, options={"steps": steps, **options})
    rng = np.random.default_rng(2)
    infos = []
    for k in range(steps):
        action = rng.uniform([a.lower for a in plant.actions], [a.upper for a in plant.actions])
        *_, info = plant.step(action if policy is None else policy(k))
        infos.append(info)
    return {name: np.array([info[name] for info in infos]) for name in infos[0]}


@pytest.mark.parametrize("name", HOUSES)
def test_actions_are_those_of_the_problem_and_the_bus_adds_up(name: str) -> None:
    house = load_house(name)
    plant = HousePlant(house, world_of(house))
    blocks = house_blocks(house)
    assert plant.actions == tuple(action for block in blocks for action in block.actions)
    measured = {s.name for block in blocks for s in block.states if "_past_" not in s.name}
    assert measured <= set(plant.measured())
    assert {f.name for block in blocks for f in block.forecasts if f.schedule is None} <= set(plant.world.columns)
    of = run(plant, 100)
    drawn = [f"{a.name}_kw" for table in ("battery", "heat_pump") for a in house.of(table)]
    total = sum(of[n] for n in drawn) + of.get("load_kw", 0.0) - sum(of[f"{pv.name}_kw"] for pv in house.of("pv"))
    assert of["grid_kw"] == pytest.approx(total)
    price = np.where((of["grid_kw"] > 0) | (house.only("meter") is None), of["buy"], of["sell"])
    assert of["energy_cost"] == pytest.approx(house.grid.step_h * price * of["grid_kw"])
    again = run(plant, 100)
    assert all((of[n] == again[n]).all() for n in of), "the same seed is the same episode"


def test_a_capacity_charge_is_that_of_the_months_highest_hour() -> None:
    house = load_house("villa")
    of = run(HousePlant(house, world_of(house)), 288, first=0)
    hourly = np.maximum(of["grid_kw"], 0.0).reshape(24, 12).mean(axis=1)
    assert of["capacity_cost"].sum() == pytest.approx(house.only("meter").capacity.price_per_kw * hourly.max())
    assert of["month_peak"][-1] == pytest.approx(hourly.max())


@given(
    asked=st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 2.0]), min_size=1, max_size=80),
    run_steps=st.integers(0, 5),
    rest_steps=st.integers(0, 5),
)
def test_a_compressor_keeps_its_own_limits(asked: list[float], run_steps: int, rest_steps: int) -> None:
    hours = 1 / 12
    machine = SimulatedCompressor(0.4, run_steps * hours, rest_steps * hours)
    powers = [machine.step(kw, hours) for kw in asked]
    assert all(kw == 0.0 or kw >= 0.4 for kw in powers)
    spells = [(on, len(list(group))) for on, group in _groups([kw > 0 for kw in powers])]
    for on, length in spells[1:-1]:
        assert length >= max(1, run_steps if on else rest_steps)


def _groups(flags: list[bool]) -> Any:
    from itertools import groupby

    return groupby(flags)


@pytest.mark.parametrize("asked", [0.05, 0.2, 0.35])
def test_less_than_the_smallest_power_is_met_on_the_average(asked: float) -> None:
    machine = SimulatedCompressor(0.4, 0.5, 0.25)
    powers = [machine.step(asked, 1 / 12) for _ in range(3000)]
    assert np.mean(powers) == pytest.approx(asked, abs=0.01)


def test_heat_and_water_of_a_tank_add_up_and_a_cold_one_is_noticed() -> None:
    house = load_house("tank")
    tank, plant = house.of("tank")[0], HousePlant(house, world_of(house))
    of = run(plant, 96, lambda k: [1.0], initial={"water_temperature": 60.0})
    capacity = tank.litres * KWH_PER_LITRE_K
    mean = of["water_temperature"]
    lost = tank.loss_w_per_k / 1000 * (np.concatenate([[60.0], mean[:-1]]) - tank.ambient_c)
    balance = (of["heater_heat_kw"] - of["water_draw_kw"] - lost) * house.grid.step_h
    assert capacity * (mean[-1] - 60.0) == pytest.approx(balance.sum(), abs=0.05)
    assert of["water_cold_litres"].sum() == 0.0 and (of["water_top"] >= mean - 1e-9).all()
    cold = run(plant, 96, lambda k: [0.0], initial={"water_temperature": 25.0})
    drawn_litres = cold["water_draw_kw"].sum() * house.grid.step_h / (KWH_PER_LITRE_K * 30.0)
    assert cold["water_cold_litres"].sum() == pytest.approx(drawn_litres) and drawn_litres > 20.0


def test_a_fitted_model_may_be_the_truth() -> None:
    """Zones follow the ARX under the flows that the machines really had, its innovations apart."""
    house = load_house("villa")
    model = nameplate_model(house)
    still = type(model)(
        model.output_coefficients, model.input_coefficients, model.innovation_mean,
        1e-18 * np.eye(model.ny), model.dt_s,
    )  # fmt: skip
    start = {"ground_temperature": 20.5, "upper_temperature": 19.0, "studio_temperature": 18.0}
    plant = HousePlant(house, world_of(house), fits={"zone": still})
    of = run(plant, 60, lambda k: [0.0, 0.0, 0.0, 1.5 + (k % 7) / 7, 0.0], initial=start)
    assert inputs_of(house) == ("outdoor", "sun", "hp")
    y = np.array([20.5, 19.0, 18.0])
    heat = of["hp_heat_kw"]
    for k in range(60):
        u = np.array([of["outdoor"][k], of["sun"][k] / 1000.0, heat[k]])
        y = still.output_coefficients[0] @ y + still.input_coefficients[0] @ u
        assert [of[f"{z.name}_temperature"][k] for z in house.of("zone")] == pytest.approx(y.tolist(), abs=1e-6)


def test_what_is_foreseen_is_repeatable_and_perfect_where_that_is_asked() -> None:
    house = load_house("cabin")
    plant = HousePlant(house, world_of(house, 4.0))
    plant.reset(seed=3, options={"first": 144})  # noon in UTC, 13:00 in Oslo: tomorrow's prices are out
    for name in plant.world.columns:
        assert (plant.forecast(name, 300) == plant.forecast(name, 300)).all()
        assert (plant.forecast(name, 300, error=0.0) == plant.world[name][144:444]).all()
    known = 12 * (11 + 24)
    ahead, coming = plant.forecast("buy", 500), plant.world["buy"][144:644]
    assert (ahead[:known] == coming[:known]).all() and (ahead[known:] == ahead[known - 288 : 500 - 288]).all()
    errors = [plant.forecast("outdoor", 300)[[0, -1]] - plant.world["outdoor"][[144, 443]]]
    assert errors[0][0] == 0.0 and 0.0 < abs(errors[0][1]) < 5.0
    assert (plant.forecast("load", 300) != plant.world["load"][144:444]).mean() > 0.9


def test_a_column_may_come_from_a_file(tmp_path: Path) -> None:
    house = load_house("villa")
    world = world_of(house, 1.0)
    hours = range(-1, 30)
    times = [datetime.fromtimestamp(WINTER.timestamp() + 3600 * h, UTC).isoformat() for h in hours]
    rows = [f"{time},{h},{0.01 * h},7" for time, h in zip(times, hours, strict=True)]
    path = tmp_path / "measured.csv"
    path.write_text("time,outdoor,buy,else\n" + "\n".join(rows) + "\n", encoding="utf-8")
    changed = with_file(world, path)
    assert changed["outdoor"][:25] == pytest.approx(np.arange(25) / 12)  # joined
    assert changed["buy"][:25] == pytest.approx(np.repeat([0.0, 0.01, 0.02], 12)[:25])  # held
    assert (changed["load"] == world["load"]).all()
    path.write_text("time,outdoor\n" + "\n".join(row.rsplit(",", 2)[0] for row in rows[:12]) + "\n", encoding="utf-8")
    with pytest.raises(SeriesError, match="the run needs more"):
        with_file(world, path)
    path.write_text(f"time,outdor\n{times[0]},1\n{times[1]},2\n", encoding="utf-8")
    with pytest.raises(SeriesError, match="name them as in: outdoor"):
        with_file(world, path)


def test_what_cannot_be_is_one_line() -> None:
    house = load_house("flat")
    plant = HousePlant(house, world_of(house))
    with pytest.raises(PlantError, match="did you mean 'living_temperature'"):
        plant.reset(options={"initial": {"living_temprature": 20.0}})
    with pytest.raises(PlantError, match="make the world longer"):
        plant.reset(options={"steps": 10_000})
    plant.reset(options={"steps": 1})
    with pytest.raises(PlantError, match="not 1 finite numbers"):
        plant.step([np.nan])
    coarse = parse_house((SHIPPED / "flat.toml").read_text().replace("[grid]", '[grid]\nstep = "15 min"'))
    with pytest.raises(PlantError, match="make them equal"):
        HousePlant(coarse, plant.world)
