"""The sweep: one real point for each model of the ARX house, told as it goes, recorded and drawn."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from research.smart_home.data import ExperimentData, exciting_log
from research.smart_home.protocol import SmartHomeSpec
from research.smart_home.sweep import draw_sweep, run_sweep
from systems.world.weather import generate_conditions

TINY = SmartHomeSpec(models=1, iterations=1, learning_days=8, days_per_iteration=2, periods=2, period_days=1, rate=0.5)


def test_a_sweep_has_a_row_and_a_record_for_each_point(tmp_path: Path) -> None:
    learning = generate_conditions(4, start=datetime(2017, 11, 1, tzinfo=UTC), days=25)
    evaluation = generate_conditions(5, start=datetime(2018, 1, 10, tzinfo=UTC), days=15)
    data = ExperimentData(learning, evaluation, exciting_log(learning), "test")
    told: list[tuple[str, float]] = []
    rows = run_sweep(TINY, data, tmp_path, threads=1, shares=(0.25,), tell=lambda *at: told.append(at))
    assert told == [("exact, comfort share 0.25", 0.0), ("sampled, comfort share 0.25", 0.5)]
    assert [(row["model"], row["comfort_share"]) for row in rows] == [("exact", 0.25), ("sampled", 0.25)]
    assert all(row["beta_eur_per_k2_h"] > 0.0 for row in rows)
    gain = [row["improvement_percent"]["mean"] for row in rows]
    assert gain[0] != 0.0 and gain[1] != gain[0]
    assert len(list(tmp_path.glob("*/model-0.npz"))) == 2
    draw_sweep(rows, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
