"""A month under random faults: nothing that a fault does not explain, and memory flat.

Shortened to a day here; the whole of it with NISSE_MONTH_DAYS=30.
"""

from __future__ import annotations

import os
from pathlib import Path

from built_bundle import BuiltBundle

from hil.bench import replay_scenario, run_scenario
from hil.scenario import load_scenario

SCENARIO = Path(__file__).parents[2] / "scenarios" / "battery-month.toml"
DAYS = float(os.environ.get("NISSE_MONTH_DAYS", "1"))


def test_random_faults_explain_all_that_happens(battery_bundle: BuiltBundle, tmp_path: Path) -> None:
    month = load_scenario(SCENARIO)
    scenario = month.model_copy(update={"head": month.head.model_copy(update={"duration": DAYS * 86_400.0})})
    result = run_scenario(scenario, battery_bundle.path, None, tmp_path / "run")
    failed = [c.outcome for c in result.verdict.checks if not c.outcome.holds]
    assert not failed
    assert len(result.record.header["faults"]) == round(3 * DAYS), "a run without faults proves nothing"
    assert 0.0 < result.kpis["memory_mb"] < 120.0, "daemon and solver process must be seen"
    assert replay_scenario(scenario, result.record_path, tmp_path / "again").record.sha256() == result.record.sha256()
