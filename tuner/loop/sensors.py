"""Which sensors of a house are ill, by its daemon's log: not heard, or stuck."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from systems.logs.log import LogError

LEAST_CYCLES = 100
DEAF_SHARE = 0.05
"""Of the cycles: more without a good value make a sensor ill."""
STUCK_H = 24.0
MOVING = ("_temperature", "_soc")
"""Ends of the names of what always moves, in a house that is lived in."""


def ill_sensors(path: Path) -> list[str]:
    """A sentence for each. Raises LogError."""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            rows = db.execute("SELECT time_s, details FROM transition ORDER BY id").fetchall()
    except sqlite3.Error as error:
        raise LogError(f"{path}: not a log of the daemon ({error}); name its nisse.db") from error
    if len(rows) < LEAST_CYCLES:
        return []
    deaf: dict[str, int] = {}
    heard: dict[str, int] = {}
    last: dict[str, tuple[float, float]] = {}
    stuck: dict[str, float] = {}
    for time_s, details in rows:
        for name, shown in json.loads(details).get("inputs", {}).items():
            heard[name] = heard.get(name, 0) + 1
            if shown.get("value") is None or shown.get("validity") != "ok":
                deaf[name] = deaf.get(name, 0) + 1
            elif name.endswith(MOVING):
                value, since_s = last.get(name, (float("nan"), float(time_s)))
                since_s = float(time_s) if shown["value"] != value else since_s
                last[name] = float(shown["value"]), since_s
                stuck[name] = max(stuck.get(name, 0.0), (float(time_s) - since_s) / 3600.0)
    found = [
        f"{name} was not heard in {100.0 * deaf[name] / heard[name]:.0f} % of the cycles: see to its link"
        for name in sorted(deaf)
        if deaf[name] > DEAF_SHARE * heard[name]
    ]
    return found + [
        f"{name} did not move for {hours:.0f} hours: see to the sensor"
        for name, hours in sorted(stuck.items())
        if hours > STUCK_H
    ]
