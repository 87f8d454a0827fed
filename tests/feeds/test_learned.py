"""What the house teaches: load by the kind of day, scale and shade of the panels, errors by hours ahead."""

from __future__ import annotations

import json
import math
import random
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from feed_site import site_text, write_site

from feeds.history import HOUR_S, QUARTER_S, History
from feeds.meters import Meters, weighted
from feeds.panels import learned_shade, plane_power, shaded
from feeds.report import judged, lines
from feeds.setup import house_of
from feeds.source import Place
from feeds.sun import clear_sky, diffuse_share, on_plane, sun_at
from feeds.usual import usual
from runtime.formats.profile import Profile
from runtime.site.config import load_site
from runtime.site.feeds import PvSection
from runtime.store.transitions import Store, Transition

OSLO = ZoneInfo("Europe/Oslo")
MONDAY_S = datetime(2026, 1, 12, tzinfo=OSLO).timestamp()


def load_kw(time_s: float) -> float:
    """A peak in the evening of working days, another at Sunday noon."""
    local = datetime.fromtimestamp(time_s, OSLO)
    hour = local.hour + local.minute / 60
    if local.weekday() < 5:
        return 0.4 + 2.0 * math.exp(-((hour - 18) ** 2) / 4)
    return 0.4 + 2.0 * math.exp(-((hour - 12) ** 2) / 4)


def test_a_load_is_learned_by_the_kind_of_day() -> None:
    rng = random.Random(1)
    first = math.floor((MONDAY_S - 28 * 86400) / QUARTER_S)
    actual = {q: load_kw((q + 0.5) * QUARTER_S) + rng.gauss(0, 0.2) for q in range(first, first + 28 * 96)}
    times = [MONDAY_S + (k + 0.5) * QUARTER_S for k in range(7 * 96)]
    found = usual(actual, MONDAY_S, times, OSLO)
    error = sum(abs(v - load_kw(t)) for v, t in zip(found, times, strict=True) if v is not None) / len(times)
    yesterday = sum(abs(load_kw(t - 86400) - load_kw(t)) for t in times) / len(times)
    assert error < 0.8 * yesterday and all(v is not None for v in found)


def test_nothing_of_the_future_is_used_and_what_deviates_now_fades() -> None:
    first = math.floor((MONDAY_S - 14 * 86400) / QUARTER_S)
    actual = dict.fromkeys(range(first, first + 14 * 96), 1.0)
    actual |= dict.fromkeys(range(first + 14 * 96, first + 15 * 96), 100.0)  # tomorrow, as if it were known
    actual |= dict.fromkeys(range(first + 14 * 96 - 8, first + 14 * 96), 3.0)
    times = [MONDAY_S + 900, MONDAY_S + 3 * HOUR_S, MONDAY_S + 20 * HOUR_S]
    now, later, far = usual(actual, MONDAY_S, times, OSLO, level=True)
    assert now is not None and later is not None and far is not None
    assert 2.5 < now < 3.0 and later == pytest.approx(1 + 2 / math.e, abs=0.05) and far < 1.01


def test_the_sun_stands_where_almanacs_have_it() -> None:
    """NREL's SPA example: 2003-10-17 12:30:30 -7 h at 39.742476 N, 105.1786 W: zenith 50.11162, azimuth 194.34024."""
    sun = sun_at(datetime(2003, 10, 17, 19, 30, 30, tzinfo=UTC).timestamp(), 39.742476, -105.1786)
    assert 90 - sun.elevation == pytest.approx(50.11, abs=0.3) and sun.azimuth == pytest.approx(194.34, abs=0.4)
    noon = sun_at(datetime(2026, 6, 21, 11, 18, tzinfo=UTC).timestamp(), 63.43, 10.39)
    assert noon.elevation == pytest.approx(90 - 63.43 + 23.44, abs=0.2)


def test_irradiance_on_a_level_plane_is_that_on_the_level() -> None:
    time_s = datetime(2026, 6, 21, 9, 0, tzinfo=UTC).timestamp()
    sun = sun_at(time_s, 50.0, 10.0)
    level = clear_sky(sun.sine)
    share = diffuse_share(level, time_s, sun.sine)
    assert 0.1 < share < 0.3
    beam = level * (1 - share) / sun.sine
    assert sum(on_plane(level, beam, level * share, sun, 0.0, 180.0)) == pytest.approx(level)
    facing = sum(on_plane(level, beam, level * share, sun, 90 - sun.elevation, sun.azimuth))
    away = sum(on_plane(level, beam, level * share, sun, 90.0, sun.azimuth + 180.0))
    assert facing > level > away


