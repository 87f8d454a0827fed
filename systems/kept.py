"""What the daemon's safety set can keep: each of its limits as a set of states, by the functions of `invariant`.

"Safety and data-driven control" (Dean, lecture): a set is worth what some action can keep. A limit of a zone, a tank or
a battery is lower <= y <= upper, with the one-step model of the bundle and a disturbance set W of one decision. From
these follow the largest set that some action keeps for ever, with the model as it is or with W in every decision, and
the largest share of W that may come in every decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systems.design import HouseDesign
from systems.invariant import BarrierFilter, controlled_invariant
from systems.polytope import Polytope, make_polytope
from systems.set_errors import EmptySet, NotSettled

Array = NDArray[np.float64]
SHARE_ACCURACY = 1e-4
COLDEST_C = -60.0


@dataclass(frozen=True, eq=False)
class LimitedModel:
    """y+ = a y + b u + drift + w of one limit, with y from `middle`, which lies halfway between its bounds.

    half: from middle to a bound; b (m,) of the actions that move it, at `moved_by` among those of the bundle, each
    from lowest to highest (m,); drift: of forecasts and of what y tends to; w: lowest and highest in one decision.
    """

    name: str
    middle: float
    half: float
    a: float
    b: Array
    lowest: Array
    highest: Array
    moved_by: tuple[int, ...]
    drift: float
    w: tuple[float, float]

    def safe(self) -> Polytope:
        return _interval(-self.half, self.half)

    def actions(self) -> Polytope:
        unit = np.eye(len(self.b))
        return make_polytope(np.vstack([unit, -unit]), np.concatenate([self.highest, -self.lowest]))

    def disturbance(self, share: float = 1.0) -> Polytope:
        """What comes in a decision besides the action: the drift in full, and `share` of W."""
        return _interval(self.drift + share * self.w[0], self.drift + share * self.w[1])

    def kept(self, share: float) -> tuple[float, float] | None:
        """(lowest, highest) y of the set that some action keeps, with `share` of W in every decision; None if empty.

        One step decides: where no action holds y at a bound, none keeps it from drifting there from anywhere inside.
        """
        matrices = np.array([[self.a]]), self.b[None, :]
        sets = self.safe(), self.actions(), self.disturbance(share)
        try:
            found = controlled_invariant(*matrices, *sets, most_steps=1).polytope
        except (EmptySet, NotSettled):
            return None
        ends = found.offsets / found.normals[:, 0]
        return self.middle + float(ends.min()), self.middle + float(ends.max())

    def largest_share(self) -> float:
        """Of W, that may come in every decision; 0 where the limit is not kept even without."""
        low, high = 0.0, 1.0
        if self.kept(high) is not None:
            return high
        while high - low > SHARE_ACCURACY:
            middle = (low + high) / 2.0
            low, high = (middle, high) if self.kept(middle) is not None else (low, middle)
        return low

    def filter(self) -> BarrierFilter:
        """What the daemon asks of the actions that move y: within the limit after one decision, for all w in W."""
        return BarrierFilter(
            np.array([[self.a]]), self.b[None, :], self.safe(), self.actions(), self.disturbance(), gamma=0.0
        )


def _interval(low: float, high: float) -> Polytope:
    return make_polytope([[1.0], [-1.0]], [high, -low])


def limited_models(
    design: HouseDesign, theta: Mapping[str, float] | None = None, forecast: Mapping[str, float] | None = None
) -> tuple[LimitedModel, ...]:
    """One for each limit on a state in the safety set of a house, under a forecast that holds (what it lacks is 0).

    Limits whose y follows from more of the state than itself, as of a fit with lags, are those of `systems.kept_lags`.
    """
    values = {p.name: p.default for p in design.problem.theta} if theta is None else theta
    safety = design.safety(values)
    return () if safety is None else _models(design, safety, forecast or {})


def _models(design: HouseDesign, safety: Mapping[str, Any], present: Mapping[str, float]) -> tuple[LimitedModel, ...]:
    problem = design.problem
    a, b, offset, moved = one_step(design, safety, present)
    states = [x.name for x in problem.states]
    found = []
    for limit in safety["limits"]:
        y = states.index(limit["name"])
        if len(others(a, moved, y)):
            continue
        at = np.flatnonzero(b[y])
        middle, half = (limit["upper"] + limit["lower"]) / 2.0, (limit["upper"] - limit["lower"]) / 2.0
        found.append(
            LimitedModel(
                limit["name"],
                middle,
                half,
                float(a[y, y]),
                b[y, at],
                np.array([problem.actions[j].lower for j in at]),
                np.array([problem.actions[j].upper for j in at]),
                tuple(int(j) for j in at),
                float(offset[y] + (a[y, y] - 1.0) * middle),
                (limit["disturbance"][0], limit["disturbance"][1]),
            )
        )
    return tuple(found)


def one_step(
    design: HouseDesign, safety: Mapping[str, Any], present: Mapping[str, float]
) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """x+ = A x + B u + c under a forecast that holds: A (nx, nx), B (nx, na), c (nx,), and which x anything moves."""
    actions = [action.name for action in design.problem.actions]
    a, b, e = (np.array(safety[f"{of}_matrix"]) for of in ("state", "action", "forecast"))
    columns = [f.name for f in design.forecasts for _ in range(f.steps)]
    moved = b.any(axis=1) | e.any(axis=1) | (np.array(safety["offset"]) != 0.0)
    offset = np.array(safety["offset"]) + e @ np.array([present.get(name, 0.0) for name in columns])
    for gain in safety["action_gains"]:
        x, factors = np.transpose(gain["points"])
        b[:, actions.index(gain["action"])] *= np.interp(present.get(gain["by"], 0.0), x, factors)
    return a, b, offset, moved


def others(a: Array, moved: NDArray[np.bool_], y: int) -> NDArray[np.int64]:
    """The states that move y and are moved themselves: a memory that nothing fills stays empty."""
    moved = moved.copy()
    moved[y] = True
    for _ in range(len(a)):
        moved = moved | (a[:, moved] != 0.0).any(axis=1)
    # What is only handed on from y's own past and never comes back to it does not matter either.
    matters = np.zeros(len(a), dtype=bool)
    matters[y] = True
    for _ in range(len(a)):
        matters = matters | (a[matters] != 0.0).any(axis=0)
    found = moved & matters
    found[y] = False
    return np.flatnonzero(found)


def coldest_kept(design: HouseDesign) -> dict[str, float]:
    """By limit: the outdoor temperature, degC, down to which some power keeps it for ever if the model is right.

    Limits that are kept down to COLDEST_C, or not even at 0 degC, are not named. What is fed counts as if it were fed
    alone.
    """
    safety = design.safety({p.name: p.default for p in design.problem.theta})
    if safety is None:
        return {}

    def held(outdoor_c: float) -> set[str]:
        return {m.name for m in _models(design, safety, {"outdoor": outdoor_c}) if m.kept(0.0) is not None}

    found = {}
    for name in held(0.0) - held(COLDEST_C):
        low, high = COLDEST_C, 0.0
        while high - low > 0.1:
            middle = (low + high) / 2.0
            low, high = (low, middle) if name in held(middle) else (middle, high)
        found[name] = high
    return found
