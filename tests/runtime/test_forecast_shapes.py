"""The same forecast in every shape that the world publishes gives the same rows, over any change of the clocks."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime.formats.literals import NoValueError, PayloadError
from runtime.formats.payload import parse_payload
from runtime.formats.profile import Profile
from runtime.inputs.forecast import Memory, on_horizon

OSLO = ZoneInfo("Europe/Oslo")
UNIT = "EUR/kWh"
Cells = list[tuple[float, float, float]]
"""(start, end, value)."""


def iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, OSLO).isoformat()


def naive(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, OSLO).replace(tzinfo=None).isoformat(timespec="minutes")


def lines(cells: Cells, start: str, end: str, value: str, write: Callable[[float], Any] = iso) -> list[dict[str, Any]]:
    return [{start: write(a), end: write(b), value: v, "currency": "EUR"} for a, b, v in cells]


def halves(cells: Cells, today: str, tomorrow: str) -> dict[str, Any]:
    """Split at the second midnight, null where there is no tomorrow."""
    first = datetime.fromtimestamp(cells[0][0], OSLO).date()
    entries = lines(cells, "start", "end", "value")
    later = [e for e in entries if datetime.fromisoformat(e["start"]).date() != first]
    return {today: [e for e in entries if e not in later], tomorrow: later or None}


SHAPES: dict[str, Callable[[Cells], Any]] = {
    "start, step and values": lambda c: {
        "start": iso(c[0][0]), "step_s": c[0][1] - c[0][0], "values": [v for *_, v in c]},
    "in milliseconds, as text": lambda c: {"start": str(int(c[0][0] * 1e3)), "step_s": str(c[0][1] - c[0][0]),
                                           "values": [f"{v!r}" for *_, v in c]},
    "entries": lambda c: lines(c, "start", "end", "value"),
    "entries with a price": lambda c: lines(c, "start", "end", "price", lambda t: iso(t).replace("T", " ")),
    "in seconds": lambda c: lines(c, "start", "end", "value", float),
    "in milliseconds": lambda c: {
        "data": lines(c, "start_timestamp", "end_timestamp", "marketprice", lambda t: t * 1e3)},
    "a sensor with a table inside": lambda c: {
        "unit": "EUR", "until": "midnight", "price_list": {iso(a): v for a, _, v in c}},
    "Energi Data Service": lambda c: {"state": 7.7, "attributes": {
        "current_price": 7.7, "raw_today": [{"hour": iso(a), "price": v} for a, _, v in c], "raw_tomorrow": None}},
    "two units of one price": lambda c: {"data": [
        {**e, "price_eur_per_mwh": 1000 * e["price_eur_per_kwh"]}
        for e in lines(c, "start_time", "end_time", "price_eur_per_kwh")]},
    "evcc": lambda c: {"result": {"rates": lines(c, "start", "end", "value")}},
    "Octopus": lambda c: {"count": 2, "results": [
        {**e, "value_exc_vat": 7.0} for e in reversed(lines(c, "valid_from", "valid_to", "value_inc_vat"))]},
    "Nord Pool in Home Assistant": lambda c: halves(c, "raw_today", "raw_tomorrow"),
    "the state of a sensor": lambda c: {
        "entity_id": "sensor.nordpool", "state": "7.7",
        "attributes": {"today": [1.0, 2.0], "unit_of_measurement": UNIT, **halves(c, "raw_today", "raw_tomorrow")}},
    "Tibber": lambda c: {"priceInfo": {"current": {"total": 7.7}, "today": [
        {"total": v, "energy": v / 2, "tax": v / 2, "startsAt": iso(a)} for a, _, v in c], "tomorrow": []}},
    "Tibber's interface": lambda c: {"data": {"viewer": {"homes": [{"currentSubscription": {"priceInfo": {
        "current": {"total": 7.7}, "today": [{"total": v, "startsAt": iso(a)} for a, _, v in c], "tomorrow": []}}}]}}},
    "tomorrow in words": lambda c: {"attributes": {
        "prices_today": lines(c, "time", "till", "price"), "prices_tomorrow": "unavailable", "prices": "unknown"}},
    "EMHASS": lambda c: {"state": "7.7", "attributes": {"unit_of_measurement": "€/kWh", "unit_load_cost_forecasts": [
        {"date": iso(a), "unit_load_cost": str(v)} for a, _, v in c]}},
    "ends and lengths": lambda c: {"forecasts": [
        {"period_end": iso(b), "period": f"PT{int(b - a) // 60}M", "price": v, "price10": v / 2} for a, b, v in c]},
    "evcc's state": lambda c: {"scale": 1, "today": {"energy": 7.7}, "timeseries": [
        {"ts": iso(a), "val": v} for a, _, v in c]},
    "a table": lambda c: {iso(a): v for a, _, v in c},
    "a table of text in UTC": lambda c: {
        datetime.fromtimestamp(a, UTC).isoformat().replace("+00:00", "Z"): str(v) for a, _, v in c},
    "Open-Meteo": lambda c: {
        "utc_offset_seconds": -3600, "hourly_units": {"time": "iso8601", "price": "EUR"},
        "hourly": {"time": [datetime.fromtimestamp(a - 3600, UTC).strftime("%Y-%m-%dT%H:%M") for a, *_ in c],
                   "price": [v for *_, v in c]}},
    "columns in the zone of the message": lambda c: {
        "timezone": "Europe/Oslo", "time": [naive(a) for a, *_ in c], "price": [v for *_, v in c]},
    "local times in the zone of the site": lambda c: [{"start": naive(a), "value": v} for a, _, v in c],
    "pairs": lambda c: [[int(a * 1000), v] for a, _, v in c],
    "EnergyZero": lambda c: {"Prices": [{"price": v, "readingDate": iso(a)} for a, _, v in c], "average": 7.7},
    "Nord Pool's own": lambda c: {"currency": "EUR", "entries": [
        {"deliveryStart": iso(a), "deliveryEnd": iso(b), "price": v} for a, b, v in c]},
    "millionths of a second": lambda c: [
        {"interval_start": int(a * 1e6), "interval_end": int(b * 1e6), "value": v} for a, b, v in c],
    "unix columns": lambda c: {"unix_seconds": [int(a) for a, *_ in c], "price": [v for *_, v in c], "unit": "EUR"},
    "shuffled": lambda c: random.Random(0).sample(lines(c, "start", "end", "value"), len(c)),
    "twice": lambda c: lines(c, "start", "end", "value") + lines(c, "start", "end", "value"),
}  # fmt: skip


def cells_of(start_s: float, step_s: float, values: list[float]) -> Cells:
    return [(start_s + k * step_s, start_s + (k + 1) * step_s, v) for k, v in enumerate(values)]


def read(document: Any, zone: Any = OSLO, **options: str) -> Profile:
    value = parse_payload(json.dumps(document).encode(), unit=UNIT, zone=zone, **options)
    assert isinstance(value, Profile), value
    return value


def price_rows(profile: Profile, now_s: float, dt_s: float, rows: int) -> tuple[float, ...]:
    column = on_horizon("price", profile, UNIT, now_s, dt_s, rows, Memory(dt_s, OSLO))
    assert column is not None
    return column.values


def midnight(year: int, month: int, day: int) -> float:
    return datetime(year, month, day, tzinfo=OSLO).timestamp()


@settings(deadline=None, max_examples=40)
@given(
    start_s=st.sampled_from([midnight(2026, 1, 15), midnight(2026, 3, 29), midnight(2026, 10, 25)]),
    step_s=st.sampled_from([900.0, 1800.0, 3600.0]),
    values=st.lists(st.floats(-0.65, 5).map(lambda v: round(v, 5)), min_size=2, max_size=100),
    offset=st.floats(0, 1),
)
@example(start_s=midnight(2026, 10, 25), step_s=900.0, values=[0.01 * k for k in range(100)], offset=0.1)
@example(start_s=midnight(2026, 3, 29), step_s=900.0, values=[0.01 * k for k in range(92)], offset=0.1)
def test_every_shape_gives_the_same_rows(start_s: float, step_s: float, values: list[float], offset: float) -> None:
    cells = cells_of(start_s, step_s, values)
    now_s = start_s + offset * 0.99 * step_s * len(values)
    rows = max(1, int((cells[-1][1] - now_s) / 900.0))
    expected = price_rows(Profile.regular(start_s, step_s, values), now_s, 900.0, rows)
    for name, shape in SHAPES.items():
        profile = read(shape(cells))
        assert price_rows(profile, now_s, 900.0, rows) == pytest.approx(expected, abs=1e-9), name
        assert not profile.note, name


def test_hours_that_become_quarters_are_held_not_joined() -> None:
    """The change of the market's time unit: no price in between that nobody has said."""
    hours = cells_of(midnight(2025, 9, 30), 3600.0, [0.1179, 0.1153, 0.1127])
    quarters = cells_of(hours[-1][1], 900.0, [0.10, 0.09, 0.08, 0.07])
    for document in ([{"time": iso(a), "price": v} for a, _, v in [*hours, *quarters]],
                     lines([*hours, *quarters], "start", "end", "value")):  # fmt: skip
        got = price_rows(read(document), hours[0][0], 900.0, 16)
        assert got == pytest.approx([0.1179] * 4 + [0.1153] * 4 + [0.1127] * 4 + [0.10, 0.09, 0.08, 0.07])