def test_scale_and_shade_of_panels_are_learned() -> None:
    """Panels at 80 % of what the plate says, and a tree in the west that takes half."""
    place, section = Place(50.0, 10.0), PvSection(source="weather", peak_kw=8.0, tilt=30.0, azimuth=180.0)
    rng = random.Random(2)
    begin_s = datetime(2026, 5, 1, tzinfo=UTC).timestamp()
    sky = [0.3 + 0.7 * rng.random() for _ in range(40 * 24)]

    def level(k: int) -> float:
        return clear_sky(sun_at(begin_s + (k + 0.5) * QUARTER_S, 50.0, 10.0).sine) * sky[k // 4]

    sun = Profile.regular(begin_s, QUARTER_S, [level(k) for k in range(40 * 96)])
    plain = plane_power(section, place, {"sun": sun})
    assert plain is not None and 5.0 < max(plain.values) <= 8.0

    def truth(time_s: float, power: float) -> float:
        west = sun_at(time_s, 50.0, 10.0).azimuth > 240.0
        return power * 0.8 * (0.5 if west else 1.0)

    numbered = {round(s / QUARTER_S): v for s, v in zip(plain.starts_s, plain.values, strict=True)}
    border = round((begin_s + 30 * 86400) / QUARTER_S)
    seen = {q: v for q, v in numbered.items() if q < border}
    measured = {q: truth((q + 0.5) * QUARTER_S, v) * rng.uniform(0.9, 1.1) for q, v in seen.items()}
    shade = learned_shade(measured, seen, 8.0, place)
    ahead = shaded(plain, shade, 8.0, place)
    late = [
        (s, p, v) for s, p, v in zip(plain.starts_s, plain.values, ahead.values, strict=True) if s >= border * QUARTER_S
    ]
    error = sum(abs(v - truth(s + 450, p)) for s, p, v in late) / sum(truth(s + 450, p) for s, p, v in late)
    unlearned = sum(abs(p - truth(s + 450, p)) for s, p, v in late) / sum(truth(s + 450, p) for s, p, v in late)
    assert error < 0.07 < 0.3 < unlearned
    assert learned_shade({}, {}, 8.0, place).factor(180.0) == 1.0


def test_what_the_daemon_says_becomes_quarter_hours(tmp_path: Path) -> None:
    state = {
        "inputs": {"grid_power": {"value": 1.5, "validity": "ok"}, "pv_power": {"value": 2.0, "validity": "stale"}},
        "action": {"home_charge": 0.5},
    }
    assert weighted(state, {"grid_power": 1.0, "home_charge": -1.0}) == pytest.approx(1.0)
    assert weighted(state, {"grid_power": 1.0, "pv_power": 1.0}) is None, "a stale reading is none"
    assert weighted([], {"a": 1.0}) is None and weighted({"inputs": None}, {"a": 1.0}) is None
    meters = Meters({"load": {"grid_power": 1.0, "home_charge": -1.0}})
    for payload in (b"{", b"[]", b'{"inputs": 3}', json.dumps(state).encode()):
        meters.hear(payload, MONDAY_S + 10)
    state["inputs"]["grid_power"]["value"] = 2.5
    meters.hear(json.dumps(state).encode(), MONDAY_S + 20)
    quarter = round(MONDAY_S / QUARTER_S)
    assert meters.take(quarter) == {} and meters.take(quarter + 1) == {quarter: {"load": pytest.approx(1.5)}}
    store = Store(tmp_path / "nisse.db", max_transitions=10)
    row = Transition(MONDAY_S, "mpc", "", "b", {}, {"home_charge": 0.5}, {}, None, {"inputs": state["inputs"]})
    store.append(row, None, (0.0, 0.0, 0.0))
    store.close()
    assert meters.hear_log(tmp_path / "nisse.db", MONDAY_S - 1) == 1
    assert meters.take(quarter + 1) == {quarter: {"load": pytest.approx(2.0)}}
    assert meters.hear_log(tmp_path / "none.db", 0.0) == 0
    (tmp_path / "bad.db").write_bytes(b"no database" * 100)
    assert meters.hear_log(tmp_path / "bad.db", 0.0) == 0


def history_with(errors: list[float], days: int = 28) -> History:
    """Forecasts that are off by errors[day] of a signal with a day's rhythm that grows by 0.1 a day."""
    history = History(None)
    first = math.floor(MONDAY_S / HOUR_S)

    def came(hour: int) -> float:
        return 10.0 + 5.0 * math.sin(2 * math.pi * hour / 24) + 0.1 * ((hour - first) / 24)

    for hour in range(first, first + days * 24):
        for k in range(4):
            history.learn(hour * HOUR_S + k * QUARTER_S, {"outdoor": (came(hour), True)})
        off = errors[(hour - first) // 24]
        history.issue(hour * HOUR_S, {"outdoor": [came(hour + a) + (off if a else 0.0) for a in range(48)]})
    return history


def test_errors_by_hours_ahead_against_persistence() -> None:
    history = history_with([0.5] * 28)
    one = judged(history, "outdoor", MONDAY_S + 28 * 86400)
    assert one.measured and not one.worse
    for stretch in one.stretches:
        assert stretch.error == pytest.approx(0.5, abs=1e-4) and stretch.bias == pytest.approx(0.5, abs=1e-4)
    # A day or two back, at 0.1 a day.
    assert one.stretches[0].persistence == pytest.approx(0.1, abs=1e-3)
    assert one.stretches[3].persistence == pytest.approx(0.2, abs=1e-3)
    assert "error 0.5" in "\n".join(lines([one], {"outdoor": "degC"}))


def test_a_source_that_got_worse_is_noticed() -> None:
    assert judged(history_with([0.5] * 21 + [1.0] * 7), "outdoor", MONDAY_S + 28 * 86400).worse
    assert not judged(history_with([0.5] * 21 + [0.6] * 7), "outdoor", MONDAY_S + 28 * 86400).worse
    assert not judged(history_with([0.5] * 3, days=3), "outdoor", MONDAY_S + 3 * 86400).worse, "too few to say so"


def test_one_table_or_many_of_panels_and_loads(tmp_path: Path) -> None:
    tables = """
[feeds]
latitude = 63.43
longitude = 10.39
[feeds.weather]
source = "open-meteo"
[feeds.pv.pv_roof]
peak_kw = 8.0
[feeds.pv.pv_barn]
peak_kw = 3.0
azimuth = 90.0
[feeds.load]
measured = { grid_power = 1.0 }
"""
    house = house_of(load_site(write_site(tmp_path, site_text(tables))))
    assert list(house.feeds.units()) == ["outdoor", "sun", "pv_roof", "pv_barn", "load"]
