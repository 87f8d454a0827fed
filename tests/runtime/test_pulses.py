"""Pulses: the mean is kept, a compressor's own times are never broken, its power is 0 or one that it can turn at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from runtime.decide.pulses import Compressor, CompressorRun, CycleMoment, found, step

HOLD_S = 1800.0


@dataclass
class Record:
    """(time, power, wanted) of every cycle, and what was owed in the end."""

    rows: list[tuple[float, float, float]]
    state: CompressorRun


def run(unit: Compressor, wanted: list[tuple[float, ...]], cycle_s: float, room: list[float] | None = None) -> Record:
    """One entry of `wanted` for each decision, after a long rest."""
    state, rows = found(unit, (0.0,) * len(unit.actions), -1e6, 0.0), []
    cycles = round(HOLD_S / cycle_s)
    for k, powers in enumerate(wanted):
        for i in range(cycles):
            now_s = k * HOLD_S + i * cycle_s
            moment = CycleMoment(now_s, cycle_s, HOLD_S - i * cycle_s, HOLD_S)
            state = step(unit, state, powers, moment, math.inf if room is None else room[k])
            rows.append((now_s, sum(state.delivered), sum(powers)))
    return Record(rows, state)


def spells(rows: list[tuple[float, float, float]]) -> list[tuple[bool, float]]:
    """(on, seconds) of every whole spell: the first and the last are cut off."""
    switches = [
        (rows[i][0], rows[i][1] > 0) for i in range(len(rows)) if i == 0 or (rows[i][1] > 0) != (rows[i - 1][1] > 0)
    ]
    return [(now, switches[i + 1][0] - at) for i, (at, now) in enumerate(switches[:-1]) if i > 0]


@st.composite
def units(draw: st.DrawFn) -> Compressor:
    least = draw(st.sampled_from([0.0, 0.2, 0.8, 1.5]))
    return Compressor(
        name="hp", actions=("zones", "water")[: draw(st.integers(1, 2))], least_kw=least,
        most_kw=least + draw(st.floats(0.3, 3)), min_run_s=draw(st.sampled_from([0, 60, 600, 1500])),
        min_rest_s=draw(st.sampled_from([0, 60, 300, 900])),
    )  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.data(), units(), st.sampled_from([60.0, 300.0, 900.0]))
def test_power_run_and_rest_are_what_the_compressor_can(data: st.DataObject, unit: Compressor, cycle_s: float) -> None:
    """Whatever is wanted, and whatever room there is."""
    n = len(unit.actions)
    share = st.one_of(st.just(0.0), st.floats(0.0, unit.most_kw / n))
    wanted = data.draw(st.lists(st.tuples(*[share] * n), min_size=1, max_size=14))
    room = data.draw(st.lists(st.floats(0.0, 2 * unit.most_kw), min_size=len(wanted), max_size=len(wanted)))
    rows = run(unit, wanted, cycle_s, room).rows
    for _, power, _ in rows:
        assert power == 0.0 or unit.least_kw - 1e-9 <= power <= unit.most_kw + 1e-9
    for on, length_s in spells(rows):
        assert length_s >= (unit.min_run_s if on else unit.min_rest_s) - 1e-6
    # More than there is room for is drawn only while it must run.
    started = -math.inf
    for (at, power, _), allowed, before in zip(
        rows, [r for r in room for _ in range(round(HOLD_S / cycle_s))], [0.0, *(p for _, p, _ in rows)], strict=False
    ):
        started = at if power > 0 and before == 0 else started
        if power > max(allowed, 0.0) + 1e-9:
            assert at - started < unit.min_run_s and power <= unit.least_kw + 1e-9


@settings(deadline=None, max_examples=150)
@given(st.data(), units(), st.sampled_from([60.0, 300.0]))
def test_the_mean_is_kept_within_a_pulse(data: st.DataObject, unit: Compressor, cycle_s: float) -> None:
    """At every moment of days in which it is wanted less than all the time that its rests leave."""
    n = len(unit.actions)
    most = 0.8 * unit.most_kw * (1.0 - unit.min_rest_s / (unit.min_rest_s + max(unit.min_run_s, HOLD_S)))
    share = st.one_of(st.just(0.0), st.floats(0.0, most / n))
    wanted = data.draw(st.lists(st.tuples(*[share] * n), min_size=1, max_size=60))
    rows = run(unit, wanted, cycle_s).rows
    pulse = max(unit.least_kw, most) * max(unit.min_run_s, HOLD_S) + unit.most_kw * max(unit.min_rest_s, cycle_s)
    owed = 0.0
    for _, power, mean in rows:
        owed += (mean - power) * cycle_s
        assert abs(owed) <= pulse + 1e-6


def test_below_its_least_power_it_runs_part_of_each_decision() -> None:
    unit = Compressor(name="hp", actions=("zones",), least_kw=0.8, most_kw=3.5, min_run_s=600, min_rest_s=300)
    rows = run(unit, [(0.4,)] * 8, 300.0).rows
    # Half of each half hour, in one go, at what it can turn at.
    assert [power for _, power, _ in rows] == [0.8, 0.8, 0.8, 0.0, 0.0, 0.0] * 8
    # Little is saved up for a whole pulse: 0.1 kW is 180 of the 480 kW s that ten minutes take.
    rows = run(unit, [(0.1,)] * 16, 300.0).rows
    assert [on for on, _ in spells(rows)].count(True) <= 7 and {s for on, s in spells(rows) if on} == {600.0}
    assert sum(p for _, p, _ in rows) * 300 == pytest.approx(0.1 * 16 * 1800, abs=480)
    # What it can turn at is delivered as it is.
    assert {power for _, power, _ in run(unit, [(1.7,)] * 4, 300.0).rows} == {1.7}


def test_purposes_share_a_pulse_by_what_each_is_due() -> None:
    unit = Compressor(name="hp", actions=("zones", "water"), least_kw=1.0, most_kw=3.0, min_run_s=600)
    state, sums = found(unit, (0.0, 0.0), -1e6, 0.0), [0.0, 0.0]
    for k in range(6 * 12):
        state = step(unit, state, (0.3, 0.1), CycleMoment(300.0 * k, 300.0, HOLD_S - 300.0 * (k % 6), HOLD_S))
        assert sum(state.delivered) == 0.0 or sum(state.delivered) >= 1.0
        sums = [s + p * 300.0 for s, p in zip(sums, state.delivered, strict=True)]
    assert sums == pytest.approx([0.3 * 21600, 0.1 * 21600], abs=150)


def test_what_a_limit_takes_is_not_owed_later() -> None:
    unit = Compressor(name="hp", actions=("water",), least_kw=0.8, most_kw=2.0, min_run_s=600)
    state = CompressorRun(False, -1e6, 0.0, (400.0,), (0.0,), (0.0,))
    moment = CycleMoment(0.0, 300.0, HOLD_S, HOLD_S)
    assert step(unit, state, (0.0,), moment).on
    assert not step(unit, state, (0.0,), moment, held_back=(True,)).on


def test_after_a_restart_it_goes_on_as_it_was_or_rests_first() -> None:
    unit = Compressor(name="hp", actions=("zones",), least_kw=0.8, most_kw=2.0, min_run_s=600, min_rest_s=300)
    moment = CycleMoment(1000.0, 60.0, HOLD_S, HOLD_S)
    started = found(unit, (0.8,), 900.0, 1000.0)
    assert step(unit, started, (0.0,), moment).delivered == (0.8,)  # 100 s are no run
    assert step(unit, found(unit, (0.8,), 300.0, 1000.0), (0.0,), moment).delivered == (0.0,)
    unknown = found(unit, None, -math.inf, 1000.0)
    assert not step(unit, unknown, (1.5,), moment).on
    assert step(unit, unknown, (1.5,), CycleMoment(1300.0, 60.0, HOLD_S, HOLD_S)).on


def test_a_compressor_that_cannot_be_is_refused() -> None:
    for change, words in (
        ({"least_kw": 4.0}, "above its most_kw"),
        ({"actions": ("a", "a")}, "twice"),
        ({"min_run_s": math.inf}, "min_run_s"),
        ({"most_kw": 0.0}, "most_kw"),
    ):
        with pytest.raises(ValidationError, match=words):
            Compressor.model_validate({"name": "hp", "actions": ("a",), "most_kw": 2.0, **change})
