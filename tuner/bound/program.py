"""Stochastic dynamic programming on state of charge, the forecast's last error and the month's peak.

    V_t(s, e, m) = min_a E[ c_t(a, e') + V_t+1(s'(a), e', max(m, import)) | e ]        a power that is held,
    V_t(s, e, m) = E[ min_a { c_t(a, e') + V_t+1(s'(a), e', max(m, import)) } | e ]    a battery that sees its meter,

e is the bin of the error in the step before, e' that of the step t. What is learned of e' before a follows it is all
that tells the two apart. V is linear between its points; what that costs is told by the same on a grid half as fine.

Source: Bertsekas, "Dynamic Programming and Optimal Control", vol. 1, sections 1.3 and 1.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from systems.logs.log import Array

Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StoreTable:
    """What a stage makes of a state of charge, by power asked for: the plant in a table."""

    soc: Array
    """(ns,) ascending, evenly spaced."""
    asked_kw: Array
    """(np,) ascending, evenly spaced; positive into the battery, on the AC side."""
    real_kw: Array
    """(ns, np, pieces) after all limits, in each of the equal pieces of a stage: the meter bills one by one."""
    soc_next: Array
    """(ns, np)"""

    def at(self, soc: float) -> StoreTable:
        """One row, between two."""
        real, after = (_between(table, self.soc, soc) for table in (self.real_kw, self.soc_next))
        return StoreTable(np.array([soc]), self.asked_kw, real, after)


@dataclass(frozen=True, eq=False)
class PeakStates:
    """The month's peak as a state, kW: points that are interpolated, or the edges of tiers, which are not."""

    levels_kw: Array
    """(nm,) ascending."""
    fee: Array
    """(nm,) of a month that ends there."""
    tiers: bool = False

    def place(self, kw: Array) -> tuple[Index, Array]:
        """(lower point, share of the one above)."""
        last = len(self.levels_kw) - 1
        if self.tiers:
            return np.minimum(np.searchsorted(self.levels_kw, kw - 1e-9), last), np.zeros(np.shape(kw))
        place = np.interp(kw, self.levels_kw, np.arange(last + 1.0))
        lower = np.minimum(place.astype(np.int64), max(last - 1, 0))
        return lower, place - lower


NO_PEAK = PeakStates(np.zeros(1), np.zeros(1), tiers=True)


@dataclass(frozen=True, eq=False)
class Stakes:
    """T stages with ne bins of the net load's error; money in the currency of the house."""

    hours: float
    buy: Array
    """(T,) per kWh"""
    sell: Array
    net_kw: Array
    """(T, ne) what the house draws without its battery."""
    transition: Array
    """(T, ne, ne) from the bin of the stage before to that of the stage."""
    end_worth: Callable[[Array], Array]
    """Of a state of charge, what is left in store counts as."""
    wear_per_kwh: float = 0.0
    peaks: PeakStates = NO_PEAK
    month: Index = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """(T,) by number; empty: all in one."""
    import_limit_kw: float = np.inf
    export_limit_kw: float = np.inf
    follows: bool = False
    """The battery sees the step's net load, as one that follows its meter does."""

    def __len__(self) -> int:
        return len(self.buy)

    @cached_property
    def beyond(self) -> float:
        """Of a kWh beyond a limit: more than breaking it can earn."""
        return 5.0 * max(float(np.abs(self.buy).max()), float(np.abs(self.sell).max()))

    def turns(self, t: int) -> bool:
        """Whether a month ends with stage t."""
        return 0 <= t < len(self.month) - 1 and self.month[t] != self.month[t + 1]


@dataclass(frozen=True, eq=False)
class BoundSolution:
    """values[t] (ns, ne, nm) at the beginning of stage t; values[T] at the end."""

    store: StoreTable
    stakes: Stakes
    values: tuple[Array, ...]

    def value(self, soc: float, bin_before: int, peak_kw: float = 0.0) -> float:
        """Expected cost of all stages, less what is left in store at the end."""
        m = self.stakes.peaks
        lower, share = m.place(np.array([peak_kw]))
        here = _between(self.values[0], self.store.soc, soc)[0, bin_before]
        upper = np.minimum(lower + 1, len(here) - 1)
        level = float((here[lower] * (1 - share) + here[upper] * share)[0])
        return level - float(np.interp(peak_kw, m.levels_kw, m.fee) if not m.tiers else m.fee[lower[0]])

    def decide(self, t: int, soc: float, bin_before: int, peak_kw: float = 0.0, net_kw: float | None = None) -> float:
        """kW into the battery at stage t. net_kw: what is drawn in it, for a battery that sees its meter."""
        stakes = self.stakes
        nets = stakes.net_kw[t] if net_kw is None else np.append(stakes.net_kw[t], net_kw)
        # A month's peak is kept to the watt: what raises nothing is among the choices.
        powers = _powers(
            self.store, nets if len(stakes.peaks.levels_kw) == 1 else np.concatenate([nets, nets - peak_kw])
        )
        seen = np.abs(stakes.net_kw[t] - net_kw).argmin() if net_kw is not None else None
        net = stakes.net_kw[t].copy()
        if seen is not None and net_kw is not None:
            net[seen] = net_kw
        ahead = _costs(self.store, self.store.at(soc), stakes, t, powers, net, np.array([peak_kw]), self.values[t + 1])
        costs = ahead[0, :, :, 0]
        expected = costs @ stakes.transition[t, bin_before] if seen is None else costs[:, seen]
        return float(powers[int(np.argmin(expected))])


