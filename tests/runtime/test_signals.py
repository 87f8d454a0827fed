"""Whatever bytes arrive, the parser answers with a usable value or a reason; ages, units and horizons are exact."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tiny_site import tiny_manifest

from runtime.errors import ConfigError
from runtime.formats.literals import NoValueError, PayloadError
from runtime.formats.payload import parse_payload
from runtime.formats.profile import Profile, Value
from runtime.formats.units import IDENTITY, conversion
from runtime.inputs.forecast import Memory, on_horizon
from runtime.inputs.signals import Arrival, Validity, sample
from runtime.links.registers import decode, encode, words_of
from runtime.publish.operator_commands import answer, parse_order
from runtime.site.register import Register

KEYS = [
    "start", "step_s", "values", "a", "end", "value", "time", "raw_today", "raw_tomorrow", "rates", "hourly", "state",
    "attributes", "timezone", "utc_offset_seconds", "price", "2026-10-25T02:30", "2026-03-29T02:30:00", "1767222000",
]  # fmt: skip
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["2026-01-01T00:00", "2026-10-25T02:30", "0.31", "Europe/Oslo", "unavailable", "../etc"])
    | st.integers(1_767_222_000, 1_767_300_000),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=20,
)
POINTERS = st.sampled_from(["", "/values", "/a/0", "/a/00", "//", "/~0~1", "/values/-1", "/values/999999"])


def assert_usable_or_refused(payload: bytes, pointer: str) -> None:
    try:
        value = parse_payload(payload, pointer)
    except PayloadError as error:
        assert "\n" not in str(error)
        return
    numbers = (value,) if isinstance(value, float) else (*value.starts_s, *value.ends_s, *value.values)
    assert numbers and all(isinstance(number, float) and math.isfinite(number) for number in numbers)
    if isinstance(value, Profile):
        edges = list(zip(value.starts_s, value.ends_s, strict=True))
        assert all(start < end for start, end in edges) and len(edges) == len(value.values)
        assert all(a[1] <= b[0] for a, b in pairwise(edges))


@settings(max_examples=600, deadline=None)
@given(st.binary(max_size=300), POINTERS)
@example(b"", "")
@example(b"1e999", "")
@example(b"[" * 100_000, "")
@example(b'{"a":' * 20_000, "/a")
@example(b"9" * 5000, "")
@example(b"\xff\xfe1", "")
@example(b'"\\ud800"', "")
@example(b" " * (300 << 10) + b"1", "")
def test_any_bytes(payload: bytes, pointer: str) -> None:
    assert_usable_or_refused(payload, pointer)


@settings(max_examples=600, deadline=None)
@given(JSON_VALUES, POINTERS)
@example({"start": "2024-01-01T00:00:00", "step_s": 60, "values": [1]}, "")
@example({"start": "9999-12-31T23:59:59+00:00", "step_s": 60, "values": [1]}, "")
@example({"start": 0, "step_s": 1e-300, "values": [1]}, "")
@example({"start": 10**400, "step_s": 60, "values": [1]}, "")
def test_any_json(document: Any, pointer: str) -> None:
    assert_usable_or_refused(json.dumps(document).encode(), pointer)


def test_numbers_and_forecasts_are_found() -> None:
    assert parse_payload(b"21.5") == 21.5
    assert parse_payload(b'{"a": [{"b/c": 7}]}', "/a/0/b~1c") == 7.0
    text = b'{"x": {"start": "2024-07-01T02:00:00+02:00", "step_s": 3600, "values": [1, 2]}}'
    expected = Profile.regular(1719792000.0, 3600.0, (1.0, 2.0))
    assert parse_payload(text, "/x") == parse_payload(text, "/x/values") == expected


TEXTS = ["0.31", '"0.31"', "+0.31", ".31", '".31"', " 0.31 \n", "3.1e-1", "31E-2", "0,31", '{"state": "0.31"}',
         '{"value": 0.31}', "\ufeff0.31", '{"state": " 0.310", "attributes": {"friendly_name": "price"}}']  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_number_however_it_is_written(text: str) -> None:
    assert parse_payload(text.encode()) == 0.31


NO_NUMBERS = [b"true", b'"true"', b"NaN", b"Infinity", b'"-inf"', b"[1, 2]", b'{"values": [1]}', b"0.31.2", b"1,234",
              b"0x31", b"1_000", b"\xd9\xa3", b'{"state": true}', b"--5", b"21.5 C", b"{}", b'{"a": 1}']  # fmt: skip


@pytest.mark.parametrize("payload", NO_NUMBERS)
def test_what_is_no_measurement_is_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError) as refused:
        parse_payload(payload)
    assert not isinstance(refused.value, NoValueError)


@pytest.mark.parametrize("text", ["", " ", "null", "unavailable", "Unknown", "None", '"none"', '""', "N/A"])
def test_a_program_that_says_it_has_no_value_is_believed(text: str) -> None:
    for payload in (text, json.dumps({"state": text.strip('"')})):
        with pytest.raises(NoValueError):
            parse_payload(payload.encode())


def test_validity_of_a_sample() -> None:
    spec = tiny_manifest().states[0]

    def judged(arrival: Arrival | None, now_s: float = 100.0) -> Validity:
        return sample(spec, arrival, IDENTITY, 30.0, now_s).validity

    assert judged(None) is Validity.MISSING
    assert judged(Arrival(0.5, 70.0)) is Validity.OK
    assert judged(Arrival(0.5, 69.9)) is Validity.STALE
    assert judged(Arrival(1.1, 100.0)) is Validity.OUT_OF_RANGE
    assert judged(Arrival(None, 100.0, "garbage")) is Validity.MALFORMED
    # Garbage after a good value: the good one counts until it is too old.
    assert judged(Arrival(0.5, 90.0, "garbage")) is Validity.OK
    assert judged(Arrival(None, 100.0, "unavailable", missing=True)) is Validity.MISSING
    # A forecast brings its own times, and is judged on the horizon.
    assert judged(Arrival(Profile.regular(0, 60, (0.2, 7.0)), 0.0)) is Validity.OK


def horizon(value: Value, now_s: float, dt_s: float, rows: int) -> tuple[float, ...] | None:
    column = on_horizon("x", value, "kW", now_s, dt_s, rows, Memory(dt_s))
    return None if column is None else column.values


@settings(deadline=None)
@given(
    values=st.lists(st.floats(-100, 100), min_size=1, max_size=60),
    step_s=st.sampled_from([1.0, 60.0, 700.0, 900.0, 3600.0]),
    dt_s=st.sampled_from([1.0, 300.0, 900.0, 1800.0]),
    offset=st.floats(0, 1),
)
def test_resampling_preserves_the_integral(values: list[float], step_s: float, dt_s: float, offset: float) -> None:
    """Independent method: the difference of the profile's cumulative integral, interpolated linearly."""
    profile = Profile.regular(1.7e9, step_s, values)
    now = profile.start_s + offset * (profile.end_s - profile.start_s - step_s / 2)
    rows = int((profile.end_s - now) / dt_s)
    assume(rows > 0)
    column = horizon(profile, now, dt_s, rows)
    assert column is not None and len(column) == rows
    cumulative = [0.0]
    for value in values:
        cumulative.append(cumulative[-1] + value * step_s)

    def integral(t: float) -> float:
        position = (t - 1.7e9) / step_s
        index = min(int(position), len(values) - 1)
        return cumulative[index] + (position - index) * values[index] * step_s

    for k, mean in enumerate(column):
        expected = (integral(now + (k + 1) * dt_s) - integral(now + k * dt_s)) / dt_s
        assert mean == pytest.approx(expected, abs=1e-4)


