"""How good forecasts were: error by hours ahead, beside what persistence would have done; and which got worse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from feeds.history import DAY_S, HOUR_S, History, Issue

STRETCHES = ((1, 3), (4, 12), (13, 24), (25, 47))
"""Hours ahead that are judged together, both ends included."""
DAYS = 28
RECENT_D = 7
WORSE = 1.5
"""Times the error of the weeks before: then a source got worse."""
FEWEST = 72
"""Pairs on either side, below which nobody says worse: three days of hours."""
SMALL = 1e-9


@dataclass(frozen=True)
class ForecastScore:
    """Means over `count` pairs of forecast and what came; NaN where there is none. Units of the quantity."""

    first_h: int
    last_h: int
    count: int
    error: float
    """Mean absolute error."""
    bias: float
    persistence: float
    """Mean absolute error of the same hour on the last day that was over."""


@dataclass(frozen=True)
class Judgement:
    quantity: str
    measured: bool
    """Against a measurement; else against what the source itself said when the hour had come."""
    stretches: tuple[ForecastScore, ...]
    recent: float
    """Mean absolute error up to a day ahead over the last week."""
    before: float
    """The same of the weeks before; NaN where there are too few."""

    @property
    def worse(self) -> bool:
        return self.before > SMALL and self.recent > WORSE * self.before


def judged(history: History, quantity: str, now_s: float, days: int = DAYS) -> Judgement:
    """Raises HistoryError."""
    first_s = now_s - days * DAY_S
    actual = history.hours(quantity, first_s - 3 * DAY_S, now_s)
    issues = history.issues(quantity, first_s, now_s)
    stretches = tuple(_stretch(issues, actual, first, last) for first, last in STRETCHES)
    border = math.floor((now_s - RECENT_D * DAY_S) / HOUR_S)
    ahead = (1, 24)
    recent = _stretch([i for i in issues if i.hour >= border], actual, *ahead)
    before = _stretch([i for i in issues if i.hour < border], actual, *ahead)
    enough = min(recent.count, before.count) >= FEWEST
    return Judgement(
        quantity, history.is_measured(quantity), stretches, recent.error, before.error if enough else math.nan
    )


def report(history: History, now_s: float, days: int = DAYS) -> list[Judgement]:
    """Of every quantity that was published. Raises HistoryError."""
    return [judged(history, quantity, now_s, days) for quantity in history.quantities()]


def _stretch(issues: Sequence[Issue], actual: Mapping[int, float], first_h: int, last_h: int) -> ForecastScore:
    errors: list[float] = []
    persisted: list[float] = []
    for issue in issues:
        for ahead in range(first_h, min(last_h + 1, len(issue.values))):
            came, said = actual.get(issue.hour + ahead), issue.values[ahead]
            if came is None or not math.isfinite(said):
                continue
            errors.append(said - came)
            usual = _persistence(actual, issue.hour + ahead, issue.hour)
            if usual is not None:
                persisted.append(abs(usual - came))
    return ForecastScore(first_h, last_h, len(errors), _mean([abs(e) for e in errors]), _mean(errors), _mean(persisted))


def _persistence(actual: Mapping[int, float], hour: int, issued: int) -> float | None:
    """What was at the same hour on the last day on which it was over when the forecast was made."""
    return actual.get(hour - 24 * max(1, math.ceil((hour - issued + 1) / 24)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def lines(judgements: Sequence[Judgement], units: Mapping[str, str]) -> list[str]:
    """For people."""
    if not judgements:
        return ["nothing was forecast yet: nisse feed run keeps what it publishes"]
    found = []
    for one in judgements:
        unit = units.get(one.quantity, "")
        against = "what was measured" if one.measured else "what its source said at the hour itself"
        found.append(f"{one.quantity} ({unit}), against {against}")
        for s in one.stretches:
            if s.count:
                found.append(
                    f"  {s.first_h:>2} to {s.last_h:>2} h ahead: error {s.error:.3g}, bias {s.bias:+.3g}, "
                    f"persistence {_shown(s.persistence)}, {s.count} hours"
                )
        if not any(s.count for s in one.stretches):
            found.append("  no hour that was forecast has come yet")
        if one.worse:
            found.append(f"  worse: {one.recent:.3g} in the last week, {one.before:.3g} in the weeks before")
    return found


def _shown(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "unknown"


def document(judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """As JSON has it: null for what is not known."""
    return [_plain({**asdict(one), "worse": one.worse}) for one in judgements]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def worse_notice(one: Judgement) -> str:
    return f"got worse: error up to a day ahead {one.recent:.3g} in the last week, {one.before:.3g} before"