def test_temperatures_of_moments_are_joined_and_prices_are_held() -> None:
    document = {"hourly": {"time": [naive(3600.0 * k) for k in range(3)], "temperature_2m": [0.0, 4.0, 8.0]}}
    profile = parse_payload(json.dumps(document).encode(), unit="degC", zone=OSLO)
    assert isinstance(profile, Profile) and profile.instants
    column = on_horizon("outdoor", profile, "degC", 0.0, 1800.0, 5, Memory(1800.0))
    assert column is not None and column.values == pytest.approx((1.0, 3.0, 5.0, 7.0, 8.0))
    held = on_horizon("price", profile, UNIT, 0.0, 1800.0, 5, Memory(1800.0))
    assert held is not None and held.values == (0.0, 0.0, 4.0, 4.0, 8.0)


def test_of_several_forecasts_the_one_that_is_named_as_the_quantity_counts() -> None:
    times = [naive(900.0 * k) for k in range(4)]
    others: list[dict[str, Any]] = [{"relative_humidity_2m": [50.0]}, {"cloud_cover": [1.0], "rain": [0.0]}]
    for hourly in others:
        document = {
            "current": {"time": times[0], "temperature_2m": 7.7},
            "hourly": {"time": times[:1], **hourly},
            "minutely_15": {"time": times, "temperature_2m": [0.0, 1.0, 2.0, 3.0]},
        }
        profile = parse_payload(json.dumps(document).encode(), unit="degC", zone=OSLO)
        assert isinstance(profile, Profile) and profile.values == (0.0, 1.0, 2.0, 3.0)


