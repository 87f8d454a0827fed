"""A campaign that was stopped goes on; one folder holds one campaign."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.campaign import CampaignRun
from hil.campaign_log import LOG_FILE, CampaignLogError, append, begin_log, identity
from hil.scenario import load_scenario, shipped_scenario
from hil.schedule import draw

CAMPAIGN = "of this test"


def trials() -> list[CampaignRun]:
    schedules = [draw(np.random.default_rng(seed), ("soc", "buy_price"), 86400.0) for seed in range(20)]
    return [
        CampaignRun(k, faults, ("soc >= 0.03: soc = 0",) * (k % 2), faults[: k % 2])
        for k, faults in enumerate(schedules)
    ]


def test_what_was_logged_is_read_again(tmp_path: Path) -> None:
    assert begin_log(tmp_path, CAMPAIGN) == []
    for trial in trials():
        append(tmp_path, trial)
    assert begin_log(tmp_path, CAMPAIGN) == trials()


@settings(deadline=None)
@given(st.integers(1, 200))
def test_a_line_cut_off_by_a_power_cut_costs_one_run(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("campaign")
    begin_log(folder, CAMPAIGN)
    for trial in trials():
        append(folder, trial)
    log = folder / LOG_FILE
    last = log.read_bytes().splitlines(keepends=True)[-1]
    log.write_bytes(log.read_bytes()[: -min(cut, len(last))])
    assert begin_log(folder, CAMPAIGN) == trials()[:-1]
    append(folder, trials()[-1])
    assert begin_log(folder, CAMPAIGN) == trials()


def test_another_campaign_is_not_continued(tmp_path: Path) -> None:
    scenario = load_scenario(shipped_scenario("battery-campaign"))
    other = scenario.model_copy(update={"head": scenario.head.model_copy(update={"seed": 1})})
    edited = scenario.model_copy(update={"source": scenario.source + "\n# edited"})
    begin_log(tmp_path, identity(scenario, "sha"))
    for mistaken in (identity(other, "sha"), identity(scenario, "other"), identity(edited, "sha")):
        with pytest.raises(CampaignLogError, match="another --output"):
            begin_log(tmp_path, mistaken)


def test_a_damaged_log_is_said(tmp_path: Path) -> None:
    begin_log(tmp_path, CAMPAIGN)
    (tmp_path / LOG_FILE).write_text('{"campaign": "of this test"}\n{"number": 3}\n')
    with pytest.raises(CampaignLogError, match="not the log"):
        begin_log(tmp_path, CAMPAIGN)
