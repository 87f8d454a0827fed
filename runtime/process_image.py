"""The process image: every input of one cycle, read once and frozen, so that all decisions of a cycle see the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from runtime.config import SiteFile
from runtime.forecast import resample
from runtime.manifest import Manifest
from runtime.rules import meters
from runtime.signals import Arrival, Profile, Sample, Validity, sample
from runtime.units import conversion


@dataclass(frozen=True)
class ProcessImage:
    """Times are those of the cycle. `samples` are all inputs, `columns` the valid forecasts on the horizon (N + 1)."""

    time_s: float
    monotonic_s: float
    samples: Mapping[str, Sample]
    columns: Mapping[str, tuple[float, ...]]

    def values(self) -> dict[str, float]:
        """Valid numbers of now, by name: states as measured, forecasts for the present step."""
        states = {
            s.name: s.value
            for s in self.samples.values()
            if s.ok and isinstance(s.value, float) and s.name not in self.columns
        }
        return {**states, **{name: column[0] for name, column in self.columns.items()}}

    def problems(self) -> list[str]:
        """One line per input that cannot be used."""
        return [f"{s.name}: {s.problem or s.validity}" for s in self.samples.values() if not s.ok]


def take_image(
    site: SiteFile,
    manifest: Manifest,
    arrivals: Mapping[str, Arrival],
    time_s: float,
    monotonic_s: float,
    settle: Callable[[Mapping[str, Sample]], Mapping[str, Sample]] = dict,
) -> ProcessImage:
    """Convert, date and judge all inputs, and put the forecasts on the horizon. `settle` may replace bad samples."""
    samples: dict[str, Sample] = {}
    numbers = (*manifest.measured, *meters(site.rule, manifest))
    for spec in (*numbers, *manifest.forecasts):
        section = site.inputs[spec.name]
        convert = conversion(section.unit, spec.unit)
        samples[spec.name] = sample(spec, arrivals.get(spec.name), convert, section.max_age_s, monotonic_s)
    for spec in numbers:
        if isinstance(samples[spec.name].value, Profile):
            samples[spec.name] = _unusable(samples[spec.name], Validity.MALFORMED, "a forecast instead of a number")
    samples = dict(settle(samples))
    columns: dict[str, tuple[float, ...]] = {}
    for spec in manifest.forecasts:
        found = samples[spec.name]
        if not found.ok or found.value is None:
            continue
        column = resample(found.value, time_s, manifest.dt_s, manifest.horizon + 1)
        if column is None:
            samples[spec.name] = _unusable(found, Validity.STALE, "does not cover the present")
        else:
            columns[spec.name] = column
    return ProcessImage(time_s, monotonic_s, samples, columns)


def forecast_rows(image: ProcessImage, manifest: Manifest) -> tuple[tuple[float, ...], ...] | None:
    """The forecast for the solver, (N + 1, nd); None while one of the forecasts is not valid."""
    if not manifest.forecasts:
        return ((),) * (manifest.horizon + 1)
    if any(spec.name not in image.columns for spec in manifest.forecasts):
        return None
    return tuple(zip(*(image.columns[spec.name] for spec in manifest.forecasts), strict=True))


def forecast_now(image: ProcessImage, manifest: Manifest) -> tuple[float, ...]:
    """The present row (nd) for the safety filter: a forecast that is not valid counts as the middle of its range."""
    return tuple(
        image.columns[spec.name][0] if spec.name in image.columns else (spec.lower + spec.upper) / 2
        for spec in manifest.forecasts
    )


def _unusable(found: Sample, validity: Validity, problem: str) -> Sample:
    return replace(found, validity=validity, problem=problem)
