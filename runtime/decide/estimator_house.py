"""The ARX observer in the daemon's cycle: readings at the time they were taken, actions since they were actuated."""

from __future__ import annotations

import math

import numpy as np

from runtime.bundle.manifest import ArxObserver, Manifest
from runtime.decide.estimate import Estimate
from runtime.decide.estimator_arx import ArxEstimator, ObserverModel, TimedSample
from runtime.inputs.process_image import ProcessImage

INPUT_MAX_AGE_S = 1800.0
"""How long an input holds its last value; longer where the controller's step is longer."""


class ArxEstimate:
    """The state of an ARX house from what its thermometers say now and then, and from what was actuated in between."""

    def __init__(self, manifest: Manifest, observer: ArxObserver) -> None:
        self._observer = observer
        self._actions = [a.name for a in manifest.actions]
        self._gains = {gain.input: gain for gain in observer.input_gains}
        self._previous_s: float | None = None
        self._filter = ArxEstimator(
            ObserverModel.from_arx(
                observer.output_coefficients,
                observer.input_coefficients,
                innovation_mean=observer.innovation_mean,
                innovation_covariance=observer.innovation_covariance,
                measurement_std=observer.measurement_std,
                input_std=observer.input_std,
                dt_s=observer.dt_s,
            ),
            max_age_s=max(INPUT_MAX_AGE_S, 2.0 * manifest.dt_s),
        )

    def update(self, image: ProcessImage, last_action: tuple[float, ...] | None) -> Estimate:
        """Readings count at the time they were taken; an action since the cycle that actuated it."""
        for i, spec in enumerate(self._observer.outputs):
            sample = image.samples[spec.name]
            if sample.ok and isinstance(sample.value, float) and sample.age_s is not None:
                self._filter.observe_output(i, TimedSample(image.time_s - sample.age_s, sample.value))
        for j, name in enumerate(self._observer.inputs):
            gain = self._gain(name, image)
            if name in image.columns:
                self._filter.observe_input(j, TimedSample(image.time_s, gain * image.columns[name][0]))
            elif name in self._actions and self._previous_s is not None:
                # In `safe` the device follows its own default: what it draws is not known.
                value = math.nan if last_action is None else last_action[self._actions.index(name)]
                self._filter.observe_input(j, TimedSample(self._previous_s, gain * value))
        self._previous_s = image.time_s
        state = self._filter.state_at(image.time_s)
        if state is None:
            names = ", ".join(spec.name for spec in self._observer.outputs)
            nx = len(self._observer.output_coefficients) * len(self._observer.outputs)
            return Estimate(None, f"state not known: no usable reading of {names}", (math.nan,) * nx)
        known = tuple(float(v) for v in state)
        return Estimate(known, known=known)

    def _gain(self, name: str, image: ProcessImage) -> float:
        """What the input is per unit of the signal; not known while the forecast that it depends on is not."""
        gain = self._gains.get(name)
        if gain is None:
            return 1.0
        if gain.by is None:
            return gain.points[0][1]
        if gain.by not in image.columns:
            return math.nan
        at, gains = [x for x, _ in gain.points], [value for _, value in gain.points]
        return float(np.interp(image.columns[gain.by][0], at, gains))
