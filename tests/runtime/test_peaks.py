"""The month's peaks of import: what a capacity charge counts from, by the clock of the site, over restarts."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.bundle.manifest import PeakObserver, SignalSpec
from runtime.inputs.peaks import Peaks, keep_peaks
from runtime.inputs.uncharged import uncharged_kw

OSLO = ZoneInfo("Europe/Oslo")
METER = SignalSpec(name="grid_power", unit="kW", lower=-20, upper=20)
STEP_S = 300.0


def counting(days: int = 1, **more: object) -> Peaks:
    return Peaks(PeakObserver(type="peak", meter=METER, interval_s=3600.0, days=days, **more), OSLO)  # type: ignore[arg-type]


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=OSLO).timestamp()


def run(peaks: Peaks, begin_s: float, powers_kw: list[float | None]) -> float:
    """One cycle each; the first says from when on it is known."""
    peaks.observe(begin_s, None)
    for i, power in enumerate(powers_kw):
        peaks.observe(begin_s + (i + 1) * STEP_S, power)
    return begin_s + len(powers_kw) * STEP_S


def charge(peaks_kw: list[float], days: int, free_kw: float, edges: list[float]) -> float:
    """Written out: the mean of the highest, at least what is free, in tiers up to the end of one."""
    mean = max(free_kw, sum(sorted(peaks_kw, reverse=True)[:days]) / days)
    return min((edge for edge in edges if edge >= mean - 1e-9), default=mean)


kw = st.floats(0.0, 20.0)


@given(
    st.lists(kw, max_size=6),
    kw,
    st.integers(1, 4),
    st.sampled_from([0.0, 2.5]),
    st.sampled_from([[], [2.0, 5.0, 10.0]]),
    st.floats(0.01, 10.0),
)
def test_up_to_it_the_charge_stays_and_beyond_it_rises(
    others: list[float], today: float, days: int, free: float, edges: list[float], more: float
) -> None:
    limit = uncharged_kw(others, today, days, free, edges)
    before = charge([*others, today], days, free, edges)
    assert limit >= today - 1e-9
    assert charge([*others, limit], days, free, edges) == pytest.approx(before, abs=1e-9)
    assert charge([*others, limit + more], days, free, edges) > before + 1e-4


@given(st.lists(kw, max_size=6), st.integers(1, 4), st.integers(0, 5), st.floats(0.01, 10.0))
def test_what_a_tier_has_left_is_shared_with_the_days_that_come(
    others: list[float], days: int, left: int, more: float
) -> None:
    edges = [2.0, 5.0, 10.0, 20.0]
    share = uncharged_kw(others, 0.0, days, 0.0, edges, left)
    before = charge(others, days, 0.0, edges)
    assert share <= uncharged_kw(others, 0.0, days, 0.0, edges) + 1e-9
    assert charge([*others, *[share] * (left + 1)], days, 0.0, edges) == pytest.approx(before, abs=1e-9)
    assert charge([*others, *[share + more] * (left + 1)], days, 0.0, edges) > before + 1e-4


def test_the_first_day_of_a_month_leaves_the_others_theirs() -> None:
    peaks = counting(days=3, edges=(2.0, 5.0))
    peaks.observe(at("2026-01-01T10:00"), None)
    assert peaks.value == pytest.approx(2.0), "and not the 6 kW of three days"
    run(peaks, at("2026-01-01T10:00"), [3.0] * 12)
    peaks.observe(at("2026-01-02T10:00"), None)
    assert peaks.value == pytest.approx(1.5)
    peaks.observe(at("2026-01-31T10:00"), None)
    assert peaks.value == pytest.approx(3.0), "no other day comes: all that the tier has left"


def test_an_hour_counts_with_its_mean_and_export_with_nothing() -> None:
    peaks = counting()
    begin_s = at("2026-01-05T10:00")
    run(peaks, begin_s, [6.0] * 6 + [0.0] * 6 + [-4.0] * 6 + [2.0] * 5)
    assert peaks.value == pytest.approx(3.0), "the second hour is not over"
    assert not peaks.begun_anew


def test_an_hour_of_which_little_was_heard_counts_for_nothing() -> None:
    peaks = counting()
    run(peaks, at("2026-01-05T10:00"), [9.0] * 4 + [None] * 8 + [4.0] * 8 + [None] * 4)
    assert peaks.value == pytest.approx(4.0)


def test_the_mean_of_three_days_and_a_new_month() -> None:
    peaks = counting(days=3)
    for day, power in ((5, 4.0), (6, 6.0), (7, 5.0), (8, 1.0)):
        run(peaks, at(f"2026-01-{day:02}T08:00"), [power] * 12)
    assert peaks.value == pytest.approx(4.0), "the third highest of other days: a day above it takes its place"
    run(peaks, at("2026-01-08T18:00"), [5.5] * 12)
    assert peaks.value == pytest.approx(5.5)
    # 23:30 UTC is past midnight in Oslo: another month.
    peaks.observe(datetime.fromisoformat("2026-01-31T23:30+00:00").timestamp(), 1.0)
    assert peaks.value == 0.0 and peaks.begun_anew


def test_what_is_kept_is_known_after_a_restart_and_of_no_use_in_the_next_month() -> None:
    peaks, kept, told = counting(), {}, {}
    keep = lambda key, text: kept.update({key: text}) or ""  # noqa: E731
    tell = lambda key, text: told.update({key: text})  # noqa: E731
    peaks.observe(at("2026-01-05T10:00"), 1.0)
    keep_peaks(peaks, keep, tell)
    assert "counts from zero" in next(iter(told.values()))
    run(peaks, at("2026-01-05T10:00"), [3.0] * 12)
    keep_peaks(peaks, keep, tell)
    assert set(told.values()) == {""}
    (text,) = kept.values()
    again, later = counting(), counting()
    again.recall(text)
    again.observe(at("2026-01-20T10:00"), None)
    assert again.value == pytest.approx(3.0)
    later.recall(text)
    later.observe(at("2026-02-01T00:00"), None)
    assert later.value == 0.0
    for foreign in ("", "[]", "{}", '{"month": "2026-01", "days": {"2026-01-05": NaN}}', '{"month": 1, "days": 3}'):
        again.recall(foreign)
    assert again.value == pytest.approx(3.0)
