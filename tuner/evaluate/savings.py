"""What a house saved against its rules: by period, energy and capacity apart; the model's error is the interval.

The log is replayed exactly (`tuner.loop.replay`), so what is uncertain is the model's answer to other decisions. The
log itself shows how well it answers: over its days, what the model did not foresee of each store is regressed on what
each action moved, residual = c + G moved. Where G is 0 the model holds. A way that moved D more than nisse did would
have ended G D off, in kWh; its price times |G D|, and Student's t times the standard error of it, is the interval.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, tzinfo
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from systems.grid import HOUR_S
from systems.logs.log import Array
from tuner.evaluate.statistics import LEVEL
from tuner.loop.replay import Replay, Way

WEEK_DAYS = 7
SPARE_DAYS = 4
"""Days that the regression needs beyond its coefficients."""
RIDGE = 1e-9


@dataclass(frozen=True)
class Saving:
    """Of a period, in money: the rules' way less nisse's. low and high: 95 % interval of the total, or None."""

    name: str
    days: float
    """That count."""
    days_of_period: float
    paid: float
    """What nisse's way cost."""
    energy: float
    capacity: float
    stored: float
    """What nisse left in store more than the rules would have, at the mean price of the period."""
    low: float | None
    high: float | None
    colder_kh: float
    """Kelvin outside the bands times hours, nisse's less the rules'."""

    @property
    def total(self) -> float:
        return self.energy + self.capacity + self.stored


@dataclass(frozen=True, eq=False)
class ResidualFit:
    """The regression: residual_kwh a day = c + gain moved_kwh a day; one column for each action, one row a store."""

    gain: Array
    """(stores, na) kWh of a store a kWh moved; 0 where the model holds"""
    error: Array
    """(stores, na) standard errors"""
    covariance: Array
    """(na, na) of a row of `gain`, over the residual variance of its store"""
    scatter: Array
    """(stores,) standard deviation a day, kWh"""
    freedom: int
    """Degrees of; 0 where the days are too few."""


@dataclass(frozen=True)
class Savings:
    """Month by month, all of it, and the last seven days of the log."""

    house: str
    currency: str
    months: tuple[Saving, ...]
    whole: Saving
    week: Saving
    first: str
    last: str
    """ISO 8601, local."""
    metered: bool
    left_out_days: float

    def document(self) -> dict[str, Any]:
        """For machines, and for the page of the running house."""

        def one(saving: Saving) -> dict[str, Any]:
            return {**asdict(saving), "total": saving.total}

        return {
            "format": "nisse-savings-1", "house": self.house, "currency": self.currency, "from": self.first,
            "until": self.last, "metered": self.metered, "left_out_days": self.left_out_days,
            "week": one(self.week), "whole": one(self.whole), "months": [one(month) for month in self.months],
        }  # fmt: skip


def saving_since(replay: Replay, since_s: float, until_s: float, *, zone: tzinfo, step_s: float) -> Saving | None:
    """Of the part of a log between two Unix times; None where nothing of it counts. Its interval is the whole log's."""
    mask = (replay.time_s >= since_s) & (replay.time_s < until_s)
    if not mask.any():
        return None
    days = np.array([datetime.fromtimestamp(float(t), zone).toordinal() for t in replay.time_s])
    of_days = (until_s - since_s) / (24 * HOUR_S)
    return _saving(replay, answer_of(replay, days), "watched", mask, step_s / HOUR_S, of_days)


def savings_of(replay: Replay, *, house: str, currency: str, zone: tzinfo, step_s: float) -> Savings:
    """Money is that of the house file; periods are those of its local calendar."""
    local = [datetime.fromtimestamp(float(t), zone) for t in replay.time_s]
    days = np.array([moment.toordinal() for moment in local])
    answer = answer_of(replay, days)
    hours = step_s / HOUR_S

    def saving(name: str, mask: NDArray[np.bool_], of_days: float) -> Saving:
        return _saving(replay, answer, name, mask, hours, of_days)

    names = [f"{moment:%Y-%m}" for moment in local]
    months = [
        saving(name, np.array([other == name for other in names]), _days_of_month(name))
        for name in dict.fromkeys(names)
    ]
    span = (replay.time_s[-1] + step_s - replay.time_s[0]) / (24 * HOUR_S)
    recent = replay.time_s >= replay.time_s[-1] + step_s - WEEK_DAYS * 24 * HOUR_S
    end = datetime.fromtimestamp(float(replay.time_s[-1]) + step_s, zone)
    return Savings(
        house, currency, tuple(months), saving("all", np.ones(len(days), dtype=bool), span),
        saving("last 7 days", recent, WEEK_DAYS), local[0].isoformat(), end.isoformat(), replay.metered,
        replay.left_out * hours / 24.0,
    )  # fmt: skip


