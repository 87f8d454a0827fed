"""The two houses: Gymnasium's check, seeds, energy balance, and the physics a controller does not know."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.house.arx import reference_model
from systems.house.cost import HouseCost
from systems.house.heat_pump import HeatPump, HeatPumpSpec
from systems.house.physical import PhysicalSpec, discretise, solar_gain_kw
from systems.house.plant import ArxHouse, ArxHouses, ForecastError, HousePlant, PhysicalHouse
from systems.house.rules import Exciting, HeatingCurve, Rule, Thermostat
from systems.house.weather import Conditions, clear_sky_w_m2, generate_conditions, sun_position

WINTER = generate_conditions(0, start=datetime(2018, 1, 1, tzinfo=UTC), days=12)


def still(outdoor_c: float, days: int = 12) -> Conditions:
    """Constant weather without sun."""
    n = days * 288
    return Conditions(1.5e9, 300.0, np.full(n, outdoor_c), np.zeros(n), np.full(n, 0.1))


def plants(steps: int | None = None) -> list[HousePlant]:
    return [ArxHouse(reference_model(), WINTER, steps=steps), PhysicalHouse(WINTER, steps=steps)]


def run(plant: HousePlant, rule: Rule, seed: int = 0, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(true temperatures (T, 4), powers (T, 4))."""
    y, _ = plant.reset(seed=seed, options={"first": first})
    temperatures, powers = [], []
    for _ in range(plant.steps):
        y, _, _, _, info = plant.step(rule.act(y, float(plant.conditions.outdoor_c[plant.k])))
        temperatures.append(info["temperature_c"])
        powers.append(info["power_kw"])
    return np.array(temperatures), np.array(powers)


@pytest.mark.parametrize("kind", [0, 1])
def test_the_environments_pass_gymnasiums_own_check(kind: int) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*symmetric and normalized space.*")
        check_env(plants(50)[kind], skip_render_check=True)


