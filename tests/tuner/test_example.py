"""`nisse example`: its files are what the other commands read, and never replace what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from nisse.cli import main
from systems.prices import PRICE, load_prices


def test_log_and_prices_are_files_that_the_other_commands_read(tmp_path: Path) -> None:
    assert main(["example", "battery", "--generator", "continental", "--days", "10", "--output", str(tmp_path)]) == 0
    prices = load_prices(tmp_path / "prices.csv")
    assert len(prices[PRICE]) == 104 * 168 and prices.start.isoformat() == "2024-01-01T00:00:00+01:00"
    assert (prices[PRICE] < 0).any()  # solar middays
    assert main(["identify", "battery", "--log", str(tmp_path / "log.csv"), "--output", str(tmp_path / "m.json")]) == 0


def test_a_file_of_one_s_own_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "prices.csv"
    mine.write_text("mine")
    command = ["example", "battery", "--days", "1", "--output", str(tmp_path)]
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err
    assert mine.read_text() == "mine" and not (tmp_path / "log.csv").exists()
    assert main([*command, "--force"]) == 0
    assert mine.read_text().startswith("time,price_eur_per_kwh")
