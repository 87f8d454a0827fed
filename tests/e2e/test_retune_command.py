"""`nisse retune`: a theta that pays by log and simulation is packed, watched, and taken back; others are refused."""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from built_bundle import BuiltBundle
from rich.console import Console

from codegen.solver import build_solver
from codegen.targets import host_arch
from nisse.cli import main
from nisse.retune import Field, _decided
from runtime.bundle.archive import open_bundle
from runtime.bundle.keys import load_key
from runtime.bundle.theta_update import with_update, write_update
from runtime.errors import BundleOlderError
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.logs.log import Array
from systems.world.generate import generated_world
from tuner.evaluate.off_policy import OffPolicy
from tuner.evaluate.statistics import Interval
from tuner.learn.tuning import Course, Tuning, TuningSpec
from tuner.loop.explore import Explorer
from tuner.loop.view import Moment
from tuner.retune.study import Promise, Study

sys.path.insert(0, str(Path(__file__).parents[1] / "tuner"))
from simulated_field import live

DAYS, FIRST_SERIAL = 9.0, 1000
SHOWN = OffPolicy(Interval(2.0, 1.0, 3.0, 8), 400.0, 600)
TIMID = {"home_price_spread": 0.15}
"""A battery that hardly trades."""


class Exploring(Explorer):
    """Says what it decided before it explored, as the daemon's log does."""

    nominal: Array

    def decide(self, moment: Moment) -> Array:
        action = super().decide(moment)
        self.nominal = np.array(self._last)
        return action


@dataclass(frozen=True)
class Site:
    """A house that has run for some weeks with a timid theta."""

    log: Path
    bundle: Path
    key: Path

    def retune(self, output: Path, *more: str, log: Path | None = None, house: str = "battery") -> int:
        return main(
            ["retune", house, "--log", str(log or self.log), "--bundle", str(self.bundle), "--output", str(output),
             "--learn", "home_price_spread", "--iterations", "1", "--weeks", "2", "--jobs", "1",
             *more]
        )  # fmt: skip


def field_log(
    path: Path, theta: dict[str, float], bundle: str, *, start: str, days: float, house: str | None = None
) -> None:
    design = HouseDesign(read_house("battery")[0])
    lived = design if house is None else HouseDesign(house)
    values = {p.name: p.default for p in design.problem.theta} | theta
    zone = design.house.timezone
    world = generated_world(design.house, datetime.fromisoformat(start).replace(tzinfo=zone), days + 3, seed=5)
    library = build_solver(design.problem, host_arch()).library
    policy = Exploring(design, library, np.array(list(values.values())), np.random.default_rng(3))
    live(design, world, policy, days=days, seed=7, log=path, house=lived.house, bundle=bundle)


