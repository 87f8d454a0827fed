"""The ladder of control levels: down at once, up only after the better level has been there for a while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Level(IntEnum):
    """Best first. `safe` is the device's own default and always available."""

    MPC = 0
    SHIFTED_PLAN = 1
    RULE = 2
    SAFE = 3

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Ladder:
    """Where the daemon stands. Times are monotonic seconds; `available_since` holds the levels available now."""

    level: Level = Level.SAFE
    since_s: float = 0.0
    reason: str = ""
    available_since: Mapping[Level, float] = field(default_factory=dict)
    started: bool = False


def step(ladder: Ladder, problems: Mapping[Level, str], now_s: float, dwell_s: float) -> Ladder:
    """One cycle. `problems` names each level that is not available now, and why.

    The first cycle takes the best level there is. Later a level above the present one must have been available for
    `dwell_s` without a break, so that a signal that comes and goes does not make the house flap.
    """
    available = [level for level in Level if level is Level.SAFE or level not in problems]
    since = {level: ladder.available_since.get(level, now_s) for level in available}
    chosen = available[0]
    if ladder.started:
        chosen = next(level for level in available if level >= ladder.level or now_s - since[level] >= dwell_s)
    # Why not better: the problem of the best level, or the wait for it.
    reason = ""
    if chosen is not Level.MPC:
        reason = problems.get(Level.MPC, f"mpc is back, waiting {dwell_s:g} s before it is used")
    changed = chosen is not ladder.level or not ladder.started
    return Ladder(chosen, now_s if changed else ladder.since_s, reason, since, True)
