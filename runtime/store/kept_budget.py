"""The budget of writes whose counts outlive a restart, in the log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from functools import partial

from runtime.actuate.write_budget import WriteBudget
from runtime.clock import Clock
from runtime.store.journal import Journal

KEPT_AS = "writes"


def kept_budget(budgets: Mapping[str, int | None], where: tzinfo, clock: Clock, journal: Journal | None) -> WriteBudget:
    """Without a log it counts from this start on."""
    if journal is None:
        return WriteBudget(budgets, where, clock)
    return WriteBudget(budgets, where, clock, partial(journal.keep, KEPT_AS), journal.kept(KEPT_AS))
