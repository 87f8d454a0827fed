"""Readings that are in their range and yet not believed: by what the others say, what was read before, what can be.

A thermometer in another unit, one that has died at 0 or just been switched on at 85 degrees, a state of charge that
leaps. One such reading, believed, costs every zone its heat; doubted, it costs its own zone the reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median

from runtime.bundle.manifest import DirectEstimator, Manifest, SignalSpec
from runtime.decide.rules_data import TankRule
from runtime.formats.units import conversion, kind_of
from runtime.inputs.plausibility import likely_unit
from runtime.inputs.signals import Sample, Validity

# Rooms of one house do not differ by more, and no room gets warmer than what is wished by more.
BETWEEN_ROOMS_K = 15.0
ABOVE_WISH_K = 25.0
USUAL_ROOM_C = 20.0
# Between two readings: what a draught and the sun can do at once, and within an hour. What was read longer ago says
# nothing.
LEAP_K, LEAP_K_PER_H = 8.0, 10.0
LEAP_SHARE = 0.1
REACH = 2.0
FORGET_S = 3600.0
# What sensors say that measure nothing, in degC: a DS18B20 after power-on, one that is not connected, many that died.
DEAD_C, DEAD_IF_LEAPT_C = (85.0, -127.0), (0.0,)
DEAD_DISTANCE_K = 5.0
HOUR_S = 3600.0


@dataclass(frozen=True)
class _Believed:
    value: float
    measured_s: float


class Doubts:
    """Remembers what was believed from cycle to cycle. Times are monotonic seconds."""

    def __init__(self, manifest: Manifest, wishes: Mapping[str, float]) -> None:
        """wishes: measurement -> what it is wished to be, of the rooms where that is known."""
        self._manifest, self._wishes = manifest, wishes
        self._specs = {spec.name: spec for spec in manifest.measured}
        water = {rule.measurement for rule in manifest.rules if isinstance(rule, TankRule)}
        self._thermometers = [s for s in manifest.measured if kind_of(s.unit) == "temperature" and s.name not in water]
        self._good: dict[str, _Believed] = {}
        self.standing: dict[str, str] = {}
        """Who is doubted now, and why, in words that stay the same while the doubt does."""

    def judge(self, samples: Mapping[str, Sample], now_s: float) -> dict[str, Sample]:
        """The samples of a cycle, those that are not believed marked as such."""
        readings = {
            name: sample.value
            for name, sample in samples.items()
            if name in self._specs and sample.ok and isinstance(sample.value, float)
        }
        self.standing = {}
        judged = dict(samples)
        for name, value in readings.items():
            age_s = samples[name].age_s or 0.0
            why = self._why(self._specs[name], value, readings, now_s - age_s)
            if not why:
                self._good[name] = _Believed(value, now_s - age_s)
                continue
            self.standing[name] = why
            problem = f"{value:g} {self._specs[name].unit}: {why}"
            judged[name] = replace(samples[name], validity=Validity.DOUBTFUL, problem=problem)
        return judged

    def _why(self, spec: SignalSpec, value: float, readings: Mapping[str, float], measured_s: float) -> str:
        """Why this reading is not believed; empty if it is."""
        good = self._good.get(spec.name)
        if good is not None and measured_s - good.measured_s > FORGET_S:
            good = None
        if kind_of(spec.unit) == "temperature":
            rooms = self._rooms_like(spec)
            dead = self._dead(spec, value, good)
            if dead or not rooms:
                return dead
            return self._among_rooms(spec, value, rooms, readings) or self._leap(spec, value, good, measured_s)
        return self._beyond_reach(spec, value, good, measured_s)

    def _rooms_like(self, spec: SignalSpec) -> list[SignalSpec]:
        """The thermometers of rooms, if this is one: those with one range, or that a rule keeps at a temperature.

        Two tanks have one range as well; the rule that the bundle brings for each says that it is water.
        """
        if spec not in self._thermometers:
            return []
        alike = [s for s in self._thermometers if (s.unit, s.lower, s.upper) == (spec.unit, spec.lower, spec.upper)]
        return alike if len(alike) > 1 or spec.name in self._wishes else []

    def _dead(self, spec: SignalSpec, value: float, good: _Believed | None) -> str:
        celsius = conversion(spec.unit, "degC")(value)
        kelvin = _kelvin(spec)
        near = good is not None and abs(good.value - value) * kelvin <= DEAD_DISTANCE_K
        said = any(abs(celsius - code) < 1e-6 for code in (*DEAD_C, *(DEAD_IF_LEAPT_C if good is not None else ())))
        return "what a thermometer says that measures nothing" if said and not near else ""

    def _among_rooms(
        self, spec: SignalSpec, value: float, rooms: list[SignalSpec], readings: Mapping[str, float]
    ) -> str:
        """Of two that disagree the one is believed with whom more agree, else the one nearer to what is wished.

        What is too warm for any room has no say.
        """
        kelvin, wished = _kelvin(spec), self._wished(spec.name)

        def too_warm(name: str, own: float) -> bool:
            return (own - self._wished(name)) * kelvin > ABOVE_WISH_K

        if too_warm(spec.name, value):  # however many say so: all of them may be in another unit
            return self._said("no room is as warm as that", spec, value, wished)
        everybody = [(room.name, readings[room.name]) for room in rooms if room.name in readings]
        read = [(name, own) for name, own in everybody if not too_warm(name, own)]

        def apart(a: float, b: float) -> bool:
            return abs(a - b) * kelvin > BETWEEN_ROOMS_K

        def rank(name: str, own: float) -> tuple[int, float, str]:
            return sum(not apart(own, other) for _, other in read), -abs(own - self._wished(name)), name

        better = [own for name, own in read if apart(own, value) and rank(name, own) > rank(spec.name, value)]
        return self._said("the other rooms say otherwise", spec, value, median(better)) if better else ""

    def _leap(self, spec: SignalSpec, value: float, good: _Believed | None, measured_s: float) -> str:
        if good is None:
            return ""
        allowed_k = LEAP_K + LEAP_K_PER_H * (measured_s - good.measured_s) / HOUR_S
        leapt = abs(value - good.value) * _kelvin(spec) > allowed_k
        return self._said("too far from the reading before", spec, value, good.value) if leapt else ""

    def _beyond_reach(self, spec: SignalSpec, value: float, good: _Believed | None, measured_s: float) -> str:
        """A state that the model says cannot have come this far, whatever was done meanwhile."""
        m = self._manifest
        if good is None or m.safety is None or not isinstance(m.estimator, DirectEstimator):
            return ""
        index = [s.name for s in m.states].index(spec.name)
        if m.safety.state_matrix[index] != tuple(float(k == index) for k in range(len(m.states))):
            return ""  # it moves by itself
        drives = [*zip(m.safety.action_matrix[index], m.actions, strict=True)]
        if m.safety.forecast_matrix:
            columns = [forecast for forecast in m.forecasts for _ in range(forecast.steps)]
            drives += zip(m.safety.forecast_matrix[index], columns, strict=True)
        per_step = sum(abs(factor) * max(abs(s.lower), abs(s.upper)) for factor, s in drives)
        steps = max(0.0, measured_s - good.measured_s) / m.dt_s
        allowed = LEAP_SHARE * (spec.upper - spec.lower) + REACH * per_step * steps
        return "further from the reading before than it can have come" if abs(value - good.value) > allowed else ""

    def _wished(self, name: str) -> float:
        return self._wishes.get(name, conversion("degC", self._specs[name].unit)(USUAL_ROOM_C))

    @staticmethod
    def _said(why: str, spec: SignalSpec, value: float, near: float) -> str:
        other = likely_unit(value, spec, near)
        return f"{why}; is it in {other}?" if other else why


def _kelvin(spec: SignalSpec) -> float:
    """K per unit of a temperature."""
    return abs(conversion(spec.unit, "K").factor)
