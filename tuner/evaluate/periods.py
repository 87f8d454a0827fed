"""Which weeks are for learning and which for judging, and the proof that no step is in both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from systems.battery.exogenous import Exogenous

IN_THE_NEXT_DAY_S = 26 * 3600.0
"""After a midnight, whether the day has 23, 24 or 25 hours."""


class PeriodError(ValueError):
    """Weeks that cannot be had from the data, or that serve both learning and judging."""

    exit_code = 65


@dataclass(frozen=True)
class Split:
    """Training data are the steps before `boundary`; held-out weeks begin at or after it."""

    exogenous: Exogenous
    boundary: int
    """First step that training must not see; a local midnight."""

    @property
    def boundary_time(self) -> datetime:
        return self.exogenous.time(self.boundary)

    def training_weeks(self, count: int | None = None) -> tuple[int, ...]:
        """First steps of whole training weeks, all or `count` of them evenly spread."""
        week = self.exogenous.steps_per_week
        return _spread(range(_midnight_after(self.exogenous, 0), self.boundary - week + 1, week), count, "training")

    def held_out_weeks(self, count: int | None = None) -> tuple[int, ...]:
        """First steps of whole held-out weeks, all or `count` of them evenly spread."""
        week = self.exogenous.steps_per_week
        return _spread(range(self.boundary, len(self.exogenous) - week + 1, week), count, "held-out")

    def training_exogenous(self) -> Exogenous:
        """The series with everything from the boundary on cut off: what is not there cannot leak."""
        return self.exogenous.slice(0, self.boundary)


def split_at(exogenous: Exogenous, train_until: datetime | None = None) -> Split:
    """Cut at the local midnight at or before `train_until`; by default in the middle of the series.

    Raises PeriodError when either side has less than one week.
    """
    week = exogenous.steps_per_week
    step = len(exogenous) // 2 if train_until is None else exogenous.step_at(train_until)
    boundary = exogenous.midnight(step)
    if boundary < week or len(exogenous) - boundary < week:
        inside = min(max(boundary, 0), len(exogenous))
        learn, judge = inside // week, (len(exogenous) - inside) // week
        first, last = exogenous.time(week), exogenous.time(len(exogenous) - week)
        raise PeriodError(
            f"{exogenous.source}: training until {exogenous.time(boundary):%Y-%m-%d} leaves {learn} weeks to train "
            f"and {judge} to hold out; choose --train-until between {first:%Y-%m-%d} and {last:%Y-%m-%d}, "
            "or bring more data"
        )
    return Split(exogenous, boundary)


def check_disjoint(training: Sequence[int], held_out: Sequence[int], steps_per_week: int) -> None:
    """Raises PeriodError when a week that judges shares a step with one that taught, or with another judge."""
    taught = np.sort(np.asarray(training, dtype=np.int64))
    for start in held_out:
        near = taught[np.abs(taught - start) < steps_per_week]
        if near.size:
            raise PeriodError(
                f"the held-out week at step {start} overlaps the training week at step {int(near[0])}; "
                "hold out weeks that tuning has not seen"
            )
    gaps = np.diff(np.sort(np.asarray(held_out, dtype=np.int64)))
    if (gaps < steps_per_week).any():
        raise PeriodError("held-out weeks overlap one another; ask for fewer weeks")


def _midnight_after(exogenous: Exogenous, step: int) -> int:
    today = exogenous.midnight(step)
    return today if today == step else exogenous.midnight(today + round(IN_THE_NEXT_DAY_S / exogenous.dt_s))


def _spread(starts: range, count: int | None, kind: str) -> tuple[int, ...]:
    if count is None:
        return tuple(starts)
    if not 1 <= count <= len(starts):
        raise PeriodError(f"{count} {kind} weeks asked for, the data has {len(starts)}; ask for 1 to {len(starts)}")
    picks = np.unique(np.linspace(0, len(starts) - 1, count).round().astype(int))
    return tuple(starts[int(i)] for i in picks)


def check_theta_provenance(path: Path, split: Split) -> None:
    """Raises PeriodError when a theta file says that it was tuned on data at or after the boundary of `split`.

    Only files whose provenance names `trained_until` and the same `prices` can be judged.
    """
    provenance = json.loads(path.read_text(encoding="utf-8")).get("provenance", {})
    until, source = provenance.get("trained_until"), provenance.get("prices")
    if until is None or source != split.exogenous.source:
        return
    if datetime.fromisoformat(until) > split.boundary_time:
        raise PeriodError(
            f"{path}: was tuned on data until {until}, the held-out weeks begin {split.boundary_time.isoformat()}; "
            "use --train-until with the date of the tuning, or later"
        )
