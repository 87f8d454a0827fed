"""Schedules of the week, against a second by-hand reading of what their text says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from runtime.formats.weekly import DAY_MIN, WEEK_MIN, WEEKDAYS, Weekly, minute_of_day, weekdays


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("daily", (0, 1, 2, 3, 4, 5, 6)),
        ("mon-fri", (0, 1, 2, 3, 4)),
        ("sat,sun", (5, 6)),
        ("fri-mon", (4, 5, 6, 0)),
        (" Wed ", (2,)),
        ("mon-wed, sun", (0, 1, 2, 6)),
    ],
)
def test_days_as_people_write_them(text: str, days: tuple[int, ...]) -> None:
    assert weekdays(text) == days


@pytest.mark.parametrize("text", ["", "monday", "mon-", "mon-fri-sun", "1", "mon;tue"])
def test_days_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write 'mon-fri'"):
        weekdays(text)


@pytest.mark.parametrize("text", ["6", "25:00", "24:01", "6:5", "-1:00", "06:30:00"])
def test_times_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it as '06:30'"):
        minute_of_day(text)


def test_a_night_that_begins_on_sunday_ends_on_monday() -> None:
    week = Weekly.model_validate(
        {"default": 21, "schedule": [{"days": "sun", "from": "22:00", "to": "06:00", "value": 18}]}
    )
    sunday_evening, monday_morning = 6 * DAY_MIN + 22 * 60, 5 * 60
    assert [week.at(m) for m in (sunday_evening - 1, sunday_evening, monday_morning, 6 * 60)] == [21, 18, 18, 21]
    assert dict(week.values())[6 * 60] == 21


times = st.integers(0, DAY_MIN // 15).map(lambda quarter: quarter * 15)
spans = st.fixed_dictionaries(
    {
        "days": st.lists(st.sampled_from(WEEKDAYS), min_size=1, unique=True).map(",".join),
        "from": times.map(lambda m: f"{m // 60:02d}:{m % 60:02d}"),
        "to": times.map(lambda m: f"{m // 60:02d}:{m % 60:02d}"),
        "value": st.integers(5, 30),
    }
)


@given(st.lists(spans, max_size=4))
def test_the_last_span_that_covers_a_minute_counts(schedule: list[dict[str, object]]) -> None:
    week = Weekly.model_validate({"default": 0, "schedule": schedule})
    painted = [0.0] * WEEK_MIN
    for span in schedule:
        begin, end = (int(str(span[k])[:2]) * 60 + int(str(span[k])[3:]) for k in ("from", "to"))
        for day in str(span["days"]).split(","):
            for i in range((end - begin) % DAY_MIN or DAY_MIN):
                painted[(WEEKDAYS.index(day) * DAY_MIN + begin + i) % WEEK_MIN] = float(str(span["value"]))
    assert [week.at(m) for m in range(0, WEEK_MIN, 15)] == painted[::15]
    # `values` names every change: between two of its minutes nothing else happens.
    changes = dict(week.values())
    value = changes[0]
    for minute in range(0, WEEK_MIN, 15):
        value = changes.get(minute, value)
        assert value == painted[minute]


def test_a_span_needs_both_ends() -> None:
    with pytest.raises(ValidationError, match="to"):
        Weekly.model_validate({"default": 21, "schedule": [{"from": "06:00", "value": 18}]})
