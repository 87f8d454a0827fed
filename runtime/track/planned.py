"""What a plan foresees at the meter: the power of all that is described, by the terms that the bundle carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Protocol

from runtime.bundle.tracking import Tracking
from runtime.track.aim import Stage


class Names(Protocol):
    """Of a manifest, or of a problem and the forecasts of its house."""

    @property
    def name(self) -> str: ...


class Stepped(Names, Protocol):
    @property
    def steps(self) -> int: ...


def named(specs: Sequence[Names], values: Sequence[float]) -> dict[str, float]:
    return {spec.name: float(value) for spec, value in zip(specs, values, strict=True)}


def first_of_each(forecasts: Sequence[Stepped], row: Sequence[float]) -> dict[str, float]:
    """Of a forecast row (nd), by name the first value of a stage."""
    first = accumulate((f.steps for f in forecasts), initial=0)
    return {f.name: float(row[column]) for f, column in zip(forecasts, first, strict=False)}


def planned_grid_kw(tracking: Tracking, actions: Mapping[str, float], known: Mapping[str, float]) -> float:
    """Power from the grid under actions and forecasts, by name, kW."""
    total = tracking.offset
    for term in tracking.actions:
        total += term.factor * actions[term.signal] * (1.0 if term.by is None else known[term.by])
    for term in tracking.forecasts:
        total += term.factor * known[term.signal] * (1.0 if term.by is None else known[term.by])
    return total


def planned_imports_kw(
    tracking: Tracking,
    actions: Sequence[Names],
    forecasts: Sequence[Stepped],
    plan: Sequence[Sequence[float]],
    rows: Sequence[Sequence[float]],
) -> list[float]:
    """Of each stage: plan (N, na), rows (N + 1, nd)."""
    return [
        planned_grid_kw(tracking, named(actions, a), first_of_each(forecasts, row))
        for a, row in zip(plan, rows, strict=False)
    ]


def planned_stages(
    tracking: Tracking,
    actions: Sequence[Names],
    forecasts: Sequence[Stepped],
    plan: Sequence[Sequence[float]],
    rows: Sequence[Sequence[float]],
) -> tuple[Stage, ...]:
    """Of each stage: plan (N, na), rows (N + 1, nd). Empty where prices are not said."""
    if tracking.buy is None or tracking.sell is None:
        return ()
    found = list[Stage]()
    for a, row in zip(plan, rows, strict=False):
        said, known = named(actions, a), first_of_each(forecasts, row)
        batteries_kw = sum(said[b.charge] - said[b.discharge] for b in tracking.batteries)
        grid_kw = planned_grid_kw(tracking, said, known)
        found.append(Stage(grid_kw, batteries_kw, known[tracking.buy], known[tracking.sell]))
    return tuple(found)
