"""The forecasts of a cycle, corrected by what the meter showed that nobody had foreseen.

Only what the bundle itself foretells is corrected: a forecast that somebody publishes is theirs to keep right.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from runtime.bundle.manifest import Manifest
from runtime.inputs.correction import Deviation
from runtime.inputs.process_image import ProcessImage
from runtime.track.planned import first_of_each, named, planned_grid_kw


class Correcting:
    """Of one bundle: told of each image, with the mean action since the one before."""

    def __init__(self, manifest: Manifest, published: Collection[str]) -> None:
        """published: the forecasts that the site file names a source for."""
        self._manifest = manifest
        self._own = [f for f in manifest.forecasts if f.carries is not None and f.name not in published]
        self._deviation = Deviation(manifest.dt_s)

    def corrected(self, image: ProcessImage, meant: Sequence[float] | None) -> ProcessImage:
        """As it is where there is no meter, or nothing that carries."""
        manifest, tracking = self._manifest, self._manifest.tracking
        if not self._own or tracking is None or any(f.name not in image.columns for f in manifest.forecasts):
            return image
        reading = image.samples.get(tracking.meter)
        if meant is not None and reading is not None and reading.ok and isinstance(reading.value, float):
            row = [v for f in manifest.forecasts for v in image.columns[f.name][: f.steps]]
            foreseen = planned_grid_kw(tracking, named(manifest.actions, meant), first_of_each(manifest.forecasts, row))
            self._deviation.observe(image.time_s, reading.value - foreseen)
        changed = {
            f.name: self._deviation.carried(
                image.columns[f.name], manifest.dt_s / f.steps, f.carries, image.time_s, f.lower, f.upper
            )
            for f in self._own
            if f.carries is not None
        }
        return replace(image, columns={**image.columns, **changed})
