"""What people change while a house runs: understood, bounded, seen ahead by the plan, and over when it is over."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_site import NIGHT, SUNDAY, comfort_manifest, tiny_manifest

from runtime.decide.overrides import (
    AWAY_RANGE_C,
    HOT_SHARE,
    CommandRefusedError,
    Hold,
    Overrides,
    comfort_document,
    comforts,
    moment,
    overridden,
    settable,
)
from runtime.formats.weekly import DAY_MIN, WEEK_MIN, Weekly
from runtime.publish.operator_commands import Wishes, kept, parse_order, recalled, relaxes, still_valid, wished

OSLO = ZoneInfo("Europe/Oslo")
HALF_HOUR = 1800.0


def at(text: str, zone: tzinfo = OSLO) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


HOUSE = comfort_manifest()
NOON = at("2026-01-08T12:00")
ROWS = HOUSE.horizon + 1


def said(wishes: Wishes, name: str, payload: str, now_s: float = NOON) -> Wishes:
    return wished(wishes, parse_order(f"set/{name}", payload.encode()), HOUSE, now_s, OSLO)


def columns(wishes: Wishes, time_s: float = NOON) -> dict[str, tuple[float, ...]]:
    plain = {f.name: f.schedule.column(OSLO, time_s, HALF_HOUR, ROWS) for f in HOUSE.forecasts if f.schedule}
    return overridden(plain, HOUSE, wishes.overrides, time_s)


def hours(column: tuple[float, ...], begin: float, end: float) -> set[float]:
    """The values between two hours from now."""
    return set(column[round(2 * begin) : round(2 * end)])


def test_a_plain_number_holds_until_the_schedule_switches_and_takes_its_band_along() -> None:
    found = columns(said(Wishes(), "living_set_point", "23.5"))
    for name, day, night in (("set_point", 23.5, 19), ("lower", 20.5, 18), ("upper", 25.5, 23)):
        assert hours(found[f"living_{name}"], 0, 10) == {day}
        assert hours(found[f"living_{name}"], 10, 18) == {night}
    assert hours(found["living_set_point"], 18, 24) == {21.0}
    assert found["bed_set_point"] == (17.0,) * ROWS
    held = columns(
        said(said(Wishes(), "living_set_point", "23.5"), "living_set_point", '{"value": "hold", "until": 1}')
    )
    assert hours(held["living_set_point"], 0, 1) == {23.5} and hours(held["living_set_point"], 1, 10) == {21.0}
    # A zone that is always the same has no switch: then until something else is said.
    bed = said(Wishes(), "bed_set_point", "20")
    assert hours(columns(bed, NOON + 90 * 86400)["bed_set_point"], 0, 24) == {20.0}
    assert columns(said(bed, "bed_set_point", "auto"))["bed_set_point"] == (17.0,) * ROWS


def test_a_number_holds_as_long_as_is_said() -> None:
    for until in (
        "3",
        '"3 h"',
        '"180 min"',
        '"15:00"',
        '"2026-01-08T15:00"',
        '"2026-01-08 14:00Z"',
        '"2026-01-08T16:00+02:00"',
    ):
        found = columns(said(Wishes(), "living_set_point", f'{{"value": 22, "until": {until}}}'))["living_set_point"]
        assert (hours(found, 0, 3), hours(found, 3, 10)) == ({22.0}, {21.0}), until


def test_a_bound_is_set_by_itself_and_never_beyond_the_set_point() -> None:
    wider = said(said(Wishes(), "living_lower", "15"), "living_upper", "27")
    found = columns(wider)
    assert (found["living_lower"][0], found["living_set_point"][0], found["living_upper"][0]) == (15.0, 21.0, 27.0)
    with pytest.raises(CommandRefusedError, match="would be above living_set_point, 21 now; set that first"):
        said(Wishes(), "living_lower", "21.5")
    with pytest.raises(CommandRefusedError, match="would be below living_set_point, 21 now"):
        said(Wishes(), "living_upper", "20")
    with pytest.raises(CommandRefusedError, match="would be above water_upper, 65 now"):
        said(Wishes(), "water_lower", "70")
    # By the time that the night makes the set-point lower than it, it gives way.
    narrow = columns(said(Wishes(), "living_lower", '{"value": 20.5, "until": 24}'))
    assert hours(narrow["living_lower"], 0, 10) == {20.5} and hours(narrow["living_lower"], 10, 18) == {19.0}


def test_away_is_seen_to_end() -> None:
    before = said(said(Wishes(), "bed_set_point", "22"), "hot_water_now", "on")
    away = said(before, "away", "2026-01-11T08:00", at("2026-01-10T12:00"))
    found = columns(away, at("2026-01-10T12:00"))
    # 20 hours from now somebody is back; who leaves ends what was held.
    assert hours(found["living_set_point"], 0, 20) == {16.0} and hours(found["living_set_point"], 20, 24) == {21.0}
    assert hours(found["living_lower"], 0, 10) == {13.0} and hours(found["living_upper"], 0, 10) == {18.0}
    assert hours(found["bed_set_point"], 0, 20) == {16.0} and hours(found["bed_set_point"], 20, 24) == {17.0}
    # On the Sunday of an absence the water stays as it is.
    noon = at("2026-01-11T12:00")
    assert hours(columns(said(away, "away", "30", noon), noon)["water_lower"], 0, 4) == {45.0}
    assert hours(columns(Wishes(), noon)["water_lower"], 1, 3) == {58.0}
    # Somebody who waters the plants may have one room warm; it ends with the absence.
    visited = said(away, "living_set_point", "20", at("2026-01-10T12:00"))
    assert hours(columns(visited, at("2026-01-10T12:00"))["living_set_point"], 0, 20) == {20.0}
    assert columns(said(visited, "away", "off"))["living_set_point"] == columns(Wishes())["living_set_point"]
    colder = said(said(Wishes(), "away_temperature", "12"), "away", "on")
    assert hours(columns(colder, NOON + 300 * 86400)["living_set_point"], 0, 24) == {12.0}
    # A room that is colder by its schedule is not heated for it.
    warm = said(said(Wishes(), "away_temperature", "20"), "away", "on")
    assert hours(columns(warm)["bed_set_point"], 0, 24) == {17.0}


def test_hot_water_now_raises_the_tank_for_a_time() -> None:
    hot = 45 + HOT_SHARE * (65 - 45)
    found = columns(said(Wishes(), "hot_water_now", "on"))["water_lower"]
    assert hours(found, 0, 2) == {hot} and hours(found, 2, 24) == {45.0}
    found = columns(said(Wishes(), "hot_water_now", "3.5"))["water_lower"]
    assert hours(found, 0, 3.5) == {hot} and hours(found, 3.5, 24) == {45.0}
    assert said(said(Wishes(), "hot_water_now", "5"), "hot_water_now", "OFF") == Wishes()


@pytest.mark.parametrize(
    ("name", "payload", "words"),
    [
        ("living_set_point", "40", "living_set_point is a number from 5 to 35 degC, hold, off, or auto"),
        ("living_set_point", "nan", "from 5 to 35"),
        ("living_set_point", "warm", "from 5 to 35"),
        ("living_set_point", '{"value": 22, "until": "soon"}', "cannot read the time 'soon': say hours from now"),
        ("living_set_point", '{"value": 22, "until": "2025-01-01T00:00"}', "not within the next 366 days"),
        ("living_set_point", '{"value": 22, "until": -1}', "not within"),
        ("living_set_point", '{"value": 22, "until": 1e99}', "not within"),
        ("living_set_point", '{"value": 22, "until": "nan"}', "cannot read the time"),
        ("living_set_point", '{"value": 22, "until": "25:00"}', "cannot read the time"),
        ("away", "", "away is on, off, or when somebody is back"),
        ("away", "-3", "not within"),
        ("away", "2026-13-45T00:00", "cannot read the time"),
        ("away_temperature", "30", f"from {AWAY_RANGE_C[0]:g} to {AWAY_RANGE_C[1]:g} degC"),
        ("hot_water_now", "48", "not within the next 1 days"),
        ("hot_water_now", "", r"on \(for 2 h\), off, or until when"),
        ("hall_set_point", "21", "known here: mode, living_set_point, living_lower"),
    ],
)  # fmt: skip
def test_what_is_refused_says_what_would_be_accepted(name: str, payload: str, words: str) -> None:
    with pytest.raises(CommandRefusedError, match=words) as caught:
        said(Wishes(), name, payload)
    assert "\n" not in str(caught.value)


def test_a_bundle_without_comfort_or_tank_has_nothing_to_set() -> None:
    assert settable(tiny_manifest()) == ()
    assert comfort_document(Overrides(), tiny_manifest(), {}, NOON, UTC) == {}
    assert set(settable(HOUSE)) == {f.name for f in HOUSE.forecasts} | {"away", "away_temperature", "hot_water_now"}
    with pytest.raises(CommandRefusedError, match="known here: mode, max_inflow"):
        wished(Wishes(), parse_order("set/away", b"on"), tiny_manifest(), NOON, OSLO)


def test_what_the_safety_filter_keeps_bounds_what_may_be_said() -> None:
    """A room is not asked to be hotter than it may ever be, nor water to be cooler."""
    limits = [("living_temperature", 8.0, 30.0), ("water_temperature", 30.0, 90.0)]
    kept_limits = [{"name": name, "lower": low, "upper": high} for name, low, high in limits]
    square = [[0.0] * 3 for _ in range(3)]
    safety = {"limits": kept_limits, "state_matrix": square, "action_matrix": [[0.0]] * 3}
    house = HOUSE.model_validate({**HOUSE.model_dump(), "safety": safety})
    for name, value, words in (
        ("living_set_point", "31", "from 8 to 30 degC"),
        ("water_lower", "20", "from 30 to 90 degC"),
        ("bed_set_point", "36", "from 5 to 35 degC"),
    ):
        with pytest.raises(CommandRefusedError, match=words):
            wished(Wishes(), parse_order(f"set/{name}", value.encode()), house, NOON, OSLO)
    away = wished(
        Wishes(overrides=Overrides(away_c=5.0)), parse_order("set/away", b"on"), house, NOON, OSLO
    )  # fmt: skip
    plain = {f.name: f.schedule.column(OSLO, NOON, HALF_HOUR, ROWS) for f in house.forecasts if f.schedule}
    found = overridden(plain, house, away.overrides, NOON)
    assert (found["living_lower"][0], found["living_set_point"][0], found["bed_set_point"][0]) == (8.0, 8.0, 5.0)


NAMES = st.sampled_from(settable(HOUSE))
VALUES = st.sampled_from(["auto", "on", "off", "17:30", "2026-01-09T07:00"]) | st.floats(-5, 100).map(str)
UNTIL = st.sampled_from(["", "3", "06:00", "2026-01-12T00:00"])


@given(st.lists(st.tuples(NAMES, VALUES, UNTIL), max_size=8), st.floats(0, 14 * 86400))
def test_whatever_is_said_bands_contain_their_set_points_and_bounds_hold(
    orders: list[tuple[str, str, str]], later_s: float
) -> None:
    wishes, time_s = Wishes(), NOON
    for name, value, until in orders:
        try:
            after = said(wishes, name, f'{{"value": "{value}", "until": "{until}"}}', time_s)
        except CommandRefusedError:
            continue
        assert relaxes(after, wishes) or after == wishes
        wishes, time_s = after, time_s + 600.0
    found = columns(wishes, NOON + later_s)
    for spec in HOUSE.forecasts:
        assert all(spec.lower <= value <= spec.upper for value in found[spec.name])
    for zone in ("living", "bed"):
        rows = zip(*(found[f"{zone}_{what}"] for what in ("lower", "set_point", "upper")), strict=True)
        assert all(low <= wanted <= high for low, wanted, high in rows)
    assert all(low <= high for low, high in zip(found["water_lower"], found["water_upper"], strict=True))
    assert recalled(kept(wishes), HOUSE) == wishes
    document = comfort_document(wishes.overrides, HOUSE, found, NOON + later_s, OSLO)
    assert set(document["comfort"]) == {"living", "bed", "water"}


def test_what_was_kept_before_there_were_overrides_is_recalled() -> None:
    assert recalled('{"mode": "rule", "caps": {}}', HOUSE) == Wishes("rule")
    odd = '{"mode": "rule", "caps": {}, "overrides": {"holds": {"living_set_point": ["warm", 3]}}}'
    assert recalled(odd, HOUSE) == Wishes()
    foreign = Overrides({"hall_set_point": Hold(20.0), "bed_set_point": Hold(99.0), "living_set_point": Hold(22.0)})
    assert still_valid(Wishes(overrides=foreign), HOUSE).overrides.holds == {"living_set_point": Hold(22.0)}


@given(st.integers(0, WEEK_MIN - 1), st.sampled_from([NIGHT, SUNDAY, {"default": 20}]))
def test_the_next_switch_is_where_the_value_changes_first(minute: int, schedule: dict[str, Any]) -> None:
    week = Weekly.model_validate(schedule)
    monday = at("2026-01-05T00:00")
    later = (k for k in range(1, WEEK_MIN + 1) if week.at(minute + k) != week.at(minute))
    expected = next(later, None)
    found = week.next_switch(OSLO, monday + 60 * minute)
    assert found == (None if expected is None else monday + 60 * (minute + expected))


def test_clocks_that_are_set_move_no_switch() -> None:
    week = Weekly.model_validate(NIGHT)
    for day in ("2026-03-29", "2026-10-25"):
        assert week.next_switch(OSLO, at(f"{day}T00:30")) == at(f"{day}T06:00")
    assert moment("06:00", at("2026-03-29T00:30"), OSLO) == at("2026-03-29T06:00")
    assert DAY_MIN * 7 == WEEK_MIN


def test_state_says_what_is_wanted_and_why() -> None:
    wishes = said(said(Wishes(), "living_set_point", "22"), "hot_water_now", "13:30")
    document = comfort_document(wishes.overrides, HOUSE, columns(wishes), NOON, OSLO)
    assert document["comfort"]["living"] == {
        "set_point": 22.0, "lower": 19.0, "upper": 24.0, "unit": "degC",
        "by": "command", "until": "2026-01-08T22:00+01:00",
    }  # fmt: skip
    assert document["comfort"]["bed"]["by"] == "schedule" and document["comfort"]["bed"]["until"] is None
    assert document["comfort"]["water"]["by"] == "hot_water_now" and document["comfort"]["water"]["lower"] == 60.0
    assert document["hot_water"] == {"on": True, "until": "2026-01-08T13:30+01:00"}
    assert document["away"] == {"on": False, "until": None, "temperature": 16.0}


def test_a_zone_that_is_off_falls_to_what_the_filter_keeps_and_comes_back_with_heat() -> None:
    off = said(Wishes(), "bed_set_point", "off")
    found = columns(off)
    least = {spec.name: spec.lower for comfort in comforts(HOUSE) for spec in comfort.specs}
    assert found["bed_set_point"] == (least["bed_set_point"],) * ROWS
    assert found["bed_lower"] == (least["bed_lower"],) * ROWS
    assert min(found["bed_upper"]) >= 17.0  # what is still warm is not too warm
    assert found["living_set_point"] == columns(Wishes())["living_set_point"]
    assert columns(off, NOON + 30 * 86400)["bed_set_point"] == found["bed_set_point"]
    assert comfort_document(off.overrides, HOUSE, found, NOON, OSLO)["comfort"]["bed"]["by"] == "off"
    # It lasts through being away and a restart.
    away = said(said(off, "away", "3 h"), "away", "off")
    again = recalled(kept(away), HOUSE)
    assert columns(again)["bed_set_point"] == found["bed_set_point"]
    for word, by in (("hold", "command"), ("auto", "schedule"), ("19", "command")):
        back = said(again, "bed_set_point", word)
        assert columns(back)["bed_set_point"][0] == (19.0 if word == "19" else 17.0)
        assert comfort_document(back.overrides, HOUSE, columns(back), NOON, OSLO)["comfort"]["bed"]["by"] == by
    until = columns(said(Wishes(), "living_set_point", '{"value": "off", "until": "15:00"}'))["living_set_point"]
    assert hours(until, 0, 3) == {least["living_set_point"]} and hours(until, 3, 10) == {21.0}
    with pytest.raises(CommandRefusedError):
        said(Wishes(), "bed_lower", "off")