def answer_of(replay: Replay, days: NDArray[np.int64]) -> ResidualFit:
    """days: (T,) number of the local day of each step."""
    _, place = np.unique(days, return_inverse=True)

    def daily(values: Array) -> Array:
        return np.column_stack([np.bincount(place, weights=column) for column in values.T])

    residual, moved = daily(replay.residual_kwh), daily(replay.moves_kwh)
    n, na = moved.shape
    regressors = np.column_stack([np.ones(n), moved])
    freedom = n - na - 1
    if freedom < SPARE_DAYS or not replay.stores:
        none = np.zeros((len(replay.stores), na))
        return ResidualFit(none, none, np.zeros((na, na)), np.zeros(len(replay.stores)), 0)
    # What was never moved, or always alike, tells nothing of itself: the ridge leaves its gain at 0.
    gram = regressors.T @ regressors
    inverse = np.linalg.inv(gram + RIDGE * np.trace(gram) * np.eye(na + 1))
    beta = inverse @ regressors.T @ residual
    variance = ((residual - regressors @ beta) ** 2).sum(0) / freedom
    covariance = inverse[1:, 1:]
    error = np.sqrt(np.outer(variance, np.diag(covariance)))
    return ResidualFit(beta[1:].T, error, covariance, np.sqrt(variance), freedom)


def _saving(
    replay: Replay, answer: ResidualFit, name: str, mask: NDArray[np.bool_], hours: float, of_days: float
) -> Saving:
    nisse, rule = replay.nisse, replay.rule
    price = float(replay.buy[mask].mean())
    stored = price * (_gained(replay, nisse, mask) - _gained(replay, rule, mask))
    energy, capacity = ((getattr(rule, part) - getattr(nisse, part))[mask].sum() for part in ("energy", "capacity"))
    more = hours * (rule.drawn_kw - nisse.drawn_kw)[mask].sum(0)
    total, half = energy + capacity + stored, _half(answer, more, price)
    colder = (nisse.outside_kh - rule.outside_kh)[mask].sum() if replay.outside else 0.0
    return Saving(
        name=name,
        days=float(mask.sum()) * hours / 24.0,
        days_of_period=of_days,
        paid=float((nisse.energy + nisse.capacity)[mask].sum()),
        energy=float(energy),
        capacity=float(capacity),
        stored=float(stored),
        low=None if half is None else float(total - half),
        high=None if half is None else float(total + half),
        colder_kh=float(colder),
    )


def _half(answer: ResidualFit, more_kwh: Array, price: float) -> float | None:
    """Half the interval's width: what the model's answer to so much more of each action may be off by."""
    if answer.freedom == 0:
        return None
    off = answer.gain @ more_kwh
    spread = answer.scatter**2 * float(more_kwh @ answer.covariance @ more_kwh)
    t = float(stdtrit(answer.freedom, (1 + LEVEL) / 2))
    return abs(price) * (abs(float(off.sum())) + t * float(np.sqrt(spread.sum())))


def _gained(replay: Replay, way: Way, mask: NDArray[np.bool_]) -> float:
    """kWh that a period added to the store, stretch by stretch: a new one begins where the log does."""
    total = 0.0
    for number in np.unique(replay.stretch[mask]):
        inside = np.flatnonzero(mask & (replay.stretch == number))
        before = inside[0] - 1
        same = before >= 0 and replay.stretch[before] == number
        total += float(way.worth_kwh[inside[-1]] - (way.worth_kwh[before] if same else way.start_kwh[number]))
    return total


def _days_of_month(name: str) -> float:
    year, month = map(int, name.split("-"))
    following = datetime(year + month // 12, month % 12 + 1, 1)
    return float((following - datetime(year, month, 1)).days)


def told(savings: Savings) -> list[str]:
    """In sentences: what was saved, and what that rests on."""
    found = savings.whole
    money = savings.currency
    share = 100.0 * abs(found.total) / max(abs(found.paid + found.total), 1e-9)
    size = f"{abs(found.total):.2f} {money}"
    what = f"saved {size} against its rules" if found.total >= 0.0 else f"cost {size} more than its rules would have"
    lines = [
        f"{savings.house} {what} in {found.days:.1f} days"
        + (f", {share:.1f} % of what they would have cost" if found.paid + found.total > 0 else "")
        + span(found, money)
        + f"; saved of energy {found.energy:+.2f}, of peaks {found.capacity:+.2f}, in store {found.stored:+.2f}"
    ]
    if found.colder_kh:
        word = "more" if found.colder_kh > 0 else "less"
        lines.append(f"{abs(found.colder_kh):.1f} K h {word} outside the bands than the rules would have had")
    if savings.left_out_days > 0.05:
        lines.append(f"{savings.left_out_days:.1f} days of the log do not count: gaps, or what was done is not known")
    if not savings.metered:
        lines.append("the meter was not read all the time: there the model says what was drawn")
    if found.low is None:
        lines.append("no interval: the log has too few days to tell how well the model answers")
    return lines


def span(saving: Saving, money: str) -> str:
    """The interval in words, of what was saved or of what it cost more; empty without one."""
    if saving.low is None or saving.high is None:
        return ""
    low, high = (saving.low, saving.high) if saving.total >= 0.0 else (-saving.high, -saving.low)
    return f" (95 % interval {low:z.2f} to {high:z.2f} {money})"