@pytest.mark.parametrize("kind", [0, 1])
def test_the_same_seed_gives_the_same_days_and_zero_is_a_seed(kind: int) -> None:
    first, again, other = (run(plants(200)[kind], Exciting(1), seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_the_arx_house_is_the_model_with_its_innovations() -> None:
    model, house = reference_model(), ArxHouse(reference_model(), WINTER, steps=200)
    temperatures, powers = run(house, Exciting(0), seed=5)
    x0 = ArxHouse(model, WINTER, steps=200)
    x0.reset(seed=5)
    inputs = np.column_stack([WINTER.outdoor_c[:200], powers])
    simulated, final = model.simulate(x0.state, inputs, house._innovations)
    assert np.abs(simulated - temperatures).max() < 1e-10
    assert np.abs(house.measured_state(model) - final).max() < 1e-9
    assert np.abs(house.measured_state() - final).max() < 1e-9


def test_houses_side_by_side_are_the_single_house() -> None:
    model, rng = reference_model(), np.random.default_rng(0)
    outdoor, power = rng.normal(0, 5, (3, 60)), rng.uniform(0, 1, (3, 60, 4))
    e = model.sample_innovations(rng, (3, 60))
    blocks, steps = ArxHouses(model, outdoor, e), ArxHouses(model, outdoor, e)
    x0 = blocks.state.copy()
    y = np.concatenate([blocks.hold(power[:, k : k + 6]) for k in range(0, 60, 6)], axis=1)
    single = np.stack([steps.step(power[:, k]) for k in range(60)], axis=1)
    truth, final = model.simulate(x0, np.concatenate([outdoor[..., None], power], axis=-1), e)
    assert np.abs(y - truth).max() < 1e-10
    assert np.abs(single - truth).max() < 1e-10
    assert np.abs(blocks.measured_state(model) - final).max() < 1e-9


def test_the_rc_step_is_the_matrix_exponential_and_keeps_energy() -> None:
    """Two half steps are one; with no losses to the outside, the heat put in is the heat found."""
    spec = PhysicalSpec()
    one, half = discretise(spec, 300.0), discretise(spec, 150.0)
    assert np.abs(half.phi @ half.phi - one.phi).max() < 1e-12
    assert np.abs(half.phi @ half.gamma_heat + half.gamma_heat - one.gamma_heat).max() < 1e-12
    assert np.allclose(one.phi @ np.full(8, 7.0) + one.gamma_out * 7.0, 7.0)
    closed = PhysicalSpec(mass_to_outside_kw_per_k=(1e-6,) * 4, windows_kw_per_k=(0.0,) * 4)
    capacity = np.array([*closed.air_kwh_per_k, *closed.mass_kwh_per_k])
    q = np.arange(8.0)
    assert capacity @ (discretise(closed, 300.0).gamma_heat @ q) == pytest.approx(q.sum() / 12.0, rel=1e-4)


def test_heat_in_equals_heat_lost_once_the_physical_house_has_settled() -> None:
    """After days at constant weather, conduction and air exchange carry away what heat pumps and people bring."""
    house = PhysicalHouse(still(-5.0), house=PhysicalSpec(sensor_std_k=0.0))
    temperatures, powers = run(house, HeatingCurve())
    last = slice(-288, None)
    s = house.house
    mass = np.array(s.mass_to_outside_kw_per_k)
    coupling = np.array(s.air_to_mass_kw_per_k)
    conduction = mass * coupling / (mass + coupling) + np.array(s.windows_kw_per_k)
    lost = ((temperatures[last].mean(0) + 5.0) * conduction).sum()
    cop = HeatPumpSpec().cop(-5.0, 21.0, powers[last].mean() / 1.5)
    brought = powers[last].sum(1).mean() * cop + house._gains[last].sum(1).mean()
    assert 1.0 < brought / lost < 1.35  # air exchange takes the rest


def test_more_power_is_warmer_in_every_room_and_most_in_its_own() -> None:
    for first in range(4):
        rise = []
        for extra in (0.0, 0.5):
            house = PhysicalHouse(still(0.0, 2), house=PhysicalSpec(sensor_std_k=0.0))
            house.reset(seed=0)
            power = np.full(4, 0.4)
            power[first] += extra
            for _ in range(288):
                *_, info = house.step(power)
            rise.append(info["temperature_c"])
        difference = rise[1] - rise[0]
        assert (difference > 0.05).all()
        assert difference.argmax() == first


@settings(max_examples=40, deadline=None)
@given(
    outdoor=st.floats(-25.0, 15.0),
    requests=st.lists(st.floats(-1.0, 3.0), min_size=1, max_size=200),
)
def test_a_heat_pump_draws_what_it_can_and_meets_the_request_on_average(outdoor: float, requests: list[float]) -> None:
    pump, spec = HeatPump(), HeatPumpSpec()
    drawn = np.array([pump.step(r, outdoor, 21.0) for r in requests])
    assert ((drawn[:, 0] <= spec.max_power_kw + 1e-12) & (drawn[:, 0] >= spec.standby_kw)).all()
    running = drawn[:, 0] > spec.standby_kw + 1e-12
    assert (drawn[running, 0] >= 0.9 * spec.min_power_kw).all()
    assert (drawn[:, 1] <= spec.full_heat_kw(outdoor) + 1e-9).all()
    assert (drawn[:, 1] >= spec.defrost_heat_kw).all()


def test_a_small_request_is_met_by_switching_on_and_off() -> None:
    pump, spec = HeatPump(), HeatPumpSpec()
    drawn = np.array([pump.step(0.05, 10.0, 21.0)[0] for _ in range(300)])
    running = drawn > spec.standby_kw
    assert drawn[running].mean() == pytest.approx(spec.min_power_kw)
    assert drawn[running].sum() / 300 == pytest.approx(0.05, rel=0.02)


def test_the_map_is_that_of_the_rating_points_and_part_load_is_better() -> None:
    spec = HeatPumpSpec()
    assert spec.cop(7.0, 20.0, 1.0) == pytest.approx(3.4, abs=0.1)
    assert spec.cop(-7.0, 20.0, 1.0) == pytest.approx(2.55, abs=0.1)
    assert spec.cop(7.0, 20.0, 0.5) > 4.0
    cops = [spec.cop(t, 20.0, 0.5) for t in range(-20, 10)]
    assert (np.diff(cops) > 0).all()
    assert spec.full_heat_kw(-15.0) < spec.full_heat_kw(7.0)


def test_it_defrosts_near_freezing_but_neither_in_mild_nor_in_dry_cold_weather() -> None:
    def defrosts(outdoor: float) -> int:
        pump = HeatPump()
        return sum(pump.step(1.0, outdoor, 21.0)[1] < 0.0 for _ in range(288))

    assert defrosts(1.0) > 5
    assert defrosts(10.0) == defrosts(-18.0) == 0


def test_the_sun_comes_through_the_south_window_at_noon_and_never_at_night() -> None:
    grid = generate_conditions(1, start=datetime(2018, 3, 20, tzinfo=UTC), days=1)
    clear = clear_sky_w_m2(sun_position(grid.time_s, 63.4, 10.4)[0])
    day = Conditions(grid.start_s, grid.dt_s, grid.outdoor_c, clear, grid.price_eur_kwh)
    gain = solar_gain_kw(PhysicalSpec(), day)
    assert (gain >= 0.0).all()
    assert gain[:48].max() == gain[-12:].max() == 0.0
    assert 10.0 < gain[:, 0].argmax() / 12.0 < 13.0
    assert gain[:, 3].argmax() < gain[:, 0].argmax() < gain[:, 1].argmax()  # east, south, west


def test_history_is_what_was_measured_and_drawn() -> None:
    house = PhysicalHouse(WINTER, steps=40)
    y, _ = house.reset(seed=0)
    outputs, inputs = [y], []
    for k in range(40):
        y, _, _, truncated, info = house.step(np.full(4, 0.6))
        outputs.append(y)
        inputs.append([WINTER.outdoor_c[k], *info["power_kw"]])
    assert truncated
    past_y, past_u = house.history()
    assert np.array_equal(past_y, np.array(outputs)[-12:])
    assert np.array_equal(past_u, np.array(inputs)[-11:])


def test_the_forecast_knows_published_prices_and_errs_about_the_weather() -> None:
    house = PhysicalHouse(WINTER, forecast_error=ForecastError(std_k=1.0))
    house.reset(seed=0)
    truth, forecast = house.true_forecast(144), house.forecast(144)
    assert np.array_equal(forecast, house.forecast(144))
    assert forecast[0, 0] == truth[0, 0]
    assert np.array_equal(forecast[:, 1], truth[:, 1])  # midnight UTC: the market's day is not over within 12 h
    errors = np.array([ForecastError(1.0).draw(np.random.default_rng(s), 145, 300.0) for s in range(2000)])
    assert errors[:, 0].std() == 0.0
    assert np.diff(errors[:, ::36].std(0)).min() > 0.0
    assert errors[:, -1].std() == pytest.approx(np.sqrt(1 - np.exp(-2 * 12 / 8.0)), rel=0.06)


def test_before_noon_the_prices_of_tomorrow_are_those_of_today() -> None:
    season = generate_conditions(2, start=datetime(2018, 1, 1, tzinfo=UTC), days=4)
    k = 288 + 11 * 12  # 12:00 market time: tomorrow is not published
    seen, true = season.known_prices(k, 288), season.price_eur_kwh[k : k + 289]
    until_midnight = 12 * 12
    assert np.array_equal(seen[:until_midnight], true[:until_midnight])
    assert np.array_equal(seen[until_midnight:], season.price_eur_kwh[k + until_midnight - 288 : k + 1])
    later = k + 12
    assert np.array_equal(season.known_prices(later, 288), season.price_eur_kwh[later : later + 289])


def test_cost_is_that_of_equation_40_with_a_soft_band() -> None:
    cost = HouseCost(alpha=2.0, beta=0.5, violation_linear=3.0, violation_quadratic=4.0)
    assert cost.price_rate([0.5, 0.25, 0, 0], 0.2) == pytest.approx(2 * 0.2 * 0.75)
    assert cost.comfort_rate([21, 22, 21, 21]) == pytest.approx(0.5)
    assert cost.comfort_rate([17, 24, 21, 21]) == pytest.approx(0.5 * (16 + 9) + 3 * 2 + 2 * (1 + 1))
    house = ArxHouse(reference_model(), WINTER, cost=cost, steps=5)
    house.reset(seed=0)
    y, reward, _, _, info = house.step(np.full(4, 0.5))
    expected = -(cost.price_rate(np.full(4, 0.5), WINTER.price_eur_kwh[0]) + cost.comfort_rate(y)) / 12
    assert reward == pytest.approx(float(expected))
    assert info["cost_eur"] == pytest.approx(WINTER.price_eur_kwh[0] * 2.0 / 12)


def test_rules_hold_the_house_near_the_set_point() -> None:
    for rule in (Thermostat(power_kw=1.2), HeatingCurve()):
        temperatures, _ = run(PhysicalHouse(WINTER, steps=288 * 5), rule)
        assert temperatures[288:].min() > 20.2
        assert temperatures[288:].max() < 22.5


def test_an_episode_beyond_the_season_and_an_action_that_is_no_number_are_refused() -> None:
    house = PhysicalHouse(WINTER, steps=288)
    with pytest.raises(ValueError, match="leaves the season"):
        house.reset(seed=0, options={"first": len(WINTER) - 10})
    house.reset(seed=0)
    with pytest.raises(ValueError, match="not finite"):
        house.step(np.array([0.1, np.nan, 0.1, 0.1]))
