"""Which theta a tuning may write, and why: by the verdict of held-out weeks, or by weeks of the training part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from systems.design import HouseDesign
from systems.logs.log import Array
from systems.world import Exogenous
from tuner.commands.evaluate import table_of, verdict
from tuner.commands.tune_outlook import had
from tuner.evaluate.comparison import CAUSAL, RULE, TUNED, UNBIASED, Contender, Evaluation, bounds, evaluate_house
from tuner.learn.paired import worse
from tuner.learn.tuning import Tuning
from tuner.loop.workers import Workers

GUARDED = 2
"""Policies that weeks of the training part compare."""
UNCHANGED = "no change was borne out: the theta it started from is kept, and nothing was gained"


@dataclass(frozen=True, eq=False)
class TuneOutcome:
    """What is said of a tuning, and whether the theta that it started from stays."""

    kept: bool
    said: str
    judged: Evaluation | None = None
    """On the held-out weeks, where they were asked."""

    def tell(self, console: Console) -> None:
        if self.judged is not None:
            console.print(table_of(self.judged))
        console.print(self.said, soft_wrap=True)
        if self.judged is not None and (more := had(self.judged, TUNED)):
            console.print(more, soft_wrap=True)


@dataclass(frozen=True, eq=False)
class Weeks:
    """Of a world, that decide."""

    world: Exogenous
    firsts: Sequence[int]
    seed: int


def contenders(design: HouseDesign, start: Mapping[str, float], tuned: Array) -> tuple[Contender, ...]:
    """Of the verdict."""
    return (
        Contender(RULE, None),
        *_both(start, tuned),
        *(policy for policy in bounds(design.house) if policy.name == CAUSAL),
    )


def judged_by(
    design: HouseDesign, weeks: Weeks, start: Mapping[str, float], tuning: Tuning, workers: Workers
) -> TuneOutcome:
    """By held-out weeks: the tuned theta is written where its gain is shown."""
    policies = contenders(design, start, tuning.theta)
    found = evaluate_house(design, weeks.world, weeks.firsts, policies, seed=weeks.seed, workers=workers)
    saving = found.saving(TUNED, UNBIASED)
    return TuneOutcome(saving is None or saving.low <= 0.0, verdict(found), found)


def guarded_by(
    design: HouseDesign, weeks: Weeks, start: Mapping[str, float], tuning: Tuning, workers: Workers
) -> TuneOutcome:
    """By weeks of the training part that taught nothing: only what makes them cheaper beyond noise is written."""
    policies = _both(start, tuning.theta)
    found = evaluate_house(design, weeks.world, weeks.firsts, policies, seed=weeks.seed, workers=workers)
    before, after = found.totals(UNBIASED), found.totals(TUNED)
    kept = not worse(before, after, tolerance=1.0)
    saving, mean = found.saving(TUNED, UNBIASED), float((before - after).mean())
    span = "" if saving is None else f", 95 % interval {saving.low:.3f} to {saving.high:.3f}"
    where = f"on {len(weeks.firsts)} weeks of the training part that it had not seen"
    cost = f"{'saves' if mean >= 0.0 else 'costs'} {abs(mean):.3f} {found.currency} a week {where}{span}"
    if kept:
        return TuneOutcome(True, f"the tuned theta {cost}: the old one is kept, and nothing was gained")
    return TuneOutcome(False, f"the tuned theta {cost}; `nisse evaluate` judges it on held-out weeks")


def _both(start: Mapping[str, float], tuned: Array) -> tuple[Contender, Contender]:
    return Contender(UNBIASED, tuple(start.values())), Contender(TUNED, tuple(tuned.tolist()))
