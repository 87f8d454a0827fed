"""What of state and plan a person looks at: panels of a few lines each, and the bands that they shall stay in.

Signals are told apart by unit and by the names that a composed house gives them: `home_soc`, `home_charge`,
`ground_temperature`, `ground_lower`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

TEMPERATURE, LOWER, UPPER = "_temperature", "_lower", "_upper"
CHARGE, DISCHARGE, SOC = "_charge", "_discharge", "_soc"
MOST_VALUES = 4096
"""Of one signal: a plan longer than this is none of ours."""


@dataclass(frozen=True)
class Trace:
    """`values` hold for `step_s` each from the begin of the plan on, where they are `held`; else they are points."""

    name: str
    values: tuple[float, ...]
    step_s: float
    held: bool = True


@dataclass(frozen=True)
class Plot:
    title: str
    unit: str
    lines: tuple[Trace, ...]
    band: tuple[Trace, Trace] | None = None
    """Lower and upper."""
    explained: str = ""


@dataclass(frozen=True)
class Picture:
    start: datetime
    panels: tuple[Plot, ...]
    hours: float
    """Of the plan; forecasts know a step more."""


def spoken(name: str) -> str:
    """A signal's name as words."""
    return name.replace("_", " ").strip().capitalize()


def picture_of(plan: Mapping[str, Any] | None) -> Picture | None:
    """None without a plan, or with one that cannot be drawn: whoever may publish it may have written it."""
    try:
        if plan is None:
            return None
        start, step_s = datetime.fromisoformat(str(plan["start"])), float(plan["step_s"])
        signals = _lines(plan["signals"], step_s)
        forecasts = _lines(plan.get("forecasts", {}), step_s)
        units = {name: str(e.get("unit", "")) for part in ("signals", "forecasts") for name, e in plan[part].items()}
        start + timedelta(hours=1)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None
    if not 0.0 < step_s <= 86400.0:
        return None
    panels = [
        _prices(forecasts, units),
        *_batteries(signals),
        _powers(signals, forecasts, units),
        *_temperatures(signals, forecasts, units),
    ]
    found = tuple(panel for panel in panels if panel is not None and panel.lines)
    stages = min((len(line.values) for line in signals.values()), default=1)
    return Picture(start, found, min(stages * step_s / 3600.0, 24.0 * 14)) if found else None


def _lines(entries: Mapping[str, Any], step_s: float) -> dict[str, Trace]:
    """By name; states, which have one value more than there are steps, are points."""
    steps = max((len(entry["values"]) for entry in entries.values()), default=0)
    found = {}
    for name, entry in entries.items():
        values = tuple(float(v) for v in entry["values"][:MOST_VALUES])
        own_s = float(entry.get("step_s", step_s))
        if values and all(map(math.isfinite, values)) and 0.0 < own_s <= 86400.0:
            points = len(values) == steps and len({len(e["values"]) for e in entries.values()}) > 1
            found[str(name)] = Trace(spoken(str(name)), values, own_s, held=not points)
    return found


def _prices(forecasts: Mapping[str, Trace], units: Mapping[str, str]) -> Plot | None:
    found = [line for name, line in forecasts.items() if name in ("buy", "sell")]
    unit = next((units[name] for name in ("buy", "sell") if name in forecasts), "")
    return Plot("Price", unit, tuple(found)) if found else None


def _batteries(signals: Mapping[str, Trace]) -> list[Plot]:
    found = []
    for name, line in signals.items():
        if name.endswith(SOC):
            values = tuple(100.0 * value for value in line.values)
            named = spoken(name.removesuffix(SOC))
            found.append(Plot(f"Charge of {named.lower()}", "%", (Trace("Planned", values, line.step_s, held=False),)))
    return found


def _powers(signals: Mapping[str, Trace], forecasts: Mapping[str, Trace], units: Mapping[str, str]) -> Plot | None:
    """What is used, what panels bring, and what is heated with; a battery's power is the slope of its charge."""
    lines = [forecasts[name] for name in ("load", "pv") if name in forecasts]
    heating = [n for n in signals if n.endswith("_power") and units.get(n) == "kW"]
    if heating:
        steps = max(len(signals[n].values) for n in heating)
        total = [sum(signals[n].values[k] for n in heating if k < len(signals[n].values)) for k in range(steps)]
        lines.append(Trace("Heating", tuple(total), signals[heating[0]].step_s))
    elif not lines:
        return None
    return Plot("Power", "kW", tuple(lines))


def _temperatures(signals: Mapping[str, Trace], forecasts: Mapping[str, Trace], units: Mapping[str, str]) -> list[Plot]:
    found = []
    for name, line in signals.items():
        asset = name.removesuffix(TEMPERATURE)
        if asset == name or units.get(name) != "degC":
            continue
        lower, upper = forecasts.get(asset + LOWER), forecasts.get(asset + UPPER)
        band = (lower, upper) if lower is not None and upper is not None else None
        point = Trace("Planned", line.values, line.step_s, held=False)
        found.append(Plot(spoken(asset), "°C", (point,), band))
    return found