@pytest.fixture(scope="module")
def site(battery_bundle: BuiltBundle, tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    key = battery_bundle.path.with_name("key.pem")
    bundle = folder / "battery.nisse"
    bundle.write_bytes(battery_bundle.path.read_bytes())
    opened = open_bundle(bundle, None, arch="any", unpack_dir=folder / "unpacked")
    write_update(
        folder / "battery.nisse.theta", opened, opened.theta | TIMID, load_key(key), serial=FIRST_SERIAL,
        created="2024-01-01T00:00:00+00:00",
    )  # fmt: skip
    field_log(folder / "nisse.db", TIMID, opened.digest, start="2024-01-08", days=DAYS)
    return Site(folder / "nisse.db", bundle, key)


def test_what_is_not_shown_to_pay_is_not_sent_and_the_page_says_why(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert site.retune(out, "--key", str(site.key), "--yes") == 0
    told = capsys.readouterr().out
    verdict = json.loads((out / "verdict.json").read_text())
    assert verdict["decided"] in told and "the theta stays" in verdict["decided"]
    assert not verdict["better"] and not (out / "battery.theta").exists() and not (out / "watch.json").exists()
    assert any(finding["about"] == "home on home_soc" and finding["holds"] for finding in verdict["findings"])
    page = (out / "verdict.html").read_text()
    assert "capacity of home" in page.lower() and "the theta stays" in page.lower()
    assert json.loads((out / "savings.json").read_text())["whole"]["days"] == pytest.approx(DAYS, abs=0.1)


def test_what_pays_is_packed_watched_and_taken_back_where_it_breaks_its_promise(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, opened = tmp_path, open_bundle(site.bundle, None, arch="any", unpack_dir=tmp_path / "unpacked")
    field = with_update(opened, site.bundle.with_name("battery.nisse.theta"), None)
    args = argparse.Namespace(key=site.key, yes=True, serial=None)
    found = study_of(site, field.theta, {"home_price_spread": 0.01})
    now_s = datetime(2024, 1, 12, tzinfo=UTC).timestamp()
    decided, _ = _decided(args, Console(), Field(opened, field.theta, FIRST_SERIAL), found, out, now_s)
    assert "packed as serial" in decided
    taken = with_update(opened, out / "battery.theta", None)
    assert taken.theta_stamp is not None and taken.theta_stamp.serial > FIRST_SERIAL
    assert taken.theta["home_price_spread"] == 0.01
    # Days later it is looked at, with the log of those days: far less was saved than no week should.
    record = json.loads((out / "watch.json").read_text())
    record["promise"] |= {"mean": 90.0, "low": 80.0}
    (out / "watch.json").write_text(json.dumps(record))
    assert site.retune(out, "--key", str(site.key)) == 0
    assert "goes back" in capsys.readouterr().out
    back = with_update(opened, out / "battery.theta", None)
    assert back.theta["home_price_spread"] == TIMID["home_price_spread"]
    assert back.theta_stamp is not None and back.theta_stamp.serial > taken.theta_stamp.serial
    assert not (out / "watch.json").exists()
    # One that keeps what was promised stays, and what comes next is a retune.
    record["promise"] |= {"mean": -80.0, "low": -90.0}
    (out / "watch.json").write_text(json.dumps(record))
    assert site.retune(out) == 0
    assert f"theta {record['serial']} kept" in capsys.readouterr().out


def study_of(site: Site, field: dict[str, float], change: dict[str, float]) -> Study:
    """One in which log and simulation agreed."""
    parameters = HouseDesign(read_house("battery")[0]).problem.theta
    thetas = np.array([[(field | moved)[p.name] for p in parameters] for moved in ({}, change)])
    tuning = Tuning(parameters, Course(thetas, (None, None), ()), TuningSpec())
    return Study((), (), tuning, SHOWN, None, Promise(9.0, 5.0, 8), "")


def test_what_does_not_go_together_is_refused_in_a_line(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(site.log) as db, sqlite3.connect(foreign) as target:
        db.backup(target)
        target.execute("UPDATE transition SET bundle = ?", ("f" * 64,))
    smaller = tmp_path / "smaller.toml"
    text = read_house("battery")[0]
    smaller.write_text(text.replace("[[battery]]", '[[battery]]\nname = "second"\ncapacity_kwh = 5\nmax_charge_kw = 2\n'
                                    "max_discharge_kw = 2\n\n[[battery]]"))  # fmt: skip
    out = tmp_path / "out"
    for expected, log, house in (
        ("bundle ffffffffffffffff wrote its last cycles", foreign, "battery"),
        ("does not match the house file (states second_soc; actions", None, str(smaller)),
        ("does not match the house file (its house is 'battery', not 'flat'", None, "flat"),
        ("there is no such file", tmp_path / "nothing.db", "battery"),
    ):
        assert site.retune(out, log=log, house=house) != 0
        said = capsys.readouterr().err.strip()
        assert expected in said and "\n" not in said
    # A theta that would be older than the field's is not packed.
    opened = open_bundle(site.bundle, None, arch="any", unpack_dir=tmp_path / "unpacked")
    field = Field(opened, opened.theta, FIRST_SERIAL)
    found = study_of(site, opened.theta, {"home_price_spread": 0.01})
    for serial, now_s, remedy in ((999, 1e9, "leave --serial out"), (None, 0.5, "set the clock of this machine")):
        args = argparse.Namespace(key=site.key, yes=True, serial=serial)
        with pytest.raises(BundleOlderError, match=f"older than {FIRST_SERIAL}, which runs there; {remedy}"):
            _decided(args, Console(), field, found, tmp_path, now_s)
