"""A fleet: the same results from one machine and from a cluster of which a worker is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from nisse.cli import main
from runtime.store.transitions import Store, Transition
from systems.house_file import read_house
from tuner.commands.fleet import told
from tuner.fleet.houses import Effort, FleetError, members, packed, summary, worked
from tuner.loop.sensors import ill_sensors
from tuner.loop.workers import Cluster, LocalWorkers

EFFORT = Effort(tune=False, weeks=2, days=0.5)


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("houses")
    for name in ("anna", "bo", "carl", "dina"):
        (folder / name).mkdir()
        (folder / name / "house.toml").write_text(read_house("battery")[0])
    (folder / "wrong.toml").write_text("[house]\nname = 3\n")
    return folder


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as found:
        yield found


def test_a_killed_worker_costs_time_and_changes_nothing(houses: Path, cluster: LocalCluster) -> None:
    tasks = [(packed(member),) for member in members(houses)]
    alone = list(LocalWorkers().run(worked, (EFFORT,), tasks))
    victim = next(iter(cluster.workers.values())).pid
    found: list[dict[str, Any]] = []
    for one in Cluster(cluster.scheduler_address).run(worked, (EFFORT,), tasks):
        if not found:
            os.kill(victim, signal.SIGKILL)
        found.append(one)
    assert found == alone
    assert [one["name"] for one in found] == ["anna", "bo", "carl", "dina", "wrong"]
    assert all(one["costs"]["rule"] > 0.0 for one in found[:4])
    # Houses of one file live in weeks of their own.
    assert len({one["costs"]["rule"] for one in found[:4]}) == 4
    whole = summary({one["name"]: one for one in found})
    assert list(whole["problems"]) == ["wrong"] and len(whole["do_not"]) == 4
    assert "1 could not be worked on: wrong" in told(whole, 5)


def test_a_folder_without_houses_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FleetError, match="no house there"):
        members(tmp_path)
    assert main(["fleet", "evaluate", str(tmp_path)]) == 66
    assert "put NAME/house.toml" in capsys.readouterr().err


def test_a_page_names_who_could_not_be_worked_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "houses").mkdir()
    (tmp_path / "houses" / "wrong.toml").write_text("[house]\nname = 3\n")
    page, document = tmp_path / "fleet.html", tmp_path / "fleet.json"
    command = [
        "fleet",
        "evaluate",
        str(tmp_path / "houses"),
        "--jobs",
        "1",
        "--html",
        str(page),
        "--json",
        str(document),
    ]
    assert main(command) == 0
    assert "not worked on" in page.read_text() and json.loads(document.read_text())["summary"]["gain"] == []


def test_ill_sensors_are_named(tmp_path: Path) -> None:
    log = tmp_path / "nisse.db"
    store = Store(log, max_transitions=10_000)
    store._db.execute("PRAGMA synchronous = OFF")
    for k in range(300):
        inputs = {
            "living_temperature": {"value": 20.0 + 0.01 * (k % 7), "validity": "ok"},
            "bedroom_temperature": {"value": 18.5, "validity": "ok"},
            "grid_power": {"value": None if k % 5 == 0 else 1.0, "validity": "stale" if k % 5 == 0 else "ok"},
        }
        row = Transition(600.0 * k, "mpc", "", "b" * 64, {}, {}, {}, None, {"inputs": inputs})
        store.append(row, None, (0.0, 0.0, 0.0))
    store.close()
    assert ill_sensors(log) == [
        "grid_power was not heard in 20 % of the cycles: see to its link",
        "bedroom_temperature did not move for 50 hours: see to the sensor",
    ]
