"""What tracks the meter, as data of a bundle: the meter, the batteries that share it, and what counts at it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from pydantic import Field

from runtime.bundle.records import Finite, Name, NonNegative, Positive, StrictRecord
from runtime.bundle.safety_set import PowerTerm


class TrackingBattery(StrictRecord):
    """One battery: the actions that are its power in and out, AC side."""

    charge: Name
    discharge: Name
    soc: Name | None = None
    """The state that is its state of charge, where limits of it are said."""
    soc_min: Finite = 0.0
    """At or below it the battery gives nothing, whether a plan or a rule decides."""
    soc_max: Finite = 1.0


class Tracking(StrictRecord):
    """A decision becomes a power at the meter, by what the house draws: actions, forecasts and offset as in a limit on
    power. A site that does not read the meter holds set-points.
    """

    meter: Name
    """An input that the site may have: power from the grid, kW."""
    batteries: Annotated[tuple[TrackingBattery, ...], Field(min_length=1, max_length=20)]
    actions: tuple[PowerTerm, ...]
    forecasts: tuple[PowerTerm, ...] = ()
    offset: Finite = 0.0
    import_limit_kw: Positive
    export_limit_kw: NonNegative
    peak: Name | None = None
    """The state that is the import which raises no charge, where there is a charge for peaks."""
    interval_s: Positive = 900.0
    """Over which that charge averages import."""
    buy: Name | None = None
    """The forecasts that are the prices of a kWh, where there are: of moves that are worth the same, the early one."""
    sell: Name | None = None


def check_tracking(
    tracking: Tracking, states: Collection[str], actions: Collection[str], forecasts: Collection[str]
) -> None:
    """Raises ValueError where it names what the manifest has not."""
    moved = [name for battery in tracking.batteries for name in (battery.charge, battery.discharge)]
    named = [*moved, *(term.signal for term in tracking.actions)]
    wrong = next((name for name in named if name not in actions), None)
    if wrong is not None:
        raise ValueError(f"tracking names {wrong!r}, which is no action")
    if len(set(moved)) != len(moved):
        raise ValueError(f"tracking moves {next(name for name in moved if moved.count(name) > 1)!r} twice")
    of = [name for term in (*tracking.actions, *tracking.forecasts) for name in (term.by,) if name is not None]
    wrong = next((n for n in (*of, *(t.signal for t in tracking.forecasts)) if n not in forecasts), None)
    if wrong is not None:
        raise ValueError(f"tracking names {wrong!r}, which is no forecast")
    wrong = next((n for n in (tracking.buy, tracking.sell) if n is not None and n not in forecasts), None)
    if wrong is not None:
        raise ValueError(f"tracking goes by the price {wrong!r}, which is no forecast")
    wrong = next((b.soc for b in tracking.batteries if b.soc is not None and b.soc not in states), None)
    if wrong is not None:
        raise ValueError(f"tracking limits {wrong!r}, which is no state")
    if tracking.peak is not None and tracking.peak not in states:
        raise ValueError(f"tracking counts peaks by {tracking.peak!r}, which is no state")
    if tracking.meter in {*states, *actions, *forecasts}:
        raise ValueError(f"the meter that is tracked, {tracking.meter!r}, is a signal already")