def test_radiation_is_the_mean_of_the_time_before_it() -> None:
    """As Open-Meteo says of its columns: held from its time on, the sun would be late by one of them."""
    times = [naive(3600.0 * k) for k in range(4)]
    for name, start_s in (("shortwave_radiation", 0.0), ("shortwave_radiation_instant", 3600.0)):
        document = {"hourly": {"time": times[1:], name: [0.0, 100.0, 300.0]}}
        profile = parse_payload(json.dumps(document).encode(), unit="W/m2", zone=OSLO)
        assert isinstance(profile, Profile) and profile.values == (0.0, 100.0, 300.0)
        assert profile.starts_s == (start_s, start_s + 3600.0, start_s + 7200.0)


def test_a_state_of_energy_with_a_forecast_of_power() -> None:
    """Solcast in Home Assistant: the unit is that of the state. Of a number, and among prices, it counts."""
    attributes = {
        "unit_of_measurement": "kWh",
        "detailedForecast": [
            {"period_start": iso(1800.0 * k), "pv_estimate": 0.5, "pv_estimate10": 0.1} for k in (0, 1)
        ],
    }
    document = json.dumps({"state": "12.5", "attributes": attributes}).encode()
    profile = parse_payload(document, unit="kW")
    assert isinstance(profile, Profile) and profile.values == (0.5, 0.5) and profile.end_s == 3600.0
    rates = {"unit_of_measurement": "SEK/kWh", "rates": [{"start": iso(0.0), "value": 1.0}]}
    for state, unit in (({"unit_of_measurement": "kWh"}, "kW"), (rates, UNIT)):
        with pytest.raises(PayloadError, match="which is no"):
            parse_payload(json.dumps({"state": "1", "attributes": state}).encode(), unit=unit)


def test_an_energy_is_not_taken_for_a_power() -> None:
    """Forecast.Solar: of its four tables one is a power."""
    table = {naive(3600.0 * k): 100.0 * k for k in range(3)}
    document = {"result": {"watt_hours": table, "watt_hours_period": table, "watts": dict.fromkeys(table, 1.0)}}
    profile = parse_payload(json.dumps(document).encode(), unit="W", zone=OSLO)
    assert isinstance(profile, Profile) and set(profile.values) == {1.0}
    for alone in ({"result": {"watt_hours": table}}, [{"start": naive(0.0), "energy": 3.0}]):
        with pytest.raises(PayloadError, match="is an energy"):
            parse_payload(json.dumps(alone).encode(), unit="W", zone=OSLO)


