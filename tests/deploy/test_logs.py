"""The log comes home row by row: nothing twice, nothing of another daemon, what is missing named."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sshd_host import Sshd

from deploy.errors import DeployError, ForeignLogError, LinkLostError, LogCopyError
from deploy.logs import Hole, Pulled, holes, pull
from nisse.cli import main
from runtime.store.transitions import Store, Transition

CYCLE_S = 300.0
START_S = 1_700_000_100.0
COLUMNS = "time_s, level, reason, bundle, state, action, nominal, forecast, details"


class House:
    """A site with a log that its daemon's own store writes."""

    def __init__(self, folder: Path, name: str = "cabin", keep: int = 1000) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.site = folder / "site.toml"
        self.site.write_text(
            f'[site]\nname = "{name}"\n[controller]\ncycle_s = {CYCLE_S:g}\n[store]\npath = "log.db"\n'
        )
        self.log = folder / "log.db"
        self.keep = keep

    def runs(self, cycles: Iterable[int]) -> None:
        store = Store(self.log, max_transitions=self.keep)
        for k in cycles:
            row = Transition(
                START_S + k * CYCLE_S, "mpc", "", "b" * 64, {"soc": 0.5, "t": None}, {"power": k / 7}, {"power": 0.1},
                ((float(k), 2.0), (3.0, 4.0)), {"k": k},
            )  # fmt: skip
            store.append(row, None, (0.1, None, 0.2))  # type: ignore[arg-type]
        store.close()


def rows(path: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        timing = "JOIN timing ON transition_id = id"
        return db.execute(
            f"SELECT {COLUMNS}, solve_s, link_s, overhead_s FROM transition {timing} ORDER BY id"
        ).fetchall()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "there")


def test_only_what_is_new_comes_and_all_of_it_as_it_was(sshd: Sshd, house: House, tmp_path: Path) -> None:
    here = tmp_path / "cabin.db"
    house.runs(range(120))
    first = pull(sshd.host(), here, site=house.site)
    assert (first.new, first.rows, first.site, first.holes) == (120, 120, "cabin", ())
    house.runs(range(120, 130))
    again = pull(sshd.host(), here, site=house.site)
    assert (again.new, again.rows) == (10, 130)
    assert pull(sshd.host(), here, site=house.site).new == 0
    assert rows(here) == rows(house.log)


def test_what_the_daemon_has_dropped_stays_here_and_a_late_pull_names_the_hole(sshd: Sshd, tmp_path: Path) -> None:
    house, here = House(tmp_path / "there", keep=20), tmp_path / "cabin.db"
    house.runs(range(20))
    pull(sshd.host(), here, site=house.site)
    house.runs(range(20, 100))
    found = pull(sshd.host(), here, site=house.site)
    assert (found.new, found.rows) == (20, 40)
    assert found.holes == (Hole(START_S + 19 * CYCLE_S, START_S + 80 * CYCLE_S, 60),)


def test_a_link_that_breaks_costs_only_what_was_under_way(sshd: Sshd, house: House, tmp_path: Path) -> None:
    here = tmp_path / "cabin.db"
    house.runs(range(700))
    with pytest.raises(LinkLostError):
        pull(sshd.cut_after(100_000), here, site=house.site)
    kept = len(rows(here))
    assert 0 < kept < 700 and kept % 50 == 0
    assert pull(sshd.host(), here, site=house.site).new == 700 - kept
    assert rows(here) == rows(house.log)


def test_a_log_of_another_site_or_another_daemon_is_refused(sshd: Sshd, house: House, tmp_path: Path) -> None:
    here = tmp_path / "cabin.db"
    house.runs(range(10))
    pull(sshd.host(), here, site=house.site)
    before = rows(here)
    other, namesake = House(tmp_path / "villa", name="villa"), House(tmp_path / "namesake")
    other.runs(range(5, 40))
    namesake.runs(range(5, 40))
    with pytest.raises(ForeignLogError, match="is the log of cabin, and there runs villa"):
        pull(sshd.host(), here, site=other.site)
    with pytest.raises(ForeignLogError, match="another daemon's log"):
        pull(sshd.host(), here, site=namesake.site)
    assert rows(here) == before


