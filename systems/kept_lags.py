"""What can be kept of the limits of zones whose model has a memory: a robust invariant set over temperatures and lags.

A fitted zone is an ARX: what a decision does goes on for an hour. So the set that is kept is one of all lags of all
zones together, x+ = A x + B u + c + w over a decision. W is what the innovations of the fit add to every lag within a
decision, at their mean and DEVIATIONS standard deviations: of a temperature that is the disturbance of the daemon's
limit. The largest set that any action keeps is beyond elimination in so many states. The one here is kept by a linear
law u = u0 + K (x - x0) within the bounds of the actions, so it lies inside the largest.

Kolmanovsky and Gilbert, "Theory and computation of disturbance invariant sets", 1998. "Safety and data-driven control"
(Dean, lecture).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag, solve_discrete_are
from scipy.optimize import linprog

from systems.arx import ArxModel
from systems.assets.zone.limits import DEVIATIONS
from systems.assets.zone.observer import coefficient_names
from systems.design import HouseDesign
from systems.invariant import Bulge, invariant_rows, require_stable, smallest_reach
from systems.kept import one_step, others
from systems.polytope import Polytope
from systems.set_errors import BadSystem, EmptySet

Array = NDArray[np.float64]
EFFORTS = (0.03, 0.3, 3.0)
"""Weight of the action beside that of the temperature, both over their ranges, of the laws that are tried."""


@dataclass(frozen=True, eq=False)
class LaggedLimits:
    """x+ = a x + b u + c + w of n lags, y = x[:len(names)] with lower <= y <= upper, and a law that keeps it.

    moved_by (m,): places of u among the actions of the bundle; states (n,): of x among its states.
    """

    names: tuple[str, ...]
    states: NDArray[np.int64]
    moved_by: NDArray[np.int64]
    a: Array
    b: Array
    c: Array
    lower: Array
    upper: Array
    lowest: Array
    highest: Array
    disturbance: Bulge
    """Of one decision, over all lags"""
    x0: Array
    """(n,) at rest under u0 (m,)"""
    u0: Array
    gain: Array
    """K (m, n)"""
    standing: Array
    """(n, ny) what the lags are, per K, where a temperature has stood a K off and nothing else has"""

    @property
    def closed(self) -> Array:
        return np.asarray(self.a + self.b @ self.gain)

    @cached_property
    def safe(self) -> Polytope:
        """Of x - x0: the limits, and the bounds of the actions under the law."""
        y = np.eye(len(self.names), len(self.x0))
        rows = np.vstack([y, -y, self.gain, -self.gain])
        at = self.x0[: len(self.names)]
        ends = (self.upper - at, at - self.lower, self.highest - self.u0, self.u0 - self.lowest)
        return Polytope(rows, np.concatenate(ends))

    @cached_property
    def largest_share(self) -> float:
        """Of W, that may come in every decision: where the smallest set that it fills just fits; at most 1."""
        reach = smallest_reach(self.closed, self.disturbance, self.safe.normals)
        return float(np.clip((self.safe.offsets / np.maximum(reach, 1e-300)).min(), 0.0, 1.0))

    def kept(self, share: float) -> Polytope:
        """Of x - x0: all from which the law keeps limits and actions, with `share` of W in every decision.

        Raises EmptySet where there is none.
        """
        return invariant_rows(self.closed, self.safe, self.disturbance.scaled(share))

    def law(self, x: Array) -> Array:
        """(..., m) of states (..., n)"""
        return np.asarray(self.u0 + (x - self.x0) @ self.gain.T)

    def kept_at_rest(self, share: float) -> list[tuple[float, float] | None]:
        """Of each y: from where to where it is kept, the house having stood there with all else as at x0."""
        try:
            found = self.kept(share)
        except EmptySet:
            return [None] * len(self.names)
        ends = list[tuple[float, float] | None]()
        for i, direction in enumerate(self.standing.T):
            along = found.normals @ direction
            up = (found.offsets[along > 0] / along[along > 0]).min()
            down = (found.offsets[along < 0] / along[along < 0]).max()
            ends.append((float(self.x0[i] + down), float(self.x0[i] + up)))
        return ends


def lagged_limits(
    design: HouseDesign, theta: Mapping[str, float] | None = None, forecast: Mapping[str, float] | None = None
) -> LaggedLimits | None:
    """Of the zones of a house with a fit, under a forecast that holds (what it lacks is 0); None without a fit of lags.

    Raises EmptySet where no power holds every zone between its limits at rest, BadSystem where the fit is not stable.
    """
    model = design.fitted.get("zone")
    if not isinstance(model, ArxModel) or model.lags == 1:
        return None
    values = {p.name: p.default for p in design.problem.theta} if theta is None else theta
    safety = design.safety(values)
    assert safety is not None, "a house with zones has limits"
    whole_a, whole_b, whole_c, moved = one_step(design, safety, forecast or {})
    names = [x.name for x in design.problem.states]
    first = names.index(f"{design.house.of('zone')[0].name}_temperature")
    states = np.arange(first, first + model.nx)
    beside = sorted({int(i) for y in states[: model.ny] for i in others(whole_a, moved, int(y))} - set(states.tolist()))
    if beside:
        raise BadSystem(f"{names[states[0]]} follows from {names[beside[0]]} as well, which is no lag of a zone")
    moved_by = np.flatnonzero(whole_b[states].any(axis=0))
    a, b, c = whole_a[np.ix_(states, states)], whole_b[np.ix_(states, moved_by)], whole_c[states]
    require_stable(a)
    by_name = {limit["name"]: limit for limit in safety["limits"]}
    zones = tuple(names[i] for i in states[: model.ny])
    lower, upper = (np.array([by_name[zone][end] for zone in zones]) for end in ("lower", "upper"))
    chosen = [design.problem.actions[j] for j in moved_by]
    lowest, highest = np.array([u.lower for u in chosen]), np.array([u.upper for u in chosen])
    coefficients = [name for of in coefficient_names(design.house, model.lags) for name in of]
    tuned = model.with_vector(np.array([values[name] for name in coefficients]))
    x0, u0 = _rest(a, b, c, (lower, upper), (lowest, highest))
    # Block j of the observer form holds what the past adds j - 1 steps ahead: the coefficients of lags from j on.
    standing = np.cumsum(tuned.output_coefficients[::-1], axis=0)[::-1].reshape(model.nx, model.ny)
    standing[: model.ny] = np.eye(model.ny)
    made = [
        LaggedLimits(
            zones, states, moved_by, a, b, c, lower, upper, lowest, highest,
            decision_noise(tuned, design.house.grid.steps), x0, u0,
            _gain(a, b, upper - lower, highest - lowest, effort), standing,
        )
        for effort in EFFORTS
    ]  # fmt: skip
    return max(made, key=lambda m: m.largest_share)


def decision_noise(model: ArxModel, steps: int) -> Bulge:
    """What innovations add to x within `steps`: x += sum_i A^(steps - 1 - i) K e_i, of mean mu each."""
    form, root = model.observer_form, np.linalg.cholesky(model.innovation_covariance + 1e-18 * np.eye(model.ny))
    ways = [form.K]
    for _ in range(steps - 1):
        ways.append(form.A @ ways[-1])
    return Bulge(np.asarray(sum(ways) @ model.innovation_mean), DEVIATIONS * np.hstack([way @ root for way in ways]))


def _rest(a: Array, b: Array, c: Array, y: tuple[Array, Array], u: tuple[Array, Array]) -> tuple[Array, Array]:
    """(x0, u0) with x0 = a x0 + b u0 + c as far from all ends as can be, each over its range. Raises EmptySet."""
    n, m, ny = *b.shape, len(y[0])
    to_x, fixed = np.linalg.solve(np.eye(n) - a, b)[:ny], np.linalg.solve(np.eye(n) - a, c)
    rows, ends = [], []
    for of, base, (low, high) in ((to_x, fixed[:ny], y), (np.eye(m), np.zeros(m), u)):
        wide = (high - low)[:, None] / 2.0
        rows += [np.hstack([of, wide]), np.hstack([-of, wide])]
        ends += [high - base, base - low]
    found = linprog([*np.zeros(m), -1.0], np.vstack(rows), np.concatenate(ends), bounds=[(None, None)] * (m + 1))
    if found.x[m] <= 0.0:
        raise EmptySet(f"no power holds all zones between their limits at rest: the best is off by {-found.x[m]:.3g}")
    return np.linalg.solve(np.eye(n) - a, b @ found.x[:m] + c), found.x[:m]


def _gain(a: Array, b: Array, y: Array, u: Array, effort: float) -> Array:
    """K (m, n) of the regulator with (y / range)^2 + effort (u / range)^2."""
    q = block_diag(np.diag(1.0 / y**2), np.zeros((len(a) - len(y),) * 2))
    r = effort * np.diag(1.0 / u**2)
    p = solve_discrete_are(a, b, q + 1e-9 * np.eye(len(a)), r)
    return np.asarray(-np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a))
