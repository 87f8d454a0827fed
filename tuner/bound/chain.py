"""The error of a forecast as a Markov chain: by time of the day, in bins of given frequency, each going to the next.

A day's slots have values of their own, since panels err by day and people in the evening. How ranks follow one another
is counted over all slots, and a slot's own counts lean on that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systems.logs.log import Array

LEAN = 30.0
"""Pooled transitions that count for a slot's own, from each bin."""


@dataclass(frozen=True, eq=False)
class Chain:
    """`slots` times of the day, n bins each; slot k's transition is into it, from the slot before."""

    values: Array
    """(slots, n) kW, ascending."""
    transition: Array
    """(slots, n, n) rows sum to 1."""

    def bin_of(self, slot: int, error: float) -> int:
        return int(np.abs(self.values[slot] - error).argmin())


def even(bins: int) -> tuple[float, ...]:
    """Edges of bins of equal frequency."""
    return tuple(k / bins for k in range(1, bins))


def learn_chain(errors: Array, slots: NDArray[np.int64], edges: Sequence[float]) -> Chain:
    """errors (T,) of steps that follow one another, slots (T,) of the day, from 0 on; each slot is to occur.

    edges: ascending frequencies between the bins; what is paid for is rare where peaks are, and has a bin of its own.
    """
    count, bins = int(slots.max()) + 1, len(edges) + 1
    values, rank = np.zeros((count, bins)), np.zeros(len(errors), dtype=np.int64)
    for slot in range(count):
        here = np.flatnonzero(slots == slot)
        order = here[np.argsort(errors[here], kind="stable")]
        for number, part in enumerate(np.split(order, [round(edge * len(order)) for edge in edges])):
            rank[part] = number
            values[slot, number] = errors[part].mean() if len(part) else errors[order].mean()
    pooled, own = np.zeros((bins, bins)), np.zeros((count, bins, bins))
    np.add.at(pooled, (rank[:-1], rank[1:]), 1.0)
    np.add.at(own, (slots[1:], rank[:-1], rank[1:]), 1.0)
    pooled = (pooled + 1e-9) / (pooled + 1e-9).sum(1, keepdims=True)
    leaning = own + LEAN * pooled
    return Chain(values, leaning / leaning.sum(2, keepdims=True))
