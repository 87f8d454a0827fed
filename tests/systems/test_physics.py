"""What zones and heat pumps really do: an exact step, machines that switch and defrost, sun through windows."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.assets.heat_pump.physics import HeatPumpSpec, HeatPumpUnit
from systems.assets.zone.physics import PhysicalSpec, discretise, solar_gain_kw
from systems.world.weather import Conditions, clear_sky_w_m2, generate_conditions, sun_position


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


@settings(max_examples=40, deadline=None)
@given(
    outdoor=st.floats(-25.0, 15.0),
    requests=st.lists(st.floats(-1.0, 3.0), min_size=1, max_size=200),
)
def test_a_heat_pump_draws_what_it_can_and_meets_the_request_on_average(outdoor: float, requests: list[float]) -> None:
    pump, spec = HeatPumpUnit(), HeatPumpSpec()
    drawn = np.array([pump.step(r, outdoor, 21.0) for r in requests])
    assert ((drawn[:, 0] <= spec.max_power_kw + 1e-12) & (drawn[:, 0] >= spec.standby_kw)).all()
    running = drawn[:, 0] > spec.standby_kw + 1e-12
    assert (drawn[running, 0] >= 0.9 * spec.min_power_kw).all()
    assert (drawn[:, 1] <= spec.full_heat_kw(outdoor) + 1e-9).all()
    assert (drawn[:, 1] >= spec.defrost_heat_kw).all()


def test_a_small_request_is_met_by_switching_on_and_off() -> None:
    pump, spec = HeatPumpUnit(), HeatPumpSpec()
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
        pump = HeatPumpUnit()
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
