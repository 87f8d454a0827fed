"""Every source, asked over HTTP, says the same as the world behind it, in the house's currency and unit."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from feed_site import site_text, write_site

from feeds.ask import Kept, ask, from_state, to_state
from feeds.feed import Feed
from feeds.fetch import HttpxClient
from feeds.house_feeds import feeds_of
from feeds.series import covered_until
from feeds.setup import house_of
from feeds.sources.zones import EIC, is_eic
from hil.services import EXPIRING, HOUR_S, TOKEN, ServedWorld, outdoor_c, price_eur_mwh, sun_w_m2
from hil.serving import serving
from runtime.site.config import load_site

OSLO = ZoneInfo("Europe/Oslo")
MORNING_S = datetime(2026, 1, 15, 8, 5, tzinfo=OSLO).timestamp()
AFTERNOON_S = datetime(2026, 1, 15, 14, 5, tzinfo=OSLO).timestamp()
EUR, NOK = 'currency = "EUR"', 'currency = "NOK"'
PRICES = {
    "entsoe": (EUR, 'zone = "NO3"\ntoken_file = "entsoe.token"\nurl = "{url}/api"', 1e-3),
    "entsoe in NOK": (NOK, 'zone = "NO3"\ntoken_file = "entsoe.token"\nurl = "{url}/api"\nexchange_rate = 10.0', 1e-2),
    "nordpool": (NOK, 'zone = "NO3"\nurl = "{url}"', 11.5e-3),
    "energy-charts": (EUR, 'zone = "DE-LU"\nurl = "{url}"', 1e-3),
    "awattar": (EUR, 'zone = "at"\nurl = "{url}"', 1e-3),
    "tibber": (NOK, 'token_file = "entsoe.token"\nurl = "{url}/v1-beta/gql"', 11.5e-3 * 1.25),
    "octopus": (
        'currency = "GBP"',
        'product = "AGILE-24-10-01"\ntariff = "E-1R-AGILE-24-10-01-C"\nurl = "{url}"',
        1.05e-3,
    ),
    "home-assistant": (EUR, 'entity = "sensor.prices"\ntoken_file = "entsoe.token"\nurl = "{url}"', 1e-3),
    "evcc": (EUR, 'url = "{url}"', 1e-3),
}  # fmt: skip


def feeds_for(folder: Path, tables: str, name: str = "price") -> Feed:
    site = load_site(write_site(folder, site_text(tables)))
    return next(f for f in feeds_of(site, house_of(site), None) if f.name == name)


def price_feed(folder: Path, source: str, currency: str, keys: str) -> Feed:
    return feeds_for(folder, f'[feeds]\n{currency}\n[feeds.price]\nsource = "{source.split()[0]}"\n{keys}')


@pytest.mark.parametrize("name", PRICES)
def test_a_source_of_prices_says_what_the_market_says(tmp_path: Path, name: str) -> None:
    now = [MORNING_S]
    world = ServedWorld(now=lambda: now[0])
    currency, keys, factor = PRICES[name]
    with serving(world) as url:
        feed = price_feed(tmp_path, name, currency, keys.format(url=url))
        http = HttpxClient()
        kept = ask(feed.own[0].asked, Kept(), http, now[0])
        assert not kept.problem
        now[0] = AFTERNOON_S
        kept = ask(feed.own[0].asked, kept, http, now[0])
        assert not kept.problem
        http.close()
    energy = kept.channels["energy"]
    for k in range(int((covered_until(energy, MORNING_S) - MORNING_S) / 900)):
        quarter_s = (MORNING_S // 900 + k) * 900
        assert energy.mean(quarter_s, quarter_s + 900)[0] == pytest.approx(factor * price_eur_mwh(quarter_s), abs=2e-6)
    whole_tomorrow = datetime(2026, 1, 16, 23, 0, tzinfo=OSLO).timestamp()
    assert (covered_until(energy, AFTERNOON_S) >= whole_tomorrow) == (name != "evcc")
    if name not in {"home-assistant", "evcc"}:  # the next question is due when the day after is published
        assert datetime.fromtimestamp(kept.next_s, OSLO).date().isoformat() == "2026-01-16"


@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
@pytest.mark.parametrize("name", ["entsoe", "nordpool", "energy-charts", "tibber", "awattar"])
def test_days_of_23_and_25_hours_come_out_whole(tmp_path: Path, name: str, day: str) -> None:
    """Asked the day before, in the afternoon: the day after has its own length, and every quarter its own price."""
    now_s = datetime.fromisoformat(day).replace(hour=15, tzinfo=OSLO).timestamp()
    world = ServedWorld(now=lambda: now_s)
    currency, keys, factor = PRICES[name]
    with serving(world) as url:
        feed = price_feed(tmp_path, name, currency, keys.format(url=url))
        http = HttpxClient()
        kept = ask(feed.own[0].asked, Kept(), http, now_s)
        http.close()
    assert not kept.problem
    energy = kept.channels["energy"]
    first, last = (datetime.fromisoformat(day).replace(day=int(day[-2:]) + d, tzinfo=OSLO).timestamp() for d in (1, 2))
    quarters = round((last - first) / 900)
    assert quarters in {92, 100} and covered_until(energy, now_s) == last
    for k in range(quarters):
        t = first + 900 * k
        assert energy.mean(t, t + 900)[0] == pytest.approx(factor * price_eur_mwh(t), abs=2e-6)


WEATHER = "[feeds]\nlatitude = 63.43\nlongitude = 10.39\n[feeds.weather]\n{keys}"


@pytest.mark.parametrize("name", ["open-meteo", "met-norway"])
def test_a_source_of_weather_says_temperature_and_sun(tmp_path: Path, name: str) -> None:
    world = ServedWorld(now=lambda: MORNING_S)
    with serving(world) as url:
        contact = '\ncontact = "me@example.org"' if name == "met-norway" else ""
        feed = feeds_for(tmp_path, WEATHER.format(keys=f'source = "{name}"\nurl = "{url}"{contact}'), "weather")
        http = HttpxClient()
        kept = ask(feed.own[0].asked, Kept(), http, MORNING_S)
        http.close()
    assert not kept.problem
    hour_s = MORNING_S // HOUR_S * HOUR_S + HOUR_S
    for t in (hour_s, hour_s + 7 * HOUR_S, hour_s + 20 * HOUR_S):
        found = kept.channels["outdoor"].mean(t - 60, t + 60, smooth=True)[0]
        assert found == pytest.approx(outdoor_c(t), abs=0.05)
    assert set(kept.channels) == {"outdoor", "sun", "direct", "diffuse"}
    if name == "open-meteo":  # means of the hour before
        mean = kept.channels["sun"].mean(hour_s, hour_s + HOUR_S)[0]
        assert mean == pytest.approx(sun_w_m2(hour_s + HOUR_S / 2))
    else:
        agent = world.asked[-1][2]["user-agent"]
        assert agent.startswith("nisse/") and agent.endswith("me@example.org")
        assert kept.next_s >= MORNING_S + EXPIRING["/weatherapi/locationforecast"]
        night = kept.channels["sun"].mean(hour_s + 15 * HOUR_S, hour_s + 16 * HOUR_S)[0]
        noon = kept.channels["sun"].mean(hour_s + 3 * HOUR_S, hour_s + 4 * HOUR_S)[0]
        assert night == 0.0 and 0.0 < noon < 200.0  # January at 63 degrees north


def test_an_answer_that_has_not_changed_is_not_sent_again(tmp_path: Path) -> None:
    world = ServedWorld(now=lambda: AFTERNOON_S)
    with serving(world) as url:
        currency, keys, _ = PRICES["entsoe"]
        feed = price_feed(tmp_path, "entsoe", currency, keys.format(url=url))
        http = HttpxClient()
        kept = ask(feed.own[0].asked, Kept(), http, AFTERNOON_S)
        stored = from_state(to_state(kept, feed.own[0].asked.identity), feed.own[0].asked.identity, AFTERNOON_S)
        again = ask(feed.own[0].asked, stored, http, AFTERNOON_S + 600)
        http.close()
    assert "if-none-match" in world.asked[-1][2] and again.fetched_s == AFTERNOON_S + 600
    assert again.channels == kept.channels and not again.problem
    assert from_state(to_state(kept, "of other settings"), feed.own[0].asked.identity, AFTERNOON_S) == Kept()


def test_a_day_that_is_final_is_asked_once(tmp_path: Path) -> None:
    world = ServedWorld(now=lambda: AFTERNOON_S)
    currency, keys, _ = PRICES["nordpool"]
    with serving(world) as url:
        feed = price_feed(tmp_path, "nordpool", currency, keys.format(url=url))
        http = HttpxClient()
        kept = ask(feed.own[0].asked, Kept(), http, AFTERNOON_S)
        kept = ask(feed.own[0].asked, kept, http, AFTERNOON_S + 600)
        http.close()
    assert len(world.asked) == 2 and not kept.problem


def test_a_foreign_currency_without_a_rate_is_refused_with_the_remedy(tmp_path: Path) -> None:
    world = ServedWorld(now=lambda: AFTERNOON_S)
    with serving(world) as url:
        _, keys, _ = PRICES["entsoe"]
        feed = price_feed(tmp_path, "entsoe", 'currency = "SEK"', keys.format(url=url))
        http = HttpxClient()
        kept = ask(feed.own[0].asked, Kept(), http, AFTERNOON_S)
        http.close()
    assert kept.word == "implausible" and "exchange_rate" in kept.problem and not kept.channels


def test_a_wrong_token_is_said_and_not_shown(tmp_path: Path) -> None:
    world = ServedWorld(now=lambda: AFTERNOON_S)
    with serving(world) as url:
        for name in ("entsoe", "tibber", "home-assistant"):
            currency, keys, _ = PRICES[name]
            feed = price_feed(tmp_path / name, name, currency, keys.format(url=url))
            (tmp_path / name / "entsoe.token").write_text("wr0ng-t0ken\n")
            site = load_site(tmp_path / name / "site.toml")
            feed = feeds_of(site, house_of(site), None)[0]
            http = HttpxClient()
            kept = ask(feed.own[0].asked, Kept(), http, AFTERNOON_S)
            http.close()
            assert kept.word == "refused" and "oken" in kept.problem
            assert "wr0ng-t0ken" not in repr(kept) and TOKEN not in kept.problem


def test_the_codes_of_the_zones_have_their_check_character() -> None:
    assert all(is_eic(code) for code in EIC.values()) and len(set(EIC.values())) == len(EIC)
    assert not is_eic("10YNO-3--------K") and not is_eic("10YNO-3-------")
