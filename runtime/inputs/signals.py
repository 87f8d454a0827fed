"""Values that come from outside, dated and judged: what a cycle may use, and why not where it may not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from runtime.bundle.manifest import SignalSpec
from runtime.formats.profile import Profile, Value
from runtime.formats.units import IDENTITY, Conversion
from runtime.inputs.plausibility import Judged, judge


class Validity(StrEnum):
    """What may be done with a value: `ok` is used, and so are its two substitutes; the others are not."""

    OK = "ok"
    HELD = "held"
    """The last good value stands in."""
    ESTIMATED = "estimated"
    """The model's value stands in."""
    MISSING = "missing"
    STALE = "stale"
    MALFORMED = "malformed"
    OUT_OF_RANGE = "out_of_range"
    FROZEN = "frozen"
    DOUBTFUL = "doubtful"
    """In its range, but not what the other readings or the one before allow."""


USABLE = frozenset({Validity.OK, Validity.HELD, Validity.ESTIMATED})


@dataclass(frozen=True)
class Arrival:
    """What a link delivered last for one input: a value or the reason why there is none.

    `monotonic_s` dates the last good value, which outlives later bad ones until it is too old.
    """

    value: Value | None
    monotonic_s: float
    problem: str = ""
    missing: bool = False
    """The source says that it has no value, or nobody knows from when it is: nothing is wrong with the message."""
    none_outside: str = ""
    """Why the value is no value where it lies outside the range of its signal, however little: -1 may be a power or a
    temperature, and stands for nothing where only positive numbers can be."""


@dataclass(frozen=True)
class Sample:
    """One input in the process image, in the bundle's unit."""

    name: str
    value: Value | None
    age_s: float | None
    validity: Validity
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether the value may be used."""
        return self.validity in USABLE


def sample(spec: SignalSpec, arrival: Arrival | None, convert: Conversion, max_age_s: float, now_s: float) -> Sample:
    """Convert and judge what arrived; `now_s` is monotonic. A profile is judged on the horizon, not here.

    It brings its own times: however old, it is good while it covers the present.
    """
    if arrival is None:
        return Sample(spec.name, None, None, Validity.MISSING, "nothing received yet")
    if arrival.value is None:
        nothing = Validity.MISSING if arrival.missing else Validity.MALFORMED
        return Sample(spec.name, None, None, nothing, arrival.problem)
    age = now_s - arrival.monotonic_s
    if isinstance(arrival.value, Profile):
        profile = arrival.value if convert == IDENTITY else arrival.value.converted(convert)
        if not all(map(math.isfinite, profile.values)):
            return Sample(spec.name, None, age, Validity.MALFORMED, "a number too large")
        return Sample(spec.name, profile, age, Validity.OK, arrival.problem)
    value = convert(arrival.value)
    if not math.isfinite(value):
        return Sample(spec.name, None, age, Validity.MALFORMED, "a number too large")
    if age > max_age_s:
        return Sample(spec.name, value, age, Validity.STALE, arrival.problem or f"older than {max_age_s:g} s")
    judged = judge(value, spec)
    if arrival.none_outside and judged != Judged(value):
        return Sample(spec.name, None, age, Validity.MISSING, arrival.none_outside)
    if judged.refused:
        return Sample(spec.name, value, age, Validity.OUT_OF_RANGE, judged.problem)
    return Sample(spec.name, judged.value, age, Validity.OK, arrival.problem or judged.problem)
