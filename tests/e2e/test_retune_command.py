"""`nisse retune`: a theta that pays by log and simulation is packed, watched, and taken back; others are refused."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from built_bundle import BuiltBundle

from codegen.solver import build_solver
from codegen.targets import host_arch
from nisse.cli import main
from runtime.bundle.archive import open_bundle
from runtime.bundle.keys import load_key
from runtime.bundle.theta_update import write_update
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.logs.log import Array
from systems.world.generate import generated_world
from tuner.loop.explore import Explorer
from tuner.loop.view import Moment

sys.path.insert(0, str(Path(__file__).parents[1] / "tuner"))
from simulated_field import live

DAYS, FIRST_SERIAL = 9.0, 1000
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
