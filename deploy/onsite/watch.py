"""Whether what was put in force holds: judged by what the daemon says and remembers, never by hope."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEVELS = ("mpc", "shifted_plan", "rule", "safe")
STANDS_CYCLES = 3
"""A notice that was there before counts once it has outlived this many cycles."""


@dataclass
class Watch:
    """A trial. `before` is the daemon's status before it; `needed` cycles at no worse a level, beside its own trial.

    `since_s` (Unix time): what was written earlier says nothing of it.
    """

    manifest: dict[str, Any]
    since_s: float
    before: dict[str, Any] | None
    needed: int
    silence_s: float
    deadline_s: float
    cycles: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    last: str = "nothing heard yet"

    def judge(self, elapsed_s: float, alive: bool) -> tuple[bool, str] | None:
        """(accepted, why), or None while it goes on."""
        status = read(Path(self.manifest["status"]))
        fresh = status if status is not None and float(status.get("written_s") or 0.0) >= self.since_s else None
        if fresh is not None:
            verdict = self._heard(dict(fresh["state"]))
            if verdict is not None:
                return verdict
        if not alive:
            return False, "the daemon ended"
        if not self.seen and elapsed_s > self.silence_s:
            return False, f"the daemon said nothing in {self.silence_s:.0f} s"
        if elapsed_s > self.deadline_s:
            return False, f"not accepted within {self.deadline_s / 60:.0f} min; at last: {self.last}"
        return None

    def _heard(self, state: dict[str, Any]) -> tuple[bool, str] | None:
        time, level = str(state.get("time")), str(state.get("level"))
        if time not in self.seen:
            self.seen.append(time)
            if _rank(level) <= self._allowed:
                self.cycles.append(time)
        trial = state.get("trial") or {}
        phase = (
            f", {trial['phase']} {trial.get('passed', 0)} of {trial.get('needed', '?')}" if trial.get("phase") else ""
        )
        self.last = f"level {level}{phase}" + (f", {state['reason']}" if state.get("reason") else "")
        for subject in ("bundle", "theta"):
            notice = str((state.get("notices") or {}).get(subject, ""))
            if notice and (notice != self._notice(subject) or len(self.seen) > STANDS_CYCLES):
                return False, notice
        good = accepted(Path(self.manifest["record"]))
        wanted = self.manifest["bundle"]
        if good == {"bundle": wanted["digest"], "theta": wanted["theta"]} and len(self.cycles) >= self.needed:
            return True, self.last
        return None

    @property
    def _allowed(self) -> int:
        """The worst level that counts: what it was before, where anything ran."""
        return _rank(str(self.before["state"].get("level"))) if self.before is not None else 0

    def _notice(self, subject: str) -> str:
        return "" if self.before is None else str((self.before["state"].get("notices") or {}).get(subject, ""))


def read(file: Path) -> dict[str, Any] | None:
    """A status file; None for none."""
    try:
        found = json.loads(file.read_bytes())
        return found if isinstance(found, dict) and isinstance(found.get("state"), dict) else None
    except (OSError, ValueError):
        return None


def accepted(folder: Path) -> dict[str, str]:
    """What the daemon remembers as good: `bundle` and `theta`."""
    for name in ("record.json", "record.copy.json"):
        try:
            found = json.loads((folder / name).read_bytes())["good"]
            return {"bundle": str(found.get("bundle", "")), "theta": str(found.get("theta", ""))}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return {}


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)