def test_a_log_that_was_begun_again_goes_on_here(sshd: Sshd, house: House, tmp_path: Path) -> None:
    here = tmp_path / "cabin.db"
    house.runs(range(10))
    pull(sshd.host(), here, site=house.site)
    for file in house.log.parent.glob("log.db*"):
        file.unlink()
    house.runs(range(14, 20))
    found = pull(sshd.host(), here, site=house.site)
    assert (found.new, found.rows) == (6, 16)
    assert [hole.missing for hole in found.holes] == [4]
    house.runs(range(20, 22))
    assert pull(sshd.host(), here, site=house.site).new == 2


def test_damage_there_and_here_is_said(sshd: Sshd, house: House, tmp_path: Path) -> None:
    here = tmp_path / "cabin.db"
    house.runs(range(200))
    pull(sshd.host(), here, site=house.site)
    content = bytearray(house.log.read_bytes())
    content[4096 * 3 : 4096 * 9] = b"\xff" * 4096 * 6
    house.log.write_bytes(content)
    with pytest.raises(DeployError, match=r"log\.db"):
        pull(sshd.host(), tmp_path / "new.db", site=house.site)
    here.write_bytes(b"no database at all" * 400)
    with pytest.raises(LogCopyError, match="name another --output"):
        pull(sshd.host(), here, site=house.site)


def test_rows_without_sense_are_named_and_left_out(sshd: Sshd, house: House, tmp_path: Path) -> None:
    house.runs(range(4))
    with sqlite3.connect(house.log) as db:
        db.execute("UPDATE transition SET action = '{' WHERE id = 2")
        db.execute("UPDATE transition SET forecast = x'00' WHERE id = 3")
    found = pull(sshd.host(), tmp_path / "cabin.db", site=house.site)
    assert (found.new, found.unreadable) == (2, (2, 3))


def test_no_site_file_and_no_log_there(sshd: Sshd, house: House, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="name the site file there with --site"):
        pull(sshd.host(), tmp_path / "a.db", site=tmp_path / "none.toml")
    with pytest.raises(DeployError, match="has the daemon run"):
        pull(sshd.host(), tmp_path / "a.db", site=house.site)
    assert not (tmp_path / "a.db").exists()


def test_the_commands_say_what_came_and_what_is_in_it(
    sshd: Sshd, house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house.runs([*range(5), *range(9, 12)])
    here, said = tmp_path / "cabin.db", tmp_path / "said.json"
    pulling = ["logs", "pull", sshd.target, "--site", str(house.site), "--output", str(here), "--no-sudo"]
    assert main([*pulling, *sshd.words(), "--json", str(said)]) == 0
    out = capsys.readouterr().out
    assert "8 new cycles of cabin, 8 in all" in out and "hole: nothing from 2023-11-14 22:35Z" in out
    assert json.loads(said.read_text())["holes"][0]["missing"] == 4
    assert main(["logs", "show", str(here), "--last", "2", "--json", str(said)]) == 0
    out = capsys.readouterr().out
    assert "8 cycles of cabin" in out and "mpc                 8  100.0%" in out and "4 cycles" in out
    assert "power 1.57143" in out and "power 1.28571" not in out  # the last two
    assert json.loads(said.read_text())["levels"] == {"mpc": 8}
    assert main(["logs", "show", str(tmp_path / "none.db")]) == 65


def test_holes_are_pauses_beyond_two_and_a_half_cycles() -> None:
    assert holes([0.0, 60.0, 65.0, 120.0, 270.0, 421.0], 60.0) == (Hole(270.0, 421.0, 2),)
    assert holes([0.0, 1e9], 0.0) == ()


def test_a_pull_says_where_it_is() -> None:
    assert Pulled(Path("a.db"), "a", 0, 0, ()).path == Path("a.db")
