"""From the process image to the state that the controller starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from runtime.manifest import ArxObserver, Manifest
from runtime.process_image import ProcessImage


@dataclass(frozen=True)
class Estimate:
    """`state` (nx) is None where it cannot be known; `problem` says why."""

    state: tuple[float, ...] | None
    problem: str = ""


class Estimator(Protocol):
    """Called once per cycle with what was measured now and what was actuated in the step that ended."""

    def update(self, image: ProcessImage, last_action: tuple[float, ...] | None) -> Estimate: ...


class DirectEstimate:
    """Every state is measured."""

    def __init__(self, manifest: Manifest) -> None:
        self._names = [s.name for s in manifest.states]

    def update(self, image: ProcessImage, last_action: tuple[float, ...] | None) -> Estimate:
        samples = [image.samples[name] for name in self._names]
        bad = next((s for s in samples if not s.ok), None)
        if bad is not None:
            return Estimate(None, f"{bad.name}: {bad.problem or bad.validity}")
        return Estimate(tuple(s.value for s in samples if isinstance(s.value, float)))


def make_estimator(manifest: Manifest) -> Estimator:
    """The estimator that the bundle asks for."""
    if isinstance(manifest.estimator, ArxObserver):
        from runtime.estimator_house import ArxEstimate  # numpy, which a battery's daemon does not need

        return ArxEstimate(manifest, manifest.estimator)
    return DirectEstimate(manifest)
