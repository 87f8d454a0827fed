"""The battery loses energy and never makes it; its household and its tariff are what they are said to be."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.asset_plant import Around, Now
from systems.assets.battery import Battery, battery_block
from systems.assets.battery.physics import (
    BatteryPhysics,
    cell_power,
    inverter_loss,
    limited_power,
    reported_soc,
)
from systems.assets.battery.plant import BatteryPlant
from systems.assets.load.deviation import LoadDeviation, load_deviation
from systems.clock import LocalClock, local_clock
from systems.house_file import SHIPPED, parse_house
from systems.tariff import Tariff, TariffError, load_tariff
from systems.world import Exogenous
from systems.world.household import PRICE_SHAPES, Household, household_load, spot_prices

CET = timezone(timedelta(hours=1))
HOUSE = (SHIPPED / "battery.toml").read_text()
BATTERY = BatteryPhysics(10.0, 5.0, 5.0)


def clock(weeks: int, dt_s: float = 900.0) -> LocalClock:
    return local_clock(datetime(2024, 1, 1, tzinfo=CET), dt_s, round(weeks * 7 * 86400 / dt_s))


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.lists(st.floats(-20, 20), min_size=1, max_size=30))
def test_energy_is_lost_never_made_and_limits_hold(soc: float, asked: list[float]) -> None:
    for power in asked:
        real = limited_power(BATTERY, soc, power, 0.25)
        assert -BATTERY.max_discharge_kw <= real <= BATTERY.max_charge_kw
        gained = 0.25 * cell_power(BATTERY, real)
        # What the cells gain is less than what came in; what they give is more than what went out.
        assert gained <= 0.25 * real + 1e-9
        soc = min(1.0, max(0.0, soc + gained / BATTERY.capacity_kwh))


def test_power_tapers_near_full_and_near_empty() -> None:
    def power(soc: float, asked: float) -> float:
        return limited_power(BATTERY, soc, asked, 0.25)

    assert power(0.5, 5.0) == 5.0
    assert power(0.9, 5.0) == pytest.approx(5.0 * (0.1 + 0.9 * 0.5))
    assert power(0.99, 5.0) == pytest.approx(0.1 / 0.25)  # what has room
    assert power(1.0, 5.0) == 0.0
    assert power(0.5, -5.0) == -5.0
    assert power(0.1, -5.0) == pytest.approx(-5.0 * (0.1 + 0.9 * 0.5))
    assert power(0.0, -5.0) == 0.0


def test_efficiency_is_worst_at_part_load() -> None:
    charging = [cell_power(BATTERY, p) / p for p in (0.2, 0.5, 1.0, 2.0)]
    discharging = [p / -cell_power(BATTERY, -p) for p in (0.2, 0.5, 1.0, 2.0)]
    assert charging == sorted(charging) and charging[0] < 0.7 < 0.93 < charging[-1]
    assert discharging == sorted(discharging)
    assert cell_power(BATTERY, 0.0) == -BATTERY.standby_kw
    assert inverter_loss(BATTERY, 5.0) == pytest.approx(0.05 + 0.02 * 5 + 0.004 * 25)


def test_the_measured_soc_is_on_the_grid_of_its_resolution() -> None:
    assert reported_soc(BATTERY, 0.5049) == pytest.approx(0.50)
    assert reported_soc(BatteryPhysics(10.0, 5.0, 5.0, soc_resolution=0.001), 0.5049) == pytest.approx(0.505)


def test_standby_is_paid_by_the_house_when_the_cells_are_empty() -> None:
    """15 W for a day, whichever way: what empty cells do not give comes from the meter."""
    battery = Battery(name="home", capacity_kwh=10.0, max_charge_kw=5.0, max_discharge_kw=5.0)
    plant = BatteryPlant(battery, battery_block(parse_house(HOUSE), battery))
    world = Exogenous(datetime(2024, 1, 1, tzinfo=CET), 900.0, CET, {})
    now = Now(0.25, 0, 0, 0, 0.0, {}, {})
    for soc in (0.0, 0.02, 0.5):
        plant.begin(np.random.default_rng(0), world, 0, 96, {"home_soc": soc})
        drawn = 0.0
        for _ in range(96):
            drawn += 0.25 * plant.draw((0.0, 0.0), now).electric_kw
            plant.advance(now, Around({}))
        left = 10.0 * (soc - plant.states()["home_soc"])
        assert drawn + left == pytest.approx(24 * 0.015) and (drawn > 0.0) == (soc < 0.036)


def test_the_load_lies_above_what_is_usual_by_the_mean_of_the_spikes() -> None:
    spec = LoadDeviation()
    expected = spec.spikes_per_day / 96 * (1 + spec.spike_max_steps) / 2 * (spec.spike_min_kw + spec.spike_max_kw) / 2
    means = [load_deviation(spec, 800, 96, np.random.default_rng(seed)).mean() for seed in range(40)]
    assert np.mean(means) == pytest.approx(expected, abs=4 * np.std(means) / np.sqrt(len(means)))


def test_selling_may_pay_more_than_buying() -> None:
    """Spot carries no VAT where it is sold: below zero selling costs less than buying earns. A feed-in may be fixed."""
    spot = np.array([-1.0, -0.05, 0.0, 0.05, 3.0])
    np.testing.assert_allclose(Tariff().sell_price(spot), spot - 0.003)
    np.testing.assert_array_equal(Tariff(feed_in=0.081).sell_price(spot), 0.081)


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


def test_the_day_fee_holds_on_working_days_from_six_to_ten_in_the_evening() -> None:
    week = clock(1)
    buy = Tariff().buy_price(np.zeros(7 * 96), week.hour, week.weekday)
    dear = buy.reshape(7, 96) > buy.min() + 1e-9
    assert dear[:5, 24:88].all() and not dear[:5, :24].any() and not dear[:5, 88:].any()
    assert not dear[5:].any()


@pytest.mark.parametrize("kind", sorted(PRICE_SHAPES))
def test_generated_prices_have_two_daily_peaks_cheaper_weekends_and_a_seed(kind: str) -> None:
    hours = clock(40, 3600.0)
    prices = spot_prices(kind, hours, 1)
    spot = prices.reshape(-1, 7, 24)
    week_days = spot[:, :5].mean((0, 1))
    assert week_days[7:10].max() > week_days[11:15].min() < week_days[17:20].max()
    assert week_days[2:5].min() < week_days[7:10].min()
    assert spot[:, 5:].mean() < spot[:, :5].mean()
    np.testing.assert_array_equal(prices, spot_prices(kind, hours, 1))
    assert not np.array_equal(prices, spot_prices(kind, hours, 2))


def test_the_household_needs_more_in_winter() -> None:
    load = household_load(Household(), clock(52)).reshape(364, 96)
    assert load[:30].mean() > load[165:195].mean() + 0.3
    assert load.min() > 0.0
