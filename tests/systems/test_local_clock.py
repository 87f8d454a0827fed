"""The clock on the wall over a grid is that of the standard library, with the turns of daylight saving and of zones."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from systems.clock import local_clock


@pytest.mark.parametrize("zone", ["Europe/Oslo", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia", "UTC"])
def test_hours_and_days_are_those_of_the_standard_library_at_every_step(zone: str) -> None:
    """Apia left out the last Friday of 2011; Lord Howe turns by half an hour; Casablanca back and forth for Ramadan."""
    start, dt_s, n = datetime(2011, 3, 1, 3, 7, tzinfo=UTC), 900.0, 35_040
    clock = local_clock(start, dt_s, n, ZoneInfo(zone))
    local = [datetime.fromtimestamp(start.timestamp() + k * dt_s, ZoneInfo(zone)) for k in range(n)]
    np.testing.assert_allclose(clock.hour, [t.hour + t.minute / 60 for t in local], atol=1e-9)
    assert clock.weekday.tolist() == [t.weekday() for t in local]
    assert clock.day_of_year.tolist() == [t.timetuple().tm_yday for t in local]
