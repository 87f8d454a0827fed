"""What `nisse check` says of a battery that follows the meter with too few writes a day."""

from __future__ import annotations

from pathlib import Path

import pytest
from tracking_rig import battery_manifest, site_text

from runtime.bundle.keys import SigningKey
from runtime.site.check import warnings
from runtime.site.config import load_site


@pytest.mark.parametrize(
    ("budget", "extra", "warned"),
    [
        ("writes_per_day = 100000", "", False),
        ("", "", True),
        ("writes_per_day = 480", "", True),
        ("", "\n[tracking]\nenabled = false\n", False),
    ],
)  # fmt: skip
def test_a_small_budget_of_writes_is_told_where_the_meter_is_followed(
    tmp_path: Path, key: SigningKey, budget: str, extra: str, warned: bool
) -> None:
    text = site_text(tmp_path / "battery", key.public, tmp_path / "port", 1883, extra)
    assert "writes_per_day = 100000" in text
    site = tmp_path / "site.toml"
    site.write_text(text.replace("writes_per_day = 100000", budget))
    found = [line for line in warnings(load_site(site), battery_manifest()) if "follows the meter" in line]
    assert bool(found) == warned
    assert not found or ("outputs." in found[0] and f"one in {'3' if '480' in budget else '7'} min" in found[0])


def test_a_bundle_that_follows_nothing_needs_no_more_writes(tmp_path: Path, key: SigningKey) -> None:
    site = tmp_path / "site.toml"
    text = site_text(tmp_path / "battery", key.public, tmp_path / "port", 1883)
    site.write_text(text.replace("writes_per_day = 100000", ""))
    assert not [line for line in warnings(load_site(site), battery_manifest(tracking=None)) if "meter" in line]