def test_beyond_its_end_a_profile_repeats_its_last_day() -> None:
    profile = Profile.regular(0.0, 3600.0, [float(h) for h in range(36)])
    column = horizon(profile, 34 * 3600.0, 3600.0, 40)
    assert column == tuple(float(h) for h in [34, 35, *range(12, 36), *range(12, 26)])
    assert horizon(Profile.regular(0.0, 3600.0, (1.0, 2.0)), 0.0, 3600.0, 4) == (1.0, 2.0, 2.0, 2.0)
    assert horizon(profile, -3601.0, 3600.0, 2) is None and horizon(profile, 36 * 3600.0, 3600.0, 2) is None
    assert horizon(3.5, 0.0, 60.0, 3) == (3.5, 3.5, 3.5)


def test_units() -> None:
    assert conversion("W", "kW")(1500.0) == 1.5
    assert conversion("%", "1")(42.0) == pytest.approx(0.42)
    assert conversion("C", "K")(20.0) == 293.15
    assert all(conversion(unit, "C")(212.0) == pytest.approx(100.0) for unit in ("°F", "degF", "F"))
    assert conversion("EUR/MWh", "EUR/kWh")(80.0) == pytest.approx(0.08)
    assert conversion("ct/kWh", "EUR/kWh")(25.0) == pytest.approx(0.25)
    for source, target in (("NOK/kWh", "EUR/kWh"), ("kWh", "kW"), ("furlong", "m")):
        with pytest.raises(ConfigError):
            conversion(source, target)


@settings(deadline=None)
@given(
    type_=st.sampled_from(["uint16", "int16", "uint32", "int32", "float32"]),
    order=st.sampled_from(["big", "little"]),
    scale=st.sampled_from([1.0, 0.1, -0.001, 2.5]),
    value=st.floats(-1e12, 1e12),
)
def test_registers_hold_what_they_say_or_refuse(type_: Any, order: Any, scale: float, value: float) -> None:
    register = Register(kind="holding", address=0, type=type_, scale=scale, word_order=order)
    try:
        words = encode(value, register)
    except ValueError as error:
        assert "does not fit" in str(error)
        return
    assert len(words) == words_of(register) and all(0 <= word <= 0xFFFF for word in words)
    resolution = 1e-6 * abs(value) + 1e-6 if type_ == "float32" else abs(scale) / 2 * (1 + 1e-6)
    assert abs(decode(words, register) - value) <= resolution


def test_register_words_by_hand() -> None:
    register = Register(kind="input", address=0, type="int32", scale=0.1, word_order="little")
    assert encode(-12.3, register) == [0xFF85, 0xFFFF]
    with pytest.raises(NoValueError, match="NaN"):
        decode([0x7FC0, 0], Register(kind="input", address=0, type="float32"))
    with pytest.raises(ValueError, match="finite"):
        decode([0x7F80, 0], Register(kind="input", address=0, type="float32"))
    with pytest.raises(ValueError, match="words"):
        decode([1], register)


@settings(deadline=None)
@given(st.text(max_size=30) | st.sampled_from(["set/mode", "request/cycle"]), st.binary(max_size=200))
@example("set/mode", b"[" * 1024)
@example("set/mode", b'{"value": {"a": 1}, "transaction": 7}')
def test_any_command_has_a_bounded_order_and_an_answer(topic: str, payload: bytes) -> None:
    order = parse_order(topic, payload)
    assert order.name.isidentifier() and len(order.name) <= 40 and len(order.value) <= 64
    assert json.loads(answer(order, "no"))["transaction"] == order.transaction
