"""What the daemon's tracker makes of a plan with prices, and of a battery at the limits of its house file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tracking_rig import battery_manifest, site_text

from runtime.bundle.keys import SigningKey
from runtime.bundle.manifest import Manifest
from runtime.decide.ladder import Level
from runtime.site.config import load_site
from runtime.track.tracker import Decided, MeterReading, Tracker


def priced(**changes: Any) -> Manifest:
    """The battery with prices and limits in what its bundle says of tracking."""
    plain = battery_manifest().model_dump(mode="json")
    tracking = plain["tracking"] | {"buy": "buy", "sell": "sell"} | changes
    tracking["batteries"] = [{**tracking["batteries"][0], "soc": "soc", "soc_min": 0.1, "soc_max": 0.9}]
    price = {"unit": "EUR/kWh", "lower": -1.0, "upper": 1.0}
    forecasts = [*plain["forecasts"], {**price, "name": "buy"}, {**price, "name": "sell"}]
    return battery_manifest(tracking=tracking, forecasts=forecasts)


def told(tmp_path: Path, key: SigningKey, soc: float, level: Level, later_price: float) -> tuple[float, float]:
    """(what a battery is told that looks at 2 kW, what it is told at -2 kW); it rests now and gives 1 kW later."""
    site = tmp_path / "site.toml"
    site.write_text(site_text(tmp_path / "battery", key.public, tmp_path / "port", 1883))
    rows = [(0.0, 2.0, 0.3 if k == 0 else later_price, 0.06) for k in range(5)]
    plan = ((0.0, 0.0), *((0.0, 1.0),) * 3)
    found = []
    for meter_kw in (2.0, -2.0):
        tracker = Tracker()
        tracker.renew(Decided(level, plan[0], rows, plan, (soc,)), load_site(site), priced())
        moved = tracker.follow(MeterReading(meter_kw, 10.0), (0.0, 0.0), 0.0, 10.0) or (0.0, 0.0)
        found.append(moved[0] - moved[1])
    return found[0], found[1]


@pytest.mark.parametrize("level", [Level.MPC, Level.RULE])
def test_a_plan_and_the_rule_stop_at_the_same_limits(tmp_path: Path, key: SigningKey, level: Level) -> None:
    gives, takes = told(tmp_path, key, 0.5, level, 0.3)
    assert gives < -1.0 and takes > 1.0
    assert told(tmp_path, key, 0.1, level, 0.3)[0] == 0.0 and told(tmp_path, key, 0.1, level, 0.3)[1] > 1.0
    assert told(tmp_path, key, 0.9, level, 0.3)[1] == 0.0 and told(tmp_path, key, 0.9, level, 0.3)[0] < -1.0


def test_what_a_plan_keeps_for_dearer_hours_is_kept(tmp_path: Path, key: SigningKey) -> None:
    assert told(tmp_path, key, 0.5, Level.MPC, 0.3)[0] < -1.0
    assert told(tmp_path, key, 0.5, Level.MPC, 0.5)[0] == 0.0


def test_a_bundle_that_names_what_it_has_not_is_refused() -> None:
    for wrong in ({"buy": "bye"}, {"sell": "soul"}):
        with pytest.raises(ValueError, match="is no forecast"):
            priced(**wrong)
