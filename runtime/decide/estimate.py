"""What is known of the state that the controller starts from, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from runtime.inputs.process_image import ProcessImage


@dataclass(frozen=True)
class Estimate:
    """`state` (nx) is None where it cannot be known; `problem` says why. `known`: what of it is, NaN for the rest."""

    state: tuple[float, ...] | None
    problem: str = ""
    known: tuple[float, ...] = ()


class Estimator(Protocol):
    """Called once per cycle with what was measured now and what was actuated in the step that ended."""

    def update(self, image: ProcessImage, last_action: tuple[float, ...] | None) -> Estimate: ...
