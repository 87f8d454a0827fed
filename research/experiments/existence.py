"""Over Delta: for which (s, a) of a tabulated world a deterministic model of eq. (26) exists, as numbers and figure.

"All AI Models are Wrong, but Some are Optimal", Corollary 2 and Proposition 1: V*(f(s, a)) = E[V*(s+)] - Delta has a
root where the right side lies in the range of V*, and one inside the support where it lies in the range over that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pages.chart import Chart, Line, NumberAxis, Panel
from research.tabular.deterministic import DeterministicModel, deterministic_model
from research.tabular.mdp import Mdp, policy_iteration

Array = NDArray[np.float64]
SHARES = np.linspace(-0.5, 0.5, 41)
"""Delta over max V* - min V*"""
ZERO = 1e-9


@dataclass(frozen=True, eq=False)
class Existence:
    """Of one world, over `deltas` (k,) in cost units."""

    name: str
    spread: float
    """max V* - min V*"""
    deltas: Array
    models: tuple[DeterministicModel, ...]
    everywhere: tuple[float, float]
    """(lowest, highest) Delta with a model for all (s, a); none where lowest > highest"""
    everywhere_in_support: tuple[float, float]

    @property
    def share(self) -> Array:
        """(k,) of the available (s, a)"""
        return self._shares([m.outside_range for m in self.models])

    @property
    def share_in_support(self) -> Array:
        """(k,)"""
        return self._shares([m.outside_support for m in self.models])

    def _shares(self, outside: Sequence[Array]) -> Array:
        zero = ZERO * max(1.0, self.spread)
        return np.array([np.mean(o[np.isfinite(o)] <= zero) for o in outside])

    def as_json(self) -> dict[str, Any]:
        zero = ZERO * max(1.0, self.spread)
        at_zero = self.models[len(self.models) // 2]
        return {
            "name": self.name,
            "over_delta": [
                {
                    "delta": delta,
                    "largest_residual": np.nanmax(model.residual),
                    "largest_residual_in_support": np.nanmax(model.support_residual),
                    "share_in_range": share,
                    "share_in_range_of_support": in_support,
                    "share_exact": model.exists(zero),
                }
                for delta, model, share, in_support in zip(
                    self.deltas, self.models, self.share, self.share_in_support, strict=True
                )
            ],
            "everywhere": self.everywhere,
            "everywhere_in_support": self.everywhere_in_support,
            "following": at_zero.following,
            "residual": at_zero.residual,
        }


def existence(name: str, world: Mdp) -> Existence:
    """A model exists at (s, a) for E V* - max V* <= Delta <= E V* - min V*: the ends for all follow in closed form."""
    value = policy_iteration(world).value
    spread = float(np.ptp(value))
    deltas = SHARES * spread
    models = tuple(deterministic_model(world, value, float(delta)) for delta in deltas)
    available = np.isfinite(world.stage_cost)
    expected = (world.transition @ value)[available]
    reached = world.transition[available] > 0.0
    low, high = np.where(reached, value, np.inf).min(axis=1), np.where(reached, value, -np.inf).max(axis=1)
    return Existence(
        name,
        spread,
        deltas,
        models,
        (float(expected.max() - value.max()), float(expected.min() - value.min())),
        (float((expected - high).max()), float((expected - low).min())),
    )


def existence_chart(found: Sequence[Existence]) -> Chart:
    panels = [
        Panel(
            f"(s, a) with a model, %: {of.name}",
            [
                Line("some state", of.deltas, 100.0 * of.share, "first"),
                Line("inside the support", of.deltas, 100.0 * of.share_in_support, "second", "dashes"),
            ],
            y_range=(0.0, 105.0),
        )
        for of in found
    ]
    return Chart(
        "existence",
        "Share of the states and actions for which a deterministic model of eq. (26) exists, over Delta.",
        panels,
        NumberAxis("Δ"),
        caption="Corollary 2 asks for some state, Proposition 1 for one that the world can reach.",
        columns=2,
    )


def existence_table(found: Sequence[Existence]) -> tuple[str, list[str], list[list[str]]]:
    def ends(of: tuple[float, float]) -> str:
        return f"{of[0]:.4g} to {of[1]:.4g}" if of[0] <= of[1] else "none"

    rows = [
        [of.name, ends(of.everywhere), ends(of.everywhere_in_support), f"{np.nanmax(_at_zero(of).residual):.2g}"]
        for of in found
    ]
    header = [
        "world",
        "Δ with a model for all (s, a)",
        "the same inside the support",
        "Δ = 0: off at the nearest state",
    ]
    return "Deterministic models of eq. (26)", header, rows


def _at_zero(of: Existence) -> DeterministicModel:
    return of.models[len(of.models) // 2]
