"""The compressors of a bundle from cycle to cycle: what the filter let pass, as pulses, within the limits on power."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runtime.bundle.manifest import Manifest
from runtime.decide.gate import LastAction
from runtime.decide.pulses import CycleMoment, found, step
from runtime.decide.safety import Surroundings, headroom, shed

Vector = tuple[float, ...]


@dataclass(frozen=True)
class Pulsed:
    """What is written, and what each compressor does: name -> (mean power that is wanted, whether it is on)."""

    action: Vector
    compressors: Mapping[str, tuple[float, bool]] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    """On power, which took something for a compressor that must run on."""


class Pulses:
    """Remembers each compressor. Times are monotonic seconds."""

    def __init__(self, manifest: Manifest, last: LastAction | None, now_s: float) -> None:
        """last: what was written last, also by a daemon before this one; a compressor goes on from there."""
        self._manifest = manifest
        names = [action.name for action in manifest.actions]
        self._places = [[names.index(action) for action in unit.actions] for unit in manifest.compressors]
        self._states = [
            found(
                unit,
                None if last is None else [last.action[j] for j in places],
                now_s if last is None else max(last.changed_s[j] for j in places),
                now_s,
            )
            for unit, places in zip(manifest.compressors, self._places, strict=True)
        ]

    def deliver(
        self,
        action: Vector,
        asked: Sequence[float],
        moment: CycleMoment,
        caps: Mapping[str, float],
        around: Surroundings,
    ) -> Pulsed:
        """action: after the filter, before which it was `asked`; caps: what an operator allows of an action at most."""
        if not self._states:
            return Pulsed(action)
        fixed, told = [False] * len(action), {}
        for k, (unit, mine) in enumerate(zip(self._manifest.compressors, self._places, strict=True)):
            wanted = tuple(action[j] for j in mine)
            room = min(
                headroom(action, mine, fixed, self._manifest, around),
                sum(caps.get(name, math.inf) for name in unit.actions),
            )
            held_back = [action[j] < asked[j] - 1e-9 for j in mine]
            state = self._states[k] = step(unit, self._states[k], wanted, moment, room, held_back)
            action = _with(action, mine, state.delivered)
            fixed = [was or j in mine for j, was in enumerate(fixed)]
            told[unit.name] = (sum(wanted), state.on)
        kept = shed(action, fixed, self._manifest, around)
        return Pulsed(kept.action, told, kept.limits)

    def left_to(self, resting: Mapping[str, float], now_s: float) -> None:
        """Their outputs have safe values now: on or off as those are, and owed nothing."""
        for k, unit in enumerate(self._manifest.compressors):
            power = [resting.get(name, 0.0) for name in unit.actions]
            before = self._states[k]
            same = before.on is (sum(power) > 1e-9)
            self._states[k] = found(unit, power, before.since_s if same else now_s, now_s)


def _with(action: Vector, places: Sequence[int], values: Sequence[float]) -> Vector:
    changed = dict(zip(places, values, strict=True))
    return tuple(changed.get(j, value) for j, value in enumerate(action))
