"""Between two cycles: one look at the meter, and the batteries told what follows from it.

The same limits hold as in a cycle: ramp and dwell, caps of the operator, the safety filter at the state of the last
cycle. Its one-step model covers a whole decision from there on, and no cycle is longer than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.actuate.actuator import Actuator, Written
from runtime.actuate.set_points import set_points
from runtime.actuate.shaping import drawn
from runtime.bundle.manifest import Manifest, SignalSpec
from runtime.decide.gate import LastAction, limit, remember
from runtime.decide.policy import Policy
from runtime.decide.safety import Surroundings, safety_filter
from runtime.formats.units import conversion
from runtime.inputs.process_image import ProcessImage
from runtime.inputs.signals import Arrival, sample
from runtime.site.signals import OutputSection
from runtime.track.tracker import MeterReading, Tracker

Vector = tuple[float, ...]


@dataclass(frozen=True)
class HeldCycle:
    """Of the last cycle, what holds until the next one."""

    policy: Policy
    state: Vector
    forecast: Vector
    """(nd) the row of then."""
    values: Mapping[str, float]
    caps: Mapping[str, float]
    inputs: Mapping[str, SignalSpec]
    """By name: what numbers may be read."""


class MeanAction:
    """What was actuated on the mean since it was last asked."""

    def __init__(self) -> None:
        self._action: Vector | None = None
        self._since_s = self._begun_s = 0.0
        self._sum: list[float] = []

    def begin(self, action: Vector | None, now_s: float) -> None:
        self._action, self._since_s, self._begun_s = action, now_s, now_s
        self._sum = [] if action is None else [0.0] * len(action)

    def change(self, action: Vector, now_s: float) -> None:
        if self._action is None or len(action) != len(self._action):
            self.begin(action, now_s)
            return
        span_s = now_s - self._since_s
        self._sum = [total + value * span_s for total, value in zip(self._sum, self._action, strict=True)]
        self._action, self._since_s = action, now_s

    def mean(self, now_s: float) -> Vector | None:
        """None before the first action; what is in force where no time has passed."""
        if self._action is None or now_s <= self._begun_s:
            return self._action
        rest_s, whole_s = now_s - self._since_s, now_s - self._begun_s
        return tuple((total + v * rest_s) / whole_s for total, v in zip(self._sum, self._action, strict=True))


def reading_of(image: ProcessImage, meter: str) -> MeterReading:
    """The meter in a cycle's image."""
    found = image.samples.get(meter)
    if found is None or not found.ok or not isinstance(found.value, float):
        return MeterReading(None, problem="" if found is None else found.problem or found.validity.value)
    return MeterReading(found.value, image.monotonic_s - (found.age_s or 0.0))


def reading_now(known: HeldCycle, meter: str, arrival: Arrival | None, now_s: float) -> MeterReading:
    """The meter as it arrived, converted and judged as in a cycle."""
    spec, section = known.inputs[meter], known.policy.site.inputs[meter]
    found = sample(spec, arrival, conversion(section.unit, spec.unit), section.max_age_s, now_s)
    if not found.ok or not isinstance(found.value, float):
        return MeterReading(None, problem=found.problem or found.validity.value)
    return MeterReading(found.value, now_s - (found.age_s or 0.0), found.problem)


def look(
    known: HeldCycle,
    tracker: Tracker,
    reading: MeterReading,
    last: LastAction,
    actuator: Actuator,
    time_s: float,
    now_s: float,
) -> LastAction:
    """Follow a reading; what is in force then."""
    wanted = tracker.follow(reading, last.action, time_s, now_s)
    if wanted is None:
        return last
    policy = known.policy
    manifest, site = policy.bundle.manifest, policy.site
    limited = limit(wanted, last, manifest, now_s, known.caps)
    values = dict(known.values)
    meter = tracker.meter
    if meter is not None and reading.kw is not None:
        values[meter] = reading.kw
    around = Surroundings(values, last.action)
    passed = safety_filter(limited.action, known.state, known.forecast, manifest, around).action
    mine = {j for pair in tracker.places for j in pair}
    # What is not a battery's waits for the cycle, whose business it is.
    action = tuple(passed[j] if j in mine else value for j, value in enumerate(last.action))
    names = {manifest.actions[j].name for j in mine}
    outputs = {
        name: out for name, out in site.outputs.items() if out.shape is None and not names.isdisjoint(out.combine)
    }
    points = {name: v for name, v in set_points(outputs, manifest.actions, action).items() if name in outputs}
    written = actuator.adjust(points)
    for one in written.values():
        tracker.written(one.problem if one.arrived else "", now_s)
    return remember(actual(action, outputs, written, manifest, values), last, now_s)


def actual(
    action: Vector,
    outputs: Mapping[str, OutputSection],
    written: Mapping[str, Written],
    manifest: Manifest,
    values: Mapping[str, float],
) -> Vector:
    """The action with what devices really hold where a set-point waits for its budget: a power in less a power out.

    What takes levels or shifts draws what those stand for. values: the signals of the cycle.
    """
    told = {name: one.value for name, one in written.items() if one.arrived}
    found = list(drawn(action, outputs, manifest.actions, told, values))
    names = [a.name for a in manifest.actions]
    for name, one in written.items():
        terms = [(names.index(a), factor) for a, factor in outputs[name].combine.items()] if name in outputs else []
        if name in outputs and outputs[name].shape is not None:
            continue
        if one.wanted is None or not one.arrived or len(terms) not in {1, 2}:
            continue
        for j, factor in terms:
            unit = conversion(manifest.actions[j].unit, outputs[name].unit).factor * factor
            found[j] = max(0.0, one.value / unit) if len(terms) == 2 else one.value / unit
    return tuple(found)


def tracked_places(action: Vector, places: Sequence[tuple[int, int]], powers: Vector) -> Vector:
    """The action with the batteries' part of another."""
    mine = {j for pair in places for j in pair}
    return tuple(powers[j] if j in mine else value for j, value in enumerate(action))
