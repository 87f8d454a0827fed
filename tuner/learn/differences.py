"""A step of theta by tries in pairs: the same weather, load and prices with theta moved to either side, in closed loop.

Of direction d_i and stretch k, with J_k(theta) what the policy costs in stretch k and h the width of the tries,

    g_ik = [J_k(theta + h d_i) - J_k(theta - h d_i)] / 2h,
    c_ik = [J_k(theta + h d_i) - 2 J_k(theta) + J_k(theta - h d_i)] / h^2

and, where bounds shorten one side, slope and curvature of the parabola through the three.

Both sides meet the same random numbers, so what differs between stretches is not in g: its spread over k is only that
of the slope itself, a small part of the spread of J. The step is Newton's along each direction, within a trust region,

    z_i = -g_i / c_i,    |z_i| <= h,    where the 95 % interval of the mean g_i over the stretches excludes 0,

and 0 elsewhere. It goes no further than was tried: second differences of a few stretches are rough. Where the mean c_i
shows no minimum it goes as far as it may; where a bound forbids one side, g_i is that of the other. Nothing is asked of
a model, a value function or a derivative of the policy, and kinks of the cost are no trouble: h is as wide as a step.

A direction turns all parameters that mean the same of different assets, the comfort of every room, say: the first time
together, later by random signs, a simultaneous perturbation within the kind.

Sources: Kiefer and Wolfowitz, "Stochastic estimation of the maximum of a regression function" (1952); Spall,
"Multivariate stochastic approximation using a simultaneous perturbation gradient approximation" (1992); Kleinman, Spall
and Naiman, "Simulation-based optimization with stochastic approximation using common random numbers" (1999); L'Ecuyer
and Perron, "On the convergence rates of IPA and FDC derivative estimators" (1994).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from systems.problem import Parameter
from tuner.evaluate.statistics import mean_interval

Array = NDArray[np.float64]
LEAST_GAIN = 0.002
"""Of what a stretch costs: a direction that cannot give as much is not tried again while theta stays."""
LEAST_SIDE = 0.1
"""Share of a move below which a bound has left nothing of it."""


@dataclass(frozen=True, eq=False)
class Slopes:
    """What pairs told along each of d directions."""

    here: Array
    """(stretches,) J where theta is, in money per stretch"""
    slope: Array
    """(d, stretches) g, in money per stretch and scale; NaN where a direction was not tried any more"""
    curvature: Array
    """(d, stretches) c, 0 where one side was left out, NaN as above"""
    ahead: Array
    """(d,) how far forth was tried, in scales; 0 where a bound left nothing of it"""
    behind: Array
    """(d,) and back"""

    def joined(self, other: Slopes) -> Slopes:
        """With those of more stretches about the same theta, of the same directions and width."""
        mine, theirs = ((s.slope, s.curvature) for s in (self, other))
        slope, curvature = (np.hstack(both) for both in zip(mine, theirs, strict=True))
        return replace(self, here=np.append(self.here, other.here), slope=slope, curvature=curvature)

    def of(self, chosen: NDArray[np.bool_]) -> Slopes:
        """As it is, of d directions, where only the `chosen` (d,) were tried."""
        slope, curvature = (np.full((len(chosen), len(self.here)), np.nan) for _ in range(2))
        slope[chosen], curvature[chosen] = self.slope, self.curvature
        ahead, behind = np.zeros(len(chosen)), np.zeros(len(chosen))
        ahead[chosen], behind[chosen] = self.ahead, self.behind
        return Slopes(self.here, slope, curvature, ahead, behind)


def kinds(parameters: Sequence[Parameter], entries: NDArray[np.int64]) -> list[list[int]]:
    """Entries of theta that mean the same of different assets, in the order of theta."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for i in entries.tolist():
        p = parameters[i]
        found.setdefault((p.group, p.unit, p.description), []).append(i)
    return list(found.values())


def directions(parameters: Sequence[Parameter], entries: NDArray[np.int64], moves: int, seed: int) -> Array:
    """(d, p) rows of -1, 0 and 1, one for each kind of the learning entries (p,); `moves`: of theta so far."""
    place = {entry: column for column, entry in enumerate(entries.tolist())}
    rng, rows = np.random.default_rng([seed, moves]), []
    for kind in kinds(parameters, entries):
        row = np.zeros(len(entries))
        signs = rng.choice([-1.0, 1.0], size=len(kind))
        row[[place[entry] for entry in kind]] = 1.0 if moves == 0 or len(kind) == 1 else signs
        rows.append(row)
    return np.array(rows)


def thetas_of(parameters: Sequence[Parameter], entries: NDArray[np.int64]) -> int:
    """How many of them an iteration lives each stretch through with."""
    return 1 + 2 * len(kinds(parameters, entries))


def tries(theta: Array, moves: Array, bounds: tuple[Array, Array]) -> Array:
    """(1 + 2 d, ntheta): theta, and theta moved forth and back by each of the moves (d, ntheta), within the bounds."""
    both = np.stack([theta + moves, theta - moves], axis=1).reshape(-1, len(theta))
    return np.vstack([theta, np.clip(both, *bounds)])


def slopes_of(thetas: Array, costs: Array, moves: Array, width: float) -> Slopes:
    """Of the costs (1 + 2 d, stretches) of `tries` by moves (d, ntheta) as long as `width` scales."""
    here, forth, back = costs[0], costs[1::2], costs[2::2]
    whole = np.linalg.norm(moves, axis=1)
    parts = [np.linalg.norm(side - thetas[0], axis=1) / whole for side in (thetas[1::2], thetas[2::2])]
    ahead, behind = (width * np.where(part < LEAST_SIDE, 0.0, part) for part in parts)
    a, b = ahead[:, None], behind[:, None]
    both, either = (a > 0.0) & (b > 0.0), (a > 0.0) | (b > 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rise, fall = (forth - here) / a, (here - back) / b
        slope = np.where(both, (b * rise + a * fall) / (a + b), np.where(a > 0.0, rise, fall))
        curvature = np.where(both, 2.0 * (rise - fall) / (a + b), 0.0)
    return Slopes(here, np.where(either, slope, 0.0), curvature, ahead, behind)


def steps_of(slopes: Slopes) -> Array:
    """(d,) how far to go along each direction, 0 where the pairs do not tell which way is better."""
    rows = zip(slopes.slope, slopes.curvature, slopes.ahead.tolist(), slopes.behind.tolist(), strict=True)
    return np.array([_step(*row) for row in rows])


def worth_more(slopes: Slopes) -> NDArray[np.bool_]:
    """(d,) whether more stretches may show a gain: the far end of the interval of the slope, as far as was tried."""
    far = np.maximum(slopes.ahead, slopes.behind)
    least = LEAST_GAIN * float(np.abs(slopes.here).mean())
    return np.array([_steepest(slope) * reach >= least for slope, reach in zip(slopes.slope, far, strict=True)])


def _steepest(slope: Array) -> float:
    told = slope[np.isfinite(slope)]
    if not np.any(told):
        return 0.0
    found = mean_interval(told)
    return max(abs(found.low), abs(found.high))


def _step(slope: Array, curvature: Array, ahead: float, behind: float) -> float:
    told = np.isfinite(slope)
    if not np.any(slope[told]):
        return 0.0
    found, bend = mean_interval(slope[told]), float(curvature[told].mean())
    if found.low <= 0.0 <= found.high:
        return 0.0
    room = behind if found.mean > 0.0 else ahead
    far = min(abs(found.mean) / bend, room) if bend > 0.0 else room
    return -float(np.sign(found.mean)) * far
