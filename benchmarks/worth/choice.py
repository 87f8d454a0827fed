"""What is chosen on training stretches: one parameter, two of a grid, a black box on the old theta, and learning.

All see the same stretches. The black box and learning begin at the better of the two hand-made choices, and try as many
thetas. Learning also tries what the value function of the best causal policy keeps by the hour of the day
(`tuner.bound.reserve`), and goes on by CMA-ES over reserves, worths, margins and prices in closed loop. What it finds
is taken only where it costs less on these stretches than the best of what needs no learning, the rule among it, by more
than chance; otherwise that stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks.worth.regimes import CHARGES, GRID, KNOTS, LEARNED, MPC, ONE, RULE, SEARCH, Theta, design_of
from systems.logs.log import Array
from tuner.loop.by_hand_and_search import by_search

Trial = Callable[[Sequence[Array]], Array]
"""Costs (k, stretches) of k thetas on the training stretches."""
Change = dict[str, float]
HOURS_KEPT = [f"home_reserve_{24 // KNOTS * i:02d}" for i in range(KNOTS)]
WORTHS = [f"home_worth_{24 // KNOTS * i:02d}" for i in range(KNOTS)]
DEAR = 0.3
"""Of the usual price an hour: a reserve that is kept unless the meter's limit asks for it."""
BEFORE = {
    "home_price_spread": 0.02,
    "home_terminal_slope": 0.1,
    "home_terminal_curvature": 0.2,
    "home_soc_backoff_low": 0.1,
}
"""What theta held before, and how far a first try goes."""
NOW = {
    **dict.fromkeys(HOURS_KEPT, 0.15),
    **dict.fromkeys(WORTHS, 0.15),
    "home_price_spread": 0.015,
    "home_keeping": 0.004,
}
PEAKS = {"peak_reserve": 0.7, "peak_belief": 0.4}


SURE = 2.0
"""Standard errors by which what was learned is to beat what stays otherwise. It was picked among many on few weeks."""
LEAST = 0.002
"""Of the bill: a smaller gain is none."""


@dataclass(frozen=True)
class Chosen:
    """What each name stands for once the training stretches have spoken."""

    thetas: dict[str, Theta]
    """Of the MPCs."""
    kept: str
    """The policy that runs as what was learned: `LEARNED`, or the simple one that it did not beat."""


def reserve(share: float, price: float = DEAR) -> Change:
    return {**dict.fromkeys(HOURS_KEPT, share), "home_reserve_price": price}


def one_parameter(charge: str) -> list[Change]:
    spreads: list[Change] = [{"home_price_spread": value} for value in (0.01, 0.03, 0.06)]
    reserves = [reserve(share) for share in (0.25, 0.5)]
    margins: list[Change] = [{"peak_reserve": value} for value in (1.0, 2.0, 3.0)]
    return [*spreads, *reserves, {"home_keeping": 0.01}, *([] if charge == "none" else margins)]


def two_parameters(charge: str) -> list[Change]:
    if charge == "none":
        pairs = product((0.0, 0.02, 0.05), (3e-3, 1e-2))
        return [{"home_price_spread": spread, "home_keeping": keeping} for spread, keeping in pairs]
    return [{**reserve(share), "peak_reserve": kw} for share, kw in product((0.25, 0.5), (0.5, 1.0, 2.0))]


def beats(costs: Array, reference: Array) -> bool:
    """Whether costs (stretches,) are below those of a reference by more than chance."""
    gain = reference - costs
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
    return bool(gain.mean() > max(SURE * error, LEAST * abs(reference.mean())))


def choose(charge: str, kept: Sequence[float], rule: Array, trial: Trial, *, tries: int, seed: int = 0) -> Chosen:
    """kept (KNOTS,): of the value function; rule (stretches,): what the rule costs."""
    problem = design_of(CHARGES[charge]).problem
    names, start = [p.name for p in problem.theta], problem.theta_default()

    def placed(change: Change, on: Array = start) -> Array:
        theta = on.copy()
        theta[[names.index(name) for name in change]] = list(change.values())
        return np.clip(theta, *problem.theta_bounds())

    known = dict[bytes, Array]()

    def costs(thetas: Sequence[Array]) -> Array:
        new = list({theta.tobytes(): theta for theta in thetas if theta.tobytes() not in known}.values())
        if new:
            known.update(zip((theta.tobytes() for theta in new), trial(new), strict=True))
        return np.array([known[theta.tobytes()] for theta in thetas])

    def mean(thetas: Sequence[Array]) -> Array:
        return np.asarray(costs(thetas).mean(1))

    def best_of(thetas: list[Array]) -> Array:
        return thetas[int(np.argmin(mean(thetas)))]

    def searched(on: Array, scales: dict[str, float], budget: int) -> Array:
        scales = {name: scale for name, scale in scales.items() if name in names}
        learning = np.array([names.index(name) for name in scales]), np.array(list(scales.values()))
        return by_search(problem.theta, learning, on, mean, budget=budget, seed=seed).theta

    found = {ONE: best_of([start, *(placed(change) for change in one_parameter(charge))])}
    found[GRID] = best_of([start, *(placed(change) for change in two_parameters(charge))])
    by_hand = best_of([found[ONE], found[GRID]])
    found[SEARCH] = searched(by_hand, BEFORE | PEAKS, tries)
    supervised = list[Change]()
    for share, price in product((0.5, 1.0), (0.05, DEAR)):
        keep = {name: share * value for name, value in zip(HOURS_KEPT, kept, strict=True)}
        supervised.append({**keep, "home_reserve_price": price})
    begun = best_of([by_hand, *(placed(change) for change in supervised)])
    begun = best_of([begun, *(placed({"home_keeping": keeping}, begun) for keeping in (3e-3, 1e-2))])
    found[LEARNED] = searched(begun, NOW | PEAKS, max(0, tries - len(supervised) - 2))
    simple = {RULE: rule} | {
        name: costs([theta])[0] for name, theta in ((MPC, start), (ONE, found[ONE]), (GRID, found[GRID]))
    }
    best = min(simple, key=lambda name: float(simple[name].mean()))
    stays = LEARNED if beats(costs([found[LEARNED]])[0], simple[best]) else best
    return Chosen({policy: tuple(theta.tolist()) for policy, theta in found.items()}, stays)
