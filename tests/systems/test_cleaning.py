"""What of a log is no measurement: a power that stands still because it must, and one whose meter is stuck."""

from __future__ import annotations

import numpy as np

from systems.logs.cleaning import at_its_limit, power_suspects

DAY = 288
"""Samples of five minutes."""


def stuck(values: np.ndarray) -> np.ndarray:
    found = power_suspects(values, "rod_kw", "log.csv", 5.0, stuck=DAY)
    return next(bad for kind, bad, _ in found if kind == "stuck")


def test_a_heater_at_its_limit_for_days_is_no_stuck_meter() -> None:
    power = np.random.default_rng(0).uniform(0.2, 1.4, 12 * DAY)
    power[DAY : 4 * DAY] = power[6 * DAY : 8 * DAY] = 1.5
    assert not stuck(power).any()
    assert at_its_limit(power).sum() == 5 * DAY


def test_a_meter_that_is_stuck_is_found_wherever_it_stands() -> None:
    power = np.random.default_rng(0).uniform(0.2, 1.4, 12 * DAY)
    for value in (0.7, 1.5):  # once at its highest as well
        broken = power.copy()
        broken[3 * DAY : 5 * DAY] = value
        assert stuck(broken)[3 * DAY : 5 * DAY].all() and stuck(broken).sum() == 2 * DAY
