"""Schedules of a campaign: drawn from the seed, valid, readable again; and shrinking to what matters."""

from __future__ import annotations

import tomllib
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hil.campaign import as_toml, shrink
from hil.scenario import LINK_KINDS, SIGNAL_KINDS, Fault
from hil.schedule import NEVER_DRAWN, QUIET_END_S, draw

DAY_S = 86400.0
SIGNALS = ("soc", "buy_price")


@given(st.integers(0, 2**32))
def test_schedules_come_from_the_seed_and_leave_a_quiet_end(seed: int) -> None:
    first, again = (draw(np.random.default_rng(seed), SIGNALS, DAY_S) for _ in range(2))
    assert first == again
    for fault in first:
        assert 0 <= fault.at < fault.end <= DAY_S - QUIET_END_S
        assert fault.signal in (None, *SIGNALS)


def test_every_kind_of_fault_is_drawn_that_schedules_began_with() -> None:
    drawn = Counter(
        (fault.link or "signal", fault.kind)
        for seed in range(400)
        for fault in draw(np.random.default_rng(seed), SIGNALS, DAY_S)
    )
    wanted = {("signal", k) for k in SIGNAL_KINDS} | {(link, k) for link, kinds in LINK_KINDS.items() for k in kinds}
    assert set(drawn) == {(link, kind) for link, kind in wanted if kind not in NEVER_DRAWN}


@given(st.integers(0, 2**32))
def test_a_schedule_can_be_pasted_into_a_scenario(seed: int) -> None:
    faults = draw(np.random.default_rng(seed), SIGNALS, DAY_S)
    tables = tomllib.loads(as_toml(faults))["fault"]
    assert tuple(Fault.model_validate(table) for table in tables) == faults


@given(st.sets(st.integers(0, 7)))
def test_shrinking_finds_the_faults_that_matter_together(guilty: set[int]) -> None:
    faults = tuple(Fault.model_validate({"link": "daemon", "kind": "kill_9", "at": float(k)}) for k in range(8))
    smallest = shrink(faults, lambda some: guilty <= {int(f.at) for f in some})
    assert {int(f.at) for f in smallest} == guilty
