"""Files that a person names to a command: whatever stands there ends in one line, soon, and in little memory."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S

from codegen.commands.build import theta_provenance
from hil.record import read_record
from hil.scenario import load_scenario
from research.experiments.equivalence import read_problem
from research.experiments.sls import PROBLEM as LINEAR
from research.linear_file import read_linear
from runtime.devices.response import read_columns
from runtime.formats.documents import parse_json, read_json
from runtime.publish.status_file import read_status
from runtime.site.config import load_site
from systems.arx import ArxModel
from systems.compose import compose
from systems.house_file import load_house
from systems.model_file import read_fits
from systems.series import load_csv
from systems.tariff import load_tariff
from systems.theta import read_theta
from tuner.identify.mapping import read_map
from tuner.loop.own_system import read_system
from tuner.retune.watch import read_watch

BATTERY = compose(load_house("battery"))
READERS: dict[str, Callable[[Path], object]] = {
    "theta": lambda path: read_theta(path, BATTERY),
    "model": lambda path: read_fits(path, "battery"),
    "zones": ArxModel.load,
    "house": load_house,
    "tariff": load_tariff,
    "log": lambda path: load_csv(path, ["a"]),
    "map": lambda path: read_map(path, []),
    "system": read_system,
    "scenario": load_scenario,
    "record": read_record,
    "columns": lambda path: read_columns(path, ["a"]),
    "watch": read_watch,
    "status": read_status,
    "site": load_site,
    "linear": lambda path: read_linear(path, LINEAR),
    "problem": read_problem,
}
HOSTILE: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/ptmx"),
    "folder": Path.mkdir,
    "sparse": lambda path: (path.touch(), os.truncate(path, 3 << 30)),
    "link to itself": lambda path: path.symlink_to(path.name),
    "deep list": lambda path: path.write_text("[" * 100_000),
    "deep object": lambda path: path.write_text('{"a":' * 100_000),
    "deep value": lambda path: path.write_text("a = " + "[" * 100_000),
    "UTF-16": lambda path: path.write_text('{"theta": {}}', encoding="utf-16"),
    "NULs": lambda path: path.write_bytes(bytes(4096)),
    "large number": lambda path: path.write_text("9" * 10_000),
}


NO_ERROR = {("watch", "link to itself")}
"""As where there is no file: nothing is watched. What is in a system's file is run later."""


@pytest.fixture
def alarm() -> Iterator[None]:
    """A reader that waits for a FIFO fails."""

    def ring(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(int(PATIENCE_S))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("reader", READERS)
def test_what_stands_in_the_place_of_a_file_is_an_error_of_one_line(reader: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "named.toml"
    HOSTILE[kind](path)
    if (reader, kind) in NO_ERROR or (reader == "system" and path.is_file() and path.stat().st_size < 1 << 20):
        return
    with pytest.raises(Exception) as told:
        READERS[reader](path)
    assert getattr(told.value, "exit_code", None) is not None, told.value
    assert "named.toml" in str(told.value)


def test_a_file_that_says_a_parameter_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theta.json"
    name = BATTERY.theta[0].name
    path.write_text(f'{{"theta": {{"{name}": 0.1, "{name}": 0.2}}}}')
    with pytest.raises(ValueError, match=f"'{name}' is there twice"):
        read_theta(path, BATTERY)


def test_an_editor_that_marks_the_byte_order_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "theta.json"
    path.write_text(json.dumps({"theta": {}}), encoding="utf-8-sig")
    assert read_theta(path, BATTERY) and theta_provenance(path) and read_json(path) == {"theta": {}}
    assert parse_json("[1, 2]") == [1, 2]
