"""The time grid of a house: the model's step, how long a decision is held, how far ahead the plan looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HOUR_S = 3600.0


class GridError(ValueError):
    """Steps, decisions and horizon that do not fit into each other."""


@dataclass(frozen=True)
class TimeGrid:
    """A decision (`hold_s`) is one stage of the program and holds `steps` model steps of `step_s`."""

    step_s: float = 300.0
    hold_s: float = 1800.0
    horizon_s: float = 86400.0
    discount: float = 1.0
    """From one stage to the next."""

    def __post_init__(self) -> None:
        for whole, part, what in (
            # Prices and weather come by the hour, and days begin on one.
            (HOUR_S, self.step_s, "step must divide an hour"),
            (self.hold_s, self.step_s, "hold must be a multiple of step"),
            (self.horizon_s, self.hold_s, "horizon must be a multiple of hold"),
            (HOUR_S * 24, self.hold_s, "hold must divide a day"),
        ):
            if part <= 0 or whole <= 0 or abs(whole / part - round(whole / part)) > 1e-9:
                raise GridError(f"{what}, and {whole:g} s is none of {part:g} s; change one of them")
        if not 0.0 < self.discount <= 1.0:
            raise GridError(f"discount {self.discount:g} must lie above 0 and not above 1")

    @property
    def steps(self) -> int:
        """Model steps in a stage."""
        return round(self.hold_s / self.step_s)

    @property
    def stages(self) -> int:
        return round(self.horizon_s / self.hold_s)

    @property
    def step_h(self) -> float:
        return self.step_s / HOUR_S

    @property
    def hold_h(self) -> float:
        return self.hold_s / HOUR_S

    @property
    def step_discount(self) -> float:
        """From one model step to the next."""
        return float(self.discount ** (1.0 / self.steps))

    @property
    def weights_h(self) -> NDArray[np.float64]:
        """(steps,) hours that each step of a stage counts in the stage's cost, discounted within the stage."""
        return np.asarray(self.step_discount ** np.arange(self.steps) * self.step_h)
