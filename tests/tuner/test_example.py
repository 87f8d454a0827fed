"""`nisse example`: its files are what the other commands read, and never replace what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nisse.cli import main
from systems.battery.exogenous import from_price_file, generated
from tuner.commands.battery_data import GENERATED_WEEKS


def test_the_battery_s_files_are_the_built_in_series_and_a_log_that_can_be_fitted(tmp_path: Path) -> None:
    assert main(["example", "--generator", "continental", "--seed", "3", "--output", str(tmp_path)]) == 0
    written = from_price_file(tmp_path / "prices.csv", seed=3)
    built_in = generated(GENERATED_WEEKS, kind="continental", seed=3)
    assert written.start == built_in.start
    # Five decimals are written; the tariff adds VAT.
    np.testing.assert_allclose(written.buy_price[: len(built_in.buy_price)], built_in.buy_price, atol=1e-5)
    assert main(["identify", "--log", str(tmp_path / "log.csv")]) == 0


def test_the_house_s_file_is_a_log_that_can_be_fitted(tmp_path: Path) -> None:
    assert main(["example", "--system", "house", "--output", str(tmp_path)]) == 0
    assert main(["identify", "--system", "house", "--log", str(tmp_path / "house.csv")]) == 0


def test_a_file_of_one_s_own_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "prices.csv"
    mine.write_text("mine")
    assert main(["example", "--output", str(tmp_path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert mine.read_text() == "mine" and not (tmp_path / "log.csv").exists()
    assert main(["example", "--output", str(tmp_path), "--force"]) == 0
    assert mine.read_text().startswith("time,price_eur_per_kwh")
