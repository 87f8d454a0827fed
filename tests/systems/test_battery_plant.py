"""The battery plant keeps energy and money in order, is not the model, and tells only what could be known."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.battery.exogenous import Exogenous, from_price_file, from_spot, generated
from systems.battery.generator import PRICE_SHAPES, Household
from systems.battery.plant import BatteryPlant, PlantSpec, cell_power, inverter_loss
from systems.battery.tariff import Tariff, TariffError, load_tariff

CET = timezone(timedelta(hours=1))
SERIES = generated(3, seed=0)


def test_the_environment_passes_gymnasiums_own_check() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # recommendations on normalised actions
        check_env(BatteryPlant(exogenous=SERIES))


def test_the_same_seed_gives_the_same_week_whatever_the_actions_and_seed_zero_is_a_seed() -> None:
    plant = BatteryPlant(exogenous=SERIES)

    def net_loads(seed: int, charge: float) -> list[float]:
        plant.reset(seed=seed)
        return [plant.step(np.array([charge, 0.0]))[4]["net_load_kw"] for _ in range(50)]

    assert net_loads(0, 0.0) == net_loads(0, 3.0)
    assert net_loads(0, 0.0) != net_loads(1, 0.0)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 1),
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20)), min_size=1, max_size=30),
    st.integers(0, 1000),
)
def test_energy_is_lost_never_made_and_limits_hold(soc: float, actions: list[tuple[float, float]], seed: int) -> None:
    plant = BatteryPlant(exogenous=SERIES)
    battery = plant.physics.battery
    plant.reset(seed=seed, options={"soc": soc, "step": 100})
    stored = soc * battery.capacity_kwh
    for action in actions:
        k = plant.step_index
        _, reward, _, _, info = plant.step(np.array(action))
        power, now = info["power_kw"], info["soc_true"] * battery.capacity_kwh
        assert 0.0 <= info["soc_true"] <= 1.0
        assert -battery.max_discharge_kw <= power <= battery.max_charge_kw
        # What the cells gain is less than what came in; what they give is more than what went out.
        assert now - stored <= 0.25 * power + 1e-9
        grid = info["net_load_kw"] + power
        assert info["grid_kw"] == pytest.approx(grid)
        price = SERIES.buy_price[k] if grid > 0 else SERIES.sell_price[k]
        assert info["cost_eur"] == pytest.approx(0.25 * price * grid)
        assert reward == -info["cost_eur"]
        stored = now


def test_power_tapers_near_full_and_near_empty() -> None:
    plant = BatteryPlant(exogenous=SERIES)

    def power(soc: float, charge: float, discharge: float) -> float:
        plant.reset(seed=0, options={"soc": soc})
        return plant.step(np.array([charge, discharge]))[4]["power_kw"]

    assert power(0.5, 5.0, 0.0) == 5.0
    assert power(0.9, 5.0, 0.0) == pytest.approx(5.0 * (0.1 + 0.9 * 0.5))
    assert power(0.99, 5.0, 0.0) == pytest.approx(0.1 / 0.25)  # what has room
    assert power(1.0, 5.0, 0.0) == 0.0
    assert power(0.5, 0.0, 5.0) == -5.0
    assert power(0.1, 0.0, 5.0) == pytest.approx(-5.0 * (0.1 + 0.9 * 0.5))
    assert power(0.0, 0.0, 5.0) == 0.0


def test_efficiency_is_worst_at_part_load() -> None:
    spec = PlantSpec()
    charging = [cell_power(spec, p) / p for p in (0.2, 0.5, 1.0, 2.0)]
    discharging = [p / -cell_power(spec, -p) for p in (0.2, 0.5, 1.0, 2.0)]
    assert charging == sorted(charging) and charging[0] < 0.7 < 0.93 < charging[-1]
    assert discharging == sorted(discharging)
    assert cell_power(spec, 0.0) == -spec.standby_kw
    assert inverter_loss(spec, 5.0) == pytest.approx(0.05 + 0.02 * 5 + 0.004 * 25)


def test_the_measured_soc_is_on_the_grid_of_its_resolution() -> None:
    plant = BatteryPlant(exogenous=SERIES)
    plant.reset(seed=0, options={"soc": 0.5049})
    assert plant.measured_state() == pytest.approx([0.50])
    fine = BatteryPlant(PlantSpec(soc_resolution=0.001), SERIES)
    fine.reset(seed=0, options={"soc": 0.5049})
    assert fine.measured_state() == pytest.approx([0.505])


def test_the_net_load_lies_above_its_forecast_by_the_mean_of_the_spikes() -> None:
    spec = PlantSpec()
    expected = spec.spikes_per_day / 96 * (1 + spec.spike_max_steps) / 2 * (spec.spike_min_kw + spec.spike_max_kw) / 2
    plant = BatteryPlant(spec, generated(20))
    means = []
    for seed in range(40):
        plant.reset(seed=seed)
        deviations = plant.true_forecast(800)[:, 2] - plant.forecast(800)[:, 2]
        means.append(deviations.mean())
    assert np.mean(means) == pytest.approx(expected, abs=4 * np.std(means) / np.sqrt(len(means)))


def ramp(start: datetime) -> Exogenous:
    """Prices that name their step, so that a forecast shows where each of its rows came from."""
    n = 5 * 96
    return Exogenous(start, 900.0, np.arange(n) + 0.0, np.arange(n) - 1.0, 1000.0 + np.arange(n))


@pytest.mark.parametrize(
    ("hour", "known_days"), [(0, 1), (8, 1), (12, 1), (13, 2), (18, 2)], ids=lambda value: str(value)
)
def test_prices_are_known_by_the_day_ahead_rule_and_then_persist(hour: int, known_days: int) -> None:
    plant = BatteryPlant(exogenous=ramp(datetime(2024, 1, 1, tzinfo=CET)))
    now = 96 + 4 * hour
    plant.reset(seed=0, options={"step": now})
    forecast = plant.forecast(192)
    assert forecast.shape == (193, 3)
    steps = now + np.arange(193)
    end = 96 * (1 + known_days)
    expected = [s if s < end else end - 96 + (s - end) % 96 for s in steps]
    np.testing.assert_array_equal(forecast[:, 0], expected)
    np.testing.assert_array_equal(forecast[:, 1], np.array(expected) - 1.0)
    np.testing.assert_array_equal(forecast[:, 2], 1000.0 + steps)
    np.testing.assert_array_equal(plant.true_forecast(192)[:, 0], steps)


def test_the_day_ahead_rule_follows_the_local_clock_of_a_series_that_begins_at_noon() -> None:
    plant = BatteryPlant(exogenous=ramp(datetime(2024, 1, 1, 12, tzinfo=CET)))
    plant.reset(seed=0, options={"step": 0})
    assert plant.forecast(96)[47, 0] == 47.0  # 23:45 today
    assert plant.forecast(96)[48, 0] == 0.0  # midnight: not known, and no day before it
    plant.reset(seed=0, options={"step": 4})
    assert plant.forecast(96)[60, 0] == 64.0  # after 13:00 tomorrow is known


def test_the_true_forecast_is_what_then_happens() -> None:
    plant = BatteryPlant(exogenous=SERIES)
    plant.reset(seed=7)
    foreseen = plant.true_forecast(96)[:, 2]
    happened = [plant.step(np.zeros(2))[4]["net_load_kw"] for _ in range(97)]
    np.testing.assert_array_equal(foreseen, happened)


def test_forecasts_reach_over_the_end_of_the_series() -> None:
    plant = BatteryPlant(exogenous=SERIES)
    plant.reset(seed=0, options={"step": len(SERIES) - 3})
    assert plant.forecast(96).shape == (97, 3)
    assert np.isfinite(plant.true_forecast(96)).all()
    ends = [plant.step(np.zeros(2))[3] for _ in range(3)]
    assert ends == [False, False, True]


def test_a_start_outside_the_series_is_refused() -> None:
    plant = BatteryPlant(exogenous=SERIES)
    with pytest.raises(ValueError, match="outside the series"):
        plant.reset(options={"step": len(SERIES)})
    with pytest.raises(ValueError, match="soc"):
        plant.reset(options={"soc": 1.2})


def test_selling_may_pay_more_than_buying_and_is_billed_so() -> None:
    """Spot carries no VAT where it is sold: below zero selling costs less than buying earns. A feed-in may be fixed."""
    spot = np.array([-1.0, -0.05, 0.0, 0.05, 3.0] * 96)
    start = datetime(2024, 1, 1, tzinfo=CET)
    np.testing.assert_allclose(from_spot(spot, start).sell_price, spot - 0.003)
    series = from_spot(spot, start, tariff=Tariff(feed_in=0.081))
    np.testing.assert_array_equal(series.sell_price, 0.081)
    plant = BatteryPlant(PlantSpec(), series)
    plant.reset(seed=0, options={"step": 100, "soc": 0.5})
    for action in ([5.0, 0.0], [0.0, 5.0]):
        _, _, _, _, info = plant.step(np.array(action))
        k, grid = plant.step_index - 1, info["grid_kw"]
        price = series.buy_price[k] if grid > 0 else 0.081
        assert info["cost_eur"] == pytest.approx(0.25 * price * grid)


def test_a_tariff_file_changes_what_it_names_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tariff.toml"
    path.write_text("vat = 0.19\ntax = 0\n")
    assert load_tariff(path) == Tariff(vat=0.19, tax=0.0)
    for text, remedy in {
        "grid_fee_nigth = 0.1": "did you mean 'grid_fee_night'",
        'vat = "19 %"': "not a finite number",
        "vat = nan": "not a finite number",
        "vat: 0.19": "not a TOML file",
    }.items():
        path.write_text(text)
        with pytest.raises(TariffError, match=r"tariff\.toml") as caught:
            load_tariff(path)
        assert remedy in str(caught.value) and caught.value.exit_code == 78


def test_a_part_of_a_series_tells_what_the_whole_tells() -> None:
    series = generated(6, seed=3)
    whole, part = BatteryPlant(exogenous=series), BatteryPlant(exogenous=series.slice(1000, 2600))
    for step in (1100, 1153, 1300):
        whole.reset(seed=1, options={"step": step})
        part.reset(seed=1, options={"step": step - 1000})
        assert whole.time == part.time
        np.testing.assert_array_equal(whole.forecast(192), part.forecast(192))
        np.testing.assert_array_equal(whole.true_forecast(192), part.true_forecast(192))


def test_the_day_fee_holds_on_working_days_from_six_to_ten_in_the_evening() -> None:
    monday = from_spot(np.zeros(7 * 96), datetime(2024, 1, 1, tzinfo=CET), tariff=Tariff())
    dear = monday.buy_price.reshape(7, 96) > monday.buy_price.min() + 1e-9
    assert dear[:5, 24:88].all() and not dear[:5, :24].any() and not dear[:5, 88:].any()
    assert not dear[5:].any()


@pytest.mark.parametrize("kind", sorted(PRICE_SHAPES))
def test_generated_prices_have_two_daily_peaks_cheaper_weekends_and_a_seed(kind: str) -> None:
    series = generated(40, kind=kind, seed=1)
    spot = series.sell_price.reshape(-1, 7, 24, 4)
    week_days = spot[:, :5].mean((0, 1, 3))
    assert week_days[7:10].max() > week_days[11:15].min() < week_days[17:20].max()
    assert week_days[2:5].min() < week_days[7:10].min()
    assert spot[:, 5:].mean() < spot[:, :5].mean()
    np.testing.assert_array_equal(series.buy_price, generated(40, kind=kind, seed=1).buy_price)
    assert not np.array_equal(series.buy_price, generated(40, kind=kind, seed=2).buy_price)


def test_the_household_needs_more_in_winter_and_produces_at_noon_in_summer() -> None:
    net = generated(52, seed=0).net_load_forecast[: 364 * 96].reshape(364, 96)
    assert net[:30].mean() > net[165:195].mean() + 0.5
    assert net[165:195, 48:56].mean() < -1.0
    none = from_spot(np.full(96, 0.1), datetime(2024, 6, 20, tzinfo=CET), house=Household(pv_peak_kw=0.0))
    assert none.net_load_forecast.min() > 0.0


def test_prices_from_a_file_come_on_the_quarter_hour_in_their_own_clock(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    start = datetime(2024, 5, 1, tzinfo=CET)
    rows = [f"{(start + timedelta(hours=k)).isoformat()},{0.01 * k:.2f}" for k in range(48)]
    path.write_text("time,price_eur_per_kwh\n" + "\n".join(rows) + "\n")
    series = from_price_file(path)
    assert (len(series), series.start, series.dt_s, series.midnight(0)) == (192, start, 900.0, 0)
    np.testing.assert_allclose(series.sell_price[4:8], 0.01 - 0.003)
    assert series.source == "prices.csv"
