"""Battery logs as loggers write them: every fault is found, named by row and signal, and the fit stays what it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from nisse.cli import main
from systems.battery.exogenous import generated
from systems.battery.plant import BatteryPlant
from systems.csv_rows import SeriesError
from systems.logs.log import LogError
from systems.series import TimeSeries
from tuner.identify.battery import IdentificationError, fit_battery, simulate_log, write_log
from tuner.identify.battery_log import LOG_COLUMNS, load_battery_log

DAYS = 14
Lines = list[str]


@pytest.fixture(scope="module")
def log() -> TimeSeries:
    steps = DAYS * 96
    return simulate_log(BatteryPlant(exogenous=generated(3), episode_steps=steps), steps=steps, seed=0)


@pytest.fixture(scope="module")
def lines(log: TimeSeries, tmp_path_factory: pytest.TempPathFactory) -> Lines:
    path = tmp_path_factory.mktemp("good") / "log.csv"
    write_log(log, path)
    return path.read_text().splitlines()


def saved(folder: Path, lines: Lines) -> Path:
    path = folder / "log.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def cell(rows: range, column: str, text: str) -> Callable[[Lines], Lines]:
    """Write `text` into a column of file rows (the header is row 1)."""

    def change(lines: Lines) -> Lines:
        for row in rows:
            fields = lines[row - 1].split(",")
            fields[1 + LOG_COLUMNS.index(column)] = text
            lines[row - 1] = ",".join(fields)
        return lines

    return change


def moved(row: int, seconds: float) -> Callable[[Lines], Lines]:
    """Every time from a row on, or all of them by a jitter that grows to it, written elsewhere."""

    def change(lines: Lines) -> Lines:
        rng = np.random.default_rng(0)
        for k in range(1, len(lines)):
            time, rest = lines[k].split(",", 1)
            late = seconds if row else float(rng.integers(-2, 3))
            if k + 1 >= row:
                lines[k] = f"{(datetime.fromisoformat(time) + timedelta(seconds=late)).isoformat()},{rest}"
        return lines

    return change


@pytest.mark.parametrize(
    ("change", "kind", "rows"),
    [
        (lambda lines: lines[:600] + lines[704:], "dropout", (600, 600)),  # 26 h
        (cell(range(400, 408), "soc", "0.0"), "spike", (400, 407)),
        (cell(range(400, 408), "soc", "1.0"), "spike", (400, 407)),
        (cell(range(400, 401), "soc", "0"), "spike", (400, 400)),
        (cell(range(700, 712), "soc", "0.5"), None, None),
        (cell(range(500, 540), "soc", "0.42"), None, None),  # the last value, or another, for ten hours
        (moved(0, 0.0), None, None),  # jitter of up to two seconds
        (cell(range(300, 301), "soc", "unavailable"), "dropout", (300, 300)),
        (cell(range(300, 305), "net_load_kw", "unknown"), "dropout", (300, 304)),
        (cell(range(300, 305), "charge_kw", "NaN"), "dropout", (300, 304)),
        (cell(range(300, 301), "discharge_kw", ""), "dropout", (300, 300)),
        (cell(range(300, 301), "soc", "1.01"), "range", (300, 300)),
        (cell(range(300, 303), "soc", "-1"), "range", (300, 302)),
        (cell(range(300, 301), "soc", "55"), "range", (300, 300)),
        (cell(range(300, 301), "charge_kw", "-1"), "range", (300, 300)),
        (cell(range(300, 301), "net_load_kw", "900"), "watt", (300, 300)),
        (cell(range(300, 500), "net_load_kw", "1.234"), "stuck", (300, 499)),
        (lambda lines: [*lines[:300], lines[299], *lines[300:]], "duplicate", (301, 301)),
        (moved(500, -3600.0), "clock", (500, 500)),
        (moved(500, 7200.0), "dropout", (499, 499)),
        (lambda lines: ["\ufeff" + lines[0], *lines[1:]], None, None),
    ],
)
def test_a_fault_is_reported_and_does_not_change_the_fit(
    change: Callable[[Lines], Lines], kind: str | None, rows: tuple[int, int] | None,
    log: TimeSeries, lines: Lines, tmp_path: Path,
) -> None:  # fmt: skip
    truth = fit_battery(log).theta
    loaded = load_battery_log(saved(tmp_path, change(list(lines))))
    fit = fit_battery(loaded.series)
    for name in ("charge_efficiency", "discharge_efficiency"):
        assert fit.theta[name] == pytest.approx(truth[name], abs=0.004)
    assert fit.theta["net_load_bias"] == pytest.approx(truth["net_load_bias"], abs=0.04)
    if kind is not None and rows is not None:
        found = [f for f in loaded.faults if f.kind == kind]
        assert found and (found[0].first_row, found[-1].last_row) == rows, loaded.faults
    else:
        # Whatever is left in is no more than chance, or its windows are told.
        assert fit.windows + fit.windows_left_out > 0.9 * DAYS * 12


def test_daylight_saving_in_times_without_offset_is_no_gap_and_no_repetition(lines: Lines, tmp_path: Path) -> None:
    from zoneinfo import ZoneInfo

    oslo, written = ZoneInfo("Europe/Oslo"), [lines[0]]
    shift = datetime.fromisoformat("2024-10-20T00:00:00+02:00") - datetime.fromisoformat(lines[1].split(",")[0])
    for line in lines[1:]:
        time, rest = line.split(",", 1)
        wall = (datetime.fromisoformat(time) + shift).astimezone(oslo).replace(tzinfo=None)
        written.append(f"{wall.isoformat()},{rest}")
    path = saved(tmp_path, written)
    named = load_battery_log(path, zone=oslo)
    assert named.faults == () and len(named.series) == DAYS * 96
    assert named.series.start == datetime(2024, 10, 20, tzinfo=oslo)
    guessed = load_battery_log(path)
    assert {fault.kind for fault in guessed.faults} >= {"daylight_saving"}
    whole, cut = fit_battery(named.series), fit_battery(guessed.series)
    assert cut.theta["charge_efficiency"] == pytest.approx(whole.theta["charge_efficiency"], abs=0.003)


def whole(column: str, change: Callable[[float], float]) -> Callable[[Lines], Lines]:
    def changed(lines: Lines) -> Lines:
        place = 1 + LOG_COLUMNS.index(column)
        for k in range(1, len(lines)):
            fields = lines[k].split(",")
            fields[place] = f"{change(float(fields[place])):.6g}"
            lines[k] = ",".join(fields)
        return lines

    return changed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (whole("soc", lambda v: 100 * v), "'soc' is in per cent; divide the column by 100"),
        (cell(range(200, 1300), "soc", "55"), "'soc' lacks 82%"),
        (whole("charge_kw", lambda v: 1000 * v), "'charge_kw' is in watts; divide the column by 1000"),
        (whole("net_load_kw", lambda v: 1000 * v), "'net_load_kw' is in watts"),
        (whole("charge_kw", lambda v: v - 1.0), "split signed power"),
        (lambda lines: [lines[0], *reversed(lines[1:])], "the oldest first"),
        (cell(range(200, 201), "soc", "full"), "row 200, column 'soc': 'full' is not a number"),
    ],
)
def test_what_is_wrong_as_a_whole_is_refused_with_its_remedy(
    change: Callable[[Lines], Lines], words: str, lines: Lines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path, change(list(lines)))
    with pytest.raises((LogError, SeriesError, IdentificationError)) as caught:
        fit_battery(load_battery_log(path).series)
    assert words in str(caught.value)
    assert main(["identify", "--log", str(path)]) == 65
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(path) in error


@pytest.mark.parametrize("daily", [False, True])
def test_energy_counters_are_recognised_and_their_differences_are_taken(
    daily: bool, log: TimeSeries, lines: Lines, tmp_path: Path
) -> None:
    written = list(lines)
    for column in ("charge_kw", "discharge_kw"):
        energy = np.concatenate([[0.0], np.cumsum(log[column]) * 0.25])[:-1]
        if daily:
            energy -= np.repeat(energy[::96], 96)
        else:
            energy += 4321.0
        place = 1 + LOG_COLUMNS.index(column)
        for k, value in enumerate(energy.tolist(), start=1):
            fields = written[k].split(",")
            fields[place] = f"{value:.9g}"
            written[k] = ",".join(fields)
    path = saved(tmp_path, written)
    kind = "the day" if daily else "life"
    with pytest.raises(LogError, match=f"counted up for {kind}.*--counters charge_kw discharge_kw"):
        load_battery_log(path)
    result = tmp_path / "result.json"
    command = ["identify", "--log", str(path), "--counters", "charge_kw", "discharge_kw", "--json", str(result)]
    assert main(command) == 0
    theta, truth = json.loads(result.read_text())["theta"], fit_battery(log).theta
    assert theta["charge_efficiency"] == pytest.approx(truth["charge_efficiency"], abs=0.003)
    assert theta["discharge_efficiency"] == pytest.approx(truth["discharge_efficiency"], abs=0.003)
    kinds = {fault["kind"] for fault in json.loads(result.read_text())["faults"]}
    assert kinds == ({"counter", "dropout"} if daily else {"dropout"})


def test_a_state_of_charge_that_does_not_follow_the_powers_is_refused(lines: Lines, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = saved(tmp_path, whole("soc", lambda _: float(rng.uniform()))(list(lines)))
    with pytest.raises(LogError, match=r"does not follow the powers.*check the capacity"):
        load_battery_log(path)


def test_an_interval_of_the_fit_covers(log: TimeSeries) -> None:
    for estimate in fit_battery(log).estimates:
        assert estimate.low < estimate.value < estimate.high
        assert estimate.high - estimate.low > 3.9 * estimate.standard_error
