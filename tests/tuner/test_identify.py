"""From any log of any described house to its model: what files may look like, what is learned, what is refused."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_rules import check_page

from nisse.cli import main
from systems.design import HouseDesign
from systems.house_file import House, load_house, parse_house, read_house
from systems.logs.log import Log, LogError
from systems.model_file import read_fits
from systems.portrait import log_columns
from systems.profile import WeekProfile
from systems.world.generate import generated_world
from tuner.identify.assemble import HouseLog, MissingColumnsError, load_log
from tuner.identify.mapping import propose, read_map
from tuner.identify.model import learn_house
from tuner.identify.simulate import SimulatedLog, simulate_log

TEXT = """
[house]
name = "hut"
timezone = "Europe/Oslo"
[grid]
step = "15 min"
hold = "15 min"
[meter]
[load]
[[pv]]
name = "roof"
peak_kw = 6
[[battery]]
name = "home"
capacity_kwh = 10
max_charge_kw = 5
max_discharge_kw = 5
[building]
memory = "45 min"
[[zone]]
name = "living"
[[heat_pump]]
name = "hp"
feeds = ["living", "water"]
max_power_kw = 2
[[tank]]
name = "water"
litres = 150
upper = 65
"""
Rows = list[dict[str, str]]
HUT = parse_house(TEXT)
START = datetime(2024, 1, 8, tzinfo=UTC)
DAYS = 16


@pytest.fixture(scope="module")
def simulated() -> SimulatedLog:
    return simulate_log(HUT, generated_world(HUT, START, DAYS, seed=3), seed=1)


@pytest.fixture(scope="module")
def rows(simulated: SimulatedLog, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    path = tmp_path_factory.mktemp("log") / "log.csv"
    simulated.write(path, extra=())
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def good(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Log:
    return load_log(HUT, [saved(tmp_path_factory.mktemp("good"), rows)]).log


def saved(folder: Path, rows: Rows, *, name: str = "log.csv", mark: str = ",") -> Path:
    path = folder / name
    lines = [mark.join(rows[0]), *(mark.join(row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def renamed(rows: Rows, old: str, new: str, change: Callable[[float], float]) -> Rows:
    return [
        {(new if k == old else k): (f"{change(float(v)):.6f}" if k == old else v) for k, v in r.items()} for r in rows
    ]


def counted(rows: Rows, name: str) -> Rows:
    total, found = 812.0, []
    for row in rows:
        found.append(
            {(f"{name[:-3]}_kwh" if k == name else k): (f"{total:.6f}" if k == name else v) for k, v in row.items()}
        )
        total += float(row[name]) / 4
    return found


def split(rows: Rows) -> Rows:
    return [
        {k: v for k, v in row.items() if k != "home_kw"}
        | {
            "home_charge_kw": str(max(float(row["home_kw"]), 0)),
            "home_discharge_kw": str(max(-float(row["home_kw"]), 0)),
        }
        for row in rows
    ]


def unix(time: str, per_s: int) -> str:
    return str(int(datetime.fromisoformat(time).timestamp()) * per_s)


def positive(rows: Rows) -> Rows:
    return [{**row, "home_kw": str(max(float(row["home_kw"]), 0.0))} for row in rows]


def history(folder: Path, rows: Rows) -> Path:
    """A row for each change of each column, by entity, as Home Assistant exports it."""
    path = folder / "history.csv"
    lines = ["entity_id,state,last_changed"]
    for name in [name for name in rows[0] if name != "time"]:
        last = None
        for row in rows:
            if row[name] != last:
                lines.append(f"{name},{row[name]},{row['time']}")
                last = row[name]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


WAYS: dict[str, Callable[[Path, Rows], list[Path]]] = {
    "semicolons and decimal commas": lambda f, r: [
        saved(f, [{k: v if k == "time" else v.replace(".", ",") for k, v in row.items()} for row in r], mark=";")
    ],
    "tabs": lambda f, r: [saved(f, r, mark="\t")],
    "watts": lambda f, r: [saved(f, renamed(r, "hp_kw", "hp_w", lambda v: 1000 * v))],
    "Fahrenheit": lambda f, r: [saved(f, renamed(r, "living_c", "living_f", lambda v: 1.8 * v + 32))],
    "per cent": lambda f, r: [saved(f, renamed(r, "home_soc", "home_soc_percent", lambda v: 100 * v))],
    "a counter": lambda f, r: [saved(f, counted(r, "load_kw"))],
    "charge and discharge": lambda f, r: [saved(f, split(r))],
    "two files": lambda f, r: [
        saved(f, [{k: row[k] for k in ("time", "living_c", "outdoor_c", "hp_kw")} for row in r]),
        saved(f, [{k: v for k, v in row.items() if k not in ("living_c", "outdoor_c")} for row in r], name="b.csv"),
    ],
    "weeks apart": lambda f, r: [saved(f, r[:700]), saved(f, r[700:], name="b.csv")],
    "local times": lambda f, r: [saved(f, [{**row, "time": row["time"][:19]} for row in r])],
    "history": lambda f, r: [history(f, r)],
    "Unix time": lambda f, r: [saved(f, [{**row, "time": unix(row["time"], 1)} for row in r])],
    "Unix time in ms": lambda f, r: [saved(f, [{**row, "time": unix(row["time"], 1000)} for row in r])],
    "Unix time in ns": lambda f, r: [saved(f, [{**row, "time": unix(row["time"], 10**9)} for row in r])],
    "load from the meter": lambda f, r: [saved(f, [{k: v for k, v in row.items() if k != "load_kw"} for row in r])],
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_the_same_log_in_other_clothes(way: str, rows: Rows, good: Log, tmp_path: Path) -> None:
    found = load_log(HUT, WAYS[way](tmp_path, rows))
    assert not any(found.missing.values())
    log = found.log
    assert log.start_s == good.start_s
    for name in ("living_c", "hp_kw", "home_soc", "home_kw", "load_kw", "outdoor_c", "water_c"):
        same = log[name][: len(good) - 1], good[name][: len(good) - 1]
        known = np.isfinite(same[0]) & np.isfinite(same[1])
        assert known.mean() > 0.97, name
        # The sum of the meter and all else is rounded, and a device's standby is in it.
        np.testing.assert_allclose(same[0][known], same[1][known], atol=2e-3, err_msg=name)


def test_hourly_means_are_held_and_hourly_samples_leave_gaps(rows: Rows, tmp_path: Path) -> None:
    hourly = [{"time": r["time"], "load_kw": r["load_kw"], "living_c": r["living_c"]} for r in rows[::4]]
    log = load_log(HUT, [saved(tmp_path, hourly)]).log
    assert np.isfinite(log["load_kw"]).all() and (log["load_kw"][0:4] == log["load_kw"][0]).all()
    assert np.isfinite(log["living_c"]).mean() == pytest.approx(0.25, abs=0.01)


def test_every_asset_teaches_and_the_problem_takes_it(good: Log, rows: Rows, tmp_path: Path) -> None:
    path = saved(tmp_path, [{k: v for k, v in row.items() if k != "load_forecast_kw"} for row in rows])
    house, model = tmp_path / "hut.toml", tmp_path / "model.json"
    house.write_text(TEXT)
    page = tmp_path / "model.html"
    command = ["identify", str(house), "--log", str(path), "--output", str(model), "--page", str(page)]
    assert main([*command, "--force"]) == 0
    told = json.loads(model.read_text())
    assert set(told["assets"]) == {"load", "roof", "home", "hp", "zones", "water", "meter"}
    check_page(page.read_text())
    assert page.read_text().count("<figure") >= 7
    # The plant's cells lose as the fit says, and its tank cools as its nameplate does.
    theta = told["theta"]
    assert theta["home_charge_efficiency"] == pytest.approx(0.945, abs=0.02)
    assert theta["home_discharge_efficiency"] == pytest.approx(0.945, abs=0.02)
    assert theta["water_loss_scale"] == pytest.approx(1.0, abs=0.25)
    design = HouseDesign(TEXT, read_fits(model, "hut"))
    defaults = {p.name: p.default for p in design.problem.theta}
    assert {name: defaults[name] for name in theta} == theta
    profile = {f.name: f.schedule for f in design.forecasts}
    assert profile["load"] is not None and profile["water_draw"] is not None
    assert profile["load"].lowest > 0.0
    arx = json.loads(design.fits["zone"])
    assert np.array(arx["output_coefficients"]).shape == (3, 1, 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("capacity_kwh = 10", "capacity_kwh = 16"), "home: the house file says 16 kWh.*set"),
        (lambda text: text.replace("peak_kw = 6", "peak_kw = 0.5"), "roof: the log shows .* set peak_kw"),
        (lambda text: text.replace("max_power_kw = 2", "max_power_kw = 1"), "hp: the log shows .* set it to"),
    ],
)
def test_a_house_that_the_log_contradicts(change: Callable[[str], str], says: str, good: Log) -> None:
    house = parse_house(change(TEXT))
    model = learn_house(house, replace_log(good))
    assert [p for p in model.problems if re.search(says, p)], model.problems


def replace_log(log: Log, **columns: np.ndarray) -> HouseLog:
    return HouseLog(replace(log, columns={**log.columns, **columns}), {}, {})


def test_a_battery_whose_power_counts_the_other_way_round_is_told_so(good: Log) -> None:
    model = learn_house(HUT, replace_log(good, home_kw=-good["home_kw"]))
    assert [note for note in model.unlearned.values() if "counts the other way round" in note], model


def test_a_heat_pump_that_is_never_excited(good: Log) -> None:
    constant = np.full(len(good), 0.7) + 1e-3 * np.sin(np.arange(len(good)))
    model = learn_house(HUT, replace_log(good, hp_kw=constant))
    assert any("hp_kw: the power hardly ever changes" in p and "set-point" in p for p in model.problems)


def test_a_month_missing_costs_its_rows_alone(good: Log, rows: Rows, tmp_path: Path) -> None:
    later = [{**row, "time": row["time"].replace("2024-01", "2024-03")} for row in rows if "2024-01" in row["time"]]
    log = load_log(HUT, [saved(tmp_path, rows[:700]), saved(tmp_path, later, name="b.csv")]).log
    assert log.days > 60 and np.isfinite(log["load_kw"]).sum() == 700 + len(later)
    model = learn_house(HUT, replace_log(log))
    assert not model.problems and not model.unlearned


def test_what_is_missing_is_named_by_asset(rows: Rows, tmp_path: Path) -> None:
    path = saved(tmp_path, [{k: r[k] for k in ("time", "home_soc", "home_kw", "roof_kw")} for r in rows])
    found = load_log(HUT, [path])
    assert {asset: [c.name for c in columns] for asset, columns in found.missing.items() if columns} == {
        "load": ["load_kw"], "hp": ["hp_kw", "hp_water_kw"], "living": ["living_c", "outdoor_c", "hp_kw"],
        "water": ["water_c", "hp_water_kw"], "meter": ["import_kw"],
    }  # fmt: skip
    assert {lesson.asset for lesson in learn_house(HUT, found).lessons} == {"home", "roof"}


def test_foreign_names_are_proposed_kept_and_taken(
    rows: Rows, good: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = {
        "living_c": "sensor.living_room_temperature", "outdoor_c": "sensor.outside_temperature",
        "hp_kw": "sensor.hp_power", "load_kw": "sensor.load_power",
    }  # fmt: skip
    path = saved(tmp_path, [{foreign.get(k, k): v for k, v in row.items() if k != "import_kw"} for row in rows])
    proposal = load_log(HUT, [path]).proposal
    assert proposal == foreign
    house = tmp_path / "hut.toml"
    house.write_text(TEXT)
    main(["identify", str(house), "--log", str(path)])
    kept = tmp_path / "log.map.toml"
    assert f"--map {kept}" in capsys.readouterr().out.replace("\n", "")
    mapping = read_map(kept, log_columns(HUT))
    log = load_log(HUT, [path], mapping=mapping).log
    np.testing.assert_array_equal(log["hp_kw"], good["hp_kw"])
    for text, says in (
        ('[columns]\nlivin_c = "x"\n', "did you mean 'living_c'"),
        ('[columns]\nliving_c = { column = "x", unit = "kW" }\n', "it may be in degC, C, F"),
        ('[columns]\nliving_c = "not there"\n', "which is not in"),
    ):
        kept.write_text(text)
        with pytest.raises(LogError, match=says):
            load_log(HUT, [path], mapping=read_map(kept, log_columns(HUT)))


def test_nothing_is_proposed_for_what_resembles_nothing() -> None:
    assert propose(log_columns(HUT), ["humidity", "sensor.washing_machine_state", "note"]) == {}


REFUSED: dict[str, tuple[Callable[[Rows], Rows], str]] = {
    "another house": (lambda r: [{"time": x["time"], "kitchen_h": "1"} for x in r], "no column of house 'hut'"),
    "no time": (lambda r: [{"when_": x["time"], "load_kw": x["load_kw"]} for x in r], "no column of times"),
    "watts in kW": (lambda r: renamed(r, "hp_kw", "hp_kw", lambda v: 1000 * v), "'hp_kw' is in watts"),
    "an energy in kW": (
        lambda r: [{("load_kw" if k == "load_kwh" else k): v for k, v in x.items()} for x in counted(r, "load_kw")],
        "hardly ever falls .* load_kwh",
    ),
    "the battery's energy of the day": (
        lambda r: [{**x, "home_kw": e["home_kwh"]} for x, e in zip(r, counted(positive(r), "home_kw"), strict=True)],
        "hardly ever falls .* home_charge_kwh and home_discharge_kwh",
    ),
    "backwards": (lambda r: r[::-1], "the oldest first"),
    "shuffled": (lambda r: [r[i] for i in np.random.default_rng(0).permutation(len(r))], "the oldest first"),
    "not a number": (lambda r: [{**r[0], "load_kw": "lots"}, *r[1:]], "'lots' is not a number"),
    "too coarse": (lambda r: r[::8], "a value every 2 h"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_used_is_a_line_with_a_remedy(
    case: str, rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, says = REFUSED[case]
    path, house = saved(tmp_path, change(rows)), tmp_path / "hut.toml"
    house.write_text(TEXT)
    assert main(["identify", str(house), "--log", str(path)]) == 65
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("nisse identify: ")
    assert re.search(says, error), error


def test_a_model_of_another_house_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.json"
    model.write_text('{"format": "nisse-model-1", "house": "villa", "theta": {}, "fits": {}}')
    with pytest.raises(ValueError, match="the model of house 'villa', not of 'hut'"):
        read_fits(model, "hut")
    with pytest.raises(ValueError, match="'home_charge_eficiency', which this house has not"):
        _ = HouseDesign(TEXT, {"theta": '{"home_charge_eficiency": 0.9}'}).blocks


@given(st.lists(st.floats(0, 20), min_size=168, max_size=168))
def test_a_profile_says_the_same_as_a_schedule(values: list[float]) -> None:
    weekly = WeekProfile(tuple(values), tuple(values)).weekly()
    assert [weekly.at(60 * hour + 30) for hour in range(0, 168, 7)] == [round(v, 4) for v in values[::7]]


def test_example_writes_a_log_of_any_house(tmp_path: Path) -> None:
    house: House = load_house("tank")
    assert main(["example", "tank", "--days", "8", "--output", str(tmp_path)]) == 0
    found = load_log(house, [tmp_path / "log.csv"])
    assert not any(found.missing.values())
    assert read_house("tank")[1].name == "tank.toml"
    with pytest.raises(MissingColumnsError, match="name the log of this house"):
        load_log(load_house("battery"), [tmp_path / "log.csv"])
