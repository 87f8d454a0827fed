"""What a kWh costs here: VAT, fees by hour, weekday and season, the feed-in rule, by the clock of the house's zone."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from feed_site import call, site_text, write_site

from feeds.tariff import buying, fixed_price, selling
from runtime.errors import ConfigError
from runtime.formats.profile import Profile
from runtime.site.config import load_site
from runtime.site.feeds import FeedIn, PriceSection

OSLO = ZoneInfo("Europe/Oslo")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=OSLO).timestamp()


def section(**more: Any) -> PriceSection:
    return PriceSection.model_validate({"source": "nordpool", "zone": "NO3", **more})


def cost(text: str, price: float, gross: bool = False, **more: Any) -> float:
    energy = Profile.regular(at(text) // 3600 * 3600, 3600.0, [price])
    return buying(section(**more), energy, gross, OSLO).mean(at(text), at(text) + 900)[0]


FEE = {"default": 0.2, "schedule": [{"days": "mon-fri", "from": "06:00", "to": "22:00", "value": 0.4}]}


@pytest.mark.parametrize(
    ("text", "more", "expected"),
    [
        ("2026-01-14T12:00", {}, 0.5),
        ("2026-01-14T12:00", {"vat": 0.25}, 0.625),
        ("2026-01-14T12:00", {"vat": 0.25, "grid_fee": FEE}, 1.25 * 0.9),  # Wednesday, day
        ("2026-01-14T22:00", {"vat": 0.25, "grid_fee": FEE}, 1.25 * 0.7),  # night
        ("2026-01-17T12:00", {"vat": 0.25, "grid_fee": FEE}, 1.25 * 0.7),  # Saturday
        ("2026-01-14T12:00", {"vat": 0.25, "grid_fee": FEE, "fees_include_vat": True}, 0.625 + 0.4),
        ("2026-07-15T12:00", {"tax": [{"months": "nov-mar", "default": 0.1}, {"default": 0.02}]}, 0.52),
        ("2026-12-15T12:00", {"tax": [{"months": "nov-mar", "default": 0.1}, {"default": 0.02}]}, 0.6),
    ],
)
def test_the_price_all_included(text: str, more: dict[str, Any], expected: float) -> None:
    assert cost(text, 0.5, **more) == pytest.approx(expected)


def test_a_source_with_vat_is_not_taxed_again_and_its_fees_are() -> None:
    assert cost("2026-01-14T12:00", 0.5, gross=True, vat=0.25, grid_fee=FEE) == pytest.approx(0.5 + 1.25 * 0.4)


def test_the_day_fee_follows_the_clock_through_both_changes() -> None:
    """From 06:00 by the clock, on 23- and 25-hour days too."""
    for day in ("2026-03-30", "2026-10-26"):  # the Mondays after the changes
        assert cost(f"{day}T05:45", 0.5, grid_fee=FEE) == pytest.approx(0.7)
        assert cost(f"{day}T06:00", 0.5, grid_fee=FEE) == pytest.approx(0.9)
    first = at("2026-10-25T00:00")
    day = fixed_price(section(source="fixed", value={"default": 0.1, "schedule": [
        {"from": "02:00", "to": "03:00", "value": 1.0}]}).value, first, at("2026-10-26T00:00"), OSLO)  # fmt: skip
    assert sum(1 for v in day.values if v == 1.0) == 8, "the hour that comes twice is dear twice"


def test_a_bill_by_the_hour_has_the_mean_of_its_quarters() -> None:
    energy = Profile.regular(at("2026-01-14T12:00"), 900.0, [0.1, 0.2, 0.3, 0.6])
    hourly = buying(section(hourly=True), energy, False, OSLO)
    assert hourly.mean(at("2026-01-14T12:45"), at("2026-01-14T13:00"))[0] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("rule", "price", "expected"),
    [
        ({}, 0.5, 0.0),
        ({"value": 0.08}, 0.5, 0.08),
        ({"factor": 1.0, "add": -0.02}, 0.5, 0.48),
        ({"factor": 1.0}, -0.1, -0.1),
        ({"value": 0.08, "nothing_when_negative": True}, -0.1, 0.0),
        ({"value": 0.08, "nothing_when_negative": True}, 0.1, 0.08),
    ],
)
def test_what_a_kwh_to_the_grid_earns(rule: dict[str, Any], price: float, expected: float) -> None:
    energy = Profile.regular(at("2026-01-14T12:00"), 3600.0, [price])
    found = selling(FeedIn.model_validate(rule), energy, OSLO)
    assert found.mean(at("2026-01-14T12:00"), at("2026-01-14T13:00"))[0] == pytest.approx(expected)


GOOD = '[feeds]\ncurrency = "NOK"\n[feeds.price]\nsource = "nordpool"\nzone = "NO3"\n'


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (GOOD + "vatt = 0.25", "unknown key 'vatt'; did you mean 'vat'?"),
        (GOOD + "vat = 25.0", "write 0.25 for 25 %"),
        (GOOD + 'grid_fee = [{ months = "nov-mar", default = 0.1 }]', "no season names apr"),
        (GOOD + 'grid_fee = [{ months = "winter", default = 0.1 }]', "write 'nov-mar'"),
        ('[feeds]\n[feeds.price]\nsource = "entsoe"\nzone = "NO3"', "entsoe needs token_file"),
        ('[feeds]\n[feeds.price]\nsource = "entsoo"\nzone = "NO3"', "entsoe"),
        ('[feeds]\n[feeds.weather]\nsource = "open-meteo"', "latitude and longitude"),
        ("[feeds]\nlatitude = 63.0\nlongitude = 10.0\n[feeds.pv]\npeak_kw = 5.0", "needs [feeds.weather]"),
        ("[feeds]\n[feeds.load]\nusual_kw = 0.5", "learned needs measured"),
        (GOOD + 'url = "http://me:secret@host/x"', "without a user"),
    ],
)
def test_a_mistake_in_feeds_is_said_with_its_line(tmp_path: Path, tables: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_site(write_site(tmp_path, site_text(tables)))
    assert said in str(error.value)
    assert f"{tmp_path}/site.toml:" in str(error.value)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ('[inputs.price]\nsource = "feeds"\nfeed = "byu"', "publishes no 'byu'; did you mean 'buy'?"),
        ('[inputs.price]\nsource = "feeds"', "publishes no 'price'"),
    ],
)
def test_an_input_of_a_feed_that_is_not_there(tmp_path: Path, inputs: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"inputs\.price") as error:
        load_site(write_site(tmp_path, site_text(GOOD, port=1883, inputs=inputs)))
    assert said in str(error.value)


def test_an_input_of_a_feed_needs_nothing_else(tmp_path: Path) -> None:
    inputs = '[inputs.buy_price]\nsource = "feeds"\nfeed = "buy"\n[inputs.sell]\nsource = "feeds"'
    site = load_site(write_site(tmp_path, site_text(GOOD, port=1883, inputs=inputs)))
    assert site.inputs["buy_price"].topic == "nisse-feeds/home/buy" and site.inputs["buy_price"].unit == "NOK/kWh"
    assert site.inputs["sell"].topic == "nisse-feeds/home/sell"


def test_a_site_without_feeds_says_what_to_add(tmp_path: Path) -> None:
    done = call("feed", "once", str(write_site(tmp_path, site_text(""))))
    assert done.returncode == 78 and "has no table [feeds]" in done.stderr and "Traceback" not in done.stderr