@pytest.mark.parametrize(
    ("said", "wanted", "factor"),
    [
        ("€/kWh", "EUR/kWh", 1.0), ("Eur/MWh", "EUR/kWh", 1e-3), ("c€/kWh", "EUR/kWh", 0.01),
        ("Cents/kWh", "AUD/kWh", 0.01), ("Öre/kWh", "SEK/kWh", 0.01), ("øre/kWh", "DKK/kWh", 0.01),
        ("øre/kWh", "NOK/kWh", 0.01), ("kr/kWh", "NOK/kWh", 1.0), ("p/kWh", "GBP/kWh", 0.01),
        ("snt/kWh", "EUR/kWh", 0.01), ("EUR / kWh", "EUR/kWh", 1.0), ("¢/kWh", "USD/kWh", 0.01),
        ("zł/MWh", "PLN/kWh", 1e-3), ("Ft/kWh", "HUF/kWh", 1.0), ("Rp./kWh", "CHF/kWh", 0.01),
        ("GBp/kWh", "GBP/kWh", 0.01), ("GBP/kWh", "GBP/kWh", 1.0), ("£/MWh", "GBP/kWh", 1e-3),
    ],
)  # fmt: skip
def test_money_has_several_names(said: str, wanted: str, factor: float) -> None:
    document = {"state": "5", "attributes": {"unit_of_measurement": said}}
    assert parse_payload(json.dumps(document).encode(), unit=wanted) == pytest.approx(5 * factor)
    with pytest.raises(PayloadError, match="which is no"):
        parse_payload(json.dumps(document).encode(), unit="CZK/kWh")


@pytest.mark.parametrize(
    ("said", "wanted", "factor"),
    [("mW", "kW", 1e-6), ("MW", "kW", 1e3), ("BTU/h", "W", 0.29307), ("W/m²", "W/m2", 1.0), ("℃", "degC", 1.0),
     ("Kč/kWh", "CZK/kWh", 1.0), ("MJ", "kWh", 1 / 3.6), ("VA", "kW", None), ("hp", "kW", None)],
)  # fmt: skip
def test_a_state_in_a_unit_that_nobody_here_knows_is_no_number(said: str, wanted: str, factor: float | None) -> None:
    """Taken as it is, 500 BTU/h would be 500 kW."""
    document = json.dumps({"state": "500", "attributes": {"unit_of_measurement": said}}).encode()
    if factor is not None:
        assert parse_payload(document, unit=wanted) == pytest.approx(500 * factor, rel=1e-4)
        return
    with pytest.raises(PayloadError, match=f"in '{said}', which is no '{wanted}'"):
        parse_payload(document, unit=wanted)


def test_a_hole_in_a_list_is_not_the_value_before() -> None:
    """Missing lines and empty values; the same hours of the day before stand in."""
    start_s = midnight(2026, 1, 15)
    yesterday = Profile.regular(start_s - 86400.0, 3600.0, [9.0] * 24)
    whole = lines(cells_of(start_s, 3600.0, [float(h) for h in range(24)]), "time", "nothing", "price")
    for entry in whole:
        del entry["nothing"]
    missing = [e for k, e in enumerate(whole) if k not in (5, 6)]
    empty = [{**e, "price": "unavailable" if k in (5, 6) else e["price"]} for k, e in enumerate(whole)]
    for document in (missing, empty):
        memory = Memory(3600.0, OSLO)
        memory.learn("price", yesterday, start_s, smooth=False)
        column = on_horizon("price", read(document), UNIT, start_s, 3600.0, 24, memory)
        assert column is not None
        assert column.values == tuple(9.0 if h in (5, 6) else float(h) for h in range(24))
        assert (column.known, column.recalled, column.ends_s) == (22 / 24, 2 / 24, start_s + 5 * 3600.0)


def test_a_hole_at_the_present_does_not_cost_the_forecast() -> None:
    profile = read(
        [{"start": iso(0.0), "value": 1.0}, {"start": iso(3600.0), "value": None}, {"start": iso(7200.0), "value": 3.0}]
    )
    assert price_rows(profile, 5000.0, 1100.0, 3) == (1.0, 1.0, 3.0)


