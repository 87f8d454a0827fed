"""Weather and prices from files become the seasons that a house learns in and is judged by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from research.smart_home.data import data_from_files
from tuner.loop.periods import PeriodError

START = datetime(2018, 1, 1, tzinfo=UTC)
WEATHER = "outdoor_temperature_celsius,global_irradiance_w_per_m2"


def written(path: Path, start: datetime, hours: int, header: str, row: str) -> Path:
    lines = [f"time,{header}"]
    lines += [f"{(start + timedelta(hours=h)).isoformat()},{row.format(h=h)}" for h in range(hours)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_files_become_seasons_where_they_overlap(tmp_path: Path) -> None:
    """Air is interpolated, a price holds for its hour."""
    weather = written(tmp_path / "w.csv", START, 24 * 64, WEATHER, "0.{h:04d},10.0")
    prices = written(tmp_path / "p.csv", START + timedelta(hours=24), 24 * 64, "price_eur_per_kwh", "0.{h:04d}")
    data = data_from_files(prices, weather)
    learning = data.learning
    assert learning.start_s == (START + timedelta(hours=24)).timestamp()
    assert learning.outdoor_c[:13] == pytest.approx(0.0024 + np.arange(13) / 12.0 * 1e-4)
    assert learning.price_eur_kwh[[0, 11, 12]] == pytest.approx([0.0, 0.0, 1e-4])
    assert data.evaluation.price_eur_kwh[0] == pytest.approx(1e-4 * (data.evaluation.start_s - learning.start_s) / 3600)
    late = written(tmp_path / "late.csv", START + timedelta(days=300), 48, "price_eur_per_kwh", "0.1")
    with pytest.raises(PeriodError, match="overlap for 0 days"):
        data_from_files(late, weather)
