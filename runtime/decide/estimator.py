"""From the process image to the state that the controller starts from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from runtime.bundle.manifest import ArxObserver, Manifest, PeakObserver, StateGroup
from runtime.decide.estimate import Estimate, Estimator
from runtime.inputs.peaks import Peaks, peaks_of
from runtime.inputs.process_image import ProcessImage


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


class PeakEstimate:
    """What a capacity charge counts from; known at all times, since a month begins without a peak."""

    def __init__(self, peaks: Peaks, meter: str) -> None:
        self._peaks, self._meter = peaks, meter

    def update(self, image: ProcessImage, last_action: tuple[float, ...] | None) -> Estimate:
        sample = image.samples[self._meter]
        self._peaks.observe(image.time_s, sample.value if sample.ok and isinstance(sample.value, float) else None)
        state = (self._peaks.value,)
        return Estimate(state, known=state)


def make_estimator(manifest: Manifest, peaks: Peaks | None = None) -> Estimator:
    """The estimator that the bundle asks for; `peaks` as known so far, where it counts them."""
    parts = [_of_group(manifest, group, peaks or peaks_of(manifest)) for group in manifest.groups]
    return parts[0] if len(parts) == 1 else GroupedEstimate(parts)


def _of_group(manifest: Manifest, group: StateGroup, peaks: Peaks | None) -> Estimator:
    if isinstance(group.estimator, PeakObserver):
        assert peaks is not None
        return PeakEstimate(peaks, group.estimator.meter.name)
    if isinstance(group.estimator, ArxObserver):
        from runtime.decide.estimator_house import ArxEstimate  # numpy, which a battery's daemon does not need

        return ArxEstimate(manifest, group.estimator)
    return DirectEstimate(group.states)
