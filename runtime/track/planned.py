"""What a plan foresees at the meter: the power of all that is described, by the terms that the bundle carries."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from runtime.bundle.manifest import Manifest
from runtime.bundle.tracking import Tracking


def planned_grid_kw(
    tracking: Tracking, manifest: Manifest, action: Sequence[float], forecast: Sequence[float]
) -> float:
    """Power from the grid under an action (na) and a forecast row (nd), kW."""
    actions = {spec.name: value for spec, value in zip(manifest.actions, action, strict=True)}
    first = accumulate((f.steps for f in manifest.forecasts), initial=0)
    known = {f.name: forecast[column] for f, column in zip(manifest.forecasts, first, strict=False)}
    total = tracking.offset
    for term in tracking.actions:
        total += term.factor * actions[term.signal] * (1.0 if term.by is None else known[term.by])
    for term in tracking.forecasts:
        total += term.factor * known[term.signal] * (1.0 if term.by is None else known[term.by])
    return total


def allowed_import_kw(
    tracking: Tracking,
    manifest: Manifest,
    state: Sequence[float],
    plan: Sequence[Sequence[float]],
    forecast: Sequence[Sequence[float]] | None,
) -> float | None:
    """The mean import of an interval that raises no charge: that of the month so far, or what the plan has chosen to
    raise it to. None where there is no charge for peaks."""
    if tracking.peak is None:
        return None
    states = [spec.name for spec in manifest.states]
    so_far = state[states.index(tracking.peak)] if len(state) == len(states) else 0.0
    rows = () if forecast is None else forecast
    chosen = [planned_grid_kw(tracking, manifest, a, row) for a, row in zip(plan, rows, strict=False)]
    return max([so_far, *chosen])