def test_a_weather_service_may_begin_with_the_next_hour() -> None:
    profile = Profile.regular(7200.0, 3600.0, [4.0, 5.0])
    column = on_horizon("outdoor", profile, "degC", 4000.0, 3600.0, 2, Memory(3600.0))
    assert column is not None and column.values == pytest.approx((4.0, 4.0 + 400 / 3600))
    assert on_horizon("outdoor", profile, "degC", 3500.0, 3600.0, 2, Memory(3600.0)) is None
    assert on_horizon("price", profile, UNIT, 7199.0, 3600.0, 2, Memory(3600.0)) is None


def test_a_measurement_is_not_taken_for_a_forecast() -> None:
    lamp = {
        "state": "21.5",
        "attributes": {"hs_color": [[12.0, 40.0], [3.0, 4.0]], "options": ["a", "b"], "today": [1, 2]},
    }
    assert parse_payload(json.dumps(lamp).encode()) == 21.5


def test_tariff_windows_hold_until_the_next_begins() -> None:
    start_s = midnight(2026, 1, 15)
    document = {
        iso(start_s + h * 3600.0): v for h, v in ((0, 0.1), (6, 0.3), (22, 0.1), (30, 0.3), (46, 0.1), (48, 0.1))
    }
    assert (
        price_rows(read(document), start_s, 3600.0, 48)
        == (0.1,) * 6 + (0.3,) * 16 + (0.1,) * 8 + (0.3,) * 16 + (0.1,) * 2
    )


def test_what_overlaps_and_differs_is_said() -> None:
    hour = {"start": iso(0.0), "end": iso(3600.0), "value": 1.0}
    quarter = {"start": iso(900.0), "end": iso(1800.0), "value": 2.0}
    profile = read([quarter, hour])
    assert price_rows(profile, 0.0, 900.0, 4) == (1.0, 2.0, 1.0, 1.0) and "overlap" in profile.note


def test_the_local_day_in_autumn_has_25_hours() -> None:
    """Times without offset: the hour that comes twice is meant the second time when it comes again."""
    start_s = midnight(2026, 10, 25)
    profile = read([{"start": naive(start_s + 3600.0 * k), "value": float(k)} for k in range(25)])
    assert [b - a for a, b in pairwise(profile.starts_s)] == [3600.0] * 24 and profile.start_s == start_s
    newest_first = [{"start": naive(start_s + 3600.0 * k), "value": float(k)} for k in reversed(range(25))]
    assert read(newest_first).values == profile.values


REFUSED = [
    ({"a": [{"start": iso(0.0), "value": 1.0}], "b": [{"start": iso(0.0), "value": 2.0}]}, "several forecasts"),
    ([{"start": iso(0.0), "end": iso(3600.0), "a": 1.0, "b": 2.0}], "value_key"),
    ([{"start": iso(0.0), "value": 1.0}, {"end": iso(0.0), "value": 1.0}], "without 'start'"),
    ([{"start": iso(3600.0), "end": iso(0.0), "value": 1.0}], "ends before it begins"),
    ([{"start": iso(0.0), "value": True}], "bool"),
    ([{"start": iso(0.0), "value": "Infinity"}], "finite"),
    ([{"start": "soon", "value": 1.0}], "'soon' is no time"),
    ({"time": [iso(0.0)], "price": [1.0, 2.0]}, "not of one length"),
    ({"timezone": "Mars/Olympus", "time": ["2026-01-01T00:00"], "price": [1.0]}, "zone of the message is not known"),
    ({"start": 0, "step_s": 0.5, "values": [1]}, "step_s"),
    ({"start": 1e21, "step_s": 60, "values": [1]}, "no time"),
    ([], "1 to"),
]


