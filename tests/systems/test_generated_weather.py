"""The generated season has the statistics it claims."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from systems.world.weather import DAY_S, clear_sky_w_m2, generate_conditions, sun_position


def test_years_look_like_trondheim() -> None:
    years = [generate_conditions(s, start=datetime(2017, 1, 1, tzinfo=UTC), days=730, dt_s=3600.0) for s in range(4)]
    month = (np.arange(len(years[0])) // 24 % 365 / 30.42).astype(int)
    outdoor = np.array([y.outdoor_c for y in years])
    irradiance = np.array([y.irradiance_w_m2 for y in years])
    january, july = outdoor[:, month == 0], outdoor[:, month == 6]
    assert -5.0 < january.mean() < 0.5
    assert 12.0 < july.mean() < 17.0
    assert 3.0 < january.std() < 7.0
    assert outdoor.min() > -32.0
    assert irradiance[:, month == 11].mean() < 10.0
    assert 120.0 < irradiance[:, month == 5].mean() < 260.0
    assert irradiance.min() == 0.0


def test_prices_peak_in_the_morning_and_evening_and_rise_in_the_cold() -> None:
    season = generate_conditions(3, dt_s=3600.0)
    hour = ((season.time_s + 3600.0) % DAY_S / 3600.0).astype(int)
    by_hour = np.array([season.price_eur_kwh[hour == h].mean() for h in range(24)])
    assert by_hour[[8, 18]].min() > by_hour[[13, 23]].max() > by_hour[3]
    assert season.price_eur_kwh.min() > 0.0
    daily_temperature = season.outdoor_c[: 241 * 24].reshape(-1, 24).mean(1)[60:150]
    daily_price = season.price_eur_kwh[: 241 * 24].reshape(-1, 24).mean(1)[60:150]
    pooled = [np.corrcoef(daily_temperature, daily_price)[0, 1]]
    for seed in range(4, 10):
        other = generate_conditions(seed, dt_s=3600.0)
        t, p = (v[: 241 * 24].reshape(-1, 24).mean(1)[60:150] for v in (other.outdoor_c, other.price_eur_kwh))
        pooled.append(np.corrcoef(t, p)[0, 1])
    assert np.mean(pooled) < -0.1


def test_seeds_are_seasons() -> None:
    first, again, other = (generate_conditions(seed, days=5) for seed in (0, 0, 1))
    assert np.array_equal(first.outdoor_c, again.outdoor_c)
    assert np.array_equal(first.price_eur_kwh, again.price_eur_kwh)
    assert np.abs(first.outdoor_c - other.outdoor_c).max() > 0.5
    assert len(first) == 5 * 288


def test_the_sun_stands_where_almanacs_put_it() -> None:
    """Trondheim at noon: 90° - 63.4° + declination; six hours earlier at the equinox, due east on the horizon."""
    for day, declination in (
        (datetime(2018, 6, 21), 23.4),
        (datetime(2018, 12, 21), -23.4),
        (datetime(2018, 3, 20), 0.0),
    ):
        noon = day.replace(tzinfo=UTC).timestamp() + 43200.0 - 10.4 / 360.0 * DAY_S
        sine, azimuth = sun_position([noon, noon - 21600.0], 63.4, 10.4)
        assert np.rad2deg(np.arcsin(sine[0])) == pytest.approx(26.6 + declination, abs=1.0)
        assert np.rad2deg(azimuth[0]) == pytest.approx(180.0, abs=1.0)
        if declination == 0.0:
            assert np.rad2deg(azimuth[1]) == pytest.approx(90.0, abs=1.5)
            assert abs(sine[1]) < 0.02
    assert clear_sky_w_m2([1.0, 0.0, -0.5]).tolist() == pytest.approx([1098.0 * np.exp(-0.057), 0.0, 0.0])


def test_a_season_needs_a_time_zone_and_a_step_that_divides_the_hour() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        generate_conditions(0, start=datetime(2018, 1, 1))
    with pytest.raises(ValueError, match="does not divide an hour"):
        generate_conditions(0, days=1, dt_s=700.0)
    with pytest.raises(IndexError, match="make the season longer"):
        generate_conditions(0, days=1).window(280, 20)
