"""Logs as houses write them: every fault is found, named by row and signal, and kept from the fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nisse.cli import main
from systems.assets.zone.arx_fit import build_regression
from systems.house.plant import PhysicalHouse
from systems.house.rules import Exciting
from systems.house.weather import generate_conditions
from systems.logs.cleaning import stuck_rows
from systems.logs.log import Fault, LogError, runs
from systems.series import SeriesError
from tuner.identify.cleaning import clean_house_log
from tuner.identify.house_log import HouseLog, load_house_log, log_columns, simulate_house_log

DAYS = 9


@pytest.fixture(scope="module")
def good() -> HouseLog:
    conditions = generate_conditions(7, start=datetime(2017, 11, 1, tzinfo=UTC), days=DAYS)
    return simulate_house_log(PhysicalHouse(conditions), Exciting(2), seed=3)


def column(signal: str) -> int:
    return log_columns().index(signal)


def lines(log: HouseLog, times: list[str] | None = None) -> list[str]:
    """The CSV as text lines, header first; times default to UTC."""
    start = datetime.fromtimestamp(log.start_s, UTC)
    times = times or [(start + timedelta(seconds=300 * t)).isoformat() for t in range(len(log))]
    rows = [",".join([time, *(f"{v:.3f}" for v in values)]) for time, values in zip(times, log.table, strict=True)]
    return [",".join(["time", *log_columns()]), *rows]


def saved(tmp_path: Path, text: list[str]) -> Path:
    path = tmp_path / "house.csv"
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


def faults_of(log: HouseLog, *kinds: str) -> list[Fault]:
    return [fault for fault in clean_house_log(log).log.faults if fault.kind in kinds]


def changed(log: HouseLog, signal: str, rows: slice, change: Callable[[np.ndarray], np.ndarray]) -> HouseLog:
    """A copy with `change` applied to samples `rows` of a signal."""
    outputs, inputs = log.outputs.copy(), log.inputs.copy()
    i = column(signal)
    target = inputs[:, 0] if i == 0 else outputs[:, i - 1] if i <= 4 else inputs[:, i - 4]
    target[rows] = change(target[rows])
    return HouseLog(log.start_s, outputs, inputs, log.row, (), "house.csv")


def test_a_good_log_loses_nothing(good: HouseLog, tmp_path: Path) -> None:
    log = load_house_log(saved(tmp_path, lines(good)))
    assert np.allclose(log.table, good.table, atol=6e-4)
    assert np.array_equal(log.row, np.arange(2, len(good) + 2))
    clean = clean_house_log(log)
    assert clean.log.faults == ()
    assert clean.share_excluded["rows"] == 0.0


CASES = [
    ("room2_c", "stuck", lambda v: np.full_like(v, v[0])),
    ("outdoor_c", "stuck", lambda v: np.full_like(v, v[0])),
    ("room1_c", "fahrenheit", lambda v: v * 1.8 + 32.0),
    ("outdoor_c", "fahrenheit", lambda v: v * 1.8 + 32.0),
    ("power3_kw", "watt", lambda v: v * 1000.0),
    ("room4_c", "range", lambda v: np.full_like(v, 85.0)),
    ("room4_c", "range", lambda v: np.full_like(v, -127.0)),
    ("room3_c", "dropout", lambda v: np.full_like(v, math.nan)),
    ("power1_kw", "range", lambda v: -1.0 - v),
]


@pytest.mark.parametrize(("signal", "kind", "change"), CASES)
def test_each_fault_is_found_by_row_and_signal(
    good: HouseLog, signal: str, kind: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    bad = changed(good, signal, slice(500, 620), change)
    clean = clean_house_log(bad)
    found = [f for f in clean.log.faults if f.kind == kind]
    assert {f.signal for f in found} == {signal}
    assert min(f.first_row for f in found) in range(500, 506)  # row = sample + 2; a few small values look like kW
    assert max(f.last_row for f in found) in range(617, 623)
    table = clean.log.table
    left = np.isfinite(table[500:620, column(signal)])
    # What is left of a stretch in watts is the unit at rest, which is zero in any unit.
    assert not left.any() or (kind == "watt" and table[500:620, column(signal)][left].max() < 0.05)
    others = np.delete(table, column(signal), axis=1)
    assert np.isfinite(others).all()
    assert np.isfinite(table[:495]).all() and np.isfinite(table[625:]).all()
    assert clean.share_excluded[signal] == pytest.approx(120 / len(good), abs=40 / len(good))
    assert clean.share_excluded["rows"] == clean.share_excluded[signal]


def test_a_spike_is_taken_out_alone(good: HouseLog) -> None:
    bad = changed(good, "room1_c", slice(300, 301), lambda v: v + 9.0)
    assert [(f.kind, f.first_row, f.values) for f in clean_house_log(bad).log.faults] == [("spike", 302, 1)]


def test_a_coarse_sensor_is_not_a_stuck_one(good: HouseLog) -> None:
    outputs = np.round(good.outputs * 2) / 2
    coarse = HouseLog(good.start_s, outputs, good.inputs, good.row)
    assert faults_of(coarse, "stuck") == []
    outputs[800:1100, 0] = outputs[800, 0]
    assert [f.signal for f in faults_of(coarse, "stuck")] == ["room1_c"]


def test_a_heat_pump_that_is_off_for_a_week_is_not_stuck(good: HouseLog) -> None:
    off = changed(good, "power2_kw", slice(200, 2000), np.zeros_like)
    assert faults_of(off, "stuck") == []
    held = changed(good, "power2_kw", slice(200, 700), lambda v: np.full_like(v, 0.73))
    assert [(f.signal, f.values) for f in faults_of(held, "stuck")] == [("power2_kw", 500)]


@pytest.mark.parametrize(
    ("signal", "change", "says"),
    [
        ("room1_c", lambda v: v * 1.8 + 32.0, "'room1_c' is in degrees Fahrenheit; convert"),
        ("outdoor_c", lambda v: v * 1.8 + 32.0, "'outdoor_c' .* looks like degrees Fahrenheit"),
        ("power4_kw", lambda v: v * 1000.0, "'power4_kw' is in watts; divide the column by 1000"),
    ],
)
def test_a_whole_column_in_the_wrong_unit_is_refused(
    good: HouseLog, signal: str, change: Callable[[np.ndarray], np.ndarray], says: str
) -> None:
    with pytest.raises(LogError, match=says):
        clean_house_log(changed(good, signal, slice(None), change))


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_whatever_is_damaged_the_rest_of_the_log_stays_as_it_was(good: HouseLog, data: st.DataObject) -> None:
    """Cleaning never changes a value, never invents one, and finds all of a long stretch of nonsense."""
    signal = data.draw(st.sampled_from(log_columns()))
    start = data.draw(st.integers(20, len(good) - 200))
    length = data.draw(st.integers(40, 150))
    nonsense = data.draw(st.sampled_from([85.0, -200.0, 1e6, math.nan]))
    bad = changed(good, signal, slice(start, start + length), lambda v: np.full_like(v, nonsense))
    table = clean_house_log(bad).log.table
    kept = np.isfinite(table)
    assert np.array_equal(table[kept], good.table[kept])
    assert not kept[start : start + length, column(signal)].any()
    assert kept.mean() > 1.0 - (length + 4) / len(good)


# -- times -------------------------------------------------------------------------------------------------------------


def usable_rows(log: HouseLog) -> int:
    return len(build_regression(log.outputs, log.inputs).rows)


def test_missing_rows_are_a_dropout_of_every_signal(good: HouseLog, tmp_path: Path) -> None:
    text = lines(good)
    del text[401:461]  # file rows 402..461
    log = load_house_log(saved(tmp_path, text))
    assert len(log) == len(good)
    clean = clean_house_log(log)
    assert {f.signal for f in clean.log.faults} == set(log_columns())
    assert {(f.kind, f.values) for f in clean.log.faults} == {("dropout", 60)}
    assert usable_rows(clean.log) == usable_rows(good) - 60 - 12


def test_words_of_home_assistant_and_empty_cells_are_dropouts(good: HouseLog, tmp_path: Path) -> None:
    text = lines(good)
    for row, word in ((100, "unavailable"), (101, "unknown"), (102, ""), (103, "nan")):
        fields = text[row].split(",")
        fields[2] = word
        text[row] = ",".join(fields)
    faults = clean_house_log(load_house_log(saved(tmp_path, text))).log.faults
    assert [(f.kind, f.signal, f.first_row, f.last_row) for f in faults] == [("dropout", "room1_c", 101, 104)]


def test_a_clock_that_jumps_back_breaks_the_history_and_no_more(good: HouseLog, tmp_path: Path) -> None:
    start = datetime.fromtimestamp(good.start_s, UTC)
    times = [(start + timedelta(seconds=300 * t - (7200 if t >= 1000 else 0))).isoformat() for t in range(len(good))]
    log = load_house_log(saved(tmp_path, lines(good, times)))
    clock = [f for f in log.faults if f.kind == "clock"]
    assert [(f.first_row, "jumped back by 2.0" in str(f)) for f in clock] == [(1002, True)]
    assert usable_rows(log) == usable_rows(good) - 12
    assert np.isfinite(log.table).all(1).sum() == len(good)


def test_a_late_row_is_left_out_and_nothing_else(good: HouseLog, tmp_path: Path) -> None:
    text = lines(good)
    text.insert(1500, text[300])
    late = load_house_log(saved(tmp_path, text))
    assert [(f.kind, f.first_row) for f in late.faults] == [("late", 1501)]
    np.testing.assert_allclose(late.table, good.table, atol=1e-3)


@pytest.mark.parametrize("daily", [False, True])
def test_energies_in_the_place_of_powers_are_recognised(good: HouseLog, tmp_path: Path, daily: bool) -> None:
    energy = np.vstack([np.zeros(4), np.cumsum(good.inputs[:, 1:] / 12.0, axis=0)[:-1]])
    energy = energy - np.repeat(energy[::288], 288, axis=0) if daily else energy + 812.0
    counted = replace(good, inputs=np.column_stack([good.inputs[:, 0], energy]))
    path, powers = saved(tmp_path, lines(counted)), log_columns()[5:]
    with pytest.raises(LogError, match=r"counted up for .*--counters power1_kw power2_kw power3_kw power4_kw"):
        load_house_log(path, counters=())
    with pytest.raises(LogError, match="log powers in kW"):
        load_house_log(path)
    log = load_house_log(path, counters=powers)
    there = np.isfinite(log.table).all(1)
    assert there.sum() >= len(good) - (DAYS if daily else 1)
    # Energies are written to a Wh: 12 W over five minutes.
    np.testing.assert_allclose(log.table[there], good.table[there], atol=0.013)


@pytest.mark.parametrize(
    ("day", "kind_of_jump"), [(datetime(2017, 10, 27), "winter time"), (datetime(2018, 3, 23), "summer time")]
)
def test_daylight_saving_of_a_local_clock_is_recognised(
    good: HouseLog, tmp_path: Path, day: datetime, kind_of_jump: str
) -> None:
    zone = ZoneInfo("Europe/Oslo")
    utc = [day.replace(tzinfo=UTC) + timedelta(seconds=300 * t) for t in range(len(good))]
    local = [time.astimezone(zone).replace(tzinfo=None).isoformat(sep=" ") for time in utc]
    log = load_house_log(saved(tmp_path, lines(good, local)))
    found = [f for f in log.faults if f.kind == "daylight_saving"]
    assert len(found) == 1
    assert kind_of_jump in found[0].detail
    # Two days and an hour after midnight UTC: 01:00 UTC on Sunday.
    assert found[0].first_row == 2 + next(t for t, time in enumerate(utc) if time.weekday() == 6 and time.hour == 1)
    assert usable_rows(log) == usable_rows(good) - 12
    with_offset = [time.astimezone(zone).isoformat() for time in utc]
    aware = load_house_log(saved(tmp_path, lines(good, with_offset)))
    assert aware.faults == ()
    assert usable_rows(aware) == usable_rows(good)


def test_a_repeated_row_is_left_out_and_named(good: HouseLog, tmp_path: Path) -> None:
    text = lines(good)
    text.insert(200, text[199])
    log = load_house_log(saved(tmp_path, text))
    assert [(f.kind, f.first_row) for f in log.faults] == [("duplicate", 201)]
    assert usable_rows(log) == usable_rows(good)


def test_one_minute_rows_are_averaged_and_jittery_ones_find_their_step(tmp_path: Path) -> None:
    header = ",".join(["time", *log_columns()])
    start = datetime(2018, 1, 1, tzinfo=UTC)
    fine = [
        f"{(start + timedelta(minutes=m)).isoformat()},0,{20 + m / 100},20,20,20,{m % 5 / 10},0,0,0" for m in range(60)
    ]
    log = load_house_log(saved(tmp_path, [header, *fine]))
    assert log.inputs[:12, 1] == pytest.approx(np.full(12, 0.2))
    assert log.outputs[1:11, 0] == pytest.approx(20 + 0.05 * np.arange(1, 11), abs=0.006)
    jitter = [40, -30, 50, 0, -45, 20]
    rough = [
        f"{(start + timedelta(seconds=300 * k + j)).isoformat()},0,{20 + k},20,20,20,0.{k},0,0,0"
        for k, j in enumerate(jitter)
    ]
    log = load_house_log(saved(tmp_path, [header, *rough]))
    assert log.outputs[:, 0].tolist() == [20.0, 21.0, 22.0, 23.0, 24.0, 25.0]
    assert log.inputs[:, 1] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            lambda t: [t[0].replace("room3_c", "room_3"), *t[1:]],
            "'room3_c': the column is missing.*did you mean 'room_3'",
        ),
        (lambda t: [t[0], t[1].replace(",", ";"), *t[2:]], "1 fields where the header has 10"),
        (lambda t: [*t[:5], t[5].replace("T", " at "), *t[6:]], "row 6, column 'time'.*not an ISO 8601 time"),
        (
            lambda t: [*t[:5], t[5].rsplit(",", 1)[0] + ",abc", *t[6:]],
            "row 6, column 'power4_kw': 'abc' is not a number",
        ),
        (lambda t: [*t[:5], t[5].replace("+00:00", ""), *t[6:]], "row 6.*with and without UTC offset are mixed"),
        (lambda t: [t[0], *t[1::3]], "one row per 15 min; the model steps 5 min"),
        (lambda t: t[:2], "1 rows of data"),
        (lambda t: [""], "the file is empty"),
    ],
)
def test_a_file_that_is_no_log_is_a_one_line_error(
    good: HouseLog,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[list[str]], list[str]],
    says: str,
) -> None:
    path = saved(tmp_path, damage(lines(good)))
    with pytest.raises((SeriesError, LogError), match=says):
        load_house_log(path)
    assert main(["identify", "--system", "house", "--log", str(path)]) == 65
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("nisse identify: ")


@given(st.lists(st.booleans(), max_size=60))
def test_runs_are_the_stretches(mask: list[bool]) -> None:
    found = runs(np.array(mask, dtype=bool))
    rebuilt = np.zeros(len(mask), dtype=bool)
    for a, b in found:
        rebuilt[a:b] = True
    assert rebuilt.tolist() == mask
    assert all(b < c for (_, b), (c, _) in pairwise(found))


def test_stuck_means_longer_than_the_sensor_is_wont() -> None:
    moving = np.arange(300.0)
    moving[100:150] = moving[100]
    assert runs(stuck_rows(moving, 36)) == [(100, 150)]
    assert not stuck_rows(moving, 60).any()
