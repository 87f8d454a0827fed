"""What the safety filter keeps of zones: frost and heat, for all that the model has been wrong by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from systems.assets import Mistake
from systems.assets.zone.nameplate import Zone
from systems.house_file import House

if TYPE_CHECKING:
    from systems.arx import ArxModel

UNFITTED_ERROR_K = 0.5
"""In one decision, of a model from the nameplate: sun, people and open windows are not in it."""
DEVIATIONS = 3.0
"""Standard deviations of a fitted model's error that the limits allow for."""


def zone_limits(house: House, fit: ArxModel | None) -> tuple[dict[str, Any], ...]:
    """One limit a zone, on the state that is its temperature, with the error of the fit in one decision."""
    zones = house.of("zone")
    errors = np.full(len(zones), UNFITTED_ERROR_K) if fit is None else stage_error_k(fit, house.grid.steps)
    return tuple(
        {
            "name": f"{zone.name}_temperature",
            "lower": zone.never_below_c,
            "upper": zone.never_above_c,
            "disturbance": [-float(error), float(error)],
        }
        for zone, error in zip(zones, errors, strict=True)
    )


def stage_error_k(model: ArxModel, steps: int) -> NDArray[np.float64]:
    """(ny,) K that a prediction `steps` ahead may be wrong by: bias and DEVIATIONS standard deviations.

    The error is sum_i Psi_i e_i with the innovations e and Psi_0 = I, Psi_i = sum_j A_j Psi_(i-j).
    """
    a, n = model.output_coefficients, model.ny
    psi = [np.eye(n)]
    for i in range(1, steps):
        psi.append(sum((a[j] @ psi[i - 1 - j] for j in range(min(i, len(a)))), np.zeros((n, n))))
    variance = sum(np.diag(p @ model.innovation_covariance @ p.T) for p in psi)
    bias = np.abs(sum(p @ model.innovation_mean for p in psi))
    return np.asarray(bias + DEVIATIONS * np.sqrt(variance))


def limit_mistakes(i: int, zone: Zone) -> Iterator[Mistake]:
    """A band that reaches what must never be."""
    if zone.never_below_c >= zone.lower.lowest:
        yield Mistake(
            ("zone", i, "never_below_c"),
            f"the band of {zone.name!r} goes down to {zone.lower.lowest:g} degC, and never_below_c is "
            f"{zone.never_below_c:g}; lower it, or raise the band",
        )
    if zone.never_above_c <= zone.upper.highest:
        yield Mistake(
            ("zone", i, "never_above_c"),
            f"the band of {zone.name!r} goes up to {zone.upper.highest:g} degC, and never_above_c is "
            f"{zone.never_above_c:g}; raise it, or lower the band",
        )