@pytest.mark.parametrize(("document", "reason"), REFUSED)
def test_a_damaged_forecast_says_what_is_wrong(document: Any, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        read(document)


@pytest.mark.parametrize(
    "document",
    [
        {"raw_today": [], "raw_tomorrow": None},
        {"state": "3", "attributes": {"raw_today": None}},
        {"priceInfo": {"today": [], "tomorrow": None}},
        {"start": 0, "step_s": 60, "values": [None, "unknown"]},
    ],
)
def test_a_forecast_that_is_not_there_yet_is_missing(document: Any) -> None:
    with pytest.raises(NoValueError):
        read(document)


def test_a_field_of_a_name_of_its_own() -> None:
    document = [{"start": iso(3600.0 * k), "kaufpreis": 0.1 * k, "netz": 1.0} for k in range(3)]
    assert read(document, value_key="kaufpreis").values == (0.0, 0.1, 0.2)
    norwegian = [
        {"NOK_per_kWh": 3.0, "EUR_per_kWh": 0.25, "EXR": 12.0, "time_start": iso(0.0), "time_end": iso(3600.0)}
    ]
    assert read(norwegian).values == (0.25,)
    sole = [{"begin": 1, "start": iso(0.0), "kaufpreis": 0.3}]
    assert read([{k: v for k, v in sole[0].items() if k != "begin"}]).values == (0.3,)


def test_memory_knows_the_same_hour_by_the_clock() -> None:
    """The 23-hour day in spring: tomorrow at 8 costs what today at 8 costs, not what 7 does."""
    start_s = midnight(2026, 3, 29)
    quarters = [float(datetime.fromtimestamp(start_s + 900.0 * k, OSLO).hour) for k in range(92)]
    now_s = start_s + 9 * 3600.0
    column = on_horizon("price", Profile.regular(start_s, 900.0, quarters), UNIT, now_s, 900.0, 96, Memory(900.0, OSLO))
    assert column is not None and column.held == 0.0 and column.recalled == pytest.approx(40 / 96)
    hours = [datetime.fromtimestamp(now_s + 900.0 * k, OSLO) for k in range(96)]
    assert column.values == tuple(float(3 if t.hour == 2 else t.hour) for t in hours)  # today has no hour 2


def test_a_list_that_begins_now_is_completed_from_what_was_said_before() -> None:
    """From the present hour to midnight, said anew every hour: after a day tomorrow has yesterday's shape."""
    start_s, memory = midnight(2026, 1, 15), Memory(3600.0, OSLO)
    column = None
    for hour in range(20):
        rest = Profile.regular(start_s + 3600.0 * hour, 3600.0, [float(h) for h in range(hour, 24)])
        column = on_horizon("price", rest, UNIT, start_s + 3600.0 * hour, 3600.0, 24, memory)
    assert column is not None and column.held == 0.0
    assert column.values == (19.0, 20.0, 21.0, 22.0, 23.0, *map(float, range(19)))
    fresh = on_horizon("price", rest, UNIT, start_s + 19 * 3600.0, 3600.0, 24, Memory(3600.0, OSLO))
    assert fresh is not None and fresh.held == pytest.approx(19 / 24) and set(fresh.values[5:]) == {23.0}
    assert timedelta(seconds=(fresh.ends_s or 0.0) - start_s) == timedelta(days=1)


CELLS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.0, 60.0, 450.0]), st.sampled_from([300.0, 900.0, 1234.5]), st.floats(-9.0, 9.0)),
    min_size=1,
    max_size=12,
)
"""(gap before, length, value)."""


@settings(max_examples=60)
@given(cells=CELLS, begin_s=st.floats(-2000.0, 9000.0), step_s=st.sampled_from([60.0, 300.0, 1800.0]))
def test_means_over_a_row_of_stretches_are_integrals(
    cells: list[tuple[float, float, float]], begin_s: float, step_s: float
) -> None:
    """Against the integral as a function of time, known by its corners and read off by straight lines between them."""
    starts, ends, at_s = [], [], 0.0
    for gap_s, length_s, _ in cells:
        starts.append(at_s + gap_s)
        ends.append(at_s := at_s + gap_s + length_s)
    values = [value for *_, value in cells]
    corners, known, total = [0.0], [0.0], [0.0]
    for start_s, end_s, value in zip(starts, ends, values, strict=True):
        corners += [start_s, end_s]
        known += [known[-1], known[-1] + end_s - start_s]
        total += [total[-1], total[-1] + (end_s - start_s) * value]
    edges_s = [begin_s + k * step_s for k in range(9)]
    seconds, areas = np.diff(np.interp(edges_s, corners, known)), np.diff(np.interp(edges_s, corners, total))
    found = Profile(tuple(starts), tuple(ends), tuple(values)).means(edges_s)
    assert [share for _, share in found] == pytest.approx(seconds / step_s, abs=1e-9)
    for (mean, share), second, area in zip(found, seconds, areas, strict=True):
        assert (share < 1e-12 and np.isnan(mean)) or mean == pytest.approx(area / second, abs=1e-6 / max(second, 1e-3))
