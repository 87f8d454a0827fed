"""The daemon's own log, read back as decisions: what was known at each, decided, done, and seen until the next.

A decision counts where the MPC made it and nothing else came between: every cycle that it was held for is there, at
level mpc, with state and action, and no safety filter changed it. So no decision is a mixture of two.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from runtime.store.transitions import unpack_forecast
from systems.logs.log import Array, LogError
from systems.problem import Problem

METER = "grid_power"


@dataclass(frozen=True, eq=False)
class LoggedCycle:
    """A model step of the daemon."""

    time_s: float
    made_s: float
    """When the decision was made that it acted on."""
    whole: bool
    """The MPC, unchanged by the filter, all of it known."""
    state: Array
    """(nx,)"""
    action: Array
    """(na,) as actuated"""
    nominal: Array
    """(na,) as the MPC decided"""
    row: Array
    """(nd,) of the forecast for now"""
    forecast: Array
    """(N + 1, nd)"""
    grid_kw: float
    """Through the meter in the step before; NaN where it is not read."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Inputs of now that were good, by name: sensors, forecasts, set-points."""


@dataclass(frozen=True, eq=False)
class LoggedDecision:
    """What was seen when it was made, and the cycles that it was held for."""

    made_s: float
    state: Array
    forecast: Array
    nominal: Array
    cycles: tuple[LoggedCycle, ...]
    grid_kw: Array
    """(cycles,) through the meter in each; NaN where it is not known"""

    @property
    def action(self) -> Array:
        """(na,) mean of what was done."""
        return np.asarray(np.mean([cycle.action for cycle in self.cycles], axis=0))


def read_decisions(path: Path, problem: Problem, steps: int) -> tuple[list[LoggedDecision], int]:
    """(whole decisions of `steps` model steps, how many others there were), oldest first. Raises LogError."""
    cycles = read_cycles(path, problem)
    step_s = problem.dt_s / steps
    found, others = list[LoggedDecision](), 0
    groups = [list(group) for _, group in groupby(cycles, key=lambda c: c.made_s)]
    for group, following in zip(groups, [*groups[1:], []], strict=True):
        times = np.array([c.time_s for c in group])
        unbroken = len(group) == steps and np.allclose(np.diff(times), step_s, atol=0.1 * step_s)
        if not unbroken or not all(c.whole for c in group) or abs(times[0] - group[0].made_s) > 0.5 * step_s:
            others += 1
            continue
        ends = [*group[1:], *following[:1]]
        # What the meter shows in a cycle is of the step before.
        shown = np.full(steps, np.nan)
        for k, (now, end) in enumerate(zip(group, ends, strict=False)):
            if abs(end.time_s - now.time_s - step_s) < 0.1 * step_s:
                shown[k] = end.grid_kw
        first = group[0]
        found.append(LoggedDecision(first.made_s, first.state, first.forecast, first.nominal, tuple(group), shown))
    return found, others


def read_cycles(path: Path, problem: Problem) -> list[LoggedCycle]:
    """All cycles of the house, oldest first, at whatever level; what is not known is NaN. Raises LogError."""
    rows = _rows(path)
    if not rows:
        raise LogError(f"{path}: the log holds no cycle yet; let the daemon run for some weeks")
    found = []
    try:
        for row in rows:
            found += _cycle(*row, problem)
    except (ValueError, KeyError, TypeError, zlib.error, struct.error) as error:
        raise LogError(f"{path}: a row cannot be read ({error}); name the daemon's log as it wrote it") from error
    if not found:
        names = ", ".join([s.name for s in problem.states][:3])
        raise LogError(
            f"{path}: no cycle has the states ({names}, ...), actions and forecasts of house {problem.name!r}; name "
            "the log of this house, and with --model the model that it ran with"
        )
    return found


def _cycle(
    time_s: float,
    level: str,
    state: str,
    action: str,
    nominal: str,
    forecast: bytes | None,
    details: str,
    problem: Problem,
) -> list[LoggedCycle]:
    """One, or none where the row is of another house."""
    said, done, meant, about = (json.loads(text) for text in (state, action, nominal, details))
    states, actions = [s.name for s in problem.states], [a.name for a in problem.actions]
    size = (problem.horizon + 1) * problem.nd
    rows = () if forecast is None else unpack_forecast(forecast, problem.nd)
    if set(said) != set(states) or (done and set(done) != set(actions)):
        return []
    if forecast is not None and sum(map(len, rows)) != size:
        return []
    ahead = np.array(rows) if rows else np.full((problem.horizon + 1, problem.nd), np.nan)
    made = (about.get("decision") or {"made_s": time_s})["made_s"]
    values = _good(about)
    cycle = LoggedCycle(
        time_s, float(made), False,
        _vector(said, states), _vector(done, actions), _vector(meant, actions), ahead[0], ahead,
        values.get(METER, np.nan), values,
    )  # fmt: skip
    known = all(np.isfinite(part).all() for part in (cycle.state, cycle.action, cycle.nominal, cycle.forecast))
    whole = known and level == "mpc" and not about["filter"]["changed"]
    return [LoggedCycle(**{**vars(cycle), "whole": bool(whole)})]


def _vector(values: dict[str, Any], names: Sequence[str]) -> Array:
    return np.array([np.nan if values.get(name) is None else float(values[name]) for name in names])


def bundle_of(path: Path) -> str:
    """Digest of the bundle that wrote the last cycle. Raises LogError."""
    if not path.is_file():
        raise LogError(f"{path}: there is no such file; name the daemon's log, nisse.db")
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            row = db.execute("SELECT bundle FROM transition ORDER BY id DESC LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise LogError(f"{path}: not a log of the daemon ({error}); name its nisse.db") from error
    if row is None:
        raise LogError(f"{path}: the log holds no cycle yet; let the daemon run for some weeks")
    return str(row[0])


def _good(about: dict[str, Any]) -> dict[str, float]:
    inputs = about.get("inputs", {}).items()
    return {n: float(v["value"]) for n, v in inputs if v.get("value") is not None and v.get("validity") == "ok"}


def _rows(path: Path) -> list[tuple[float, str, str, str, str, bytes | None, str]]:
    if not path.is_file():
        raise LogError(f"{path}: there is no such file; name the daemon's log, nisse.db")
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            return db.execute(
                "SELECT time_s, level, state, action, nominal, forecast, details FROM transition ORDER BY id"
            ).fetchall()
    except sqlite3.Error as error:
        raise LogError(f"{path}: not a log of the daemon ({error}); name its nisse.db") from error
