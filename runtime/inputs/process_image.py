"""The process image: every input of one cycle, read once and frozen, so that all decisions of a cycle see the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from runtime.bundle.manifest import ForecastSpec, Manifest, SignalSpec
from runtime.decide.overrides import Overrides, overridden
from runtime.formats.profile import Profile
from runtime.formats.units import conversion
from runtime.inputs.forecast import BRIEFLY, Foreseen, Memory, doubt, on_horizon, remark
from runtime.inputs.plausibility import believed, judge_all
from runtime.inputs.signals import Arrival, Sample, Validity, sample
from runtime.site.config import SiteFile
from runtime.site.rules import meters


@dataclass(frozen=True)
class ProcessImage:
    """Times are those of the cycle. `samples` are all inputs.

    `columns` are the valid forecasts on the horizon, (N + 1) steps values each: every stage's, one after the other.
    """

    time_s: float
    monotonic_s: float
    samples: Mapping[str, Sample]
    columns: Mapping[str, tuple[float, ...]]
    makeshift: Mapping[str, str] = field(default_factory=dict)
    """Forecasts that are used although they say too little, and why that is so."""

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
    memory: Memory,
    settle: Callable[[Mapping[str, Sample]], Mapping[str, Sample]] = dict,
    overrides: Overrides | None = None,
) -> ProcessImage:
    """Convert, date and judge all inputs, and put the forecasts on the horizon. `settle` may replace bad samples.

    What people want otherwise than scheduled stands in the columns of set-points and bands.
    """
    samples: dict[str, Sample] = {}
    numbers = (*manifest.measured, *meters(site, manifest))
    scheduled = {s.name: s.schedule for s in manifest.forecasts if s.schedule is not None and s.name not in site.inputs}
    heard = [spec for spec in manifest.forecasts if spec.name not in scheduled]
    for spec in (*numbers, *heard):
        section = site.inputs[spec.name]
        convert = conversion(section.unit, spec.unit)
        max_age_s = math.inf if section.flat else section.max_age_s
        samples[spec.name] = sample(spec, arrivals.get(spec.name), convert, max_age_s, monotonic_s)
    for spec in numbers:
        if isinstance(samples[spec.name].value, Profile):
            samples[spec.name] = _unusable(samples[spec.name], Validity.MALFORMED, "a forecast instead of a number")

    def ahead(spec: ForecastSpec, found: Sample) -> tuple[Sample, Foreseen | None]:
        if not found.ok or found.value is None:
            return found, None
        step_s, rows = manifest.dt_s / spec.steps, (manifest.horizon + 1) * spec.steps
        column = on_horizon(spec.name, found.value, spec.unit, time_s, step_s, rows, memory, believed(spec))
        return _judged(found, column, spec, flat=site.inputs[spec.name].flat)

    first = {spec.name: ahead(spec, samples[spec.name]) for spec in heard}
    samples |= {name: found for name, (found, _) in first.items()}
    settled = dict(settle(samples))
    columns: dict[str, tuple[float, ...]] = {}
    makeshift: dict[str, str] = {}
    for spec in heard:
        found, column = first[spec.name]
        if settled[spec.name] != found:
            found, column = ahead(spec, settled[spec.name])
        if column is not None and found.value is not None:
            said = remark(column, found.value, flat=site.inputs[spec.name].flat)
            if said and (column.held > BRIEFLY or not isinstance(found.value, Profile)):
                makeshift[spec.name] = said
            found = replace(found, problem=found.problem or said)
            columns[spec.name] = column.values
        settled[spec.name] = found
    for name, schedule in scheduled.items():
        steps = next(spec.steps for spec in manifest.forecasts if spec.name == name)
        rows = (manifest.horizon + 1) * steps
        columns[name] = schedule.column(site.zone, time_s, manifest.dt_s / steps, rows)
    if overrides is not None:
        wanted = overridden(columns, manifest, overrides, time_s)
        instead = {name: column[0] for name, column in wanted.items() if column != columns[name]}
        settled |= {name: replace(settled[name], value=value) for name, value in instead.items() if name in settled}
        columns = wanted
    for name in scheduled:
        settled[name] = Sample(name, columns[name][0], 0.0, Validity.OK)
    return ProcessImage(time_s, monotonic_s, settled, columns, makeshift)


def _judged(found: Sample, column: Foreseen | None, spec: SignalSpec, *, flat: bool) -> tuple[Sample, Foreseen | None]:
    """The sample and its column, or why there is none. Only what lies on the horizon counts."""
    if column is None or found.value is None:
        return _unusable(found, Validity.STALE, "does not cover the present"), None
    useless = doubt(column, found.value, spec.unit, flat=flat)
    if useless:
        few = isinstance(found.value, Profile)
        return _unusable(found, Validity.STALE if few else Validity.MALFORMED, useless), None
    judged = judge_all(column.values, spec)
    if judged is None:
        return found, column
    refused = next((one for one in judged if one.refused), None)
    if refused is not None:
        return _unusable(found, Validity.OUT_OF_RANGE, refused.problem), None
    odd = next((one.problem for one in judged if one.problem), "")
    return replace(found, problem=found.problem or odd), replace(column, values=tuple(one.value for one in judged))


def forecast_rows(image: ProcessImage, manifest: Manifest) -> tuple[tuple[float, ...], ...] | None:
    """The forecast for the solver, (N + 1, nd); None while one of the forecasts is not valid."""
    if not manifest.forecasts:
        return ((),) * (manifest.horizon + 1)
    if any(spec.name not in image.columns for spec in manifest.forecasts):
        return None
    columns = [image.columns[f.name][step :: f.steps] for f in manifest.forecasts for step in range(f.steps)]
    return tuple(zip(*columns, strict=True))


def forecast_now(image: ProcessImage, manifest: Manifest) -> tuple[float, ...]:
    """The present row (nd) for the safety filter: a forecast that is not valid counts as 0, or what is next to it."""
    return tuple(
        value
        for f in manifest.forecasts
        for value in image.columns.get(f.name, (min(max(0.0, f.lower), f.upper),) * f.steps)[: f.steps]
    )


def _unusable(found: Sample, validity: Validity, problem: str) -> Sample:
    return replace(found, validity=validity, problem=problem)
