"""What the log knows of the forecasts of the past day, for a policy whose next forecast has no tomorrow yet."""

from __future__ import annotations

from runtime.decide.policy import Policy
from runtime.store.journal import Journal

MEMORY_S = 26 * 3600.0


def recall_forecasts(journal: Journal, policy: Policy, now_s: float) -> None:
    """Tell the policy's memory."""
    manifest, digest = policy.bundle.manifest, policy.bundle.digest
    # (name, seconds after the stage begins) of every column of a forecast row.
    columns = [(f.name, i * manifest.dt_s / f.steps) for f in manifest.forecasts for i in range(f.steps)]
    if not columns:
        return
    for time_s, row in journal.recall(lambda s: s.forecasts_since(digest, now_s - MEMORY_S, len(columns))) or ():
        for (name, later_s), value in zip(columns, row, strict=True):
            policy.memory.recall(name, time_s + later_s, value)
