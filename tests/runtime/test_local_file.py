"""Inputs from files: read when they change, dated by the file or by what it says; nothing but plain files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from runtime.clock import LockstepClock
from runtime.formats.profile import Profile
from runtime.links.local_file import FileInput, FileLink

NOW_S = 1_768_431_600.0


@pytest.fixture
def clock() -> LockstepClock:
    clock = LockstepClock()
    clock.set(NOW_S)
    return clock


def put(path: Path, text: str, age_s: float = 0.0) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    os.utime(partial, (NOW_S - age_s, NOW_S - age_s))
    partial.replace(path)


def test_a_number_is_as_old_as_its_file_and_a_forecast_says_its_own_times(tmp_path: Path, clock: LockstepClock) -> None:
    inputs = {
        "t": FileInput(tmp_path / "t"),
        "price": FileInput(tmp_path / "p.json", unit="EUR/kWh", unit_pointer="/unit"),
    }
    link = FileLink(inputs, clock)
    first = link.read()
    assert first["t"].value is None and first["t"].missing and "No such file" in first["t"].problem
    put(tmp_path / "t", "21.5\n", age_s=40.0)
    put(tmp_path / "p.json", json.dumps({"unit": "ct/kWh", "start": NOW_S, "step_s": 3600, "values": [30, 20]}))
    found = link.read()
    assert found["t"].value == 21.5 and found["t"].monotonic_s == pytest.approx(clock.monotonic() - 40.0)
    assert isinstance(found["price"].value, Profile) and found["price"].value.values == (0.3, 0.2)
    clock.set(NOW_S + 60)
    assert link.read()["t"].monotonic_s == found["t"].monotonic_s, "unchanged: it only grows older"
    put(tmp_path / "t", "rubbish")
    kept = link.read()["t"]
    assert kept.value == 21.5 and "is no number" in kept.problem
    (tmp_path / "t").unlink()
    assert link.read()["t"].value == 21.5


def test_a_time_in_the_message_counts_before_that_of_the_file(tmp_path: Path, clock: LockstepClock) -> None:
    link = FileLink({"t": FileInput(tmp_path / "t", "/v", timestamp_pointer="/at")}, clock)
    put(tmp_path / "t", json.dumps({"v": 1.0, "at": NOW_S - 300}))
    assert link.read()["t"].monotonic_s == pytest.approx(clock.monotonic() - 300)
    put(tmp_path / "t", json.dumps({"v": 2.0, "at": NOW_S + 3600}))
    assert link.read()["t"].value == 1.0, "of the future: one of the clocks is wrong"


@pytest.mark.parametrize("kind", ["fifo", "folder", "huge", "device"])
def test_what_is_no_plain_file_is_not_opened(tmp_path: Path, clock: LockstepClock, kind: str) -> None:
    path = tmp_path / "t"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b"1" * (300 << 10))
    found = FileLink({"t": FileInput(path)}, clock).read()["t"]
    assert found.value is None and found.missing
