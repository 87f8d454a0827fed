"""What stands in for a bad input: its last good value, then the model's, each up to an age; then the level falls.

Whatever is wrong with an input (missing, stale, malformed, out of range, frozen), `hold_s` and `estimate_s` of the site
file count from the time of its last good value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from runtime.bundle.manifest import Manifest
from runtime.bundle.safety_set import SafetySet
from runtime.formats.profile import Value
from runtime.inputs.process_image import ProcessImage, forecast_now
from runtime.inputs.signals import Sample, Validity
from runtime.site.signals import InputSection

Vector = tuple[float, ...]


@dataclass(frozen=True)
class _Good:
    value: Value
    measured_s: float


@dataclass(frozen=True)
class _Step:
    """What the model needs of the cycle before: state, forecast row and time."""

    state: Vector
    forecast: Vector
    monotonic_s: float


class Substitutes:
    """Remembers the good from cycle to cycle. Times are monotonic seconds."""

    def __init__(self, inputs: Mapping[str, InputSection], manifest: Manifest) -> None:
        self._inputs, self._manifest = inputs, manifest
        self._good: dict[str, _Good] = {}
        self._unchanged_since: dict[str, _Good] = {}
        self._before: _Step | None = None

    def settle(
        self, now_s: float, last_action: Sequence[float] | None
    ) -> Callable[[Mapping[str, Sample]], dict[str, Sample]]:
        """For `take_image`, once per cycle. last_action: in force since the cycle before, None where nobody knows."""

        def settled(samples: Mapping[str, Sample]) -> dict[str, Sample]:
            predicted = self._predicted(now_s, last_action)
            return {
                name: self._settled(self._judged_by_change(sample, now_s), now_s, predicted)
                for name, sample in samples.items()
            }

        return settled

    def remember(self, image: ProcessImage) -> None:
        """Keep what the model needs in the next cycle, if this one knows it."""
        m = self._manifest
        states = [image.samples[s.name] for s in m.states if s.name in image.samples]
        known = len(states) == len(m.states) and all(s.ok and isinstance(s.value, float) for s in states)
        if not known or any(f.name not in image.columns for f in m.forecasts):
            self._before = None
            return
        state = tuple(s.value for s in states if isinstance(s.value, float))
        self._before = _Step(state, forecast_now(image, m), image.monotonic_s)

    def _judged_by_change(self, sample: Sample, now_s: float) -> Sample:
        """Frozen, if good values arrive and have been the same for too long."""
        limit_s = self._inputs[sample.name].frozen_after_s
        if limit_s is None or not sample.ok or sample.age_s is None or not isinstance(sample.value, float):
            return sample
        arrived_s = now_s - sample.age_s
        first = self._unchanged_since.get(sample.name)
        if first is None or first.value != sample.value:
            first = self._unchanged_since[sample.name] = _Good(sample.value, arrived_s)
        if arrived_s - first.measured_s < limit_s:
            return sample
        # It stopped measuring at some time since its first equal value: nothing younger than that is known.
        self._good[sample.name] = first
        return replace(sample, validity=Validity.FROZEN, problem=f"unchanged for {arrived_s - first.measured_s:.0f} s")

    def _settled(self, sample: Sample, now_s: float, predicted: Mapping[str, float]) -> Sample:
        name = sample.name
        if sample.ok and sample.value is not None and sample.age_s is not None:
            self._good[name] = _Good(sample.value, now_s - sample.age_s)
            return sample
        good, section = self._good.get(name), self._inputs[name]
        if good is None:
            return sample
        age_s = now_s - good.measured_s
        why = sample.problem or sample.validity.value
        if age_s <= section.hold_s:
            return Sample(name, good.value, age_s, Validity.HELD, why)
        if age_s <= section.estimate_s and name in predicted:
            return Sample(name, predicted[name], age_s, Validity.ESTIMATED, why)
        return sample

    def _predicted(self, now_s: float, last_action: Sequence[float] | None) -> dict[str, float]:
        """The states now by the one-step model, from those of the cycle before; empty where it cannot say."""
        m, before = self._manifest, self._before
        if before is None or last_action is None or m.safety is None or not m.directly_measured:
            return {}
        share = (now_s - before.monotonic_s) / m.dt_s
        if not 0.0 <= share <= 1.5:
            return {}  # cycles were left out: what was in force meanwhile is not known
        actions = [gain * a for gain, a in zip(m.action_gains(before.forecast), last_action, strict=True)]
        ahead = one_step(m.safety, before.state, actions, before.forecast)
        return {
            spec.name: min(max(s + share * (s_next - s), spec.lower), spec.upper)
            for spec, s, s_next in zip(m.states, before.state, ahead, strict=True)
        }


def one_step(model: SafetySet, state: Sequence[float], action: Sequence[float], forecast: Sequence[float]) -> Vector:
    """s+ = A s + B a + E d + c, the state one dt later."""
    ahead = [_dot(row, state) + _dot(b, action) for row, b in zip(model.state_matrix, model.action_matrix, strict=True)]
    if model.forecast_matrix:
        ahead = [s + _dot(row, forecast) for s, row in zip(ahead, model.forecast_matrix, strict=True)]
    if model.offset:
        ahead = [s + c for s, c in zip(ahead, model.offset, strict=True)]
    return tuple(ahead)


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
