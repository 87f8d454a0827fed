"""From the process image to the state that the controller starts from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.manifest import ArxObserver, Manifest, StateGroup
from runtime.process_image import ProcessImage


@dataclass(frozen=True)
class Estimate:
    """`state` (nx) is None where it cannot be known; `problem` says why. `known`: what of it is, NaN for the rest."""

    state: tuple[float, ...] | None
    problem: str = ""
    known: tuple[float, ...] = ()


class Estimator(Protocol):
    """Called once per cycle with what was measured now and what was actuated in the step that ended."""

    def update(self, image: ProcessImage, last_action: tuple[float, ...] | None) -> Estimate: ...


class DirectEstimate:
    """Every state is measured."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def update(self, image: ProcessImage, last_action: tuple[float, ...] | None) -> Estimate:
        samples = [image.samples[name] for name in self._names]
        known = tuple(s.value if s.ok and isinstance(s.value, float) else math.nan for s in samples)
        bad = next((s for s in samples if not s.ok), None)
        if bad is not None:
            return Estimate(None, f"{bad.name}: {bad.problem or bad.validity}", known)
        return Estimate(known, known=known)


class GroupedEstimate:
    """Each group of states by its own estimator; the state is known when all of them are."""

    def __init__(self, parts: Sequence[Estimator]) -> None:
        self._parts = parts

    def update(self, image: ProcessImage, last_action: tuple[float, ...] | None) -> Estimate:
        # Every part sees every cycle: an observer that is left out of some forgets.
        estimates = [part.update(image, last_action) for part in self._parts]
        known = tuple(value for estimate in estimates for value in estimate.known)
        problems = [estimate.problem for estimate in estimates if estimate.state is None]
        return Estimate(None, problems[0], known) if problems else Estimate(known, known=known)


def make_estimator(manifest: Manifest) -> Estimator:
    """The estimator that the bundle asks for."""
    parts = [_of_group(manifest, group) for group in manifest.groups]
    return parts[0] if len(parts) == 1 else GroupedEstimate(parts)


def _of_group(manifest: Manifest, group: StateGroup) -> Estimator:
    if isinstance(group.estimator, ArxObserver):
        from runtime.estimator_house import ArxEstimate  # numpy, which a battery's daemon does not need

        return ArxEstimate(manifest, group.estimator)
    return DirectEstimate(group.states)