def solve(store: StoreTable, stakes: Stakes) -> BoundSolution:
    """Backwards from the end; every array operation is over states, powers, bins and peaks together."""
    peaks, ne = stakes.peaks, stakes.net_kw.shape[1]
    after = np.empty((len(store.soc), ne, len(peaks.levels_kw)))
    after[:] = (peaks.fee[None, :] - stakes.end_worth(store.soc)[:, None])[:, None, :]
    values = [after]
    for t in range(len(stakes) - 1, -1, -1):
        powers = _powers(store, stakes.net_kw[t])
        costs = _costs(store, store, stakes, t, powers, stakes.net_kw[t], peaks.levels_kw, values[-1])
        if stakes.follows:
            before = np.einsum("fe,sem->sfm", stakes.transition[t], costs.min(1))
        else:
            before = np.einsum("fe,saem->safm", stakes.transition[t], costs).min(1)
        if stakes.turns(t - 1):
            before = before[:, :, :1] - peaks.fee[0] + peaks.fee
        values.append(before)
    return BoundSolution(store, stakes, tuple(reversed(values)))


def _powers(store: StoreTable, net_kw: Array) -> Array:
    """(na,) those of the table, and those that bring the meter to zero."""
    return np.concatenate([store.asked_kw, np.clip(-net_kw, store.asked_kw[0], store.asked_kw[-1])])


def _costs(
    store: StoreTable,
    rows: StoreTable,
    stakes: Stakes,
    t: int,
    powers: Array,
    net_kw: Array,
    peak_kw: Array,
    after: Array,
) -> Array:
    """(rows, powers, ne, peaks): of the stage and of what follows, from each row, power, error and peak before."""
    place = np.interp(powers, store.asked_kw, np.arange(len(store.asked_kw)))
    left = np.minimum(place.astype(np.int64), len(store.asked_kw) - 2)
    share = place - left
    reached = rows.soc_next[:, left] * (1 - share) + rows.soc_next[:, left + 1] * share
    paid, drawn = np.zeros((*reached.shape, len(net_kw))), np.zeros((*reached.shape, len(net_kw)))
    for piece in np.moveaxis(rows.real_kw, -1, 0):
        real = piece[:, left] * (1 - share) + piece[:, left + 1] * share
        grid = net_kw + real[:, :, None]
        bought = np.maximum(grid, 0.0)
        drawn += bought
        paid += stakes.buy[t] * bought + stakes.sell[t] * (grid - bought)
        paid += stakes.wear_per_kwh / 2 * np.abs(real)[..., None]
        excess = grid - np.maximum(stakes.import_limit_kw, net_kw), -grid - np.maximum(stakes.export_limit_kw, -net_kw)
        paid += stakes.beyond * (np.maximum(excess[0], 0.0) + np.maximum(excess[1], 0.0))
    pieces = rows.real_kw.shape[-1]
    at = np.clip((reached - store.soc[0]) / (store.soc[1] - store.soc[0]), 0.0, len(store.soc) - 1.0)
    low = np.minimum(at.astype(np.int64), len(store.soc) - 2)
    up = (at - low)[:, :, None, None]
    ahead = after[low] * (1 - up) + after[low + 1] * up
    total: Array = stakes.hours / pieces * paid[..., None] + _raised(ahead, stakes.peaks, drawn / pieces, peak_kw)
    return total


def _raised(ahead: Array, peaks: PeakStates, drawn: Array, peak_kw: Array) -> Array:
    """(rows, powers, ne, len(peak_kw)): `ahead` (..., nm) at the peak after an import."""
    if len(peaks.levels_kw) == 1:
        return ahead
    lower, share = peaks.place(np.maximum(drawn, peaks.levels_kw[0])[..., None])
    upper = np.minimum(lower + 1, len(peaks.levels_kw) - 1)
    new = np.take_along_axis(ahead, lower, -1) * (1 - share) + np.take_along_axis(ahead, upper, -1) * share
    if peak_kw is peaks.levels_kw:
        kept = ahead
    else:
        low, part = peaks.place(peak_kw)
        kept = ahead[..., low] * (1 - part) + ahead[..., np.minimum(low + 1, len(peaks.levels_kw) - 1)] * part
    raised: Array = np.where(drawn[..., None] > peak_kw, new, kept)
    return raised


def _between(table: Array, points: Array, x: float) -> Array:
    """(1, ...) the rows of a table between two points."""
    place = float(np.clip((x - points[0]) / (points[1] - points[0]), 0.0, len(points) - 1.0))
    low = min(int(place), len(points) - 2)
    return np.asarray(table[low : low + 1] * (1 - (place - low)) + table[low + 1 : low + 2] * (place - low))
